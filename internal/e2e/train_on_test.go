package e2e_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
)

// TestTrainOn: a run that has ended is trained on, by the command line and over
// HTTP, each time from where the last one ended: the curves are together those of
// one training that was never ended. The versions say which checkpoint they go on
// from.
func TestTrainOn(t *testing.T) {
	p := needPrograms(t)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	cfg := smallConfig(pictures(t, 120), 0)
	cfg.Training.Epochs, cfg.Training.Schedule = 2, captioner.ScheduleConstant
	first := l.awaitEnd(t, l.startRun(t, cfg), 2*time.Minute)

	var second, third captioner.Run
	out := p.mustRun(t, "train", "--resume", first.ID, "--epochs", "4", "--server", l.api, "--json")
	if err := json.Unmarshal([]byte(out), &second); err != nil {
		t.Fatalf("captioner train --json: %v:\n%s", err, out)
	}
	resp, err := http.Post(l.api+"/runs?resume="+second.ID, "application/json", strings.NewReader(`{"training": {"epochs": 5}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&third); err != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatalf("POST /runs?resume: %s, %v", resp.Status, err)
	}
	third = l.awaitEnd(t, third.ID, 2*time.Minute)
	cfg.Training.Epochs = 5
	whole := l.awaitEnd(t, l.startRun(t, cfg), 2*time.Minute)

	together := map[int]float64{}
	continues := map[captioner.Digest]bool{}
	for _, tt := range []struct {
		run    captioner.Run
		epochs []int
	}{{first, []int{1, 2}}, {second, []int{3, 4}}, {third, []int{5}}} {
		epochs, losses := trained(t, l, tt.run)
		if diff := cmp.Diff(tt.epochs, epochs); diff != "" {
			t.Errorf("epochs (-want +got):\n%s", diff)
		}
		maps.Copy(together, losses)
		var version captioner.ModelVersion
		if code := l.get(t, "/models/"+string(tt.run.Result.Version), &version); code != http.StatusOK {
			t.Fatalf("GET /models: status %d", code)
		}
		continues[version.Lineage.Continues] = true
	}
	if len(continues) != 3 || !continues[""] {
		t.Errorf("the versions continue %v, want the first nothing and the others a checkpoint each", continues)
	}
	_, losses := trained(t, l, whole)
	if diff := cmp.Diff(losses, together); diff != "" || len(losses) != 5 {
		t.Errorf("validation losses (-one training +three):\n%s", diff)
	}

	// There must be something left to train.
	_, stderr, code := p.run(t, "train", "--resume", third.ID, "--epochs", "3", "--server", l.api)
	if code == 0 || !strings.Contains(stderr, "raise training.epochs") {
		t.Errorf("captioner train --resume with fewer epochs: exit code %d\n%s", code, stderr)
	}
}

// trained returns the epochs that a completed run's own training has taken and
// the validation losses after them, by step.
func trained(t *testing.T, l *local, run captioner.Run) (epochs []int, losses map[int]float64) {
	t.Helper()
	if run.State != captioner.RunCompleted || run.Result == nil {
		t.Fatalf("run %s ended as %s: %s", run.ID, run.State, run.Error)
	}
	losses = map[int]float64{}
	for _, e := range l.watch(t, run.ID).end(t) {
		var sample struct{ Epoch int }
		var points []captioner.Metric
		var err error
		switch e.Event {
		case "sample":
			err = json.Unmarshal(e.Data, &sample)
			epochs = append(epochs, sample.Epoch)
		case "metrics":
			err = json.Unmarshal(e.Data, &points)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range points {
			if p.Name == "validation_loss" {
				losses[p.Step] = p.Value
			}
		}
	}
	return epochs, losses
}
