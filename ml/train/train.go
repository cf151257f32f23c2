package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/telemetry/span"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/optim"
	"github.com/captioner/captioner/ml/text"
	"github.com/captioner/captioner/ml/tf"
)

// CodeStopped is the code of the Unavailable error of a training that saved
// its state and ended because it was asked to.
const CodeStopped = "stopped"

// CodeDiverged is the code of the Invalid error of a training whose loss is no
// longer a number.
const CodeDiverged = "diverged"

// minLossScale is the scale of float16's loss below which overflows are no
// longer taken for its fault.
const minLossScale = 1e-6

// validationBatch is how many pictures are validated at a time.
const validationBatch = 32

// run is one call of Run.
type run struct {
	req      captioner.TrainRequest
	progress func(captioner.TrainEvent)

	data    *data
	model   *model.Model
	graph   *model.Training
	session *tf.Session
	devices devices

	batch         int // pictures a step
	turns         int // batches that it is computed in, one after another
	stepsPerEpoch int
	steps, epochs int

	state state
	best  map[string]*tf.Tensor // the best epoch's weights
	order []int                 // of the epoch that is going on
	saved []string              // the checkpoints in WorkDir, those to go first

	writing *writing // the checkpoint under way, nil for none
	write   func(path string, tensors map[string]*tf.Tensor, metadata map[string]string) error

	meter meter
}

// Run trains the model that the request describes, from the seed or from a
// checkpoint, and exports the best epoch's weights. It calls progress from
// this goroutine. Checkpoints are written in the background. When stop is closed
// it saves one and returns an Unavailable error with code "stopped"; when ctx
// ends it returns ctx's error after at most one step.
func Run(ctx context.Context, req captioner.TrainRequest, stop <-chan struct{}, progress func(captioner.TrainEvent)) (captioner.TrainResult, error) {
	r := &run{req: req, progress: progress, write: tf.WriteTensors}
	return r.run(ctx, stop)
}

func (r *run) run(ctx context.Context, stop <-chan struct{}) (captioner.TrainResult, error) {
	defer r.close()
	if err := r.open(); err != nil {
		return captioner.TrainResult{}, err
	}
	if err := r.loop(ctx, stop); err != nil {
		return captioner.TrainResult{}, err
	}
	if err := ctx.Err(); err != nil { // cancelled in the last step
		return captioner.TrainResult{}, err
	}
	_, export := span.Start(ctx, "export")
	result, err := r.export()
	span.End(export, err)
	return result, err
}

// open reads the data, builds the graph and brings its variables to where
// training starts.
func (r *run) open() error {
	c := r.req.Config
	var err error
	if r.data, err = load(r.req); err != nil {
		return err
	}
	if r.devices, err = findDevices(c.Training); err != nil {
		return err
	}
	r.plan()
	if r.model, err = model.New(c.Model, r.data.vocabulary, r.data.maxTokens); err != nil {
		return err
	}
	if input := r.model.Input(c.Training); input != r.data.layout {
		return r.data.layout.Other(input.String())
	}
	if r.state, err = r.fresh(); err != nil {
		return err
	}
	var values map[string]*tf.Tensor
	if r.req.Resume != "" {
		if values, err = r.resume(); err != nil {
			return err
		}
	}
	if r.graph, err = model.NewTraining(r.model, c.Training, r.data.labels, r.state.Towers); err != nil {
		tf.ReleaseMap(values)
		return err
	}
	if values == nil {
		values = r.graph.Initial()
	} else if r.state.LossScale.Scale > 0 {
		r.graph.LossScale = r.state.LossScale
	}
	defer tf.ReleaseMap(values)
	if r.req.Resume == "" && r.req.WordVectors != "" {
		if err := r.startWords(values); err != nil {
			return err
		}
	}
	if err := r.findSaved(); err != nil {
		return err
	}
	if r.session, err = tf.OpenSession(r.graph.Graph, r.devices.options(c.Training, r.state.Threads)); err != nil {
		return err
	}
	if want, have := len(r.graph.Weights.All().All()), len(values); want != have {
		return captioner.Errorf(captioner.Corrupt, "the checkpoint holds %d variables, and the model has %d", have, want)
	}
	return r.graph.Weights.All().Assign(r.session, values)
}

// fresh returns the state before the first step.
func (r *run) fresh() (state, error) {
	c := r.req.Config
	digest, err := inputs(c, r.data.digest, r.model.WeightsDigest())
	if err != nil {
		return state{}, err
	}
	shared, err := lasting(c, r.data.digest, r.model.WeightsDigest())
	return state{
		Inputs: digest, Lasting: shared, LearningRate: c.Training.LearningRate,
		Threads: tf.Threads(c.Training.Threads), Towers: r.devices.towers(r.batch / r.turns),
		Best: -1, Plateau: optim.PlateauState{Rate: c.Training.LearningRate},
	}, err
}

