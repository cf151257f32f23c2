package activities

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/telemetry/span"
)

const (
	// maxStalledAttempts bounds how often in a row the engine may die without
	// having reached a new checkpoint: memory that does not suffice today will
	// not suffice tomorrow.
	maxStalledAttempts = 5
	// supersededPoll is how often a training that another run has taken over
	// looks for its result; supersededWait is how long, before it takes over.
	supersededPoll = 2 * time.Second
	supersededWait = 10 * time.Minute
	// maxPendingMetrics bounds the points kept while the database is away.
	maxPendingMetrics = 10_000
)

// TrainInput is all that training reads.
type TrainInput struct {
	Dataset captioner.Digest   `json:"dataset"`
	Shards  []captioner.Digest `json:"shards"`
	// Config is the run's; training reads Model and Training.
	Config captioner.Config `json:"config"`
	// Weights is the blob of the encoder's weights; empty without any.
	Weights captioner.Digest `json:"weights,omitempty"`
	// Continues is the checkpoint of another training that this one goes on from;
	// empty for one from the seed.
	Continues captioner.Digest `json:"continues,omitempty"`
	// WordVectors is the blob that the words' vectors start with; empty for
	// random ones.
	WordVectors captioner.Digest `json:"word_vectors,omitempty"`
	// RunID is the run whose record is told where its metrics are; part of no key.
	RunID string `json:"run_id,omitempty"`
}

// TrainResult is a trained model.
type TrainResult struct {
	Provenance
	// Model is the digest of the tree that training wrote: saved_model/,
	// vocabulary.json, model.json and training.json.
	Model    captioner.Digest      `json:"model"`
	Training captioner.TrainResult `json:"training"`
}

// TrainProgress is what the heartbeats of Train carry.
type TrainProgress struct {
	Step  int `json:"step"`
	Steps int `json:"steps"`
	Epoch int `json:"epoch"`
	// Stalled counts the attempts in a row, before this one, that died without
	// a new checkpoint.
	Stalled int `json:"stalled,omitempty"`
	// Idle is how long no step, nor batch of validation, had been finished when the
	// heartbeat was sent; Patience how long that may take: a minute, or ten times
	// the median if that is more. In seconds, which need no common clock.
	Idle     float64 `json:"idle,omitempty"`
	Patience float64 `json:"patience,omitempty"`
}

// Stuck reports a training that gets nowhere.
func (p TrainProgress) Stuck() bool { return p.Patience > 0 && p.Idle > p.Patience }

// TrainKey returns the key of the training, under which its checkpoints and
// metrics are kept: two runs with the same key share them. It is a pure
// function, for the workflow to call.
//
// The shards are not part of it: the data set names the same pictures, however
// they are cut.
func TrainKey(in TrainInput) (string, error) {
	cfg := config.Portable(in.Config)
	cfg.Training.CheckpointInterval = 0 // changes no result
	return stepKey(StepTrain, struct {
		Dataset     captioner.Digest         `json:"dataset"`
		Extraction  int                      `json:"extraction"`
		Model       captioner.ModelConfig    `json:"model"`
		Weights     captioner.Digest         `json:"weights,omitempty"`
		WordVectors captioner.Digest         `json:"word_vectors,omitempty"`
		Training    captioner.TrainingConfig `json:"training"`
		Continues   captioner.Digest         `json:"continues,omitempty"`
	}{in.Dataset, resultVersions[StepExtractFeatures], cfg.Model, in.Weights, in.WordVectors, cfg.Training, in.Continues})
}

// Train fits the model in the engine and stores what it exports. It goes on
// from the last checkpoint of an earlier attempt, or of another run with the
// same key. Only the newest attempt may write checkpoints and metrics.
func (a *Activities) Train(ctx context.Context, in TrainInput) (TrainResult, error) {
	key, err := TrainKey(in)
	if err != nil {
		return TrainResult{}, err
	}
	a.recordTraining(ctx, in.RunID, key, in.Dataset)
	return step[TrainResult, *TrainResult]{
		Name: StepTrain, Key: key,
		Present: func(ctx context.Context, out TrainResult) (bool, error) {
			return a.treePresent(ctx, out.Model)
		},
		Compute: func(ctx context.Context, key string) (TrainResult, error) {
			return a.train(ctx, key, in)
		},
	}.run(ctx, a)
}

