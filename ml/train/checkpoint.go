package train

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/optim"
	"github.com/captioner/captioner/ml/tf"
)

// state is everything that training knows beside its variables.
type state struct {
	// Inputs names what is trained on what: a checkpoint of other inputs is refused.
	Inputs captioner.Digest `json:"inputs"`
	// Lasting names the part of them that a training which continues this one
	// must share; LearningRate is what it may have changed.
	Lasting      captioner.Digest `json:"lasting"`
	LearningRate float64          `json:"learning_rate"`
	// Threads computed all steps so far.
	Threads int `json:"threads"`
	// Towers is the number that each batch was shared by.
	Towers int `json:"towers"`
	// Step is the number of steps done.
	Step int `json:"step"`
	// LossSum and LossSteps add up the current epoch's training loss.
	LossSum   float64 `json:"loss_sum"`
	LossSteps int     `json:"loss_steps"`
	// History has an entry for every epoch done.
	History []Epoch `json:"history"`
	// Best is the place in History of the lowest validation loss, -1 before the first.
	Best int `json:"best"`
	// LossScale is that of float16.
	LossScale optim.LossScale `json:"loss_scale"`
	// Patient is the number of epochs that early stopping does not look at: it
	// has stopped a training there that is continued.
	Patient int `json:"patient,omitempty"`
	// Plateau is where the schedule of that name stands.
	Plateau optim.PlateauState `json:"plateau"`
}

// Epoch is an entry of the history in training.json.
type Epoch struct {
	Epoch int `json:"epoch"`
	// Step is the last step of the epoch.
	Step int `json:"step"`
	// TrainLoss and ValidationLoss are means in nats per token.
	TrainLoss      float64 `json:"train_loss"`
	ValidationLoss float64 `json:"validation_loss"`
	// LearningRate is that of the last step.
	LearningRate float64 `json:"learning_rate"`
}

// bestPrefix begins the names of the best epoch's weights in a checkpoint.
const bestPrefix = "best/"

// inputs digests all that decides the result of a training but the threads.
func inputs(c captioner.Config, dataset, weights captioner.Digest) (captioner.Digest, error) {
	c.Training.CheckpointInterval, c.Training.Threads = 0, 0
	return digestOf(c, dataset, weights)
}

// lasting digests what a training that continues another shares with it.
func lasting(c captioner.Config, dataset, weights captioner.Digest) (captioner.Digest, error) {
	c.Training = c.Training.Lasting()
	c.Training.Threads = 0
	return digestOf(c, dataset, weights)
}

func digestOf(c captioner.Config, dataset, weights captioner.Digest) (captioner.Digest, error) {
	c.Model.Weights = "" // a path
	return captioner.DigestJSON(struct {
		Model      captioner.ModelConfig
		Training   captioner.TrainingConfig
		Dataset    captioner.Digest
		Weights    captioner.Digest `json:",omitempty"`
		TensorFlow string
	}{c.Model, c.Training, dataset, weights, tf.Version()})
}

// readCheckpoint reads a checkpoint of the training that fresh is the first
// state of, or of one that it continues: its state, the variables and the best
// weights.
func readCheckpoint(path string, fresh state) (st state, variables, best map[string]*tf.Tensor, err error) {
	tensors, metadata, err := tf.ReadTensors(path)
	if err != nil {
		return st, nil, nil, err
	}
	if err := json.Unmarshal([]byte(metadata["state"]), &st); err != nil {
		tf.ReleaseMap(tensors)
		return st, nil, nil, captioner.Wrap(captioner.Corrupt, err, "checkpoint %s has no readable state", filepath.Base(path))
	}
	if st.Inputs != fresh.Inputs && st.Lasting != fresh.Lasting {
		tf.ReleaseMap(tensors)
		return st, nil, nil, captioner.Errorf(captioner.Invalid, "checkpoint %s belongs to another training: its data, configuration or TensorFlow differ", filepath.Base(path))
	}
	variables, best = make(map[string]*tf.Tensor), make(map[string]*tf.Tensor)
	for name, t := range tensors {
		if short, ok := strings.CutPrefix(name, bestPrefix); ok {
			best[short] = t
		} else {
			variables[name] = t
		}
	}
	return st, variables, best, nil
}

