package activitiestest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/features"
)

// side is that of the shards' pictures, in pixels.
const side = 4

// Engine stands in for the TensorFlow process: it writes the files that the
// real one writes and computes nothing. "Training" counts steps. The fields are
// set before the work begins.
type Engine struct {
	// Say is the caption of a picture; nil says what a good model would.
	Say func(image, algorithm string) string
	// Undecodable are pictures that extraction puts into quarantine.
	Undecodable []string
	// OnStep is called before each training step; its error ends the training.
	OnStep func(ctx context.Context, step int) error
	// OnExtract is called before each shard is extracted.
	OnExtract func(ctx context.Context, req captioner.ExtractRequest) error

	mu    sync.Mutex
	log   []string
	stops []chan struct{}
	asked chan struct{}
}

// Asked returns a channel that closes when Checkpoint is called.
func (e *Engine) Asked() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.askedChannel()
}

// askedChannel needs e.mu.
func (e *Engine) askedChannel() chan struct{} {
	if e.asked == nil {
		e.asked = make(chan struct{})
	}
	return e.asked
}

// Log lists what the engine was asked for: "extract 15", "train 1-20",
// "train 6-20" for one that resumed after step 5, "open", "caption greedy 4".
func (e *Engine) Log() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.log)
}

func (e *Engine) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.log = append(e.log, fmt.Sprintf(format, args...))
}

// ExtractFeatures writes a shard whose pixels are made of the pictures' names.
func (e *Engine) ExtractFeatures(ctx context.Context, req captioner.ExtractRequest, progress func(done int)) (captioner.ExtractResult, error) {
	if e.OnExtract != nil {
		if err := e.OnExtract(ctx, req); err != nil {
			return captioner.ExtractResult{}, err
		}
	}
	e.note("extract %d", len(req.Images))
	w, err := features.Create(req.Output, features.Pixels(side))
	if err != nil {
		return captioner.ExtractResult{}, err
	}
	var out captioner.ExtractResult
	for i, image := range req.Images {
		if slices.Contains(e.Undecodable, image) {
			out.Quarantine = append(out.Quarantine, captioner.Quarantined{Image: image, Reason: "corrupt"})
			continue
		}
		pixels := slices.Repeat([]byte(image[:3]), side*side)
		if err := w.Add(image, pixels); err != nil {
			w.Abort()
			return captioner.ExtractResult{}, err
		}
		out.Images = append(out.Images, image)
		progress(i + 1)
	}
	return out, w.Close()
}

// Train counts from the resumed step to the last, reports twenty times and saves
// its state four times on the way, and writes what an export has.
func (e *Engine) Train(ctx context.Context, req captioner.TrainRequest, progress func(captioner.TrainEvent)) (captioner.TrainResult, error) {
	stop := make(chan struct{}, 1)
	e.mu.Lock()
	e.stops = append(e.stops, stop)
	e.mu.Unlock()
	first := 1
	if req.Resume != "" {
		data, err := os.ReadFile(req.Resume)
		if err != nil {
			return captioner.TrainResult{}, err
		}
		var done int
		if _, err := fmt.Sscanf(string(data), "step %d", &done); err != nil {
			return captioner.TrainResult{}, err
		}
		first = done + 1
	}
	steps := req.Config.Training.Steps
	e.note("train %d-%d", first, steps)
	for step := first; step <= steps; step++ {
		if err := e.step(ctx, stop, req, step, steps, progress); err != nil {
			return captioner.TrainResult{}, err
		}
	}
	samples, err := validationSamples(req)
	if err != nil {
		return captioner.TrainResult{}, err
	}
	progress(captioner.TrainEvent{Epoch: &captioner.TrainEpoch{
		Epoch: 1, Step: steps, TrainLoss: 1, ValidationLoss: 1.5, Best: true, Samples: samples,
	}})
	return e.export(req)
}

// step makes one step.
func (e *Engine) step(ctx context.Context, stop <-chan struct{}, req captioner.TrainRequest, step, steps int, progress func(captioner.TrainEvent)) error {
	if e.OnStep != nil {
		if err := e.OnStep(ctx, step); err != nil && ctx.Err() == nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-stop:
		if err := saveCheckpoint(req.WorkDir, step-1, progress); err != nil {
			return err
		}
		return &captioner.Error{Kind: captioner.Unavailable, Code: "stopped", Message: "training has stopped at a checkpoint"}
	default:
	}
	if step%max(1, steps/20) == 0 {
		progress(captioner.TrainEvent{Step: &captioner.TrainStep{
			Step: step, Steps: steps, Epoch: 1, Epochs: 1, Loss: 1 / float64(step), LearningRate: 1e-3, ImagesPerSecond: 100,
		}})
	}
	if step%max(1, steps/4) == 0 {
		return saveCheckpoint(req.WorkDir, step, progress)
	}
	return nil
}