// train makes one attempt.
func (a *Activities) train(ctx context.Context, key string, in TrainInput) (TrainResult, error) {
	stalled := stalledBefore(ctx)
	number, err := a.Store.ClaimAttempt(ctx, key)
	if err != nil {
		return TrainResult{}, err
	}
	dir, release, err := a.workspace(key)
	if err != nil {
		return TrainResult{}, err
	}
	defer release()
	request, err := a.trainRequest(ctx, dir, in)
	if err != nil {
		return TrainResult{}, err
	}
	t := &training{
		a: a, key: key, attempt: number, runID: runID(ctx), dataset: in.Dataset, shards: request.Shards,
		progress: TrainProgress{Stalled: stalled}, pace: newPace(a.StallAfter, a.now),
	}
	if request.Resume, t.checkpoint, t.row, err = a.resumePoint(ctx, key); err != nil {
		return TrainResult{}, err
	}
	if request.Resume == "" && in.Continues != "" {
		if request.Resume, err = a.continued(ctx, in.Continues); err != nil {
			return TrainResult{}, err
		}
	}

	result, err := t.run(ctx, request)
	if err != nil {
		return TrainResult{}, a.explainTraining(ctx, t, err)
	}
	_, tree, err := registry.StoreTree(ctx, a.Blobs, request.OutputDir)
	if err != nil {
		return TrainResult{}, err
	}
	// The last checkpoint stays: another training can go on from it.
	return TrainResult{Model: tree, Training: result}, nil
}

// trainRequest lays out the attempt's folder and finds the inputs' files.
func (a *Activities) trainRequest(ctx context.Context, dir string, in TrainInput) (captioner.TrainRequest, error) {
	request := captioner.TrainRequest{Config: config.Portable(in.Config)}
	var err error
	if request.Config.Model.Weights, err = a.localIfAny(ctx, in.Weights); err != nil {
		return request, err
	}
	if request.WorkDir, err = makeFolder(dir, "work"); err != nil {
		return request, err
	}
	if request.OutputDir, err = makeFolder(dir, "output"); err != nil {
		return request, err
	}
	if request.Dataset, err = a.Blobs.Local(ctx, in.Dataset); err != nil {
		return request, err
	}
	if request.WordVectors, err = a.localIfAny(ctx, in.WordVectors); err != nil {
		return request, err
	}
	for _, shard := range in.Shards {
		path, err := a.Blobs.Local(ctx, shard)
		if err != nil {
			return request, err
		}
		request.Shards = append(request.Shards, path)
	}
	return request, nil
}

// resumePoint returns the file of the latest checkpoint or, where that is gone or
// damaged, of the one before; "" where neither is left: then training starts over.
// row is the checkpoints' record as it stands.
func (a *Activities) resumePoint(ctx context.Context, key string) (path string, from, row captioner.Checkpoint, err error) {
	row, err = a.Store.Checkpoint(ctx, key)
	if captioner.KindOf(err) == captioner.NotFound {
		return "", captioner.Checkpoint{}, captioner.Checkpoint{}, nil
	}
	if err != nil {
		return "", captioner.Checkpoint{}, captioner.Checkpoint{}, err
	}
	for _, from := range candidates(row) {
		path, err := a.Blobs.Local(ctx, from.Blob)
		switch captioner.KindOf(err) {
		case "":
			logger(ctx).Info("training resumes", "step", from.Step, "checkpoint", from.Blob.Short())
			return path, from, row, nil
		case captioner.NotFound, captioner.Corrupt:
			logger(ctx).Warn("the checkpoint cannot be used, training goes on from the one before, if there is one", "step", from.Step, "error", err)
		default:
			return "", captioner.Checkpoint{}, row, err
		}
	}
	return "", captioner.Checkpoint{}, row, nil
}

// candidates are the checkpoints that a training can go on from, the latest first.
func candidates(row captioner.Checkpoint) []captioner.Checkpoint {
	if row.PreviousBlob == "" {
		return []captioner.Checkpoint{row}
	}
	before := row
	before.Blob, before.Step = row.PreviousBlob, row.PreviousStep
	before.PreviousBlob, before.PreviousStep = "", 0
	return []captioner.Checkpoint{row, before}
}

// continued returns the file of another training's checkpoint; Invalid where it
// is gone.
func (a *Activities) continued(ctx context.Context, blob captioner.Digest) (string, error) {
	path, err := a.Blobs.Local(ctx, blob)
	switch captioner.KindOf(err) {
	case captioner.NotFound, captioner.Corrupt:
		return "", captioner.Wrap(captioner.Invalid, err, "the checkpoint that the run goes on from is gone: start it anew")
	}
	return path, err
}