// checkpointName is the name of a checkpoint after a number of steps.
const checkpointName = "checkpoint-%08d.safetensors"

// findSaved lists the checkpoints that earlier attempts left in WorkDir, the
// one that this attempt resumes from last, so that it goes last.
func (r *run) findSaved() error {
	found, err := filepath.Glob(filepath.Join(r.req.WorkDir, "checkpoint-*.safetensors"))
	if err != nil {
		return fmt.Errorf("look for checkpoints: %w", err)
	}
	resumed := filepath.Clean(r.req.Resume)
	for _, path := range found {
		if path != resumed {
			r.saved = append(r.saved, path)
		}
	}
	if slices.Contains(found, resumed) {
		r.saved = append(r.saved, resumed)
	}
	return nil
}

// writing is a checkpoint that is being written, in the background.
type writing struct {
	path string
	step int
	done chan struct{} // closed at its end
	err  error         // set by then
}

// save takes the state as it is and has it written while training goes on. One
// checkpoint is written at a time: one that is due waits for the one before.
func (r *run) save() error {
	if r.writing != nil && r.writing.step == r.state.Step {
		return nil
	}
	if err := r.finishSave(); err != nil {
		return err
	}
	text, err := json.Marshal(r.state)
	if err != nil {
		return err
	}
	variables, err := r.graph.Weights.All().Read(r.session)
	if err != nil {
		return err
	}
	defer tf.ReleaseMap(variables)
	// The best weights stay as they are: keepBest waits before it lets go of them.
	own := copied(variables)
	tensors := maps.Clone(own)
	for name, t := range r.best {
		tensors[bestPrefix+name] = t
	}
	w := &writing{
		path: filepath.Join(r.req.WorkDir, fmt.Sprintf(checkpointName, r.state.Step)), step: r.state.Step, done: make(chan struct{}),
	}
	r.writing = w
	go func() {
		defer close(w.done)
		defer tf.ReleaseMap(own)
		w.err = r.write(w.path, tensors, map[string]string{"state": string(text)})
	}()
	return nil
}

// finishSave waits until the checkpoint under way, if there is one, is whole,
// reports it, and removes all but the last two.
func (r *run) finishSave() error {
	w := r.writing
	if w == nil {
		return nil
	}
	r.writing = nil
	<-w.done
	if w.err != nil {
		return w.err
	}
	r.saved = append(slices.DeleteFunc(r.saved, func(s string) bool { return s == w.path }), w.path)
	for len(r.saved) > 2 {
		if err := os.Remove(r.saved[0]); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove old checkpoint: %w", err)
		}
		r.saved = r.saved[1:]
	}
	r.emit(captioner.TrainEvent{Checkpoint: &captioner.CheckpointSaved{Path: w.path, Step: w.step}})
	return nil
}

// noteSave reports a checkpoint that has been written meanwhile.
func (r *run) noteSave() error {
	if r.writing == nil {
		return nil
	}
	select {
	case <-r.writing.done:
		return r.finishSave()
	default:
		return nil
	}
}

// copied returns copies, which the caller releases: a tensor that was read can
// share the variable's memory.
func copied(tensors map[string]*tf.Tensor) map[string]*tf.Tensor {
	copies := make(map[string]*tf.Tensor, len(tensors))
	for name, t := range tensors {
		copies[name] = tf.FromFloat32(t.Float32s(), t.Shape()...)
	}
	return copies
}

// keepBest remembers the current weights as the best.
func (r *run) keepBest() error {
	var names []string
	for _, v := range r.graph.Weights.All().All() {
		if model.IsServed(v.Name) {
			names = append(names, v.Name)
		}
	}
	values, err := r.graph.Weights.All().Read(r.session, names...)
	if err != nil {
		return err
	}
	defer tf.ReleaseMap(values)
	if err := r.finishSave(); err != nil { // it may be writing the best so far
		return err
	}
	tf.ReleaseMap(r.best)
	r.best = copied(values)
	return nil
}
