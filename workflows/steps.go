package workflows

import (
	"errors"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
)

// Each step of a run with the options that govern it, in order.

// validateOptions leave time to draw the demonstration pictures, which takes
// half a minute, on a slow machine.
var validateOptions = onControl(30 * time.Minute)

func (r *run) validateConfig(ctx workflow.Context) error {
	return r.stage(ctx, activities.StepValidateConfig, func() (bool, error) {
		var err error
		r.valid, err = do(ctx, validateOptions, act.ValidateConfig, activities.ValidateConfigInput{
			Config: r.input, RunID: r.id, Actor: r.actor, Resume: r.asked.Resume,
		})
		r.result.Warnings = r.valid.Warnings
		r.find(activities.StepValidateConfig).Note = strings.Join(r.valid.Warnings, "; ")
		return false, err
	})
}

// prepareOptions: a million pictures on a slow disk are read in a few hours.
var prepareOptions = onControl(6 * time.Hour)

func (r *run) prepareData(ctx workflow.Context) error {
	return r.stage(ctx, activities.StepPrepareData, func() (bool, error) {
		out, err := do(ctx, prepareOptions, act.PrepareData, activities.PrepareDataInput{Data: r.valid.Config.Data})
		r.prepared = out.PreparedData
		r.use(out.PreparedData, activities.StepPrepareData)
		if out.WordVectors != nil {
			r.words = *out.WordVectors
			r.note(activities.StepPrepareData, r.words.String())
		}
		return r.made(out.Provenance, activities.StepPrepareData), err
	})
}

// compareData ends a schedule's run before its work if its data is what the
// schedule's last completed run was trained on, which Temporal hands to the next
// one with the rest of that run's result.
func (r *run) compareData(ctx workflow.Context) error {
	if r.asked.Schedule == "" {
		return nil
	}
	// A pure function.
	data, err := captioner.DigestJSON([]captioner.Digest{r.prepared.Dataset, r.valid.Weights, r.words.Source}) //workflowcheck:ignore
	if err != nil {
		return err
	}
	r.result.Trained = &captioner.Trained{Run: r.id, Data: data}
	var last captioner.RunResult
	if r.asked.Force || !workflow.HasLastCompletionResult(ctx) {
		return nil
	}
	err = workflow.GetLastCompletionResult(ctx, &last)
	same := err == nil && last.Trained != nil && last.Trained.Data == data // somebody else's result compares with nothing
	if !same {
		return nil
	}
	r.result.Trained, r.result.Unchanged = last.Trained, true
	r.note(activities.StepPrepareData, "nothing to do: run "+last.Trained.Run+" was trained on the same data")
	for i := range r.progress.Stages {
		if s := &r.progress.Stages[i]; s.State == statePending {
			s.State = stateSkipped
		}
	}
	return nil
}

const (
	// wantedShards is how many shards a data set is cut into for several workers
	// to share, if that leaves none smaller than minPixelShard or, of pictures
	// that a frozen encoder goes through, minFeatureShard. Either takes some ten
	// seconds: below that a worker does little else than change shards.
	wantedShards    = 16
	minPixelShard   = 2000
	minFeatureShard = 200
)

// shardSize is how many pictures are extracted at a time, and how many shards
// the test pictures lie in when they are captioned. Runs that began when all
// shards were as large as they may be go on so.
func (r *run) shardSize(ctx workflow.Context, frozen bool) int {
	most := r.valid.Config.Data.ShardSize
	if workflow.GetVersion(ctx, "shards for several workers", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return most
	}
	return shardSize(r.prepared.Images, most, frozen)
}

func shardSize(images, most int, frozen bool) int {
	least := minPixelShard
	if frozen {
		least = minFeatureShard
	}
	return min(most, max(least, ceil(images, wantedShards)))
}

// ceil is a/b, rounded up.
func ceil(a, b int) int { return (a + b - 1) / b }

