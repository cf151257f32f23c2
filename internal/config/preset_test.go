package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
)

// Every preset's file is read without a complaint, and gives a configuration
// that the rules accept.
func TestPresets(t *testing.T) {
	if diff := cmp.Diff([]string{"coco", "flickr30k", "flickr8k", "kaggle", "original"}, Presets()); diff != "" {
		t.Errorf("presets (-want +got):\n%s", diff)
	}
	for _, name := range Presets() {
		data, err := PresetFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tree, problems := read(data, YAML)
		c := captioner.DefaultConfig()
		d := newDecoder()
		d.preset(&c, tree)
		d.decode(&c, tree)
		if problems = append(problems, d.problems...); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
		c.Model.ImageSize = captioner.PretrainedShape(c.Model.Encoder).Side // as Parse fills it in
		if problems := Check(c); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
		if c == captioner.DefaultConfig() {
			t.Errorf("%s changes nothing", name)
		}
	}
}

// The defaults of the original system, key by key.
func TestPresetOriginal(t *testing.T) {
	c, err := Parse([]byte("preset: original\n"), YAML)
	if err != nil {
		t.Fatal(err)
	}
	d, m, tr := c.Data, c.Model, c.Training
	for name, ok := range map[string]bool{
		"ratios":        d.SplitRatios == captioner.SplitRatios{Train: 0.6, Validation: 0.2, Test: 0.2} && d.Seed == 42 && d.SplitMethod == "original",
		"words":         d.MinWordCount == 5 && d.Vocabulary == "original" && d.MaxTokensPercentile == 100 && d.MaxTokens == 0,
		"encoder":       m.Encoder == "EfficientNetB3" && m.ImageSize == 300,
		"decoder":       m.Decoder == "lstm-pooled" && m.EmbeddingDim == 200 && m.Width == 256 && m.Heads == 4 && m.Dropout == 0.3 && m.RecurrentDropout == 0.2,
		"epochs":        tr.Epochs == 20 && tr.EarlyStoppingPatience == 5,
		"learning rate": tr.LearningRate == 1e-4 && tr.Schedule == "plateau" && tr.PlateauFactor == 0.5 && tr.PlateauPatience == 3 && tr.MinLearningRate == 1e-6,
		"evaluation":    c.Evaluation.SamplePictures == 1000 && c.Evaluation.BeamWidth == 3 && c.Evaluation.LengthPenalty == 0.7,
	} {
		if !ok {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestPresetKey(t *testing.T) {
	c, err := Parse([]byte(`{"training": {"epochs": 3}, "preset": "flickr30k"}`), JSON)
	if err != nil || c.Training.Epochs != 3 || c.Model.Decoder != "lstm-attention" || c.Training.BatchSize != 16 {
		t.Errorf("a preset below the fields that differ, error %v: %+v", err, c)
	}
	for _, nothing := range []string{"preset:\n", `preset: ""`, "{}"} {
		if c, err := Parse([]byte(nothing), YAML); err != nil || c != captioner.DefaultConfig() {
			t.Errorf("%q: error %v: %+v", nothing, err, c)
		}
	}
	for _, c := range []struct{ file, field, message string }{
		{"preset: flickr8\n", "preset", `did you mean "flickr8k"?`},
		{"preset: 3\n", "preset", "must be coco or flickr30k"},
		{"preset: [original]\n", "preset", "must be coco or"},
		{"preset: original\npreset: coco\n", "preset", "is set twice, first in line 1"},
		{"preset: original\ntraining:\n  plateau_factor: 2\n", "training.plateau_factor", "must be more than 0"},
		{"data:\n  preset: original\n", "data.preset", "is unknown"},
		// The rules see the preset's values too.
		{"preset: original\nmodel:\n  embedding_frozen: true\n", "model.embedding_frozen", "needs data.glove"},
	} {
		_, err := Parse([]byte(c.file), YAML)
		problems := captioner.ProblemsOf(err)
		if len(problems) != 1 || problems[0].Field != c.field || !strings.Contains(problems[0].Message, c.message) || problems[0].Line == 0 {
			t.Errorf("%q: %+v, want one of %s with %q", c.file, problems, c.field, c.message)
		}
	}
}

// inputTree makes files below the input folder of a notebook.
func inputTree(t *testing.T, files ...string) string {
	t.Helper()
	root := t.TempDir()
	t.Setenv(KaggleInputVariable, root)
	for _, name := range files {
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte("x"), 0o644))
	}
	return root
}

func TestKaggle(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		// below the input folder, "" for none
		images, captions, glove, weights string
	}{
		{"Flickr8k", []string{"flickr8k/captions.txt", "flickr8k/Images/1.jpg", "flickr8k/Images/2.jpg"},
			"flickr8k/Images", "flickr8k/captions.txt", "", ""},
		{"below its owner, with word vectors and weights", []string{
			"datasets/someone/flickr8k/captions.txt", "datasets/someone/flickr8k/Images/1.jpg",
			"glove6b/glove.6B.50d.txt", "glove6b/glove.6B.200d.txt",
			"weights/inceptionv3_notop.h5", "weights/efficientnetb3_notop.h5", "weights/readme.png",
		}, "datasets/someone/flickr8k/Images", "datasets/someone/flickr8k/captions.txt", "glove6b/glove.6B.200d.txt", "weights/efficientnetb3_notop.h5"},
		{"Flickr30k, twice nested", []string{
			"flickr30k/flickr30k_images/results.csv", "flickr30k/flickr30k_images/flickr30k_images/1.jpg", "flickr30k/flickr30k_images/flickr30k_images/2.jpg",
			"flickr30k/thumbnails/1.jpg",
		}, "flickr30k/flickr30k_images/flickr30k_images", "flickr30k/flickr30k_images/results.csv", "", ""},
		{"COCO", []string{
			"coco/annotations/captions_train2017.json", "coco/annotations/captions_val2017.json", "coco/annotations/instances_val2017.json",
			"coco/train2017/1.jpg", "coco/val2017/2.jpg",
		}, "coco", "coco/annotations", "", ""},
		{"pictures of another data set do not count", []string{
			"a/captions.txt", "a/images/1.jpg", "b/captions.txt", "c/pictures/1.jpg",
		}, "a/images", "a/captions.txt", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := inputTree(t, c.files...)
			cfg, err := Parse([]byte("preset: kaggle\n"), YAML)
			if err != nil {
				t.Fatal(err, captioner.ProblemsOf(err))
			}
			under := func(name string) string {
				if name == "" {
					return ""
				}
				return filepath.Join(root, name)
			}
			got := []string{cfg.Data.Images, cfg.Data.Captions, cfg.Data.GloVe, cfg.Model.Weights}
			if diff := cmp.Diff([]string{under(c.images), under(c.captions), under(c.glove), under(c.weights)}, got); diff != "" {
				t.Errorf("paths (-want +got):\n%s", diff)
			}
			if cfg.Model.EmbeddingFrozen != (c.glove != "") {
				t.Errorf("embedding_frozen is %t", cfg.Model.EmbeddingFrozen)
			}
		})
	}
}

