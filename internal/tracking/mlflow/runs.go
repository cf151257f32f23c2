package mlflow

import (
	"context"
	"encoding/json"
	"math"
	"net/url"
	"strings"
	"time"
)

// Status is where a run stands.
type Status string

// The states of a run.
const (
	Running  Status = "RUNNING"
	Finished Status = "FINISHED"
	Failed   Status = "FAILED"
	Killed   Status = "KILLED"
)

// Run is a run as the server has it.
type Run struct {
	ID           string
	ExperimentID string
	// ArtifactURI is where its artifacts are.
	ArtifactURI string
	Status      Status
	// Steps has the highest step of each metric.
	Steps map[string]int64
	Tags  map[string]string
}

// runReply is a run as the server writes it.
type runReply struct {
	Info struct {
		ID           string `json:"run_id"`
		ExperimentID string `json:"experiment_id"`
		ArtifactURI  string `json:"artifact_uri"`
		Status       Status `json:"status"`
	} `json:"info"`
	Data struct {
		Metrics []struct {
			Key  string `json:"key"`
			Step int64  `json:"step"`
		} `json:"metrics"`
		Tags []Tag `json:"tags"`
	} `json:"data"`
}

func (r runReply) run() (Run, error) {
	if r.Info.ID == "" {
		return Run{}, notMLflow(nil)
	}
	run := Run{
		ID: r.Info.ID, ExperimentID: r.Info.ExperimentID, ArtifactURI: r.Info.ArtifactURI, Status: r.Info.Status,
		Steps: map[string]int64{}, Tags: map[string]string{},
	}
	for _, m := range r.Data.Metrics {
		run.Steps[m.Key] = m.Step
	}
	for _, t := range r.Data.Tags {
		run.Tags[t.Key] = t.Value
	}
	return run, nil
}

// CreateRun begins a run.
func (c *Client) CreateRun(ctx context.Context, experimentID, name string, start time.Time, tags []Tag) (Run, error) {
	var reply struct {
		Run runReply `json:"run"`
	}
	err := c.post(ctx, "runs/create", map[string]any{
		"experiment_id": experimentID, "run_name": name, "start_time": start.UnixMilli(), "tags": cutTags(tags),
	}, &reply)
	if err != nil {
		return Run{}, err
	}
	return reply.Run.run()
}

// Run returns a run; NotFound.
func (c *Client) Run(ctx context.Context, id string) (Run, error) {
	var reply struct {
		Run runReply `json:"run"`
	}
	if err := c.get(ctx, "runs/get", url.Values{"run_id": {id}}, &reply); err != nil {
		return Run{}, err
	}
	return reply.Run.run()
}

// RunsTagged returns the experiment's runs with that tag, the newest first.
func (c *Client) RunsTagged(ctx context.Context, experimentID, key, value string) ([]Run, error) {
	var reply struct {
		Runs []runReply `json:"runs"`
	}
	err := c.post(ctx, "runs/search", map[string]any{
		"experiment_ids": []string{experimentID}, "filter": tagFilter(key, value), "max_results": 100,
		"order_by": []string{"attributes.start_time DESC"},
	}, &reply)
	if err != nil {
		return nil, err
	}
	var runs []Run
	for _, r := range reply.Runs {
		run, err := r.run()
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	return runs, nil
}

// tagFilter is a condition in the language of MLflow's searches. It has no way
// to write both quotes; our values have neither.
func tagFilter(key, value string) string {
	return "tags.`" + key + "` = '" + strings.ReplaceAll(value, "'", "") + "'"
}

// EndRun sets how a run has ended; Running takes it up again.
func (c *Client) EndRun(ctx context.Context, id string, status Status, end time.Time) error {
	return c.post(ctx, "runs/update", map[string]any{"run_id": id, "status": status, "end_time": end.UnixMilli()}, nil)
}

// Metric is a point of a curve.
type Metric struct {
	Key   string
	Value float64
	Time  time.Time
	Step  int
}

// MarshalJSON writes what JSON has no number for as the server reads it.
func (m Metric) MarshalJSON() ([]byte, error) {
	var value any = m.Value
	switch {
	case math.IsNaN(m.Value):
		value = "NaN"
	case math.IsInf(m.Value, 1):
		value = "Infinity"
	case math.IsInf(m.Value, -1):
		value = "-Infinity"
	}
	return json.Marshal(map[string]any{"key": Key(m.Key), "value": value, "timestamp": m.Time.UnixMilli(), "step": m.Step})
}

// MetricSteps returns every step at which the run has a point of the metric.
func (c *Client) MetricSteps(ctx context.Context, runID, key string) (map[int64]bool, error) {
	steps := map[int64]bool{}
	query := url.Values{"run_id": {runID}, "metric_key": {Key(key)}, "max_results": {"10000"}}
	for {
		var reply struct {
			Metrics []struct {
				Step int64 `json:"step"`
			} `json:"metrics"`
			Next string `json:"next_page_token"`
		}
		if err := c.get(ctx, "metrics/get-history", query, &reply); err != nil {
			return nil, err
		}
		for _, m := range reply.Metrics {
			steps[m.Step] = true
		}
		if reply.Next == "" {
			return steps, nil
		}
		query.Set("page_token", reply.Next)
	}
}

// Param is a setting of a run. It can be logged again, but not changed.
type Param struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Tag is a note on a run or a model version.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}
