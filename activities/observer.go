package activities

import (
	"context"

	"go.temporal.io/sdk/activity"

	"github.com/captioner/captioner"
)

// Observer is told what operators count. internal/telemetry implements it.
type Observer interface {
	// Training says how far a run's training has come, Validated how good it
	// was after an epoch, TrainingStalled whether it gets nowhere now, and
	// TrainingEnded that it does not go on here.
	Training(runID string, s captioner.TrainStep)
	Validated(runID string, e captioner.TrainEpoch)
	TrainingStalled(runID string, stalled bool)
	TrainingEnded(runID string)
	// RunEnded gets the gate's outcome too, where the run came to it.
	RunEnded(state captioner.RunState, outcome captioner.Outcome)
}

// observer returns the one to tell.
func (a *Activities) observer() Observer {
	if a.Observer == nil {
		return ignore{}
	}
	return a.Observer
}

// runID is that of the run that the activity belongs to, empty outside one.
func runID(ctx context.Context) string {
	if !activity.IsActivity(ctx) {
		return ""
	}
	return activity.GetInfo(ctx).WorkflowExecution.ID
}

// ignore is the observer of activities that have none.
type ignore struct{}

func (ignore) Training(string, captioner.TrainStep)           {}
func (ignore) Validated(string, captioner.TrainEpoch)         {}
func (ignore) TrainingStalled(string, bool)                   {}
func (ignore) TrainingEnded(string)                           {}
func (ignore) RunEnded(captioner.RunState, captioner.Outcome) {}
