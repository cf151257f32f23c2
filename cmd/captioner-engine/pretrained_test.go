package main

import (
	"path/filepath"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/kerastest"
)

// kerasWeights is a folder of random weights that Keras has written.
func kerasWeights(t testing.TB) string {
	t.Helper()
	return kerastest.Folder(t, filepath.Join("..", "..", "ml", "encoder", "testdata", "reference.py"))
}

// frozenB3 makes a configuration one with EfficientNetB3, frozen.
func frozenB3(t testing.TB) func(*captioner.Config) {
	weights := filepath.Join(kerasWeights(t), "efficientnetb3_notop.h5")
	return func(c *captioner.Config) {
		c.Model.Encoder, c.Model.ImageSize = "EfficientNetB3", captioner.PretrainedShape("EfficientNetB3").Side
		c.Model.Decoder, c.Model.Weights = "lstm-attention", weights
	}
}

// TestPretrained goes the whole way with a frozen encoder of Keras': its output
// is kept, a decoder is trained on that, and the exported model captions
// pictures and what was kept of them alike. Then come weights that do not fit.
func TestPretrained(t *testing.T) {
	weights := kerasWeights(t)
	j := newJobs(t)
	p := prepare(t, j, frozenB3(t))
	straight := p.request(t)
	if _, err := j.Train(t.Context(), straight, nil); err != nil {
		t.Fatal(err)
	}
	checkCaptions(t, j, p, straight.OutputDir)

	t.Run("features of other weights", func(t *testing.T) {
		req := p.request(t)
		req.Config.Model.Weights = filepath.Join(weights, "efficientnetb3_imagenet_notop.h5")
		if _, err := j.Train(t.Context(), req, nil); captioner.CodeOf(err) != "other_features" || captioner.KindOf(err) != captioner.Invalid {
			t.Errorf("error %v, want code other_features", err)
		}
	})
	t.Run("features for an encoder that is fine-tuned", func(t *testing.T) {
		req := p.request(t)
		req.Config.Training.FineTuneBlocks = 1
		if _, err := j.Train(t.Context(), req, nil); captioner.CodeOf(err) != "other_features" {
			t.Errorf("error %v, want code other_features", err)
		}
	})
	t.Run("weights of another network", func(t *testing.T) {
		model := p.config.Model
		model.Weights = filepath.Join(weights, "inceptionv3_notop.h5")
		_, err := j.ExtractFeatures(t.Context(), captioner.ExtractRequest{
			ImagesDir: p.config.Data.Images, Images: []string{"00.jpg"}, Model: model,
			MaxPixels: p.config.Data.MaxPixels, Output: filepath.Join(t.TempDir(), "shard"), Threads: testThreads,
		}, nil)
		if captioner.CodeOf(err) != "weights_mismatch" || len(captioner.ProblemsOf(err)) < 100 {
			t.Errorf("%d problems, %v; want all of weights_mismatch", len(captioner.ProblemsOf(err)), err)
		}
	})
}