// extractOptions: a shard takes half a minute or less with pixels, and minutes with a
// frozen encoder; hours on a slow machine.
var extractOptions = onEngine(12 * time.Hour)

func (r *run) extractFeatures(ctx workflow.Context) error {
	return r.stage(ctx, activities.StepExtractFeatures, func() (bool, error) {
		weights := r.valid.Weights
		if !r.valid.Config.Frozen() {
			weights = "" // training encodes the pictures, again and again
		}
		shards, cached, err := r.extract(ctx, r.valid.Config.Model, weights, func(done, total int) {
			r.shards(activities.StepExtractFeatures, done, total)
		})
		if err != nil {
			return false, err
		}
		r.pixels = shards.blobs
		if len(shards.quarantine) == 0 {
			return cached, nil
		}
		return cached, r.excludeImages(ctx, shards.quarantine)
	})
}

// shards are the results of extraction.
type shards struct{ blobs, quarantine []captioner.Digest }

// extract prepares the data set's pictures for a model, shard by shard, as many
// at a time as there are engines. With the weights of a frozen encoder it goes on
// to the encoder's output.
func (r *run) extract(ctx workflow.Context, model captioner.ModelConfig, weights captioner.Digest, progress func(done, total int)) (out shards, cached bool, err error) {
	cfg := r.valid.Config
	size := r.shardSize(ctx, weights != "")
	var started []future[activities.ExtractFeaturesResult]
	for shard := range ceil(r.prepared.Images, size) {
		started = append(started, start(ctx, extractOptions, act.ExtractFeatures, activities.ExtractFeaturesInput{
			Dataset: r.prepared.Dataset, Shard: shard, ShardSize: size,
			ImagesDir: cfg.Data.Images, MaxPixels: cfg.Data.MaxPixels, Model: model, Weights: weights,
			Precision: cfg.Training.Precision, Threads: cfg.Training.Threads,
		}))
	}
	results, err := collect(ctx, started, progress)
	cached = err == nil
	for _, shard := range results {
		cached = r.made(shard.Provenance, activities.StepExtractFeatures) && cached
		if shard.Images > 0 {
			out.blobs = append(out.blobs, shard.Shard)
		}
		if shard.Quarantine != "" {
			out.quarantine = append(out.quarantine, shard.Quarantine)
		}
	}
	return out, cached, err
}

// excludeImages takes out of the data set what could not be decoded.
func (r *run) excludeImages(ctx workflow.Context, quarantine []captioner.Digest) error {
	out, err := do(ctx, prepareOptions, act.ExcludeImages, activities.ExcludeImagesInput{
		Dataset: r.prepared.Dataset, Quarantine: quarantine, Data: r.valid.Config.Data,
	})
	r.made(out.Provenance, activities.StepExcludeImages)
	r.use(out.PreparedData, activities.StepExtractFeatures)
	return err
}

// use makes data the data set of the steps to come, and says at the stage what
// was left out of it.
func (r *run) use(data activities.PreparedData, stage string) {
	r.data, r.progress.Dataset, r.result.LeftOut = data, data.Dataset, data.LeftOut
	if data.LeftOut != nil {
		r.note(stage, data.LeftOut.String())
	}
}

// note adds a sentence to what is said at a stage.
func (r *run) note(stage, sentence string) {
	s := r.find(stage)
	if s.Note != "" {
		sentence = s.Note + "; " + sentence
	}
	s.Note = sentence
}

// trainOptions: training ends by itself, however long it takes. What is stuck
// shows in its heartbeats, and an attempt that is tried again resumes.
var trainOptions = onEngine(30 * 24 * time.Hour)

func (r *run) train(ctx workflow.Context) error {
	return r.stage(ctx, activities.StepTrain, func() (bool, error) {
		in := activities.TrainInput{Dataset: r.data.Dataset, Shards: r.pixels, Config: r.valid.Config, Weights: r.valid.Weights, WordVectors: r.words.Vectors, Continues: r.valid.Continues, RunID: r.id}
		// A pure function, and only the query shows what it gives.
		key, err := activities.TrainKey(in) //workflowcheck:ignore
		if err != nil {
			return false, err
		}
		r.progress.RunKey = key
		r.model, err = do(ctx, trainOptions, act.Train, in)
		return r.made(r.model.Provenance, activities.StepTrain), err
	})
}

