//go:build verify

package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/demodata/foreign"
)

// demonstrate runs `captioner demo --once` and returns what it printed.
func demonstrate(t *testing.T, p programs, dataDir string) string {
	t.Helper()
	cmd := p.command(t.Context(), "demo", "--once", "--data-dir", dataDir,
		"--listen", fmt.Sprintf("127.0.0.1:%d", freePort(t)),
		"--temporal-port", fmt.Sprint(freePort(t)), "--temporal-ui-port", fmt.Sprint(freePort(t)))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("captioner demo --once: %v\n%s", err, out.String())
	}
	return out.String()
}

// TestDemonstration is `make run-once`, twice: the scores that docs/results.md
// promises, and a second start that finds everything done.
func TestDemonstration(t *testing.T) {
	p := needPrograms(t)
	dataDir := filepath.Join(t.TempDir(), "data")
	t.Log(demonstrate(t, p, dataDir))

	var models struct {
		Models []captioner.ModelVersion `json:"models"`
		Live   captioner.Digest         `json:"live"`
	}
	if err := json.Unmarshal([]byte(p.mustRun(t, "models", "list", "--json", "--data-dir", dataDir)), &models); err != nil {
		t.Fatal(err)
	}
	if len(models.Models) != 1 || models.Models[0].Version != models.Live {
		t.Fatalf("versions = %+v, want one, live", models)
	}
	evaluation := models.Models[0].Evaluation
	greedy, _ := evaluation.Score("greedy")
	if greedy.BLEU4 < 0.55 {
		t.Errorf("greedy BLEU-4 = %.3f, want at least 0.55", greedy.BLEU4)
	}
	for _, name := range []string{"pair_f1", "pair_precision"} {
		if got := evaluation.Demonstration[name]; got < 0.93 {
			t.Errorf("%s = %.3f, want at least 0.93", name, got)
		}
	}

	start := time.Now()
	out := demonstrate(t, p, dataDir)
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("the second run took %s, want at most 15 s", took)
	}
	if !strings.Contains(out, string(models.Live)) {
		t.Errorf("the second run does not serve version %s:\n%s", models.Live, out)
	}
}

// TestForeignPictures trains with the defaults on pictures that the
// demonstration's generator did not make.
func TestForeignPictures(t *testing.T) {
	p := needPrograms(t)
	dir := filepath.Join(t.TempDir(), "foreign")
	if err := foreign.Generate(dir, 600, 1); err != nil {
		t.Fatal(err)
	}
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	run := l.awaitEnd(t, l.startRun(t, map[string]any{"data": map[string]any{
		"images": filepath.Join(dir, foreign.ImagesDir), "captions": filepath.Join(dir, foreign.CaptionsFile),
	}}), 15*time.Minute)
	if run.State != captioner.RunCompleted {
		t.Fatalf("the run ended as %s: %s", run.State, run.Error)
	}
	greedy, _ := run.Result.Evaluation.Score("greedy")
	t.Logf("greedy %+v", greedy)
	if greedy.BLEU4 < 0.45 {
		t.Errorf("greedy BLEU-4 = %.3f, want at least 0.45", greedy.BLEU4)
	}
	if run.Result.Decision.Outcome != captioner.Promote || !run.Result.Deployed {
		t.Errorf("decision = %+v, want a version that goes live", run.Result.Decision)
	}
	l.stop(t)
}

// TestGreyPictures trains the same model on the demonstration without its
// colours: it must not be able to name them.
func TestGreyPictures(t *testing.T) {
	p := needPrograms(t)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	run := l.awaitEnd(t, l.startRun(t, map[string]any{"model": map[string]any{"grayscale": true}}), 20*time.Minute)
	if run.State != captioner.RunCompleted {
		t.Fatalf("the run ended as %s: %s", run.State, run.Error)
	}
	if got := run.Result.Evaluation.Demonstration["pair_f1"]; got > 0.30 {
		t.Errorf("pair F1 on grey pictures = %.3f, want at most 0.30: grey levels give colours away", got)
	}
	l.stop(t)
}