func TestKaggleWithoutData(t *testing.T) {
	problem := func(file string) []captioner.Problem {
		t.Helper()
		_, err := Parse([]byte(file), YAML)
		return captioner.ProblemsOf(err)
	}
	root := inputTree(t, "glove/glove.6B.200d.txt", "w/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5", "a/captions.txt", "a/Images/1.jpg")
	other, err := Parse([]byte("preset: kaggle\nmodel:\n  encoder: InceptionV3\n  embedding_dim: 20\n"), YAML)
	if err != nil || other.Data.GloVe != "" || other.Model.Weights != filepath.Join(root, "w", "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5") {
		t.Errorf("another encoder and width: %+v, error %v", other, err)
	}
	inputTree(t, "glove/glove.6B.200d.txt", "pictures/1.jpg")
	if p := problem("preset: kaggle\n"); len(p) != 1 || p[0].Field != "preset" || p[0].Line != 1 || !strings.Contains(p[0].Message, "finds no data set") {
		t.Errorf("no data set: %+v", p)
	}
	root = inputTree(t, "a/captions.txt", "a/Images/1.jpg", "b/captions.txt", "b/Images/1.jpg")
	if p := problem("preset: kaggle\n"); len(p) != 1 || !strings.Contains(p[0].Message, "finds 2 data sets") || strings.Contains(p[0].Message, root) {
		t.Errorf("two data sets: %+v", p)
	}
	c, err := Parse([]byte("preset: kaggle\ndata:\n  images: b/Images\n  captions: b/captions.txt\nmodel:\n  embedding_frozen: false\n"), YAML)
	if err != nil || c.Model.EmbeddingFrozen {
		t.Errorf("words that are to be trained: %+v, error %v", c.Model, err)
	}
	if p := problem("preset: kaggle\ndata:\n  images: b/Images\n  captions: b/captions.txt\n"); len(p) > 0 {
		t.Errorf("named files: %+v", p)
	}
	t.Setenv(KaggleInputVariable, filepath.Join(root, "nowhere"))
	if p := problem("preset: kaggle\n"); len(p) != 1 {
		t.Errorf("no input folder: %+v", p)
	}
}
