package activities

import (
	"context"
	"encoding/json"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/telemetry/span"
)

// RecordRunInput is how a run ended.
type RecordRunInput struct {
	RunID string `json:"run_id"`
	// Config and Actor are recorded where ValidateConfig did not come to it.
	Config json.RawMessage      `json:"config"`
	Actor  string               `json:"actor"`
	State  captioner.RunState   `json:"state"`
	Result *captioner.RunResult `json:"result,omitempty"`
	// Message says why a run failed, in a sentence for a person.
	Message string `json:"message,omitempty"`
	// Progress has the stages as they ended.
	Progress captioner.Progress `json:"progress"`
}

// RecordRunResult is empty; fields may come.
type RecordRunResult struct{}

// RecordRun writes the outcome of a run into its record, which outlives the
// history that Temporal keeps. It is the last step, also of failed and of
// cancelled runs.
func (a *Activities) RecordRun(ctx context.Context, in RecordRunInput) (RecordRunResult, error) {
	_, _, err := a.Store.PutRun(ctx, captioner.RunRecord{
		ID: in.RunID, Config: in.Config, CreatedAt: a.now(), Actor: in.Actor, State: captioner.RunRunning,
	})
	if err != nil {
		return RecordRunResult{}, err
	}
	// Before the outcome: who sees that a run has ended finds all about it.
	if err := a.Store.PutProgress(ctx, in.RunID, in.Progress); err != nil {
		return RecordRunResult{}, err
	}
	if err := a.Store.FinishRun(ctx, in.RunID, in.State, in.Result, in.Message); err != nil {
		return RecordRunResult{}, err
	}
	var outcome captioner.Outcome
	if in.Result != nil {
		outcome = in.Result.Decision.Outcome
	}
	a.observer().RunEnded(in.State, outcome)
	a.traceTracked(ctx, in.RunID)
	return RecordRunResult{}, nil
}

// traceTracked leaves in the run's trace which run it is in MLflow, as far as
// that is known by now.
func (a *Activities) traceTracked(ctx context.Context, runID string) {
	if d, err := a.Store.Delivery(ctx, runID); err == nil {
		now := time.Now()
		span.Past(ctx, "tracked", now, now, attribute.String("mlflow.run_id", d.TrackedRun), attribute.String("mlflow.url", d.URL))
	}
}

// recordTraining notes in the run's record under which key its training is kept
// and on which data set, so that it can be followed where the workflow cannot be
// asked. Training does not wait for it.
func (a *Activities) recordTraining(ctx context.Context, runID, key string, dataset captioner.Digest) {
	if runID == "" {
		return
	}
	if err := a.Store.PutProgress(ctx, runID, captioner.Progress{RunKey: key, Dataset: dataset}); err != nil {
		logger(ctx).Warn("could not note the training in the run's record", "error", err)
	}
}