// resume takes over the state of a checkpoint and returns its variables. One of
// another training becomes this one's: a new learning rate begins where it is
// given, and early stopping that has ended the other waits anew.
func (r *run) resume() (map[string]*tf.Tensor, error) {
	fresh := r.state
	st, variables, best, err := readCheckpoint(r.req.Resume, fresh)
	if err != nil {
		return nil, err
	}
	r.state, r.best = st, best
	if st.Inputs == fresh.Inputs {
		return variables, nil
	}
	if st.Step >= r.steps {
		tf.ReleaseMap(variables)
		return nil, captioner.Errorf(captioner.Invalid,
			"the training that is continued has taken %d steps in %d epochs already, and this one would take %d: raise training.epochs or training.steps", st.Step, len(st.History), r.steps)
	}
	r.state.Inputs, r.state.LearningRate = fresh.Inputs, fresh.LearningRate
	if st.LearningRate != fresh.LearningRate {
		r.state.Plateau = optim.PlateauState{Rate: fresh.LearningRate, Best: st.Plateau.Best}
	}
	if r.stoppedEarly() {
		r.state.Patient = len(st.History)
	}
	return variables, nil
}

// startWords starts the words' vectors with those of a file.
func (r *run) startWords(values map[string]*tf.Tensor) error {
	tensors, _, err := tf.ReadTensors(r.req.WordVectors)
	if err != nil {
		return err
	}
	defer tf.ReleaseMap(tensors)
	vectors := tensors[text.VectorsTensor]
	if vectors == nil {
		return captioner.Errorf(captioner.Corrupt, "the file of word vectors has none")
	}
	return r.graph.StartWords(values, vectors)
}

// plan derives the numbers of steps and epochs.
func (r *run) plan() {
	c := r.req.Config.Training
	batch := max(1, min(c.BatchSize, len(r.data.train)))
	r.turns = max(1, min(c.AccumulationSteps, len(r.data.train)/batch))
	r.batch = batch * r.turns
	r.stepsPerEpoch = len(r.data.train) / r.batch
	if c.Epochs > 0 {
		r.epochs, r.steps = c.Epochs, c.Epochs*r.stepsPerEpoch
	} else {
		r.steps = max(1, c.Steps)
		r.epochs = (r.steps + r.stepsPerEpoch - 1) / r.stepsPerEpoch
	}
}

// rate returns the learning rate of a step.
func (r *run) rate(step int) float64 {
	c := r.req.Config.Training
	switch c.Schedule {
	case captioner.SchedulePlateau:
		return optim.Warmup(r.state.Plateau.Rate, step, c.WarmupSteps)
	case captioner.ScheduleConstant:
		return optim.Warmup(c.LearningRate, step, c.WarmupSteps)
	}
	return optim.Cosine{
		Peak: c.LearningRate, Warmup: min(c.WarmupSteps, r.steps/2), Steps: r.steps, Floor: c.MinLearningRateRatio,
	}.Rate(step)
}

func (r *run) close() {
	if r.writing != nil {
		<-r.writing.done // it reads tensors that are released here
	}
	if r.session != nil {
		r.session.Close()
	}
	tf.ReleaseMap(r.best)
	if r.model != nil {
		r.model.Close()
	}
	if r.data != nil {
		r.data.close()
	}
}

func (r *run) emit(e captioner.TrainEvent) {
	if r.progress != nil {
		r.progress(e)
	}
}

// loop takes the steps that are left.
func (r *run) loop(ctx context.Context, stop <-chan struct{}) error {
	r.meter = newMeter(time.Now(), r.state.Step)
	lastSave := time.Now()
	for r.state.Step < r.steps && !r.stoppedEarly() {
		if err := ctx.Err(); err != nil {
			return err
		}
		select {
		case <-stop:
			if err := errors.Join(r.save(), r.finishSave()); err != nil {
				return err
			}
			return &captioner.Error{Kind: captioner.Unavailable, Code: CodeStopped, Message: "training was stopped and can be resumed"}
		default:
		}
		if err := errors.Join(r.step(), r.noteSave()); err != nil {
			return err
		}
		epochEnds := r.state.Step%r.stepsPerEpoch == 0 || r.state.Step == r.steps
		r.report(epochEnds)
		if epochEnds {
			if err := r.endEpoch(ctx); err != nil {
				return err
			}
		}
		if epochEnds || time.Since(lastSave) >= time.Duration(r.req.Config.Training.CheckpointInterval) {
			if err := r.save(); err != nil {
				return err
			}
			lastSave = time.Now()
		}
	}
	return r.finishSave()
}

