package workflows

import (
	"context"
	"encoding/json"
	"errors"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
)

// stageNames are the stages of a run in order, each named after its activity.
var stageNames = []string{
	activities.StepValidateConfig, activities.StepPrepareData, activities.StepExtractFeatures, activities.StepTrain,
	activities.StepCaptionShard, activities.StepEvaluate, activities.StepRegisterVersion,
	activities.StepDecidePromotion, activities.StepWriteDeploymentManifest, activities.StepDeploy,
}

// The states of a stage.
const (
	statePending   = "pending"
	stateRunning   = "running"
	stateCompleted = "completed"
	stateFailed    = "failed"
	stateSkipped   = "skipped"
)

// run is what a run knows so far: the results of the steps behind it.
type run struct {
	id, actor string
	asked     request
	input     json.RawMessage // the configuration
	progress  captioner.Progress

	valid    activities.ValidateConfigResult
	prepared activities.PreparedData // the data set that extraction reads
	words    activities.WordVectors  // what the words' vectors start with; zero for random ones
	data     activities.PreparedData // the same without what it could not decode
	pixels   []captioner.Digest      // shards
	model    activities.TrainResult
	captions []captioner.Digest
	versions map[string]int // result versions of the steps
	result   captioner.RunResult
}

// newRun registers the query and reads who started the run.
func newRun(ctx workflow.Context, input json.RawMessage) (*run, error) {
	info := workflow.GetInfo(ctx)
	r := &run{id: info.WorkflowExecution.ID, actor: "temporal", versions: map[string]int{}}
	r.asked, r.input = splitInput(input) //workflowcheck:ignore
	if actor, ok := info.Memo.GetFields()[memoActor]; ok {
		if err := converter.GetDefaultDataConverter().FromPayload(actor, &r.actor); err != nil {
			return nil, err
		}
	}
	r.progress.Stages = pendingStages()
	// For the record: Temporal forgets a run's memo with its history.
	r.progress.TraceID = traceID(memo(info.Memo, memoTrace), info.WorkflowExecution.RunID)
	return r, workflow.SetQueryHandler(ctx, ProgressQuery, func() (captioner.Progress, error) { return r.progress, nil })
}

// request is what a workflow's input asks for beside the configuration.
type request struct {
	// Resume is the run whose training this one goes on from.
	Resume string `json:"resume,omitempty"`
	// Schedule is the schedule that has started the run. With Force it trains
	// whether or not its data has changed.
	Schedule string `json:"schedule,omitempty"`
	Force    bool   `json:"force,omitempty"`
}

// splitInput takes the request out of a workflow's input; what remains is the
// configuration. It is a pure function.
func splitInput(input json.RawMessage) (asked request, config json.RawMessage) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(input, &fields) != nil || json.Unmarshal(input, &asked) != nil {
		return request{}, input // an input that makes no sense is ValidateConfig's to refuse
	}
	all := len(fields)
	for _, name := range []string{"resume", "schedule", "force"} {
		delete(fields, name)
	}
	if len(fields) == all {
		return request{}, input
	}
	config, err := json.Marshal(fields)
	if err != nil {
		return request{}, input
	}
	return asked, config
}

// step is a part of a run.
type step = func(workflow.Context) error

// execute takes the steps in order, up to the first that fails or that leaves
// nothing to do.
func (r *run) execute(ctx workflow.Context, steps []step) (captioner.RunResult, error) {
	var err error
	for _, next := range steps {
		if err = next(ctx); err != nil || r.result.Unchanged {
			break
		}
	}
	return r.result, r.record(ctx, err)
}

// stage runs one stage and keeps its progress. do reports whether an earlier
// run's result was found.
func (r *run) stage(ctx workflow.Context, name string, do func() (cached bool, err error)) error {
	s := r.find(name)
	started := workflow.Now(ctx)
	*s = captioner.Stage{Name: name, State: stateRunning, StartedAt: &started}
	cached, err := do()
	finished := workflow.Now(ctx)
	s.FinishedAt = &finished
	if err != nil {
		s.State, s.Error = stateFailed, sentence(err)
		return err
	}
	s.State = stateCompleted
	if s.Cached = cached; cached {
		r.result.Reused = append(r.result.Reused, name)
	}
	return nil
}

// find returns the stage of that name, which exists.
func (r *run) find(name string) *captioner.Stage {
	for i := range r.progress.Stages {
		if r.progress.Stages[i].Name == name {
			return &r.progress.Stages[i]
		}
	}
	panic("no stage is called " + name)
}

func (r *run) skip(name string) { r.find(name).State = stateSkipped }

// shards notes how many of a stage's shards are done.
func (r *run) shards(name string, done, total int) {
	s := r.find(name)
	s.Done, s.Total = done, total
}

// made notes with which version of the step a result was made, for the
// lineage, and reports whether an earlier run has made it.
func (r *run) made(p activities.Provenance, step string) bool {
	if p.Key != "" {
		r.versions[step] = p.ResultVersion
	}
	return p.Cached
}

// sentence says in one sentence for a person what an error is.
func sentence(err error) string {
	if temporal.IsCanceledError(err) {
		return "cancelled"
	}
	var e *captioner.Error
	if errors.As(activities.FromFailure(err), &e) {
		return e.Message
	}
	return err.Error()
}

// future is a started activity with the type of its result.
type future[Out any] struct{ workflow.Future }

// start starts an activity.
func start[In, Out any](ctx workflow.Context, o workflow.ActivityOptions, activity func(context.Context, In) (Out, error), in In) future[Out] {
	return future[Out]{workflow.ExecuteActivity(withOptions(ctx, o), activity, in)}
}

// get waits for the result.
func (f future[Out]) get(ctx workflow.Context) (out Out, err error) {
	err = f.Get(ctx, &out)
	return out, err
}

// do executes an activity.
func do[In, Out any](ctx workflow.Context, o workflow.ActivityOptions, activity func(context.Context, In) (Out, error), in In) (Out, error) {
	return start(ctx, o, activity, in).get(ctx)
}

// collect waits for all shards, in whatever order they end, and returns their
// results in the order of the shards. The first error is returned at once.
func collect[Out any](ctx workflow.Context, started []future[Out], progress func(done, total int)) ([]Out, error) {
	results := make([]Out, len(started))
	selector := workflow.NewSelector(ctx)
	var failed error
	for i, f := range started {
		selector.AddFuture(f.Future, func(workflow.Future) {
			var err error
			if results[i], err = f.get(ctx); err != nil && failed == nil {
				failed = err
			}
		})
	}
	for done := range started {
		if progress != nil {
			progress(done, len(started))
		}
		selector.Select(ctx)
		if failed != nil {
			return nil, failed
		}
	}
	if progress != nil {
		progress(len(started), len(started))
	}
	return results, nil
}

// pendingStages are the stages of a run that has not begun.
func pendingStages() []captioner.Stage {
	stages := make([]captioner.Stage, len(stageNames))
	for i, name := range stageNames {
		stages[i] = captioner.Stage{Name: name, State: statePending}
	}
	return stages
}
