package workflows

import (
	"context"
	"encoding/json"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
)

// NoteWaiting is what Describe adds to the stages.
var NoteWaiting = noteWaiting

// ShardSize is how many of so many pictures a shard holds.
var ShardSize = shardSize

// Standing is where Describe says that a run stands which goes on.
var Standing = standing

// Workflow is TrainAndDeploy or a copy of it.
type Workflow = func(workflow.Context, json.RawMessage) (captioner.RunResult, error)

// Edited are copies of TrainAndDeploy as somebody might change it, each of which
// breaks runs that are under way.
var Edited = map[string]Workflow{
	"the configuration checked twice":  edited(order(0, 0, 1, 2, 3, 4, 5, 6, 7)),
	"features before the data":         edited(order(0, 2, 1, 3, 4, 5, 6, 7)),
	"training before the features":     edited(order(0, 1, 3, 2, 4, 5, 6, 7)),
	"captions before the training":     edited(order(0, 1, 2, 4, 3, 5, 6, 7)),
	"scores before the captions":       edited(order(0, 1, 2, 3, 5, 4, 6, 7)),
	"registered before it is scored":   edited(order(0, 1, 2, 3, 4, 6, 5, 7)),
	"deployed before it is registered": edited(order(0, 1, 2, 3, 4, 5, 7, 6)),
	"the data left out":                edited(order(0, 2, 3, 4, 5, 6, 7)),
	"the features left out":            edited(order(0, 1, 3, 4, 5, 6, 7)),
	"the scores left out":              edited(order(0, 1, 2, 3, 4, 6, 7)),
	"the registration left out":        edited(order(0, 1, 2, 3, 4, 5, 7)),
	"the deployment left out":          edited(order(0, 1, 2, 3, 4, 5, 6)),
	"the data prepared twice":          edited(order(0, 1, 1, 2, 3, 4, 5, 6, 7)),
	"scored twice":                     edited(order(0, 1, 2, 3, 4, 5, 5, 6, 7)),
	"a pause before the training": edited(insert(3, func(*run) step {
		return func(ctx workflow.Context) error { return workflow.Sleep(ctx, time.Second) }
	})),
	"a random number drawn": edited(insert(5, func(*run) step {
		return func(ctx workflow.Context) error {
			return workflow.SideEffect(ctx, func(workflow.Context) any { return 4 }).Get(new(int))
		}
	})),
	"a local activity": edited(insert(6, func(*run) step {
		return func(ctx workflow.Context) error {
			ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: time.Second})
			return workflow.ExecuteLocalActivity(ctx, func(context.Context) error { return nil }).Get(ctx, nil)
		}
	})),
	"a child workflow": edited(insert(7, func(r *run) step {
		return func(ctx workflow.Context) error {
			return workflow.ExecuteChildWorkflow(ctx, ValidateOnlyName, r.input).Get(ctx, nil)
		}
	})),
	"a memo": edited(insert(1, func(*run) step {
		return func(ctx workflow.Context) error { return workflow.UpsertMemo(ctx, map[string]any{"stage": "data"}) }
	})),
	"captions and scores at once": edited(func(r *run) []step {
		s := steps(r)
		return []step{s[0], s[1], s[2], s[3], together(s[4], s[5]), s[6], s[7]}
	}),
	"another activity in its place": edited(func(r *run) []step {
		s := steps(r)
		s[5] = func(ctx workflow.Context) error { return r.excludeImages(ctx, nil) }
		return s
	}),
	"the record left out": func(ctx workflow.Context, input json.RawMessage) (captioner.RunResult, error) {
		r, err := newRun(ctx, input)
		for _, next := range steps(r) {
			if err == nil {
				err = next(ctx)
			}
		}
		return r.result, err
	},
	"a cancellation ignored": func(ctx workflow.Context, input json.RawMessage) (captioner.RunResult, error) {
		free, cancel := workflow.NewDisconnectedContext(ctx)
		defer cancel()
		return TrainAndDeploy(free, input)
	},
}

// Versioned is changed as it should be: runs that began before go on as they did.
// docs/decisions/0019-workflow-versions.md shows it.
var Versioned = edited(insert(6, func(r *run) step {
	return func(ctx workflow.Context) error {
		if workflow.GetVersion(ctx, "evaluate twice", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
			return nil
		}
		return r.evaluate(ctx)
	}
}))

// steps are those of TrainAndDeploy; the comparison belongs to the data.
func steps(r *run) []step {
	data := func(ctx workflow.Context) error {
		if err := r.prepareData(ctx); err != nil {
			return err
		}
		return r.compareData(ctx)
	}
	return []step{
		r.validateConfig, data, r.extractFeatures, r.train,
		r.captionTestSplit, r.evaluate, r.registerVersion, r.decideAndDeploy,
	}
}

// order takes the steps of those numbers.
func order(numbers ...int) func(*run) []step {
	return func(r *run) []step {
		var list []step
		for _, n := range numbers {
			list = append(list, steps(r)[n])
		}
		return list
	}
}

// insert takes a further step before that of a number.
func insert(at int, further func(*run) step) func(*run) []step {
	return func(r *run) []step {
		s := steps(r)
		return append(append(append([]step{}, s[:at]...), further(r)), s[at:]...)
	}
}

// together takes two steps at the same time.
func together(a, b step) step {
	return func(ctx workflow.Context) error {
		done := workflow.NewChannel(ctx)
		workflow.Go(ctx, func(ctx workflow.Context) { done.Send(ctx, b(ctx) == nil) })
		err := a(ctx)
		done.Receive(ctx, nil)
		return err
	}
}

func edited(steps func(*run) []step) Workflow {
	return func(ctx workflow.Context, config json.RawMessage) (captioner.RunResult, error) {
		r, err := newRun(ctx, config)
		if err != nil {
			return captioner.RunResult{}, err
		}
		return r.execute(ctx, steps(r))
	}
}

// Stages are the activities of a run that are its stages.
func Stages() []string { return append([]string{}, stageNames...) }

// Beside are the activities that are none.
var Beside = []string{activities.StepExcludeImages, activities.StepRecordRun}
