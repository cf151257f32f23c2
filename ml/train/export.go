package train

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/captioner/captioner"
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
	dir := r.req.OutputDir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return result, fmt.Errorf("export: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, savedModelDir)); err != nil {
		return result, fmt.Errorf("export: %w", err)
	}
	if err := r.model.Export(filepath.Join(dir, savedModelDir), r.best); err != nil {
		return result, err
	}
	description := captioner.ModelDescription{
		Model: r.req.Config.Model, MaxTokens: r.data.maxTokens, Pixels: r.req.Config.Model.StoredSize(),
		Parameters: result.Parameters, TensorFlow: tf.Version(),
	}
	description.Model.Weights = "" // a path; the weights are in the SavedModel
	if r.data.layout.Source != "" {
		description.Features = r.data.layout.String()
	}
	for name, content := range map[string]any{
		vocabularyFile: r.data.vocabulary.Tokens(),
		modelFile:      description,
		trainingFile:   Report{TrainResult: result, History: r.state.History},
	} {
		data, err := json.MarshalIndent(content, "", "  ")
		if err != nil {
			return result, fmt.Errorf("export %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), append(data, '\n'), 0o644); err != nil {
			return result, fmt.Errorf("export: %w", err)
		}
	}
	return result, nil
}
