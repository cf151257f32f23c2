package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
)

// TestPromoteAndRollBack trains two versions, and moves between them by the API
// and the command line under requests: each move is in effect in less than 5 s,
// and none of the requests fails.
func TestPromoteAndRollBack(t *testing.T) {
	p := needPrograms(t)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	cfg := smallConfig(pictures(t, 100), 40)
	cfg.Promotion.Margin = 1 // whatever the scores, the newest version goes live
	first := l.trainVersion(t, cfg)
	cfg.Training.Seed++
	second := l.trainVersion(t, cfg)
	if first == second {
		t.Fatalf("two seeds made one version, %s", first)
	}
	afterSecond := time.Now()

	picture := readFile(t, firstPicture(t, cfg.Data.Images))
	stop := l.keepAsking(t, picture)
	const limit = 5 * time.Second
	inEffect := func(t *testing.T, version captioner.Digest, start time.Time) {
		t.Helper()
		took := time.Since(start)
		if r, code := l.predict(t, picture, "greedy"); code != http.StatusOK || r.ModelVersion != version {
			t.Errorf("after the move version %s answers with status %d, want %s", r.ModelVersion.Short(), code, version.Short())
		}
		if took > limit {
			t.Errorf("the move took %v, want less than %v", took, limit)
		}
		t.Logf("in effect after %v", took.Round(time.Millisecond))
	}

	t.Run("promote by the API", func(t *testing.T) {
		start := time.Now()
		d := l.deploy(t, "/models/"+first.Short()+"/promote", `{"reason": "it counts better"}`, http.StatusOK)
		if d.Version != first || d.Previous != second || d.Generation != 3 || !d.Confirmed || d.Servers != 1 {
			t.Errorf("reply = %+v, want the first version, confirmed by one server", d)
		}
		inEffect(t, first, start)
	})
	t.Run("roll back by the API", func(t *testing.T) {
		start := time.Now()
		if d := l.deploy(t, "/models/rollback", "", http.StatusOK); d.Version != second || !d.Confirmed {
			t.Errorf("reply = %+v, want the second version, confirmed", d)
		}
		inEffect(t, second, start)
	})
	t.Run("roll back by the command line", func(t *testing.T) {
		start := time.Now()
		var d captioner.Deployment
		out := p.mustRun(t, "models", "rollback", "--reason", "worse than the first", "--data-dir", l.dataDir, "--json")
		if err := json.Unmarshal([]byte(out), &d); err != nil || d.Version != first || !d.Confirmed {
			t.Errorf("printed %s (%v), want the first version, confirmed", out, err)
		}
		inEffect(t, first, start)
	})
	t.Run("nothing to roll back to", func(t *testing.T) {
		l.deploy(t, "/models/rollback", "", http.StatusConflict)
	})
	t.Run("promote by the command line", func(t *testing.T) {
		start := time.Now()
		if out := p.mustRun(t, "models", "promote", second.Short(), "--data-dir", l.dataDir); !strings.Contains(out, "served by 1 running server") {
			t.Errorf("printed %s", out)
		}
		inEffect(t, second, start)
		if d := l.deploy(t, "/models/"+string(second)+"/promote", "", http.StatusOK); d.Moved || d.Generation != 6 || !d.Confirmed {
			t.Errorf("promoting what is live: %+v, want no move", d)
		}
	})
	stop()

	t.Run("log", func(t *testing.T) {
		var log struct{ Deployments []captioner.AliasMove }
		l.get(t, "/deployments", &log)
		var got []string
		for _, m := range log.Deployments {
			actor, _, _ := strings.Cut(m.Actor, ":")
			got = append(got, string(m.Kind)+" "+actor)
		}
		want := "promote cli, rollback cli, rollback api, promote api"
		if len(got) != 6 || strings.Join(got[:4], ", ") != want {
			t.Errorf("log = %v, want %s and two runs", got, want)
		}
		l.get(t, "/deployments?at="+url.QueryEscape(afterSecond.Format(time.RFC3339Nano)), &log)
		if len(log.Deployments) != 1 || log.Deployments[0].Version != second || log.Deployments[0].Generation != 2 {
			t.Errorf("live after the second run: %+v, want the second version", log.Deployments)
		}
		if out := p.mustRun(t, "deployments", "--data-dir", l.dataDir); !strings.Contains(out, "worse than the first") {
			t.Errorf("captioner deployments prints\n%s", out)
		}
	})
	t.Run("every answer is as described", func(t *testing.T) {
		var runs struct{ Runs []captioner.Run }
		l.get(t, "/runs", &runs)
		l.checkDescribed(t, map[string]string{"id": runs.Runs[0].ID, "version": first.Short()})
	})
	t.Run("damaged bundle", func(t *testing.T) {
		flip(t, blobOf(t, l.dataDir, first))
		l.deploy(t, "/models/"+string(first)+"/promote", "", http.StatusConflict)
		if r, code := l.predict(t, picture, "greedy"); code != http.StatusOK || r.ModelVersion != second {
			t.Errorf("after the refusal version %s answers with status %d, want %s", r.ModelVersion.Short(), code, second.Short())
		}
	})
	l.stop(t)
}

// trainVersion runs the configuration and returns the version, which is live.
func (l *local) trainVersion(t *testing.T, cfg captioner.Config) captioner.Digest {
	t.Helper()
	run := l.awaitEnd(t, l.startRun(t, cfg), 2*time.Minute)
	if run.State != captioner.RunCompleted || !run.Result.Deployed {
		t.Fatalf("the run ended as %s (%s), result %+v; want a version that is live", run.State, run.Error, run.Result)
	}
	return run.Result.Version
}

// deploy posts to a path of the API and expects a status.
func (l *local) deploy(t *testing.T, path, body string, want int) captioner.Deployment {
	t.Helper()
	resp, err := http.Post(l.api+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var d captioner.Deployment
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil || resp.StatusCode != want {
		t.Fatalf("POST %s: %s (%v), want %d", path, resp.Status, err, want)
	}
	return d
}

// keepAsking captions one picture after another until the returned function is
// called; each must be answered.
func (l *local) keepAsking(t *testing.T, picture []byte) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		asked := 0
		for {
			select {
			case <-done:
				t.Logf("%d requests were answered meanwhile", asked)
				return
			default:
			}
			if r, code := l.predict(t, picture, "greedy"); code != http.StatusOK {
				t.Errorf("request %d: status %d %s", asked, code, r.Code)
			}
			asked++
		}
	}()
	return func() { close(done); <-ended }
}

// blobOf is the file with the graph of a version in the blob store.
func blobOf(t *testing.T, dataDir string, version captioner.Digest) string {
	t.Helper()
	data := readFile(t, filepath.Join(dataDir, "cache", "models", string(version), "saved_model", "saved_model.pb"))
	digest := string(captioner.DigestOf(data))
	return filepath.Join(dataDir, "blobs", digest[:2], digest)
}