// captionOptions: a shard holds at most 10,000 test pictures, some 30 ms each.
var captionOptions = onEngine(6 * time.Hour)

func (r *run) captionTestSplit(ctx workflow.Context) error {
	return r.stage(ctx, activities.StepCaptionShard, func() (bool, error) {
		var cached bool
		var err error
		r.captions, cached, err = r.caption(ctx, r.model.Model, r.pixels, func(done, total int) {
			r.shards(activities.StepCaptionShard, done, total)
		})
		r.progress.Captions = r.captions
		return cached, err
	})
}

// caption has a model caption the test pictures in the shards.
func (r *run) caption(ctx workflow.Context, model captioner.Digest, pixels []captioner.Digest, progress func(done, total int)) (
	captions []captioner.Digest, cached bool, err error,
) {
	var started []future[activities.CaptionShardResult]
	for _, shard := range pixels {
		started = append(started, start(ctx, captionOptions, act.CaptionShard, activities.CaptionShardInput{
			Model: model, Dataset: r.data.Dataset, Shard: shard, Evaluation: r.valid.Config.Evaluation,
		}))
	}
	results, err := collect(ctx, started, progress)
	cached = err == nil
	for _, shard := range results {
		cached = r.made(shard.Provenance, activities.StepCaptionShard) && cached
		captions = append(captions, shard.Captions)
	}
	return captions, cached, err
}

// evaluateOptions: scoring takes a second for 10,000 captions.
var evaluateOptions = onControl(time.Hour)

func (r *run) evaluate(ctx workflow.Context) error {
	return r.stage(ctx, activities.StepEvaluate, func() (bool, error) {
		out, err := r.score(ctx, r.captions)
		r.result.Evaluation = out.Evaluation
		return r.made(out.Provenance, activities.StepEvaluate), err
	})
}

func (r *run) score(ctx workflow.Context, captions []captioner.Digest) (activities.EvaluateResult, error) {
	return do(ctx, evaluateOptions, act.Evaluate, activities.EvaluateInput{
		Dataset: r.data.Dataset, Captions: captions, Evaluation: r.valid.Config.Evaluation,
		ImagesDir: r.valid.Config.Data.Images,
	})
}

// registerOptions: the engine is started and the bundle written, some seconds.
// The golden captions need the engine.
var registerOptions = onEngine(30 * time.Minute)

func (r *run) registerVersion(ctx workflow.Context) error {
	return r.stage(ctx, activities.StepRegisterVersion, func() (bool, error) {
		out, err := do(ctx, registerOptions, act.RegisterVersion, activities.RegisterVersionInput{
			RunID: r.id, Model: r.model.Model, Training: r.model.Training, Evaluation: r.result.Evaluation,
			Dataset: r.data.Dataset, Config: r.valid.Config, ConfigDigest: r.valid.Digest, Weights: r.valid.Weights, WordVectors: r.words.Source, ResultVersions: r.versions,
			Continues: r.valid.Continues,
		})
		r.result.Version = out.Version
		return r.made(out.Provenance, activities.StepRegisterVersion), err
	})
}

// maxDecisions bounds how often a decision is made again because another
// version went live in between.
const maxDecisions = 5

// decideAndDeploy makes the version live if it is good enough. When the alias
// has moved since the decision was made, the decision is made again.
func (r *run) decideAndDeploy(ctx workflow.Context) error {
	for decisions := 1; ; decisions++ {
		if err := r.decidePromotion(ctx); err != nil {
			return err
		}
		if err := r.writeDeploymentManifest(ctx); err != nil {
			return err
		}
		if r.result.Decision.Outcome != captioner.Promote {
			r.skip(activities.StepDeploy)
			return nil
		}
		err := r.deploy(ctx)
		if captioner.KindOf(activities.FromFailure(err)) != captioner.Conflict || decisions == maxDecisions {
			return err
		}
	}
}

