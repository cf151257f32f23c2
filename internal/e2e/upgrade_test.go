//go:build verify

package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
)

// oldPrograms are those that tools/oldbuild has built of an earlier commit.
func oldPrograms(t *testing.T, p programs) programs {
	t.Helper()
	dir := os.Getenv("CAPTIONER_OLD")
	if dir == "" {
		t.Skip("CAPTIONER_OLD is not set: there is no tag yet, name an earlier commit: make verify BASE=main~20")
	}
	return programs{filepath.Join(dir, "captioner"), filepath.Join(dir, "captioner-engine"), p.temporal}
}

// TestUpgrade begins a run with the programs of an earlier commit and ends it with
// those of now, and then the other way round, with the schema taken back between.
func TestUpgrade(t *testing.T) {
	p := needPrograms(t)
	old := oldPrograms(t, p)
	data := pictures(t, 100)
	t.Run("forth", func(t *testing.T) {
		dataDir := filepath.Join(t.TempDir(), "data")
		changeOver(t, data, dataDir, old, p, func() {})
	})
	t.Run("back", func(t *testing.T) {
		dataDir := filepath.Join(t.TempDir(), "data")
		changeOver(t, data, dataDir, p, old, func() { takeBack(t, p, old, dataDir) })
	})
}

// changeOver trains until the first programs have left checkpoints, stops them, and
// has the others finish the run.
func changeOver(t *testing.T, data captioner.DataConfig, dataDir string, from, to programs, between func()) {
	t.Helper()
	// What both know: the defaults, and fields of the first release.
	cfg := map[string]any{
		"data": map[string]any{"images": data.Images, "captions": data.Captions, "split_files": map[string]any{
			"train": data.SplitFiles.Train, "validation": data.SplitFiles.Validation, "test": data.SplitFiles.Test,
		}},
		"model":    map[string]any{"image_size": 32, "width": 32, "layers": 1, "heads": 2, "feed_forward": 64},
		"training": map[string]any{"steps": 1500, "warmup_steps": 10, "batch_size": 8, "checkpoint_interval": "1s"},
	}
	first := startLocal(t, from, dataDir)
	id := first.startRun(t, cfg)
	first.awaitTraining(t, id, 300)
	first.stop(t)
	between()

	second := startLocal(t, to, dataDir)
	run := second.awaitEnd(t, id, 5*time.Minute)
	if run.State != captioner.RunCompleted || run.Result == nil || !run.Result.Version.Valid() {
		t.Fatalf("the run ended as %s: %s", run.State, run.Error)
	}
	if log := second.logText(); !strings.Contains(log, "training resumes") {
		t.Error("the second programs started the training over")
	}
	second.stop(t)
}

// takeBack brings the schema to the newest version that the old programs know.
func takeBack(t *testing.T, p, old programs, dataDir string) {
	t.Helper()
	var knows, is struct{ Version, Latest int }
	status := func(p programs, dir string, out any) {
		t.Helper()
		if err := json.Unmarshal([]byte(p.mustRun(t, "migrate", "status", "--json", "--data-dir", dir)), out); err != nil {
			t.Fatal(err)
		}
	}
	status(old, t.TempDir(), &knows)
	for status(p, dataDir, &is); is.Version > knows.Latest; status(p, dataDir, &is) {
		p.mustRun(t, "migrate", "down", "--data-dir", dataDir)
	}
}
