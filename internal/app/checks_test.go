package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/doctor"
	"github.com/captioner/captioner/internal/temporaldev"
	"github.com/captioner/captioner/internal/temporaldev/temporaltest"
	"github.com/captioner/captioner/workflows"
)

// TestNamespace asks a real server for a namespace that it has and for one that
// it has not: a worker for that one says so and starts nothing.
func TestNamespace(t *testing.T) {
	t.Setenv("MLFLOW_TRACKING_URI", "")
	server := temporaltest.Start(t)
	o := Options{Worker: true, TaskQueues: []string{workflows.TaskQueue}, DataDir: filepath.Join(t.TempDir(), "data"),
		TemporalAddress: server.Address(), TemporalNamespace: temporaldev.Namespace}
	checks, err := Checks(o)
	if err != nil {
		t.Fatal(err)
	}
	findings := doctor.Run(t.Context(), checks)
	if err := doctor.Err(findings); err != nil {
		t.Errorf("a worker lacks nothing: %v", err)
	}
	if len(findings) < 4 {
		t.Errorf("only %d checks", len(findings))
	}
	if _, err := os.Stat(o.DataDir); err == nil {
		t.Error("the checks have made the data folder")
	}

	o.TemporalNamespace = "captions"
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	err = a.Start(t.Context())
	if captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), `no namespace "captions"`) ||
		!strings.Contains(err.Error(), "--temporal-namespace") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v, want one sentence about the namespace", err)
	}
	if left, err := os.ReadDir(o.DataDir); err != nil || len(left) > 0 {
		t.Errorf("the data folder holds %v, %v: want nothing started", left, err)
	}
}
