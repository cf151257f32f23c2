package e2e_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/kerastest"
)

// TestPretrained runs the pipeline with a frozen encoder of Keras': the version's
// lineage names the weights, the bundle does without them, and a second run with
// another decoder finds the features.
func TestPretrained(t *testing.T) {
	p := needPrograms(t)
	weights := kerastest.Folder(t, filepath.Join("..", "..", "ml", "encoder", "testdata", "reference.py"))
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	data := pictures(t, 40)
	cfg := smallConfig(data, 40)
	cfg.Model.Encoder, cfg.Model.ImageSize = "EfficientNetB3", 300
	cfg.Model.Decoder = "lstm-attention"
	cfg.Model.Weights = filepath.Join(weights, "efficientnetb3_notop.h5")
	run := l.awaitEnd(t, l.startRun(t, cfg), 10*time.Minute)
	if run.State != captioner.RunCompleted || run.Result == nil || len(run.Result.Warnings) > 0 {
		t.Fatalf("the run ended as %s: %s, %+v", run.State, run.Error, run.Result)
	}
	version := run.Result.Version
	digest := captioner.DigestOf(readFile(t, cfg.Model.Weights))
	var model captioner.ModelVersion
	if code := l.get(t, "/models/"+string(version), &model); code != http.StatusOK || model.Lineage.Weights != digest {
		t.Errorf("status %d, lineage %+v, want weights %s", code, model.Lineage, digest)
	}
	p.mustRun(t, "models", "verify", version.Short(), "--data-dir", l.dataDir)
	if run.Result.Deployed {
		picture := readFile(t, firstPicture(t, data.Images))
		if r, code := l.predict(t, picture, "greedy"); code != http.StatusOK || r.ModelVersion != version {
			t.Errorf("status %d, %+v, want a caption by version %s", code, r, version)
		}
	}

	cfg.Model.Decoder = "transformer"
	run = l.awaitEnd(t, l.startRun(t, cfg), 10*time.Minute)
	if run.State != captioner.RunCompleted || run.Result == nil || !slices.Contains(run.Result.Reused, "ExtractFeatures") {
		t.Errorf("the second run ended as %s: %s, %+v; want it to reuse ExtractFeatures", run.State, run.Error, run.Result)
	}
	l.stop(t)
}

// TestNoWeights: an encoder of Keras' that is given no weights is trained from
// random ones, and the run says so wherever it is described.
func TestNoWeights(t *testing.T) {
	p := needPrograms(t)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	cfg := smallConfig(pictures(t, 40), 2)
	cfg.Model.Encoder, cfg.Model.ImageSize = "InceptionV3", 299
	cfg.Training.BatchSize, cfg.Training.WarmupSteps = 2, 0
	run := l.awaitEnd(t, l.startRun(t, cfg), 10*time.Minute)
	if run.State != captioner.RunCompleted || run.Result == nil || len(run.Result.Warnings) != 1 {
		t.Fatalf("the run ended as %s: %s, %+v; want one warning", run.State, run.Error, run.Result)
	}
	warning := run.Result.Warnings[0]
	if out := p.mustRun(t, "runs", "show", run.ID, "--server", l.api); !strings.Contains(out, "warning   "+warning) {
		t.Errorf("captioner runs show does not say %q:\n%s", warning, out)
	}
	l.stop(t) // which completes the run's files
	var summary struct{ Warnings []string }
	if err := json.Unmarshal(readFile(t, filepath.Join(l.dataDir, "runs", run.ID, "run_summary.json")), &summary); err != nil || !slices.Equal(summary.Warnings, run.Result.Warnings) {
		t.Errorf("run_summary.json has the warnings %q (%v), want %q", summary.Warnings, err, run.Result.Warnings)
	}
}
