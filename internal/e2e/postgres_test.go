package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/store/postgrestest"
)

// TestPostgres runs the whole pipeline with the records in PostgreSQL, has a
// second server share them, and takes the database away while both serve, and
// while both are asked without pause and a run trains.
func TestPostgres(t *testing.T) {
	p := needPrograms(t)
	database := postgrestest.Start(t)
	address := database.Database(t)
	dataDir := filepath.Join(t.TempDir(), "data")
	l := startLocal(t, p, dataDir, "--database", address)
	data := pictures(t, 120)
	cfg := smallConfig(data, 60)
	picture := readFile(t, firstPicture(t, data.Images))

	run := l.awaitEnd(t, l.startRun(t, cfg), 2*time.Minute)
	if run.State != captioner.RunCompleted || run.Result == nil || !run.Result.Deployed {
		t.Fatalf("the run ended as %s (%s), result %+v", run.State, run.Error, run.Result)
	}
	version := run.Result.Version
	if _, err := os.Stat(filepath.Join(dataDir, "captioner.db")); err == nil {
		t.Error("there is a captioner.db although the records are elsewhere")
	}
	out := p.mustRun(t, "models", "list", "--data-dir", dataDir, "--database", address)
	if !strings.Contains(out, version.Short()) || !strings.Contains(out, "live") {
		t.Errorf("captioner models list does not name the live version %s:\n%s", version.Short(), out)
	}

	// Another process with the same database serves the same version.
	second := startServer(t, p, "serve", "--data-dir", dataDir, "--database", address, "--temporal-address", l.temporal)
	servers := []*local{l, second}
	eventually(t, time.Minute, "the second server serves the version", func() bool {
		r, code := second.predict(t, picture, "beam")
		return code == http.StatusOK && r.ModelVersion == version
	})

	t.Run("database restarted while serving", func(t *testing.T) {
		database.Stop(t)
		for _, s := range servers {
			eventually(t, 20*time.Second, "the server notices that the database is away", func() bool {
				return strings.Contains(s.logText(), "the database is away")
			})
			for range 10 {
				if r, code := s.predict(t, picture, "greedy"); code != http.StatusOK || r.ModelVersion != version {
					t.Errorf("/predict without the database: status %d %s", code, r.Code)
				}
			}
			if code := s.get(t, "/ready", nil); code != http.StatusOK {
				t.Errorf("/ready without the database: status %d", code)
			}
			if code := s.get(t, "/models", nil); code != http.StatusServiceUnavailable {
				t.Errorf("/models without the database: status %d, want 503", code)
			}
		}
		database.Restart(t)
		for _, s := range servers {
			eventually(t, 20*time.Second, "the server finds the database again", func() bool {
				return strings.Contains(s.logText(), "the database is back") && s.get(t, "/models", nil) == http.StatusOK
			})
		}
	})

	t.Run("database stopped under load", func(t *testing.T) {
		outage, steps := 5*time.Second, 1500
		if os.Getenv("CAPTIONER_LONG_TESTS") != "" {
			outage, steps = time.Minute, 8000
		}
		id := l.startRun(t, smallConfig(data, steps))
		l.awaitTraining(t, id, 100)
		var stop []func()
		for _, s := range servers {
			stop = append(stop, s.keepAsking(t, picture))
		}
		database.Stop(t)
		time.Sleep(outage) // the length is what is tried
		database.Restart(t)
		back := time.Now()
		var before float64
		eventually(t, 15*time.Second, "the run is told of again", func() bool {
			var run captioner.Run
			ok := l.get(t, "/runs/"+id, &run) == http.StatusOK
			before = run.Metrics["step"]
			return ok
		})
		eventually(t, time.Until(back.Add(15*time.Second)), "the run goes on", func() bool {
			run := l.describe(t, id)
			return run.Metrics["step"] > before || run.State.Ended()
		})
		t.Logf("%.1f s after its return the run went on", time.Since(back).Seconds())
		run := l.awaitEnd(t, id, 10*time.Minute) // a training gets what the servers leave
		for _, stop := range stop {
			stop()
		}
		if run.State != captioner.RunCompleted {
			t.Fatalf("the run ended as %s: %s", run.State, run.Error)
		}
		for step, times := range points(t, l.watch(t, id).end(t)) {
			if times != 1 {
				t.Errorf("metric %s was written %d times", step, times)
			}
		}
		var models struct {
			Models []captioner.ModelVersion `json:"models"`
		}
		if l.get(t, "/models", &models); len(models.Models) != 2 {
			t.Errorf("%d versions, want one of each run", len(models.Models))
		}
		if run.Metrics["step"] != float64(steps) {
			t.Errorf("the last metric is of step %v, want %d", run.Metrics["step"], steps)
		}
	})

	second.stop(t)
	l.stop(t)
}

// startServer starts another captioner server, such as `captioner serve`, and
// waits until it listens.
func startServer(t testing.TB, p programs, args ...string) *local {
	t.Helper()
	port := freePort(t)
	s := &local{programs: p, api: fmt.Sprintf("http://127.0.0.1:%d", port),
		args: append(args, "--listen", fmt.Sprintf("127.0.0.1:%d", port))}
	t.Cleanup(func() {
		s.stop(t)
		if t.Failed() {
			t.Logf("log of captioner %s:\n%s", args[0], s.logText())
		}
	})
	s.start(t)
	return s
}