// explainTraining decides what the end of an attempt means.
func (a *Activities) explainTraining(ctx context.Context, t *training, err error) error {
	switch {
	case captioner.KindOf(t.fenced) == captioner.Conflict:
		return a.awaitOther(ctx, t.key)
	case ctx.Err() != nil:
		return ctx.Err()
	case !engineDied(err) || t.advanced:
		return err
	}
	// The engine died and this attempt has left no checkpoint.
	t.progress.Stalled++
	report(ctx, t.progress)
	if t.progress.Stalled < maxStalledAttempts {
		return err
	}
	return final{&captioner.Error{
		Kind: captioner.Unavailable, Code: "training_stalled",
		Message: "the training engine failed again and again without getting any further", Err: err,
	}}
}

// awaitOther waits while another run, which has taken this training over, does
// the work. The error it returns makes Temporal try again: by then the result
// is there, or it is time to take the training over in turn.
func (a *Activities) awaitOther(ctx context.Context, key string) error {
	logger(ctx).Info("another run has taken this training over; waiting for its result", "key", key)
	ticker := time.NewTicker(supersededPoll)
	defer ticker.Stop()
	deadline := time.NewTimer(supersededWait)
	defer deadline.Stop()
	stop := workerStop(ctx)
	for {
		if _, err := a.Store.StepResult(ctx, key); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-stop:
			return errStopping
		case <-deadline.C:
		case <-ticker.C:
			continue
		}
		break
	}
	return &captioner.Error{Kind: captioner.Unavailable, Code: "superseded", Message: "another run has taken this training over"}
}

// stalledBefore reads how many attempts in a row have got nowhere.
func stalledBefore(ctx context.Context) int {
	var before TrainProgress
	if lastProgress(ctx, &before) != nil {
		return 0
	}
	return before.Stalled
}

// forget removes a checkpoint's blob; that it stays is only a matter of space.
func (a *Activities) forget(ctx context.Context, blob captioner.Digest) {
	if blob == "" {
		return
	}
	if err := a.Blobs.Delete(context.WithoutCancel(ctx), blob); err != nil {
		logger(ctx).Warn("could not remove an old checkpoint", "blob", blob.Short(), "error", err)
	}
}

// training is one attempt: it turns the engine's events into checkpoints,
// metrics and progress.
type training struct {
	a       *Activities
	key     string
	attempt int64
	dataset captioner.Digest
	shards  []string // paths

	runID      string    // of the run that the attempt belongs to
	epoch      time.Time // when the epoch under way began, here
	progress   TrainProgress
	pace       *pace
	checkpoint captioner.Checkpoint // what the next one comes after
	row        captioner.Checkpoint // as it is recorded
	advanced   bool                 // this attempt has recorded one
	pending    []captioner.Metric   // not yet in the database
	fenced     error                // why this attempt may not go on
	observing  sync.Mutex
	ended      bool // operators have been told
	// pictures are the blobs of the samples' pictures, by image; references the
	// tokens of what people say about them.
	pictures   map[string]captioner.Digest
	references map[string][][]string
}

// run trains until the end, the worker's stop or the context's.
func (t *training) run(ctx context.Context, request captioner.TrainRequest) (captioner.TrainResult, error) {
	stop := workerStop(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.report(ctx)
	t.epoch = time.Now()
	defer t.end()
	// A worker that stops has the engine save its state first.
	finished := make(chan struct{})
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		select {
		case <-stop:
			t.a.Trainer.Checkpoint()
		case <-finished:
		}
	}()

	result, err := t.a.Trainer.Train(ctx, request, func(e captioner.TrainEvent) {
		if t.fenced != nil {
			return
		}
		if t.fenced = t.event(ctx, e); t.fenced != nil {
			cancel()
		}
	})
	close(finished)
	<-asked
	return result, errors.Join(err, t.fenced)
}

// event handles one event. Its error ends the attempt; a store that is away
// does not, since training is worth more than a point on a curve. An attempt that
// is being cancelled still records all that has happened: the next one goes on from
// its last checkpoint, and nobody would ever write the curve that leads there.
func (t *training) event(ctx context.Context, e captioner.TrainEvent) error {
	ctx = context.WithoutCancel(ctx)
	t.pace.event(e)
	switch {
	case e.Step != nil:
		s := e.Step
		t.progress.Step, t.progress.Steps, t.progress.Epoch = s.Step, s.Steps, s.Epoch
		t.report(ctx)
		t.a.observer().Training(t.runID, *s)
		return t.metrics(ctx, s.Step, []namedValue{
			{"step", float64(s.Step)}, {"steps", float64(s.Steps)},
			{"epoch", float64(s.Epoch)}, {"epochs", float64(s.Epochs)},
			{"loss", s.Loss}, {"learning_rate", s.LearningRate},
			{"images_per_second", s.ImagesPerSecond}, {"seconds_left", s.SecondsLeft},
		})
	case e.Epoch != nil:
		t.endEpoch(ctx, *e.Epoch)
		values := []namedValue{{"train_loss", e.Epoch.TrainLoss}, {"validation_loss", e.Epoch.ValidationLoss}}
		err := t.metrics(ctx, e.Epoch.Step, append(values, t.sampleScores(ctx, e.Epoch.Samples)...))
		return errors.Join(err, t.samples(ctx, *e.Epoch))
	case e.Checkpoint != nil:
		return t.save(ctx, *e.Checkpoint)
	}
	return nil
}