var decideOptions = onControl(moment)

func (r *run) decidePromotion(ctx workflow.Context) error {
	return r.stage(ctx, activities.StepDecidePromotion, func() (bool, error) {
		in := activities.DecidePromotionInput{
			Version: r.result.Version, Evaluation: r.result.Evaluation, Promotion: r.valid.Config.Promotion,
		}
		for decisions := 1; ; decisions++ {
			out, err := do(ctx, decideOptions, act.DecidePromotion, in)
			if err != nil || out.Rescore == nil {
				r.result.Decision = out.Decision
				return false, err
			}
			if decisions == maxDecisions {
				return false, errors.New("the live version changed again and again while it was scored")
			}
			if in.Rescored, err = r.rescore(ctx, *out.Rescore); err != nil {
				return false, err
			}
		}
	})
}

// rescore scores the live version on this run's test split, decoded as the
// candidate was.
func (r *run) rescore(ctx workflow.Context, live activities.Rescore) (*activities.RescoredVersion, error) {
	pixels, _, err := r.extract(ctx, live.Model, "", nil)
	if err != nil {
		return nil, err
	}
	captions, _, err := r.caption(ctx, live.Version, pixels.blobs, nil)
	if err != nil {
		return nil, err
	}
	out, err := r.score(ctx, captions)
	return &activities.RescoredVersion{Version: live.Version, Evaluation: out.Evaluation}, err
}

var manifestOptions = onControl(moment)

func (r *run) writeDeploymentManifest(ctx workflow.Context) error {
	return r.stage(ctx, activities.StepWriteDeploymentManifest, func() (bool, error) {
		out, err := do(ctx, manifestOptions, act.WriteDeploymentManifest, activities.WriteDeploymentManifestInput{
			RunID: r.id, Version: r.result.Version, Dataset: r.data.Dataset, Config: r.valid.Digest,
			Evaluation: r.result.Evaluation, Decision: r.result.Decision, Quarantined: r.data.Quarantined,
		})
		r.result.Deployment = out.Deployment
		return false, err
	})
}

// deployOptions leave time for the servers to take over, which Deploy itself
// bounds at 2 minutes.
var deployOptions = onControl(10 * time.Minute)

func (r *run) deploy(ctx workflow.Context) error {
	return r.stage(ctx, activities.StepDeploy, func() (bool, error) {
		out, err := do(ctx, deployOptions, act.Deploy, activities.DeployInput{
			Version: r.result.Version, Decision: r.result.Decision, RunID: r.id,
		})
		r.result.Deployed, r.result.Note = err == nil, out.Note
		return false, err
	})
}

// recordOptions: the record waits for a database that is away, but not for
// ever: Temporal knows the outcome as well.
var recordOptions = func() workflow.ActivityOptions {
	o := onControl(moment)
	o.ScheduleToCloseTimeout = time.Hour
	return o
}()

// record writes the outcome into the run's record, also when the run has been
// cancelled, and returns the run's error.
func (r *run) record(ctx workflow.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		err = ctx.Err() // whatever failed, it failed because the run was cancelled
	}
	in := activities.RecordRunInput{RunID: r.id, Config: r.input, Actor: r.actor, State: captioner.RunCompleted, Progress: r.progress}
	switch {
	case err == nil && r.result.Unchanged:
		in.State = captioner.RunUnchanged
	case err == nil:
		in.Result = &r.result
	case temporal.IsCanceledError(err):
		in.State = captioner.RunCancelled
	default:
		in.State, in.Message = captioner.RunFailed, sentence(err)
	}
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	if _, recordErr := do(ctx, recordOptions, act.RecordRun, in); recordErr != nil {
		workflow.GetLogger(ctx).Error("the outcome could not be recorded", "error", recordErr)
	}
	return err
}