// Checkpoint has every training save its state and end.
func (e *Engine) Checkpoint() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, stop := range e.stops {
		select {
		case stop <- struct{}{}:
		default:
		}
	}
	select {
	case <-e.askedChannel():
	default:
		close(e.asked)
	}
}

func saveCheckpoint(dir string, step int, progress func(captioner.TrainEvent)) error {
	path := filepath.Join(dir, fmt.Sprintf("checkpoint-%d", step))
	if err := os.WriteFile(path, []byte(fmt.Sprintf("step %d", step)), 0o644); err != nil {
		return err
	}
	progress(captioner.TrainEvent{Checkpoint: &captioner.CheckpointSaved{Path: path, Step: step}})
	return nil
}

// validationSamples says what a good model would about validation pictures.
func validationSamples(req captioner.TrainRequest) ([]captioner.TrainSample, error) {
	ds, err := readDataset(req)
	if err != nil {
		return nil, err
	}
	var samples []captioner.TrainSample
	for _, e := range ds.Examples {
		if e.Split == captioner.Validation && len(samples) < req.Config.Evaluation.SampleCaptions {
			samples = append(samples, captioner.TrainSample{Image: e.Image, Caption: goodCaption(e.Image), Reference: e.References[0]})
		}
	}
	return samples, nil
}

func readDataset(req captioner.TrainRequest) (captioner.Dataset, error) {
	var ds captioner.Dataset
	data, err := os.ReadFile(req.Dataset)
	if err != nil {
		return ds, err
	}
	return ds, json.Unmarshal(data, &ds)
}

// export writes the files of a model, which depend on the request alone.
func (e *Engine) export(req captioner.TrainRequest) (captioner.TrainResult, error) {
	ds, err := readDataset(req)
	if err != nil {
		return captioner.TrainResult{}, err
	}
	result := captioner.TrainResult{
		BestEpoch: 1, BestValidationLoss: 1.5, Steps: req.Config.Training.Steps, Epochs: 1, Parameters: 42, Threads: 1, TensorFlow: "2.18.0",
	}
	if err := os.MkdirAll(filepath.Join(req.OutputDir, "saved_model"), 0o755); err != nil {
		return result, err
	}
	seed := fmt.Sprintf("weights of seed %d", req.Config.Training.Seed)
	return result, errors.Join(
		os.WriteFile(filepath.Join(req.OutputDir, "saved_model", "saved_model.pb"), []byte(seed), 0o644),
		writeJSON(filepath.Join(req.OutputDir, "vocabulary.json"), ds.Vocabulary),
		writeJSON(filepath.Join(req.OutputDir, "training.json"), result),
		writeJSON(filepath.Join(req.OutputDir, "model.json"), captioner.ModelDescription{Model: req.Config.Model, MaxTokens: ds.MaxTokens, Pixels: side}),
	)
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// OpenModel returns a model that says what Say does.
func (e *Engine) OpenModel(_ context.Context, dir string) (captioner.Captioner, func() error, error) {
	if _, err := os.Stat(filepath.Join(dir, "saved_model", "saved_model.pb")); err != nil {
		return nil, nil, captioner.Wrap(captioner.NotFound, err, "the folder holds no model")
	}
	e.note("open")
	return &model{e}, func() error { return nil }, nil
}

type model struct{ engine *Engine }

// Model describes nothing.
func (m *model) Model() captioner.ModelInfo { return captioner.ModelInfo{} }

// Caption says what the engine's Say does, and what a good model would without one.
func (m *model) Caption(ctx context.Context, req captioner.CaptionRequest) (captioner.CaptionReply, error) {
	m.engine.note("caption %s %d", req.Algorithm, len(req.Images))
	var reply captioner.CaptionReply
	for _, input := range req.Images {
		name := "golden"
		if input.Shard != "" {
			r, err := features.Open(input.Shard)
			if err != nil {
				return reply, err
			}
			name = r.Image(input.Index)
			if err := r.Close(); err != nil {
				return reply, err
			}
		}
		text := goodCaption(name)
		if m.engine.Say != nil {
			text = m.engine.Say(name, req.Algorithm)
		}
		reply.Results = append(reply.Results, captioner.CaptionResult{Hypotheses: []captioner.Hypothesis{
			{Text: text, LogProbability: -1.25, Tokens: []int32{4, 5, 6}},
		}})
	}
	return reply, ctx.Err()
}

// goodCaption is a caption of the picture with one wrong word in five.
func goodCaption(name string) string {
	var i int
	if _, err := fmt.Sscanf(name, "%03d.png", &i); err != nil {
		return "a picture"
	}
	words := strings.Fields(strings.ToLower(strings.TrimSuffix(references(i)[0], ".")))
	if i%5 == 0 {
		words[1] = "purple"
	}
	return strings.Join(words, " ")
}

// Dies is OpenModel of an engine that cannot be started.
func (e *Engine) Dies(context.Context, string) (captioner.Captioner, func() error, error) {
	return nil, nil, captioner.Errorf(captioner.Unavailable, "the engine ended before it had answered")
}
