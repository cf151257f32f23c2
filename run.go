package captioner

import (
	"maps"
	"slices"
	"time"
)

// RunState is where a run stands.
type RunState string

const (
	RunRunning RunState = "running"
	// RunRecovering is a run that goes on but that nobody works on now: a step has
	// lost its worker or has failed, and waits to be tried again.
	RunRecovering RunState = "recovering"
	// RunStalled is a run whose training is alive and gets nowhere.
	RunStalled   RunState = "stalled"
	RunCompleted RunState = "completed"
	RunFailed    RunState = "failed"
	RunCancelled RunState = "cancelled"
	// RunUnchanged is how a schedule's run ends that had nothing to do: its data
	// is what the schedule's last completed run was trained on.
	RunUnchanged RunState = "unchanged"
)

// Ended reports whether a run is over. A record of one that is not says
// "running", whichever of the three states it is in.
func (s RunState) Ended() bool {
	return s == RunCompleted || s == RunFailed || s == RunCancelled || s == RunUnchanged
}

// Stage is one step of a run, as the workflow's query "progress" shows it.
type Stage struct {
	// Name is the activity's, such as "Train".
	Name string `json:"name"`
	// State is "pending", "running", "completed", "failed" or "skipped".
	State string `json:"state"`
	// Done and Total count the shards of a sharded stage.
	Done       int        `json:"done,omitempty"`
	Total      int        `json:"total,omitempty"`
	StartedAt  *time.Time `json:"started_at,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
	// Cached says that an earlier run's result was found by its key.
	Cached bool `json:"cached,omitempty"`
	// Note says what is worth knowing about a stage that goes well.
	Note string `json:"note,omitempty"`
	// Error is one sentence for a person.
	Error string `json:"error,omitempty"`
}

// Progress answers the query "progress".
type Progress struct {
	Stages []Stage `json:"stages"`
	// RunKey is the key of the training step, under which its metrics are kept.
	RunKey string `json:"run_key,omitempty"`
	// Dataset is the digest of the data set as far as it has been prepared: in
	// the end the one that was trained on. Captions are blobs of lists of
	// [CaptionedImage], one a shard of the test split.
	Dataset  Digest   `json:"dataset,omitempty"`
	Captions []Digest `json:"captions,omitempty"`
	// TraceID is that of the run's trace.
	TraceID string `json:"trace_id,omitempty"`
}

// CaptionedImage is what a model says about a picture.
type CaptionedImage struct {
	Image  string `json:"image"`
	Greedy string `json:"greedy"`
	Beam   string `json:"beam"`
	// Others are the captions of further algorithms, by name.
	Others map[string]string `json:"others,omitempty"`
}

// Algorithms returns the names of those that have a caption: greedy, beam, then
// the others in order.
func (c CaptionedImage) Algorithms() []string {
	return append([]string{"greedy", "beam"}, slices.Sorted(maps.Keys(c.Others))...)
}

// Caption returns what the algorithm of that name says.
func (c CaptionedImage) Caption(algorithm string) string {
	switch algorithm {
	case "greedy":
		return c.Greedy
	case "beam":
		return c.Beam
	}
	return c.Others[algorithm]
}

// Say sets what the algorithm of that name says.
func (c *CaptionedImage) Say(algorithm, caption string) {
	switch algorithm {
	case "greedy":
		c.Greedy = caption
	case "beam":
		c.Beam = caption
	default:
		if c.Others == nil {
			c.Others = map[string]string{}
		}
		c.Others[algorithm] = caption
	}
}

// Run is a run as the API shows it. ID equals the Temporal workflow ID.
type Run struct {
	ID            string   `json:"id"`
	TemporalRunID string   `json:"temporal_run_id"`
	State         RunState `json:"state"`
	// Note says why a run that goes on is recovering or stalled.
	Note       string     `json:"note,omitempty"`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
	Stages     []Stage    `json:"stages,omitempty"`
	// Metrics are the latest values, by name.
	Metrics map[string]float64 `json:"metrics,omitempty"`
	Result  *RunResult         `json:"result,omitempty"`
	// Error and Problems say why a failed run failed.
	Error    string    `json:"error,omitempty"`
	Problems []Problem `json:"problems,omitempty"`
	// TraceID is that of the run's trace, wherever traces are sent; log lines
	// and the reply that started the run carry it too.
	TraceID string `json:"trace_id,omitempty"`
	// TemporalURL is the run's page in the Temporal Web UI.
	TemporalURL string `json:"temporal_url,omitempty"`
	// MLflowURL is the run's page in MLflow, empty where it was not delivered to
	// a server.
	MLflowURL string `json:"mlflow_url,omitempty"`
	// Dataset is the digest of the run's data set, empty until that is known.
	Dataset Digest `json:"dataset,omitempty"`
	// RunKey is the key of the training step, empty until that is known. It
	// names records and says nothing to a client.
	RunKey string `json:"-"`
}

// RunResult is the outcome of a completed run, and the workflow's result.
type RunResult struct {
	Version    Digest     `json:"version"`
	Decision   Decision   `json:"decision"`
	Evaluation Evaluation `json:"evaluation"`
	// Deployed says whether the version is live; Deployment is the digest of
	// its deployment.json in the blob store.
	Deployed   bool   `json:"deployed"`
	Deployment Digest `json:"deployment,omitempty"`
	// Note says what is worth knowing, such as that no server was running.
	Note string `json:"note,omitempty"`
	// Warnings are sentences about what was likely not meant.
	Warnings []string `json:"warnings,omitempty"`
	// LeftOut says what of the data was not used; nil when all of it was.
	LeftOut *LeftOut `json:"left_out,omitempty"`
	// Reused lists the stages whose result an earlier run had left.
	Reused []string `json:"reused,omitempty"`
	// Trained is set by the runs of a schedule, for the next one to compare
	// with. Unchanged says that the run ended there, since nothing had changed:
	// then Trained is that of the run that trained.
	Trained   *Trained `json:"trained,omitempty"`
	Unchanged bool     `json:"unchanged,omitempty"`
}

// Trained says which run was trained on which data.
type Trained struct {
	Run string `json:"run"`
	// Data is the digest of all that the run read: data set, encoder's weights
	// and word vectors.
	Data Digest `json:"data"`
}

// Metric is one point of a run's curves.
type Metric struct {
	// RunKey is the key of the training step, so that a run that continues
	// another's training continues its curves.
	RunKey string    `json:"-"`
	Step   int       `json:"step"`
	Name   string    `json:"name"`
	Value  float64   `json:"value"`
	Time   time.Time `json:"time"`
}

// Sample is what the model in training said about a validation picture at the
// end of an epoch.
type Sample struct {
	// RunKey is the key of the training step, as in Metric.
	RunKey string `json:"-"`
	// Epoch and Step, its last one, count from 1.
	Epoch     int    `json:"epoch"`
	Step      int    `json:"step"`
	Image     string `json:"image"`
	Caption   string `json:"caption"`
	Reference string `json:"reference"`
	// Picture is the blob of the picture as the model sees it, a PNG; empty
	// where it could not be kept.
	Picture Digest    `json:"-"`
	Time    time.Time `json:"-"`
	// Sequence is the number in the order of writing, which the store gives.
	Sequence int64 `json:"-"`
}