// step takes the next optimiser step.
func (r *run) step() error {
	c := r.req.Config.Training
	step, at := r.state.Step+1, r.state.Step%r.stepsPerEpoch
	if at == 0 || r.order == nil {
		r.order = order(c.Seed, r.state.Step/r.stepsPerEpoch, len(r.data.train))
	}
	examples := make([]*example, r.batch)
	for i := range examples {
		examples[i] = &r.data.train[r.order[at*r.batch+i]]
	}
	batches := r.data.trainBatches(c, r.model.ImageSize, examples, step, r.turns*r.state.Towers)
	loss, err := r.graph.Step(r.session, batches, step, r.rate(step))
	if err != nil {
		return fmt.Errorf("training step %d: %w", step, err)
	}
	skipped := r.graph.LossScale.Skipped > r.state.LossScale.Skipped
	r.state.Step, r.state.LossScale = step, r.graph.LossScale
	switch {
	case !skipped && (math.IsNaN(loss) || math.IsInf(loss, 0)), skipped && r.state.LossScale.Scale < minLossScale:
		return &captioner.Error{Kind: captioner.Invalid, Code: CodeDiverged, Message: fmt.Sprintf(
			"the loss is no longer a number at step %d: lower training.learning_rate or training.clip_norm", step)}
	case skipped:
		return nil
	}
	r.state.LossSum += loss
	r.state.LossSteps++
	r.meter.add(loss)
	return nil
}

// endEpoch validates, notes what came out and reports it.
func (r *run) endEpoch(ctx context.Context) error {
	loss, err := r.validate(ctx)
	if err != nil {
		return err
	}
	best, err := r.noteEpoch(loss)
	if err != nil {
		return err
	}
	samples, err := r.samples()
	if err != nil {
		return err
	}
	epoch := r.state.History[len(r.state.History)-1]
	r.emit(captioner.TrainEvent{Epoch: &captioner.TrainEpoch{
		Epoch: epoch.Epoch, Step: epoch.Step, TrainLoss: epoch.TrainLoss, ValidationLoss: loss, Best: best,
		Samples: samples,
	}})
	return nil
}

// noteEpoch adds an epoch to the history, keeps its weights if they are the
// best so far, and lowers the rate where the schedule is to.
func (r *run) noteEpoch(loss float64) (best bool, err error) {
	st, c := &r.state, r.req.Config.Training
	st.History = append(st.History, Epoch{
		Epoch: len(st.History) + 1, Step: st.Step,
		TrainLoss: st.LossSum / float64(max(1, st.LossSteps)), ValidationLoss: loss, LearningRate: r.rate(st.Step),
	})
	st.LossSum, st.LossSteps = 0, 0
	if c.Schedule == captioner.SchedulePlateau {
		st.Plateau = optim.Plateau{Factor: c.PlateauFactor, Patience: c.PlateauPatience, Floor: c.MinLearningRate}.After(st.Plateau, loss)
	}
	if best = st.Best < 0 || loss < st.History[st.Best].ValidationLoss; best {
		st.Best = len(st.History) - 1
		err = r.keepBest()
	}
	return best, err
}

// validate returns the mean loss over the validation split, nats per token.
// Batches run side by side, and their losses are added up in order.
func (r *run) validate(ctx context.Context) (float64, error) {
	batches := (len(r.data.validation) + validationBatch - 1) / validationBatch
	losses, tokens := make([]float64, batches), make([]int, batches)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.state.Threads)
	for i := range batches {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			first := i * validationBatch
			batch := r.data.validationBatch(r.data.validation[first:min(first+validationBatch, len(r.data.validation))])
			loss, err := r.graph.Validate(r.session, batch)
			losses[i], tokens[i] = loss, len(batch.Targets)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return 0, err
		}
		return 0, fmt.Errorf("validation: %w", err)
	}
	sum, count := 0.0, 0
	for i := range batches {
		sum += losses[i]
		count += tokens[i]
	}
	return sum / float64(count), nil
}

// stoppedEarly says whether the validation loss has not fallen for too long.
func (r *run) stoppedEarly() bool {
	patience := r.req.Config.Training.EarlyStoppingPatience
	return patience > 0 && r.state.Best >= 0 && len(r.state.History)-max(r.state.Best+1, r.state.Patient) >= patience
}
