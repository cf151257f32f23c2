package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
)

// originalFile has all keys of the original's configuration, each with a value
// that is not its default, but for what must fit the encoder.
const originalFile = `# Data
images_path: "/flickr8k/Images/"
captions_file: /flickr8k/captions.txt
glove_path: /glove.6B.100d.txt
train_ratio: 0.7
val_ratio: 0.2
test_ratio: 0.1
word_count_threshold: 3
random_seed: 7
bleu_sample_size: 500
feature_extractor: inceptionv3
feature_dim: 2048
image_size: [299, 299]
embedding_dim: 100
hidden_dim: 512
num_attention_heads: 8
dropout_rate: 0.4
recurrent_dropout: 0.1
batch_size: 256
epochs: 12
learning_rate: 3e-4
lr_decay_factor: 0.3
lr_patience: 2
min_lr: 0.00001
early_stopping_patience: 4
use_mixed_precision: true
artifacts_dir: /kaggle/working
`

// Each of the 26 keys has its place, and the file that is made of them says so.
func TestImportOriginal(t *testing.T) {
	imported, err := config.ImportOriginal([]byte(originalFile))
	if err != nil {
		t.Fatal(err, captioner.ProblemsOf(err))
	}
	if len(imported.Changes) != 26 {
		t.Errorf("%d changes, want one for each of 26 keys", len(imported.Changes))
	}
	got, err := config.Parse(imported.File, config.YAML)
	if err != nil {
		t.Fatalf("%v\n%s", captioner.ProblemsOf(err), imported.File)
	}
	want, err := config.Parse([]byte("preset: original\n"), config.YAML)
	if err != nil {
		t.Fatal(err)
	}
	want.Data.Images, want.Data.Captions, want.Data.GloVe = "/flickr8k/Images", "/flickr8k/captions.txt", "/glove.6B.100d.txt"
	want.Data.SplitRatios = captioner.SplitRatios{Train: 0.7, Validation: 0.2, Test: 0.1}
	want.Data.MinWordCount, want.Data.Seed, want.Training.Seed = 3, 7, 7
	want.Evaluation.SamplePictures = 500
	want.Model.Encoder, want.Model.ImageSize, want.Model.EmbeddingDim, want.Model.EmbeddingFrozen = "InceptionV3", 299, 100, true
	want.Model.Width, want.Model.Heads, want.Model.Dropout, want.Model.RecurrentDropout = 512, 8, 0.4, 0.1
	want.Training.BatchSize, want.Training.CaptionsPerImage, want.Training.Epochs, want.Training.LearningRate = 4, 5, 12, 3e-4
	want.Training.PlateauFactor, want.Training.PlateauPatience, want.Training.MinLearningRate = 0.3, 2, 1e-5
	want.Training.EarlyStoppingPatience, want.Training.Precision = 4, "float16"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, imported.File)
	}
	for _, c := range imported.Changes {
		if len(c.Fields) == 0 && c.Why == "" {
			t.Errorf("nothing is said of %s", c.Key)
		}
	}
}

// The defaults of the original, written out, are the preset.
func TestImportOfTheDefaults(t *testing.T) {
	imported, err := config.ImportOriginal([]byte(`train_ratio: 0.6
val_ratio: 0.2
test_ratio: 0.2
word_count_threshold: 5
random_seed: 42
bleu_sample_size: 1000
feature_extractor: EfficientNetB3
feature_dim: 1536
image_size: [300, 300]
embedding_dim: 200
hidden_dim: 256
num_attention_heads: 4
dropout_rate: 0.3
recurrent_dropout: 0.2
batch_size: 64
epochs: 20
learning_rate: 0.0001
lr_decay_factor: 0.5
lr_patience: 3
min_lr: 0.000001
early_stopping_patience: 5
use_mixed_precision: false
`))
	if err != nil || string(imported.File) != "preset: original\n" {
		t.Errorf("error %v, file\n%s", err, imported.File)
	}
}

func TestImportSaysWhy(t *testing.T) {
	for _, c := range []struct{ line, fields, value, why string }{
		{"images_path: data/Images\ncaptions_file: c.txt", "data.images", "data/Images", "relative to the file"},
		{`captions_file: ""`, "data.captions", `""`, "is empty"},
		{"glove_path: /g.200d.txt", "data.glove model.embedding_frozen", `"/g.200d.txt"`, "stay as the file has them"},
		{"batch_size: 32", "training.batch_size training.captions_per_image", "1", "counts words in the original"},
		{"bleu_sample_size: 10", "evaluation.sample_pictures", "10", "whatever it said"},
		{"lr_patience: 0", "training.plateau_patience", "1", "Keras takes 0"},
		{"early_stopping_patience: 0", "training.early_stopping_patience", "1", "Keras takes 0"},
		{"use_mixed_precision: false", "training.precision", "float32", ""},
		{"artifacts_dir: x", "", "", "--data-dir"},
		{"feature_dim: 1536", "", "", "follows from the encoder"},
		{"learning_rat: 1", "", "", `did you mean "learning_rate"?`},
		{"colour: blue", "", "", "is no key of the original, which ignored it"},
	} {
		imported, err := config.ImportOriginal([]byte(c.line + "\nepochs: 1\n"))
		if err != nil {
			t.Errorf("%s: %v", c.line, captioner.ProblemsOf(err))
			continue
		}
		got := imported.Changes[0]
		if strings.Join(got.Fields, " ") != c.fields || got.New != c.value || !strings.Contains(got.Why, c.why) || (c.why == "") != (got.Why == "") {
			t.Errorf("%s: %+v, want %q = %q because %q", c.line, got, c.fields, c.value, c.why)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	for _, c := range []struct {
		file, field, message string
		converted            bool
	}{
		{"", "", "has no keys", false},
		{"data:\n  images: x\n", "", "has no key of the original's", false},
		{"epochs: [", "", "cannot be read as YAML", false},
		{"- epochs\n", "", "cannot be read as YAML", false},
		{"epochs: many\n", "epochs", "another type", true},
		{"epochs: 1.5\n", "epochs", "another type", true},
		{"epochs: 1\nimage_size: 300\n", "image_size", "another type", true},
		{"feature_dim: 2048\n", "feature_dim", "must be 1536 for EfficientNetB3, is 2048", true},
		{"image_size: [224, 224]\n", "image_size", "must be [300, 300] for EfficientNetB3, is [224, 224]", true},
		{"feature_extractor: InceptionV3\nimage_size: [300, 300]\n", "image_size", "must be [299, 299] for InceptionV3", true},
		{"feature_extractor: ResNet50\n", "model.encoder", "must be EfficientNetB3 or InceptionV3", true},
		{"train_ratio: 0.9\n", "data.split_ratios", "must sum to 1", true},
	} {
		imported, err := config.ImportOriginal([]byte(c.file))
		problems := captioner.ProblemsOf(err)
		found := false
		for _, p := range problems {
			found = found || p.Field == c.field && strings.Contains(p.Message, c.message)
		}
		if !found || captioner.KindOf(err) != captioner.Invalid || (imported.File != nil) != c.converted {
			t.Errorf("%q: %+v, want one of %q with %q; file %q", c.file, problems, c.field, c.message, imported.File)
		}
	}
}
