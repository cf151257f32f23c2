// Package workflows puts the steps of package activities in order, durably:
// [TrainAndDeploy] is a run, from a configuration to a version that is served.
// Temporal executes it, remembers each step's result, and goes on after the
// death of any machine. [Client] starts runs and follows them.
//
// A workflow is deterministic: it decides by its steps' results alone, and
// touches no file, clock or network. A change to it is checked against recorded
// histories in testdata.
package workflows

import (
	"encoding/json"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
)

const (
	// TrainAndDeployName is the workflow's type, as any Temporal client names it.
	TrainAndDeployName = "TrainAndDeploy"
	// ValidateOnlyName is the type of the workflow behind a dry run.
	ValidateOnlyName = "ValidateOnly"

	// TaskQueue is where workflows and the steps of the control plane run.
	TaskQueue = "captioner"
	// EngineTaskQueue is where the steps run that need an engine: workers of
	// this queue take one job per device at a time.
	EngineTaskQueue = "captioner-engine"

	// ProgressQuery returns a captioner.Progress.
	ProgressQuery = "progress"

	// memoActor, memoConfig and memoTrace are what Client notes about a run: who
	// started it, the digest of what was asked for, and the ID of the trace that
	// it belongs to.
	memoActor  = "actor"
	memoConfig = "config"
	memoTrace  = "trace_id"
)

// TrainAndDeploy is a run: it trains a model, scores it, registers it as a
// version and, if it is good enough, makes it live. The input is a configuration
// as a JSON object that names what differs from the defaults; {} and no input at
// all mean the defaults. A member "resume" names a run whose training this one
// goes on from; the configuration then names what differs from that run's. A
// member "schedule" names the schedule that has started the run, which then ends
// before its work if its data is what the schedule's last completed run was
// trained on, unless a member "force" is true. The workflow's ID is the run's.
//
// The query "progress" tells how far it has come. When a step fails for good the
// run fails with that step's failure, whose details are an activities.Failure.
// However it ends, the outcome is written into the run's record.
func TrainAndDeploy(ctx workflow.Context, input json.RawMessage) (captioner.RunResult, error) {
	r, err := newRun(ctx, input)
	if err != nil {
		return captioner.RunResult{}, err
	}
	return r.execute(ctx, []step{
		r.validateConfig,
		r.prepareData,
		r.compareData,
		r.extractFeatures,
		r.train,
		r.captionTestSplit,
		r.evaluate,
		r.registerVersion,
		r.decideAndDeploy,
	})
}

// ValidateOnly checks a configuration where the data is, and does nothing else.
func ValidateOnly(ctx workflow.Context, config json.RawMessage) (captioner.Config, error) {
	ctx = withOptions(ctx, validateOptions)
	var out activities.ValidateConfigResult
	in := activities.ValidateConfigInput{Config: config, DryRun: true}
	err := workflow.ExecuteActivity(ctx, act.ValidateConfig, in).Get(ctx, &out)
	return out.Config, err
}

// act names the activities; it is never called.
var act *activities.Activities

// retries tries again for as long as it takes. Its intervals are those after the
// death of a worker, which the step has survived; a failure brings its own, see
// activities.ToFailure. Which errors are worth it is decided by their kind.
var retries = &temporal.RetryPolicy{
	InitialInterval:        time.Second,
	BackoffCoefficient:     2,
	MaximumInterval:        4 * time.Second,
	NonRetryableErrorTypes: activities.NonRetryable,
}

const (
	// HeartbeatTimeout is how long a step may be silent by default before it is
	// taken for dead and tried elsewhere. Workers pass a heartbeat on every 4 s,
	// so that it rides out an outage of 4 s with room to spare.
	HeartbeatTimeout = 15 * time.Second
	// moment bounds steps that only read and write records.
	moment = time.Minute
)

// Settings are what a worker decides about the runs that it executes, and not
// their configuration. The zero value has the defaults.
type Settings struct {
	// HeartbeatTimeout is how long a step may be silent; 0 means the constant.
	HeartbeatTimeout time.Duration
}

// TrainAndDeploy is the function of that name under these settings.
func (s Settings) TrainAndDeploy(ctx workflow.Context, input json.RawMessage) (captioner.RunResult, error) {
	return TrainAndDeploy(workflow.WithValue(ctx, settingsKey{}, s), input)
}

// ValidateOnly is the function of that name under these settings.
func (s Settings) ValidateOnly(ctx workflow.Context, config json.RawMessage) (captioner.Config, error) {
	return ValidateOnly(workflow.WithValue(ctx, settingsKey{}, s), config)
}

type settingsKey struct{}

// withOptions returns a context for a step with these options and the settings.
func withOptions(ctx workflow.Context, o workflow.ActivityOptions) workflow.Context {
	if s, ok := ctx.Value(settingsKey{}).(Settings); ok && s.HeartbeatTimeout > 0 {
		o.HeartbeatTimeout = s.HeartbeatTimeout
	}
	return workflow.WithActivityOptions(ctx, o)
}

// onControl and onEngine are the options of a step that may take up to limit.
// A cancelled step is waited for: when the run has ended, so has its work.
func onControl(limit time.Duration) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		TaskQueue:           TaskQueue,
		StartToCloseTimeout: limit,
		HeartbeatTimeout:    HeartbeatTimeout,
		WaitForCancellation: true,
		RetryPolicy:         retries,
	}
}

func onEngine(limit time.Duration) workflow.ActivityOptions {
	o := onControl(limit)
	o.TaskQueue = EngineTaskQueue
	return o
}
