package mlflow

import (
	"context"
	"net/url"

	"github.com/captioner/captioner"
)

// Check reports whether a tracking server answers that lets the client look for
// the experiment, which need not exist yet. Unavailable while nobody answers.
func (c *Client) Check(ctx context.Context, experiment string) error {
	if _, err := c.experiment(ctx, experiment); captioner.KindOf(err) != captioner.NotFound {
		return err
	}
	return nil
}

// Experiment returns the ID of the experiment with that name, which is made
// where it is missing. One that was deleted is Invalid.
func (c *Client) Experiment(ctx context.Context, name string) (string, error) {
	id, err := c.experiment(ctx, name)
	if captioner.KindOf(err) != captioner.NotFound {
		return id, err
	}
	var made struct {
		ID string `json:"experiment_id"`
	}
	err = c.post(ctx, "experiments/create", map[string]any{"name": name}, &made)
	if captioner.KindOf(err) == captioner.Conflict { // another process was faster
		return c.experiment(ctx, name)
	}
	return made.ID, err
}

func (c *Client) experiment(ctx context.Context, name string) (string, error) {
	var found struct {
		Experiment struct {
			ID    string `json:"experiment_id"`
			Stage string `json:"lifecycle_stage"`
		} `json:"experiment"`
	}
	err := c.get(ctx, "experiments/get-by-name", url.Values{"experiment_name": {name}}, &found)
	switch {
	case err != nil:
		return "", err
	case found.Experiment.ID == "":
		return "", notMLflow(nil)
	case found.Experiment.Stage == "deleted":
		return "", captioner.Errorf(captioner.Invalid, "MLflow's experiment %q is deleted: restore it, or name another with MLFLOW_EXPERIMENT_NAME", name)
	}
	return found.Experiment.ID, nil
}
