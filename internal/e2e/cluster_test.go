package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/temporaldev"
)

// TestServeAndWorker runs API and worker as processes of their own against a
// Temporal server, as in production. The worker is killed in mid-training;
// another one finishes the run, and the server takes the version over.
func TestServeAndWorker(t *testing.T) {
	p := needPrograms(t)
	temporal, err := temporaldev.Start(t.Context(), temporaldev.Options{Binary: p.temporal})
	if err != nil {
		t.Fatal(err)
	}
	defer temporal.Stop()
	dataDir := filepath.Join(t.TempDir(), "data")
	server := process(t, p, dataDir, "serve", "--temporal-address", temporal.Address(), "--temporal-ui-url", temporal.UIURL())
	server.start(t)

	// Without a worker a run waits.
	cfg := smallConfig(pictures(t, 100), 400)
	cfg.Training.CheckpointInterval = captioner.Duration(time.Second)
	id := server.startRun(t, cfg)
	if run := server.describe(t, id); run.State != captioner.RunRunning || !strings.HasPrefix(run.TemporalURL, temporal.UIURL()) {
		t.Errorf("without a worker the run is %s, its page %s", run.State, run.TemporalURL)
	}

	worker := func(queue string) *local {
		w := process(t, p, dataDir, "worker", "--temporal-address", temporal.Address(), "--task-queues", queue)
		w.launch(t)
		return w
	}
	control, victim := worker("captioner"), worker("captioner-engine")
	server.awaitTraining(t, id, 150)
	victim.kill(t)
	successor := worker("captioner-engine")
	run := server.awaitEnd(t, id, 3*time.Minute)
	if run.State != captioner.RunCompleted || !run.Result.Deployed {
		t.Fatalf("the run ended as %s (%s), result %+v", run.State, run.Error, run.Result)
	}
	if r, code := server.predict(t, readFile(t, firstPicture(t, cfg.Data.Images)), "beam"); code != 200 || r.ModelVersion != run.Result.Version {
		t.Errorf("/predict: status %d by version %s, want version %s", code, r.ModelVersion, run.Result.Version)
	}
	if !strings.Contains(successor.logText(), "training resumes") {
		t.Error("the second worker started the training over")
	}
	for _, l := range []*local{server, control, successor} {
		l.stop(t)
	}
}

// process prepares a server of a Temporal cluster.
func process(t testing.TB, p programs, dataDir string, command ...string) *local {
	t.Helper()
	l := &local{programs: p, dataDir: dataDir, args: append(command, "--data-dir", dataDir)}
	if command[0] == "serve" {
		port := freePort(t)
		l.api = fmt.Sprintf("http://127.0.0.1:%d", port)
		l.args = append(l.args, "--listen", fmt.Sprintf("127.0.0.1:%d", port))
	}
	t.Cleanup(func() {
		if l.cmd != nil {
			l.cmd.Process.Signal(syscall.SIGKILL)
			<-l.ended
		}
		if t.Failed() {
			t.Logf("log of captioner %s:\n%s", l.args[0], l.logText())
		}
	})
	return l
}
