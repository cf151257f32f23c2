package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/captioner/captioner"
)

// TestInterrupted: a command that is interrupted at its work exits with 130,
// and with 1 when a part of it dies. It leaves no process behind either way.
func TestInterrupted(t *testing.T) {
	p := needPrograms(t)
	config := filepath.Join(t.TempDir(), "config.yaml")
	writeJSON(t, config, smallConfig(pictures(t, 100), 1_000_000))
	serving := func(_ *local, ready <-chan struct{}) bool {
		select {
		case <-ready:
			return true
		default:
			return false
		}
	}
	training := func(l *local, _ <-chan struct{}) bool { return strings.Contains(l.logText(), "Train  ") }
	interrupt := func(t *testing.T, l *local) { l.cmd.Process.Signal(os.Interrupt) }
	tests := []struct {
		name    string
		command []string
		begun   func(l *local, ready <-chan struct{}) bool
		do      func(t *testing.T, l *local)
		code    int
		says    string
	}{
		{"demo", []string{"demo"}, serving, interrupt, 130, "captioner: interrupted"},
		{"train", []string{"train", "--config", config}, training, interrupt, 130, "goes on from its checkpoint"},
		{"train without Temporal", []string{"train", "--config", config}, training, func(t *testing.T, l *local) {
			for _, pid := range l.children(t, "start-dev") {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}, 1, "the Temporal process ended unexpectedly"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLocal(t, p, filepath.Join(t.TempDir(), "data"), tt.command...)
			l.env = []string{"CAPTIONER_SERVER=" + l.api} // where nobody listens
			ready := l.launch(t)
			eventually(t, time.Minute, "the work begins", func() bool { return tt.begun(l, ready) })
			if code := l.end(t, func() { tt.do(t, l) }); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if !strings.Contains(l.logText(), tt.says) {
				t.Errorf("it does not say %q:\n%s", tt.says, l.logText())
			}
		})
	}
}

// TestDemoOutlivesItsRun: who cancels the demonstration's run on the page does
// not end the server that the page comes from.
func TestDemoOutlivesItsRun(t *testing.T) {
	l := newLocal(t, needPrograms(t), filepath.Join(t.TempDir(), "data"), "demo")
	l.env = []string{"CAPTIONER_SERVER=" + l.api}
	l.start(t)
	var list struct{ Runs []captioner.Run }
	eventually(t, 2*time.Minute, "the run begins", func() bool { return l.get(t, "/runs", &list) == http.StatusOK && len(list.Runs) == 1 })
	response, err := http.Post(l.api+"/runs/"+list.Runs[0].ID+"/cancel", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	eventually(t, time.Minute, "it says so and goes on", func() bool {
		return strings.Contains(l.logText(), "has not come to its end: run "+list.Runs[0].ID+" was cancelled")
	})
	if code := l.get(t, "/health", nil); code != http.StatusOK {
		t.Errorf("GET /health: status %d", code)
	}
	if code := l.end(t, func() { l.cmd.Process.Signal(os.Interrupt) }); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
