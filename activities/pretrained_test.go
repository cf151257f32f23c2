package activities_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/activities/activitiestest"
	"github.com/captioner/captioner/internal/kerastest"
)

// ValidateConfig keeps the weights that a configuration names as a blob, and
// warns of an encoder that could have some.
func TestValidateConfigWeights(t *testing.T) {
	f := activitiestest.New(t)
	validate := func(weights string, dry bool) activities.ValidateConfigResult {
		t.Helper()
		cfg := f.Config()
		cfg.Model.Encoder, cfg.Model.ImageSize, cfg.Model.Weights = "EfficientNetB3", 300, weights
		raw, err := json.Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		out, err := f.Activities.ValidateConfig(t.Context(), activities.ValidateConfigInput{Config: raw, DryRun: dry})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := validate("", false); len(out.Warnings) != 1 || out.Weights != "" {
		t.Errorf("without weights: %v and weights %q, want one warning", out.Warnings, out.Weights)
	}
	path := filepath.Join(kerastest.Folder(t, filepath.Join("..", "ml", "encoder", "testdata", "reference.py")), "efficientnetb3_notop.h5")
	if out := validate(path, true); out.Weights != "" {
		t.Errorf("a dry run keeps weights: %s", out.Weights)
	}
	out := validate(path, false)
	kept, err := captioner.ReadBlob(t.Context(), f.Blobs, out.Weights)
	if err != nil || len(out.Warnings) > 0 {
		t.Fatalf("with weights: %v, %v", out.Warnings, err)
	}
	if want, err := os.ReadFile(path); err != nil || !bytes.Equal(kept, want) {
		t.Errorf("%d bytes were kept of %d, %v", len(kept), len(want), err)
	}
}

// What a frozen encoder gives is kept under its weights, its type and its precision;
// where they lie makes no difference.
func TestExtractFeaturesOfWeights(t *testing.T) {
	f := activitiestest.New(t)
	p := prepare(t, f)
	var given []string
	f.Engine.OnExtract = func(_ context.Context, req captioner.ExtractRequest) error {
		data, err := os.ReadFile(req.Model.Weights)
		given = append(given, string(data))
		return err
	}
	keys := map[string]string{}
	for _, test := range []struct{ name, weights, kind, path, precision string }{
		{"pixels", "", "float16", "", "bfloat16"}, {"pixels again", "", "float32", "/a.h5", ""},
		{"one", "one", "float16", "/a.h5", ""}, {"one again", "one", "float16", "/b.h5", "float32"},
		{"one kept in float32", "one", "float32", "/a.h5", ""}, {"one made in bfloat16", "one", "float16", "/a.h5", "bfloat16"},
		{"two", "two", "float16", "/a.h5", ""},
	} {
		in := extractInput(p, 0)
		in.Precision = test.precision
		in.Model.FeatureType, in.Model.Weights = test.kind, test.path
		if test.weights != "" {
			var err error
			if in.Weights, _, err = f.Blobs.Put(t.Context(), bytes.NewReader([]byte(test.weights))); err != nil {
				t.Fatal(err)
			}
		}
		out, err := f.Activities.ExtractFeatures(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		keys[test.name] = out.Key
	}
	if keys["pixels"] != keys["pixels again"] || keys["one"] != keys["one again"] {
		t.Errorf("a path, or a type that is not used, is part of the key: %v", keys)
	}
	different := map[string]bool{}
	for _, key := range keys {
		different[key] = true
	}
	if len(different) != 5 {
		t.Errorf("%d different keys, want 5: %v", len(different), keys)
	}
	if want := []string{"one", "one", "one", "two"}; !slices.Equal(given, want) { // the pixels were there
		t.Errorf("the engine was given the weights %v, want %v", given, want)
	}
}

// Training is kept under the weights, wherever they lie, and under what is
// trained of them.
func TestTrainKeyOfWeights(t *testing.T) {
	key := func(change func(*activities.TrainInput)) string {
		t.Helper()
		in := activities.TrainInput{Dataset: "d", Config: captioner.DefaultConfig(), Weights: "w"}
		in.Config.Model.Encoder, in.Config.Model.Weights = "InceptionV3", "/a.h5"
		change(&in)
		key, err := activities.TrainKey(in)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	base := key(func(*activities.TrainInput) {})
	for name, same := range map[string]func(*activities.TrainInput){
		"path":                     func(in *activities.TrainInput) { in.Config.Model.Weights = "/b.h5" },
		"rate of a frozen encoder": func(in *activities.TrainInput) { in.Config.Training.EncoderLearningRateRatio = 0.7 },
		"time between checkpoints": func(in *activities.TrainInput) { in.Config.Training.CheckpointInterval++ },
		"shards, however many":     func(in *activities.TrainInput) { in.Shards = []captioner.Digest{"s"} },
		"the run that asks for it": func(in *activities.TrainInput) { in.RunID = "r" },
		"where the pictures lie":   func(in *activities.TrainInput) { in.Config.Data.Images = "/pictures" },
		"how shards are cut":       func(in *activities.TrainInput) { in.Config.Data.ShardSize = 7 },
	} {
		if key(same) != base {
			t.Errorf("%s is part of the key", name)
		}
	}
	for name, other := range map[string]func(*activities.TrainInput){
		"weights":      func(in *activities.TrainInput) { in.Weights = "v" },
		"feature type": func(in *activities.TrainInput) { in.Config.Model.FeatureType = "float32" },
		"blocks":       func(in *activities.TrainInput) { in.Config.Training.FineTuneBlocks = 2 },
	} {
		if key(other) == base {
			t.Errorf("%s is not part of the key", name)
		}
	}
}
