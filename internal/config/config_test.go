package config_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
)

func TestDefaults(t *testing.T) {
	want := captioner.DefaultConfig()
	if problems := config.Check(want); len(problems) > 0 {
		t.Errorf("the defaults are refused: %v", problems)
	}
	for _, input := range []string{"", "\n", "# nothing\n", "---\n", "{}", "null", "data:\n", "data: {}\ntraining:\n  # steps: 5\n", "\ufeff"} {
		got, err := config.Parse([]byte(input), config.YAML)
		if err != nil {
			t.Errorf("%q: %v", input, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", input, diff)
		}
	}
	for _, input := range []string{"", " \n", "{}", "null", `{"data": {}, "model": null}`, "\ufeff{}"} {
		got, err := config.Parse([]byte(input), config.JSON)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", input, err, diff)
		}
	}
}

func TestParse(t *testing.T) {
	yaml := `
# A comment.
data:
  images: ./flickr8k/Images/   # and another
  captions: "flickr8k/captions.txt"
  split_files:
    {train: a, validation: 'b', test: c}
  seed: 18446744073709551615
  shard_size: 1_000
model:
  grayscale: true
  dropout: 0
  width: 256
training:
  steps: 3e3
  learning_rate: 1e-3
  epsilon: .001
  checkpoint_interval: 1m30s
  augmentation: false
promotion: {metric: bleu1, algorithm: greedy}
`
	jsonText := "{\r\n\t\"data\": {\"images\": \"flickr8k\\/Images\", \"captions\": \"flickr8k/c\\u0061ptions.txt\"," +
		`"split_files": {"train": "a", "validation": "b", "test": "c"}, "seed": 18446744073709551615, "shard_size": 1000},
		"model": {"grayscale": true, "dropout": 0, "width": 256},
		"training": {"steps": 3000.0, "learning_rate": 0.001, "epsilon": 1e-3, "checkpoint_interval": "90s", "augmentation": false},
		"promotion": {"metric": "bleu1", "algorithm": "greedy"}}`

	want := captioner.DefaultConfig()
	want.Data.Images, want.Data.Captions = "flickr8k/Images", "flickr8k/captions.txt"
	want.Data.SplitFiles = captioner.SplitFiles{Train: "a", Validation: "b", Test: "c"}
	want.Data.Seed, want.Data.ShardSize = math.MaxUint64, 1000
	want.Model.Grayscale, want.Model.Dropout, want.Model.Width = true, 0, 256
	want.Training.Steps, want.Training.LearningRate, want.Training.Epsilon = 3000, 1e-3, 1e-3
	want.Training.CheckpointInterval, want.Training.Augmentation = captioner.Duration(90*time.Second), false
	want.Promotion.Metric, want.Promotion.Algorithm = "bleu1", "greedy"
	for format, input := range map[string]string{config.YAML: yaml, config.JSON: jsonText} {
		for _, input := range []string{input, strings.ReplaceAll(input, "\n", "\r\n")} {
			got, err := config.Parse([]byte(input), format)
			if err != nil {
				t.Errorf("%s: %v", format, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", format, diff)
			}
		}
	}
}

type problem = captioner.Problem

// at is a problem with its place.
func at(line, column int, field, message string) problem {
	return problem{Field: field, Line: line, Column: column, Message: message}
}

func TestEverythingIsReportedAtOnce(t *testing.T) {
	yaml := `data:
  imges: photos
  captions: captions.txt
  seed: -1
  min_usable: 1.5
  split_files:
    train: train.txt
trainng:
  steps: 5
learning_rate: 0.1
model:
  heads: 5
  dropout: "much"
  encoder: [conv]
  grayscale: yes
  layers: 2
  layers: 3
training:
  learningRate: 0.1
  learning_rate: .inf
  checkpoint_interval: 60
  steps: 10.5
  epsilon:
promotion: best
`
	want := []problem{
		at(2, 3, "data.imges", `is unknown: did you mean "images"?`),
		at(3, 13, "data.images", `is missing: the captions of data.captions need pictures`),
		at(4, 9, "data.seed", `must be a whole number from 0 to 18446744073709551615, is -1`),
		at(5, 15, "data.min_usable", `must be more than 0 and at most 1, is 1.5`),
		at(7, 12, "data.split_files.validation", `is missing: split files are all three or none`),
		at(7, 12, "data.split_files.test", `is missing: split files are all three or none`),
		at(8, 1, "trainng", `is unknown: did you mean "training"?`),
		at(10, 1, "learning_rate", `is unknown here: did you mean training.learning_rate?`),
		at(12, 10, "model.heads", `must divide model.width, and 5 does not divide 128`),
		at(13, 12, "model.dropout", `must be a number, is the text "much"`),
		at(14, 12, "model.encoder", `must be text, is a list`),
		at(15, 14, "model.grayscale", `must be true or false, is the text "yes"`),
		at(17, 3, "model.layers", `is set twice, first in line 16`),
		at(19, 3, "training.learningRate", `is unknown: did you mean "learning_rate"?`),
		at(20, 18, "training.learning_rate", `must be a finite number more than 0 and at most 1`),
		at(21, 24, "training.checkpoint_interval", `must be a duration with its unit, such as 60s or 1m30s, is 60`),
		at(22, 10, "training.steps", `must be a whole number, is 10.5`),
		at(23, 11, "training.epsilon", `has no value: give one or remove the key`),
		at(24, 12, "promotion", `must be a section with fields of its own, is the text "best"`),
	}
	_, err := config.Parse([]byte(yaml), config.YAML)
	if captioner.KindOf(err) != captioner.Invalid || captioner.CodeOf(err) != "invalid_config" {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(want, captioner.ProblemsOf(err)); diff != "" {
		t.Errorf("YAML (-want +got):\n%s", diff)
	}

	jsonText := `{
  "data": {"imges": "x", "seed": 1e3, "max_pixels": 0, "max_pixels": 5},
  "model": {"width": "128", "image_size": 96.5,
	"é": 1, "encoder": "cnov", "dropout": 1e999},
  "training": [], "promotion": {"metric": 4, "margin": true, "collapse_share": null}
}`
	want = []problem{
		at(2, 12, "data.imges", `is unknown: did you mean "images"?`),
		at(2, 34, "data.seed", `must be a whole number from 0 to 18446744073709551615, is 1e3`),
		at(2, 53, "data.max_pixels", `must be from 1 to 1000000000, is 0`),
		at(2, 56, "data.max_pixels", `is set twice, first in line 2`),
		at(3, 22, "model.width", `must be a whole number, is the text "128"`),
		at(3, 43, "model.image_size", `must be a whole number, is 96.5`),
		at(4, 2, "model.é", `is unknown: the fields of model are encoder, weights, feature_type, decoder, image_size, grayscale, width, layers, heads, feed_forward, dropout, recurrent_dropout, embedding_dim, embedding_frozen`),
		at(4, 21, "model.encoder", `must be EfficientNetB3 or InceptionV3 or conv, is "cnov": did you mean "conv"?`),
		at(4, 40, "model.dropout", `must be a finite number at least 0 and less than 1`),
		at(5, 15, "training", `must be a section with fields of its own, is a list`),
		at(5, 43, "promotion.metric", `must be text, is 4: put it in quotes`),
		at(5, 56, "promotion.margin", `must be a number, is true`),
		at(5, 80, "promotion.collapse_share", `has no value: give one or remove the key`),
	}
	_, err = config.Parse([]byte(jsonText), config.JSON)
	if diff := cmp.Diff(want, captioner.ProblemsOf(err)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

func TestCannotBeRead(t *testing.T) {
	tests := []struct {
		name, format, input string
		want                problem
	}{
		{"indent", config.YAML, "data:\n images: a\n  captions: b\n", at(2, 10, "", "cannot be read as YAML: mapping value is not allowed in this context")},
		{"bracket", config.YAML, "data: {\n", at(1, 7, "", "cannot be read as YAML: could not find flow mapping end token '}'")},
		{"two documents", config.YAML, "data: {}\n---\nmodel: {}\n", at(3, 6, "", "holds a second document: one is enough")},
		{"list", config.YAML, "- data\n", at(1, 1, "", "must be a section with fields of its own, is a list")},
		{"text", config.YAML, "data\n", at(1, 1, "", `must be a section with fields of its own, is the text "data"`)},
		{"anchor", config.YAML, "data: &d\n  seed: 1\n", at(1, 7, "data", "must be a section with fields of its own, is an anchor, an alias or a tag")},
		{"octal", config.YAML, "data:\n  seed: 012\n", at(2, 9, "data.seed", `must be a whole number from 0 to 18446744073709551615, is the text "012"`)},
		{"hexadecimal", config.YAML, "training:\n  steps: 0x10\n", at(2, 10, "training.steps", `must be a whole number, is the text "0x10"`)},
		{"too many digits", config.YAML, "training:\n  steps: 99999999999999999999\n", at(2, 10, "training.steps", `must be a whole number, is 99999999999999999999`)},
		{"not UTF-8", config.YAML, "data: {}\n# \xff\n", at(2, 3, "", "is not text in UTF-8")},
		{"brackets", config.YAML, strings.Repeat("[", 1000), at(0, 0, "", "has more than 64 brackets")},
		{"size", config.YAML, strings.Repeat("#\n", 20_000), at(0, 0, "", "is longer than 32768 bytes")},
		{"JSON syntax", config.JSON, "{\n  \"data\": {,}\n}", at(2, 12, "", "cannot be read as JSON: invalid character ',' looking for beginning of object key string")},
		{"JSON end", config.JSON, `{"data": {`, at(1, 10, "", "cannot be read as JSON: unexpected end of JSON input")},
		{"JSON tail", config.JSON, "{}\n{}", at(2, 1, "", "cannot be read as JSON: invalid character '{' after top-level value")},
		{"JSON depth", config.JSON, strings.Repeat("[", 1000) + strings.Repeat("]", 1000), at(0, 0, "", "cannot be read as JSON: more than 64 levels")},
		{"YAML for JSON", config.JSON, "data:\n  seed: 1\n", at(1, 1, "", "cannot be read as JSON: invalid character 'd' looking for beginning of value")},
		{"JSON text", config.JSON, `"data"`, at(1, 1, "", `must be a section with fields of its own, is the text "data"`)},
		{"format", "toml", "a", at(0, 0, "", `can be read as "yaml" or "json" only`)},
		{"long key", config.YAML, strings.Repeat("x", 200) + ": 1\n", at(1, 1, strings.Repeat("x", 60)+"…", "is unknown: the sections are data, model, training, evaluation, promotion")},
		{"odd key", config.JSON, `{"a\u001b[31mb": 1}`, at(1, 2, "a\uFFFD[31mb", "is unknown: the sections are data, model, training, evaluation, promotion")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.Parse([]byte(tt.input), tt.format)
			if diff := cmp.Diff([]problem{tt.want}, captioner.ProblemsOf(err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The encoders of Keras' applications are known by several spellings and have
// their own size, which need not be written and cannot be another.
func TestPretrainedEncoder(t *testing.T) {
	for name, want := range map[string]captioner.ModelConfig{
		"efficientnetb3": {Encoder: "EfficientNetB3", ImageSize: 300}, "EfficientNet_B3": {Encoder: "EfficientNetB3", ImageSize: 300},
		"INCEPTIONV3": {Encoder: "InceptionV3", ImageSize: 299}, "inception_v3": {Encoder: "InceptionV3", ImageSize: 299},
		"conv": {Encoder: "conv", ImageSize: 64}, "Conv": {Encoder: "conv", ImageSize: 64},
	} {
		got, err := config.Parse([]byte("model: {encoder: "+name+"}"), config.YAML)
		if err != nil || got.Model.Encoder != want.Encoder || got.Model.ImageSize != want.ImageSize {
			t.Errorf("%s: %s of %d pixels, %v; want %s of %d", name, got.Model.Encoder, got.Model.ImageSize, err, want.Encoder, want.ImageSize)
		}
		if _, err := config.Parse(config.Marshal(got), config.YAML); err != nil {
			t.Errorf("%s does not come back: %v", name, err)
		}
	}
	for input, want := range map[string]problem{
		"model: {encoder: InceptionV3, image_size: 300}": at(1, 43, "model.image_size", "must be 299 for InceptionV3, is 300"),
		"model: {weights: conv.h5}":                      at(1, 18, "model.weights", "are for an encoder of Keras' applications, and conv is trained from scratch"),
		"training: {fine_tune_blocks: 2}":                at(1, 30, "training.fine_tune_blocks", "needs model.weights: without them all of the encoder is trained"),
		"training: {fine_tune_blocks: -2}":               at(1, 30, "training.fine_tune_blocks", "must be from -1 to 1000, is -2"),
		"model: {feature_type: float64}":                 at(1, 23, "model.feature_type", `must be float16 or float32, is "float64": did you mean "float16"?`),
	} {
		_, err := config.Parse([]byte(input), config.YAML)
		if got := captioner.ProblemsOf(err); len(got) == 0 || got[0] != want {
			t.Errorf("%s: problems %v, want %v", input, got, want)
		}
	}
}

// What is of no use makes no other configuration, and neither does a path; what
// is of use does.
func TestPortable(t *testing.T) {
	digest := func(c captioner.Config) captioner.Digest {
		t.Helper()
		d, err := config.Digest(c)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	plain := captioner.DefaultConfig()
	other := plain
	other.Model.FeatureType, other.Training.EncoderLearningRateRatio = "float32", 0.5
	if digest(other) != digest(plain) {
		t.Error("fields that are ignored change the digest")
	}
	frozen, tuned := other, other
	frozen.Model.Weights, tuned.Model.Weights, tuned.Training.FineTuneBlocks = "/a/weights.h5", "/a/weights.h5", 2
	elsewhere := frozen
	elsewhere.Model.Weights = "/b/weights.h5"
	if digest(frozen) == digest(plain) || digest(tuned) == digest(plain) || digest(tuned) == digest(frozen) || digest(elsewhere) != digest(frozen) {
		t.Error("a frozen encoder, a fine-tuned one and none have the same digest, or a path changes it")
	}
}

func TestUnknownKeys(t *testing.T) {
	for key, want := range map[string]string{
		"Images":         `did you mean "images"?`,
		"caption":        `did you mean "captions"?`,
		"max-tokens":     `did you mean "max_tokens"?`,
		"maxTokens":      `did you mean "max_tokens"?`,
		"min_word_cuont": `did you mean "min_word_count"?`,
		"split_ratio":    `did you mean "split_ratios"?`,
		"epochs":         `did you mean training.epochs?`,
		"beamwidth":      `did you mean evaluation.beam_width?`,
		"zzz":            `the fields of data are images, captions, format, split_files, split_ratios, split_method, seed`,
		"":               `the fields of data are images`,
	} {
		data, err := json.Marshal(map[string]any{"data": map[string]any{key: 1}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = config.Parse(data, config.JSON)
		problems := captioner.ProblemsOf(err)
		if len(problems) != 1 || !strings.Contains(problems[0].Message, want) {
			t.Errorf("%q: %v, want %q", key, problems, want)
		}
	}
}

// TestLocate: what a server finds is told with its place in the user's file.
func TestLocate(t *testing.T) {
	found := []problem{
		{Message: "the disk is full"},
		{Field: "training.batch_size", Message: "is too large here"},
		{Field: "data.captions", Message: "does not exist"},
		{Field: "data.split_files.test", Message: "does not exist"},
		{Field: "data.split_files.train", Line: 7, Column: 1, Message: "the picture is in the test split too"},
		{Field: "model.width", Message: "needs more memory"},
	}
	got := config.Locate(found, []byte("training:\n  batch_size: 9\ndata:\n  captions: nowhere\n"), config.YAML)
	want := []problem{
		at(2, 15, "training.batch_size", "is too large here"),
		at(3, 1, "data.split_files.test", "does not exist"),
		at(4, 13, "data.captions", "does not exist"),
		at(7, 1, "data.split_files.train", "the picture is in the test split too"),
		at(0, 0, "", "the disk is full"),
		at(0, 0, "model.width", "needs more memory"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(found, config.Locate(found, []byte("data: {"), config.YAML)); diff != "" {
		t.Errorf("a file that cannot be read (-want +got):\n%s", diff)
	}
}

func TestMerge(t *testing.T) {
	base := captioner.DefaultConfig()
	base.Training.Steps, base.Data.Seed = 777, 7
	for _, nothing := range []string{"", "null", "{}", `{"training": {}}`} {
		got, err := config.Merge(base, []byte(nothing))
		if diff := cmp.Diff(base, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", nothing, err, diff)
		}
	}
	got, err := config.Merge(base, []byte(`{"training": {"batch_size": 8}, "data": {"split_ratios": {"train": 0.5, "validation": 0.3}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := base
	want.Training.BatchSize = 8
	want.Data.SplitRatios = captioner.SplitRatios{Train: 0.5, Validation: 0.3, Test: 0.2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A whole configuration as encoding/json writes it is a partial one too.
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err = config.Merge(captioner.DefaultConfig(), data)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	_, err = config.Merge(base, []byte(`{"training": {"steps": 0, "setps": 1}}`))
	if len(captioner.ProblemsOf(err)) != 2 {
		t.Errorf("%v, want two problems", err)
	}
	// A fault of the base is reported, without a line.
	base.Model.Heads = 7
	_, err = config.Merge(base, []byte(`{}`))
	wantProblems := []problem{{Field: "model.heads", Message: "must divide model.width, and 7 does not divide 128"}}
	if diff := cmp.Diff(wantProblems, captioner.ProblemsOf(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCheck(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	tests := []struct {
		name   string
		change func(c *captioner.Config)
		want   []string // fields
	}{
		{"own data", func(c *captioner.Config) { c.Data.Images, c.Data.Captions = "i", "c" }, nil},
		{"no captions", func(c *captioner.Config) { c.Data.Images = "i" }, []string{"data.captions"}},
		{"no pictures", func(c *captioner.Config) { c.Data.Captions = "c" }, []string{"data.images"}},
		{"control character", func(c *captioner.Config) { c.Data.Images, c.Data.Captions = "i\x00", "c\n" }, []string{"data.images", "data.captions"}},
		{"one split file", func(c *captioner.Config) {
			c.Data.Images, c.Data.Captions, c.Data.SplitFiles.Test = "i", "c", "t"
		}, []string{"data.split_files.train", "data.split_files.validation"}},
		{"split files twice", func(c *captioner.Config) {
			c.Data.Images, c.Data.Captions, c.Data.SplitFiles = "i", "c", captioner.SplitFiles{Train: "a", Validation: "a", Test: "b"}
		}, []string{"data.split_files.validation"}},
		{"split files of nothing", func(c *captioner.Config) {
			c.Data.SplitFiles = captioner.SplitFiles{Train: "a", Validation: "b", Test: "c"}
		}, []string{"data.split_files"}},
		{"split files make ratios idle", func(c *captioner.Config) {
			c.Data.Images, c.Data.Captions = "i", "c"
			c.Data.SplitFiles = captioner.SplitFiles{Train: "a", Validation: "b", Test: "c"}
			c.Data.SplitRatios = captioner.SplitRatios{}
		}, nil},
		{"ratios", func(c *captioner.Config) { c.Data.SplitRatios.Train = 0.5 }, []string{"data.split_ratios"}},
		{"thirds", func(c *captioner.Config) {
			c.Data.SplitRatios = captioner.SplitRatios{Train: 0.333333, Validation: 0.333333, Test: 0.333333}
		}, nil},
		{"a ratio of 0", func(c *captioner.Config) { c.Data.SplitRatios = captioner.SplitRatios{Train: 1} },
			[]string{"data.split_ratios.train", "data.split_ratios.validation", "data.split_ratios.test"}},
		{"ratios not finite", func(c *captioner.Config) {
			c.Data.SplitRatios = captioner.SplitRatios{Train: nan, Validation: inf, Test: -inf}
		},
			[]string{"data.split_ratios.train", "data.split_ratios.validation", "data.split_ratios.test"}},
		{"data numbers", func(c *captioner.Config) {
			c.Data.MinWordCount, c.Data.MaxTokens, c.Data.MinUsable, c.Data.ShardSize, c.Data.MaxPixels = 0, 2, 0, 0, 0
		}, []string{"data.min_word_count", "data.max_tokens", "data.min_usable", "data.shard_size", "data.max_pixels"}},
		{"data edges", func(c *captioner.Config) {
			c.Data.MinWordCount, c.Data.MaxTokens, c.Data.MinUsable, c.Data.ShardSize, c.Data.MaxPixels = 1, 3, 1, 1, 1
		}, nil},
		{"model names", func(c *captioner.Config) { c.Model.Encoder, c.Model.Decoder = "Conv", "" }, []string{"model.encoder", "model.decoder"}},
		{"heads", func(c *captioner.Config) { c.Model.Width, c.Model.Heads = 130, 4 }, []string{"model.heads"}},
		{"heads of an LSTM", func(c *captioner.Config) {
			c.Model.Decoder, c.Model.Width, c.Model.Heads = "lstm-attention", 130, 4
		}, nil},
		{"no heads", func(c *captioner.Config) { c.Model.Heads = 0 }, []string{"model.heads"}},
		{"model numbers", func(c *captioner.Config) {
			c.Model.ImageSize, c.Model.Width, c.Model.Layers, c.Model.FeedForward, c.Model.Dropout = 8, 0, 0, -1, 1
		}, []string{"model.image_size", "model.width", "model.layers", "model.feed_forward", "model.dropout"}},
		{"numbers of lstm-pooled", func(c *captioner.Config) {
			c.Model.RecurrentDropout, c.Model.EmbeddingDim = 1, -1
		}, []string{"model.recurrent_dropout", "model.embedding_dim"}},
		{"frozen random words", func(c *captioner.Config) { c.Model.EmbeddingFrozen = true }, []string{"model.embedding_frozen"}},
		{"frozen words of a file", func(c *captioner.Config) {
			c.Data.GloVe, c.Model.EmbeddingDim, c.Model.EmbeddingFrozen = "glove.6B.200d.txt", 200, true
		}, nil},
		{"no steps", func(c *captioner.Config) { c.Training.Steps = 0 }, []string{"training.steps"}},
		{"epochs make steps idle", func(c *captioner.Config) { c.Training.Steps, c.Training.Epochs = 0, 3 }, nil},
		{"negative epochs", func(c *captioner.Config) { c.Training.Epochs = -1 }, []string{"training.epochs"}},
		{"warm-up", func(c *captioner.Config) { c.Training.Steps = 100 }, []string{"training.warmup_steps"}},
		{"short warm-up", func(c *captioner.Config) { c.Training.Steps, c.Training.WarmupSteps = 1, 0 }, nil},
		{"plateau", func(c *captioner.Config) {
			c.Training.Schedule, c.Training.MinLearningRate = captioner.SchedulePlateau, 0.1
			c.Training.PlateauFactor, c.Training.PlateauPatience = 1, 0
		}, []string{"training.plateau_factor", "training.plateau_patience", "training.min_learning_rate"}},
		{"unknown names", func(c *captioner.Config) { c.Training.Schedule, c.Training.Precision = "step", "float64" },
			[]string{"training.schedule", "training.precision"}},
		{"more devices than pictures", func(c *captioner.Config) { c.Training.BatchSize, c.Training.Devices = 3, 4 },
			[]string{"training.devices"}},
		{"training numbers", func(c *captioner.Config) {
			tr := &c.Training
			tr.BatchSize, tr.CaptionsPerImage, tr.LearningRate, tr.WarmupSteps, tr.MinLearningRateRatio = 0, 0, 0, -1, 1.1
			tr.Beta1, tr.Beta2, tr.Epsilon, tr.ClipNorm, tr.LabelSmoothing = 1, -0.1, 0, -1, 1
			tr.AuxiliaryWeight, tr.EarlyStoppingPatience, tr.CheckpointInterval, tr.Threads = -1, -1, 0, -1
		}, []string{"training.warmup_steps", "training.batch_size", "training.captions_per_image", "training.learning_rate",
			"training.min_learning_rate_ratio", "training.beta1", "training.beta2", "training.epsilon", "training.clip_norm",
			"training.label_smoothing", "training.auxiliary_weight", "training.early_stopping_patience",
			"training.checkpoint_interval", "training.threads"}},
		{"evaluation numbers", func(c *captioner.Config) {
			c.Evaluation = captioner.EvaluationConfig{BeamWidth: 0, LengthPenalty: nan, NoRepeatNGram: -1, SampleCaptions: -1}
		}, []string{"evaluation.beam_width", "evaluation.length_penalty", "evaluation.no_repeat_ngram", "evaluation.sample_captions"}},
		{"promotion", func(c *captioner.Config) { c.Promotion = captioner.PromotionConfig{Metric: "BLEU4", Margin: -1} },
			[]string{"promotion.metric", "promotion.algorithm", "promotion.margin", "promotion.collapse_share", "promotion.collapse_min_images"}},
		{"everything empty", func(c *captioner.Config) { *c = captioner.Config{} }, []string{
			"data.format", "data.split_ratios.train", "data.split_ratios.validation", "data.split_ratios.test", "data.split_method",
			"data.min_word_count", "data.vocabulary", "data.max_tokens_percentile", "data.min_usable", "data.shard_size", "data.max_pixels",
			"model.encoder", "model.feature_type", "model.decoder", "model.image_size", "model.width", "model.layers", "model.heads", "model.feed_forward",
			"training.steps", "training.batch_size", "training.captions_per_image", "training.accumulation_steps",
			"training.learning_rate", "training.schedule", "training.plateau_factor", "training.plateau_patience",
			"training.epsilon", "training.checkpoint_interval", "training.precision", "training.encoder_learning_rate_ratio", "evaluation.beam_width",
			"promotion.metric", "promotion.algorithm", "promotion.collapse_share", "promotion.collapse_min_images"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := captioner.DefaultConfig()
			tt.change(&c)
			var fields []string
			for _, p := range config.Check(c) {
				fields = append(fields, p.Field)
				if p.Message == "" {
					t.Errorf("%s has no message", p.Field)
				}
			}
			if diff := cmp.Diff(tt.want, fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s\n%v", diff, config.Check(c))
			}
		})
	}
}

func TestDigest(t *testing.T) {
	base := captioner.DefaultConfig()
	digest := func(change func(c *captioner.Config)) captioner.Digest {
		t.Helper()
		c := base
		change(&c)
		d, err := config.Digest(c)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	same := digest(func(*captioner.Config) {})
	for name, change := range map[string]func(c *captioner.Config){
		"paths":      func(c *captioner.Config) { c.Data.Images, c.Data.Captions = "/a", "/b" },
		"shard size": func(c *captioner.Config) { c.Data.ShardSize = 7 },
		"checkpoint": func(c *captioner.Config) { c.Training.CheckpointInterval = 1 },
	} {
		if digest(change) != same {
			t.Errorf("%s changes the digest", name)
		}
	}
	for name, change := range map[string]func(c *captioner.Config){
		"seed":    func(c *captioner.Config) { c.Data.Seed++ },
		"steps":   func(c *captioner.Config) { c.Training.Steps++ },
		"epochs":  func(c *captioner.Config) { c.Training.Epochs++ },
		"threads": func(c *captioner.Config) { c.Training.Threads++ },
		"margin":  func(c *captioner.Config) { c.Promotion.Margin *= 2 },
		"plateau": func(c *captioner.Config) { c.Training.Schedule = captioner.SchedulePlateau },
	} {
		if digest(change) == same {
			t.Errorf("%s does not change the digest", name)
		}
	}

	// What another field switches off counts no more.
	base.Training.Epochs = 3
	base.Data.SplitFiles = captioner.SplitFiles{Train: "/a", Validation: "/b", Test: "/c"}
	same = digest(func(*captioner.Config) {})
	idle := digest(func(c *captioner.Config) {
		c.Training.Steps, c.Data.Seed, c.Data.SplitRatios = 9, 9, captioner.SplitRatios{}
		c.Data.SplitFiles.Test = "/elsewhere"
		c.Training.PlateauFactor, c.Training.PlateauPatience, c.Training.MinLearningRate = 0.1, 9, 0
	})
	if idle != same {
		t.Error("fields that are ignored change the digest")
	}
}

func TestPaths(t *testing.T) {
	c := captioner.DefaultConfig()
	c.Data.Images, c.Data.Captions = "./photos//x/..", "/abs/captions.txt"
	c.Data.SplitFiles = captioner.SplitFiles{Train: "train.txt"}
	got := config.Resolve(config.Normalise(c), "/base")
	if got.Data.Images != "/base/photos" || got.Data.Captions != "/abs/captions.txt" ||
		got.Data.SplitFiles.Train != "/base/train.txt" || got.Data.SplitFiles.Test != "" {
		t.Errorf("resolved to %+v", got.Data)
	}
	if diff := cmp.Diff(captioner.DefaultConfig(), config.WithoutPaths(got)); diff != "" {
		t.Errorf("without paths (-want +got):\n%s", diff)
	}
}

func TestMarshal(t *testing.T) {
	c := captioner.DefaultConfig()
	golden := filepath.Join("testdata", "default.yaml")
	want, err := os.ReadFile(golden)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		want, err = config.Marshal(c), os.WriteFile(golden, config.Marshal(c), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(config.Marshal(c))); diff != "" {
		t.Errorf("it is part of every bundle (-want +got):\n%s", diff)
	}

	for _, path := range []string{
		"a", "/a b/c", "null", "~", "true", "No", "1e3", "0x10", "007", "2024-01-01", "-", "- a", "a: b", "a #b", "#", "&a", "*a", "!x",
		"%", "@", "`", "'", `"`, `\`, "{", "[", "é", "日本", "\u2028", "\U0001F600", " a ", "a\tb", "|", ">", "?", ":", ".inf", ".nan", "=", "<<", "a/", "<>&",
	} {
		c.Data.Images, c.Data.Captions = path, path+"/x"
		got, err := config.Parse(config.Marshal(c), config.YAML)
		if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' }) {
			if len(captioner.ProblemsOf(err)) != 2 {
				t.Errorf("%q: %v, want it refused in both fields", path, err)
			}
			continue
		}
		if diff := cmp.Diff(config.Normalise(c), got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", path, err, diff)
		}
	}
}
