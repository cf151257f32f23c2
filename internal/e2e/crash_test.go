package e2e_test

import (
	"net/http"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/captioner/captioner"
)

// TestKilledRunsEndInTheSameVersion trains the same pictures, at two paths and
// in two data folders: once undisturbed, once with the engine and then the
// whole control plane killed in mid-training. Both must end in one version.
func TestKilledRunsEndInTheSameVersion(t *testing.T) {
	p := needPrograms(t)
	const steps = 600
	config := func(dir string) captioner.Config {
		cfg := smallConfig(picturesIn(t, dir, 100), steps)
		cfg.Training.CheckpointInterval = captioner.Duration(time.Second)
		return cfg
	}

	undisturbed := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	want := undisturbed.awaitEnd(t, undisturbed.startRun(t, config(filepath.Join(t.TempDir(), "here"))), 3*time.Minute)
	if want.State != captioner.RunCompleted {
		t.Fatalf("the undisturbed run ended as %s: %s", want.State, want.Error)
	}
	undisturbed.stop(t)

	l := startLocal(t, p, filepath.Join(t.TempDir(), "elsewhere"))
	id := l.startRun(t, config(filepath.Join(t.TempDir(), "there")))

	followed := l.watch(t, id)
	l.awaitTraining(t, id, 100)
	for _, pid := range l.children(t, "captioner-engine") {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	before := l.awaitTraining(t, id, 200)

	l.kill(t)
	l.start(t)
	// The metrics of before are still there, and training goes on behind them.
	after := l.describe(t, id)
	if after.Metrics["step"] < before.Metrics["step"] {
		t.Errorf("after the restart the run is at step %.0f, before it was at %.0f", after.Metrics["step"], before.Metrics["step"])
	}
	got := l.awaitEnd(t, id, 3*time.Minute)
	if got.State != captioner.RunCompleted {
		t.Fatalf("the killed run ended as %s: %s", got.State, got.Error)
	}
	if got.Result.Version != want.Result.Version {
		t.Errorf("the killed run made version %s, the undisturbed one %s", got.Result.Version, want.Result.Version)
	}
	checkFollowed(t, l, id, followed)
	l.stop(t)
	checkRunFiles(t, l.dataDir, got, steps)
}

// TestCancel stops a run in mid-training: it must end within 5 s and a step,
// leave nothing live, and the engine must be free for the next run.
func TestCancel(t *testing.T) {
	p := needPrograms(t)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	id := l.startRun(t, smallConfig(pictures(t, 100), 100_000))
	l.awaitTraining(t, id, 50)

	start := time.Now()
	resp, err := http.Post(l.api+"/runs/"+id+"/cancel", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Errorf("POST /runs/%s/cancel: %s, want 202", id, resp.Status)
	}
	run := l.awaitEnd(t, id, 20*time.Second)
	if took := time.Since(start); took > 6*time.Second {
		t.Errorf("the run ended %s after the cancel, want at most 5 s and a step", took)
	}
	if run.State != captioner.RunCancelled {
		t.Errorf("the run is %s, want cancelled", run.State)
	}
	var models struct {
		Models []captioner.ModelVersion `json:"models"`
	}
	l.get(t, "/models", &models)
	if len(models.Models) != 0 {
		t.Errorf("a cancelled run left versions: %v", models.Models)
	}
	next := l.awaitEnd(t, l.startRun(t, smallConfig(pictures(t, 110), 40)), time.Minute)
	if next.State != captioner.RunCompleted {
		t.Errorf("the run after the cancelled one ended as %s: %s", next.State, next.Error)
	}
	l.stop(t)
}
