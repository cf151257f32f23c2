package e2e_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/temporaldev"
)

// TestTrueStatus kills the worker of a training with SIGKILL, gives it another, and
// stops that one's engine with SIGSTOP: the run shows as recovering, running,
// stalled and running again, wherever it is shown.
func TestTrueStatus(t *testing.T) {
	p := needPrograms(t)
	const timeout, stall = 2 * time.Second, 2 * time.Second
	const limit = timeout + 5*time.Second
	temporal, err := temporaldev.Start(t.Context(), temporaldev.Options{Binary: p.temporal})
	if err != nil {
		t.Fatal(err)
	}
	defer temporal.Stop()
	dataDir := filepath.Join(t.TempDir(), "data")
	server := process(t, p, dataDir, "serve", "--temporal-address", temporal.Address())
	server.start(t)
	worker := func(queue string) *local {
		w := process(t, p, dataDir, "worker", "--temporal-address", temporal.Address(), "--task-queues", queue,
			"--heartbeat-timeout", timeout.String(), "--stall-after", stall.String())
		w.launch(t)
		return w
	}
	control, victim := worker("captioner"), worker("captioner-engine")

	cfg := smallConfig(pictures(t, 100), 1_000_000)
	cfg.Training.CheckpointInterval = captioner.Duration(time.Second)
	id := server.startRun(t, cfg)
	server.awaitTraining(t, id, 50)
	followed := server.followStates(t, id)
	shows := func(since time.Time, within time.Duration, state captioner.RunState, note string) {
		t.Helper()
		var run captioner.Run
		eventually(t, within, "the run is "+string(state), func() bool {
			run = server.describe(t, id)
			return run.State == state
		})
		t.Logf("%s after %v: %s", state, time.Since(since).Round(10*time.Millisecond), run.Note)
		if !strings.Contains(run.Note, note) || (note == "") != (run.Note == "") {
			t.Errorf("%s: note %q, want one about %q", state, run.Note, note)
		}
		var list struct{ Runs []captioner.Run }
		server.get(t, "/runs", &list)
		if len(list.Runs) != 1 || list.Runs[0].State != state {
			t.Errorf("the list shows %+v, want the run %s", list.Runs, state)
		}
		for told := captioner.RunState(""); told != state; {
			select {
			case told = <-followed:
			case <-time.After(limit):
				t.Fatalf("the event stream does not tell that the run is %s", state)
			}
		}
		if out := p.mustRun(t, "runs", "show", id, "--server", server.api); !strings.Contains(out, "state     "+string(state)+"\n") || !strings.Contains(out, note) {
			t.Errorf("captioner runs show does not say %s, %q:\n%s", state, note, out)
		}
	}

	killed := time.Now()
	victim.kill(t)
	shows(killed, limit, captioner.RunRecovering, "its worker was lost")

	successor := worker("captioner-engine")
	before := server.describe(t, id).Metrics["step"]
	shows(time.Now(), time.Minute, captioner.RunRunning, "")
	for range 3 { // reports, for the training to have a pace
		before = server.awaitTraining(t, id, before+1).Metrics["step"]
	}

	// The engine no longer computes, and its worker goes on to say that it lives.
	engines := successor.children(t, "captioner-engine")
	if len(engines) != 1 {
		t.Fatalf("engines %v, want one", engines)
	}
	stopped := time.Now()
	if err := syscall.Kill(engines[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	shows(stopped, time.Minute, captioner.RunStalled, "Train has taken no step for")
	if err := syscall.Kill(engines[0], syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	shows(time.Now(), limit, captioner.RunRunning, "")

	if resp, reply := server.post(t, "/runs/"+id+"/cancel", "", ""); resp == nil || resp.StatusCode != 202 {
		t.Errorf("cancel: %s", reply)
	}
	if run := server.awaitEnd(t, id, 30*time.Second); run.State != captioner.RunCancelled {
		t.Errorf("the run is %s, want cancelled", run.State)
	}
	for _, l := range []*local{server, control, successor} {
		l.stop(t)
	}
}

// followStates reads a run's event stream and gives the states that it tells.
func (l *local) followStates(t *testing.T, id string) <-chan captioner.RunState {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.api+"/runs/"+id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	states := make(chan captioner.RunState, 100)
	go func() {
		defer resp.Body.Close()
		name := ""
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<24)
		for lines.Scan() {
			if event, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = event
			}
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok || name != "state" {
				continue
			}
			var run captioner.Run
			if err := json.Unmarshal([]byte(data), &run); err != nil {
				t.Errorf("event state %s: %v", data, err)
			}
			states <- run.State
		}
	}()
	return states
}