// report makes the heartbeats tell how far the training is, and for how long it
// has been there.
func (t *training) report(ctx context.Context) {
	p := t.progress
	reportEach(ctx, func() any {
		idle, patience := t.pace.standing()
		p.Idle, p.Patience = idle.Seconds(), patience.Seconds()
		t.observe(p)
		return p
	})
}

// observe tells the operators, until the training has ended: heartbeats go on for
// a moment longer.
func (t *training) observe(p TrainProgress) {
	t.observing.Lock()
	defer t.observing.Unlock()
	if !t.ended {
		t.a.observer().TrainingStalled(t.runID, p.Stuck())
	}
}

// end tells the operators that the training does not go on here.
func (t *training) end() {
	t.observing.Lock()
	defer t.observing.Unlock()
	t.ended = true
	t.a.observer().TrainingEnded(t.runID)
}

// endEpoch records an epoch's span. It is made here and not in the engine, so
// that it does not go down with an engine that dies later.
func (t *training) endEpoch(ctx context.Context, e captioner.TrainEpoch) {
	t.a.observer().Validated(t.runID, e)
	now := time.Now()
	span.Past(ctx, "epoch", t.epoch, now,
		attribute.Int("captioner.epoch", e.Epoch), attribute.Int("captioner.step", e.Step), attribute.Bool("captioner.best", e.Best),
		attribute.Float64("captioner.train_loss", e.TrainLoss), attribute.Float64("captioner.validation_loss", e.ValidationLoss))
	t.epoch = now
}

type namedValue struct {
	name  string
	value float64
}

// metrics appends points, and earlier ones that could not be written.
func (t *training) metrics(ctx context.Context, step int, values []namedValue) error {
	now := t.a.now()
	for _, v := range values {
		t.pending = append(t.pending, captioner.Metric{RunKey: t.key, Step: step, Name: v.name, Value: v.value, Time: now})
	}
	err := t.a.Store.AppendMetrics(ctx, t.attempt, t.pending)
	switch captioner.KindOf(err) {
	case "":
		t.pending = t.pending[:0]
	case captioner.Conflict:
		return err
	default:
		logger(ctx).Warn("could not write metrics", "step", step, "error", err)
		if over := len(t.pending) - maxPendingMetrics; over > 0 {
			t.pending = t.pending[over:]
		}
	}
	return nil
}

// save stores a checkpoint and records it; the one before it stays.
func (t *training) save(ctx context.Context, saved captioner.CheckpointSaved) error {
	if err := t.metrics(ctx, saved.Step, nil); err != nil { // those that could not be written so far
		return err
	}
	blob, err := t.a.putFile(ctx, saved.Path)
	if err == nil {
		next := captioner.Checkpoint{RunKey: t.key, Attempt: t.attempt, Blob: blob, Step: saved.Step}
		next.PreviousBlob, next.PreviousStep = t.checkpoint.Blob, t.checkpoint.Step
		if t.checkpoint.Blob == blob { // of a step that was taken again
			next.PreviousBlob, next.PreviousStep = t.checkpoint.PreviousBlob, t.checkpoint.PreviousStep
		}
		if err = t.a.Store.PutCheckpoint(ctx, next); err == nil {
			t.replace(ctx, next)
			t.noteRunning(ctx)
			return nil
		}
	}
	if captioner.KindOf(err) == captioner.Conflict {
		return err
	}
	logger(ctx).Warn("could not keep a checkpoint; the one before it stands", "step", saved.Step, "error", err)
	return nil
}

// noteRunning has retention know that the run goes on, however long it takes.
func (t *training) noteRunning(ctx context.Context) {
	if err := t.a.noteUse(ctx, t.key); err != nil {
		logger(ctx).Warn("could not note that the training goes on", "error", err)
	}
}

// replace makes next the latest checkpoint, and removes those that the record no
// longer names.
func (t *training) replace(ctx context.Context, next captioner.Checkpoint) {
	for _, old := range candidates(t.row) {
		if old.Blob != next.Blob && old.Blob != next.PreviousBlob {
			t.a.forget(ctx, old.Blob)
		}
	}
	t.checkpoint, t.row, t.advanced = next, next, true
	t.progress.Stalled = 0
}
