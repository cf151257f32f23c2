package train

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/tf"
)

// The files of an exported model.
const (
	savedModelDir  = "saved_model"
	vocabularyFile = "vocabulary.json"
	modelFile      = "model.json"
	trainingFile   = "training.json"
)

// Report is the content of training.json.
type Report struct {
	captioner.TrainResult
	History []Epoch `json:"history"`
}

// export writes the best epoch's model and what is known about it. Equal
// trainings give equal bytes: there is no time, path or duration in them.
func (r *run) export() (captioner.TrainResult, error) {
	best := r.state.History[r.state.Best]
	result := captioner.TrainResult{
		BestEpoch: best.Epoch, BestValidationLoss: best.ValidationLoss,
		Steps: r.state.Step, Epochs: len(r.state.History),
		Parameters: r.graph.Parameters(), StoppedEarly: r.stoppedEarly() && r.state.Step < r.steps,
		Threads: r.state.Threads, TensorFlow: tf.Version(),
	}
	description := captioner.ModelDescription{Model: r.req.Config.Model, Parameters: result.Parameters}
	description.Model.Weights = "" // a path; the weights are in the SavedModel
	if r.data.layout.Source != "" {
		description.Features = r.data.layout.String()
	}
	return result, write(r.req.OutputDir, r.model, r.best, exported{
		vocabulary:  r.data.vocabulary.Tokens(),
		description: description,
		report:      Report{TrainResult: result, History: r.state.History},
	})
}

// exported is what is written beside a SavedModel.
type exported struct {
	vocabulary  []string
	description captioner.ModelDescription // what the model itself says is filled in
	report      Report
}

// write writes a model's folder: the SavedModel, and what is known about it.
func write(dir string, m *model.Model, weights map[string]*tf.Tensor, e exported) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, savedModelDir)); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := m.Export(filepath.Join(dir, savedModelDir), weights); err != nil {
		return err
	}
	e.description.MaxTokens, e.description.SeesPadding = m.MaxTokens, m.SeesPadding
	e.description.Pixels, e.description.TensorFlow = m.StoredSize(), tf.Version()
	for name, content := range map[string]any{vocabularyFile: e.vocabulary, modelFile: e.description, trainingFile: e.report} {
		data, err := json.MarshalIndent(content, "", "  ")
		if err != nil {
			return fmt.Errorf("export %s: %w", name, err)
		}
		data = append(data, '\n')
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return atomicfile.Classify(err, "export "+name, dir, int64(len(data)))
		}
	}
	return nil
}
