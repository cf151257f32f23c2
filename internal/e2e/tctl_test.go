package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
)

// TestTctl starts and inspects runs by deploy/tctl, on a real server.
func TestTctl(t *testing.T) {
	p := needPrograms(t)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	tctl := func(env string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join("..", "..", "deploy", "tctl"), args...)
		cmd.Env = append(os.Environ(), "CAPTIONER_TEMPORAL="+p.temporal, env)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("deploy/tctl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	address := "TEMPORAL_ADDRESS=" + l.temporal

	// A run of a given configuration, which goes through to its end.
	input, err := json.Marshal(smallConfig(pictures(t, 100), 40))
	if err != nil {
		t.Fatal(err)
	}
	tctl(address, "workflow", "start", "TrainAndDeploy", "--workflow-id", "given", "--input", string(input))
	if run := l.awaitEnd(t, "given", 2*time.Minute); run.State != captioner.RunCompleted {
		t.Errorf("the run ended as %s: %s", run.State, run.Error)
	}

	// The shortest form, with the address as an option in both places.
	out := tctl("X=", "--address", l.temporal, "--namespace=default", "workflow", "start", "TrainAndDeploy", "--output", "json")
	var started struct {
		WorkflowID string `json:"workflowId"`
		Type       string `json:"type"`
	}
	if err := json.Unmarshal([]byte(out), &started); err != nil || started.WorkflowID == "" || started.Type != "TrainAndDeploy" {
		t.Fatalf("workflow start prints %s (%v)", out, err)
	}
	history := tctl("X=", "workflow", "show", "--workflow-id", started.WorkflowID, "--output", "json", "--address", l.temporal)
	var events struct {
		Events []struct {
			Attributes struct {
				TaskQueue struct {
					Name string `json:"name"`
				} `json:"taskQueue"`
				Input struct {
					Payloads []struct {
						Data []byte `json:"data"`
					} `json:"payloads"`
				} `json:"input"`
			} `json:"workflowExecutionStartedEventAttributes"`
		} `json:"events"`
	}
	if err := json.Unmarshal([]byte(history), &events); err != nil || len(events.Events) == 0 {
		t.Fatalf("workflow show prints %s (%v)", history, err)
	}
	first := events.Events[0].Attributes
	if got := first.Input.Payloads; first.TaskQueue.Name != "captioner" || len(got) != 1 || string(got[0].Data) != "{}" {
		t.Errorf("started on task queue %q with input %s, want captioner and {}", first.TaskQueue.Name, got)
	}
	tctl(address, "workflow", "cancel", "--workflow-id", started.WorkflowID)
	if run := l.awaitEnd(t, started.WorkflowID, time.Minute); run.State != captioner.RunCancelled {
		t.Errorf("the run ended as %s, want cancelled", run.State)
	}
	l.stop(t)
}
