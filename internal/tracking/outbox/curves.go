package outbox

import (
	"context"

	"github.com/captioner/captioner/internal/tracking/mlflow"
)

// curves are the points that the server has of a run. A training that resumes
// writes again what it had written after its checkpoint, at other times: the
// server has no way to replace a point, so the first one stays.
//
// Until that happens it is enough to know each curve's last step. Only a point
// before that asks for all of them, once.
type curves struct {
	server *mlflow.Client
	runID  string
	last   map[string]int64
	steps  map[string]map[int64]bool // of those that were asked for
}

func newCurves(server *mlflow.Client, run mlflow.Run) *curves {
	return &curves{server: server, runID: run.ID, last: run.Steps, steps: map[string]map[int64]bool{}}
}

// missing returns the points that the server does not have.
func (c *curves) missing(ctx context.Context, points []mlflow.Metric) ([]mlflow.Metric, error) {
	var missing []mlflow.Metric
	for _, p := range points {
		had, err := c.has(ctx, mlflow.Key(p.Key), int64(p.Step))
		if err != nil {
			return nil, err
		}
		if !had {
			missing = append(missing, p)
		}
	}
	return missing, nil
}

func (c *curves) has(ctx context.Context, key string, step int64) (bool, error) {
	if last, any := c.last[key]; !any || step > last {
		return false, nil
	}
	if c.steps[key] == nil {
		steps, err := c.server.MetricSteps(ctx, c.runID, key)
		if err != nil {
			return false, err
		}
		c.steps[key] = steps
	}
	return c.steps[key][step], nil
}

// add notes that the points have arrived.
func (c *curves) add(points []mlflow.Metric) {
	for _, p := range points {
		key, step := mlflow.Key(p.Key), int64(p.Step)
		if last, any := c.last[key]; !any || step > last {
			c.last[key] = step
		}
		if steps := c.steps[key]; steps != nil {
			steps[step] = true
		}
	}
}

// lastStep is the highest step of all curves.
func (c *curves) lastStep() int {
	var last int64
	for _, step := range c.last {
		last = max(last, step)
	}
	return int(last)
}
