package workflows

import (
	"encoding/json"

	"go.temporal.io/sdk/workflow"

	"github.com/captioner/captioner"
)

// NoteWaiting is what Describe adds to the stages.
var NoteWaiting = noteWaiting

// ShardSize is how many of so many pictures a shard holds.
var ShardSize = shardSize

// Edited are copies of TrainAndDeploy as somebody might change it. The one that
// is called "versioned" does it as it should be done.
var Edited = map[string]func(workflow.Context, json.RawMessage) (captioner.RunResult, error){
	"two steps swapped": edited(func(r *run) []step {
		return []step{r.validateConfig, r.prepareData, r.extractFeatures, r.train, r.evaluate, r.captionTestSplit, r.registerVersion, r.decideAndDeploy}
	}),
	"a step added": edited(func(r *run) []step {
		return []step{r.validateConfig, r.prepareData, r.extractFeatures, r.train, r.captionTestSplit, r.evaluate, r.evaluate, r.registerVersion, r.decideAndDeploy}
	}),
	"a step left out": edited(func(r *run) []step {
		return []step{r.validateConfig, r.prepareData, r.extractFeatures, r.train, r.captionTestSplit, r.registerVersion, r.decideAndDeploy}
	}),
	"versioned": edited(func(r *run) []step {
		again := func(ctx workflow.Context) error {
			if workflow.GetVersion(ctx, "evaluate twice", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
				return nil
			}
			return r.evaluate(ctx)
		}
		return []step{r.validateConfig, r.prepareData, r.extractFeatures, r.train, r.captionTestSplit, r.evaluate, again, r.registerVersion, r.decideAndDeploy}
	}),
}

func edited(steps func(*run) []step) func(workflow.Context, json.RawMessage) (captioner.RunResult, error) {
	return func(ctx workflow.Context, config json.RawMessage) (captioner.RunResult, error) {
		r, err := newRun(ctx, config)
		if err != nil {
			return captioner.RunResult{}, err
		}
		return r.execute(ctx, steps(r))
	}
}
