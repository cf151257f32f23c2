package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/captioner/captioner"
)

// TestLocalMode walks a user's path: start, train, look, caption, verify, use
// Temporal's own command line, damage a file, stop.
func TestLocalMode(t *testing.T) {
	p := needPrograms(t)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	data := pictures(t, 120)
	cfg := smallConfig(data, 60)

	// Nothing is live yet.
	if code := l.get(t, "/ready", nil); code != http.StatusOK {
		t.Errorf("/ready without a version: status %d, want 200", code)
	}
	picture := readFile(t, firstPicture(t, data.Images))
	if r, code := l.predict(t, picture, "beam"); code != http.StatusServiceUnavailable || r.Code != "no_model" {
		t.Errorf("/predict without a version: status %d, code %q, want 503 no_model", code, r.Code)
	}

	// The command line starts a run at the server and follows it.
	file := filepath.Join(t.TempDir(), "config.yaml")
	writeJSON(t, file, cfg) // JSON is YAML
	out := p.mustRun(t, "train", "--config", file, "--server", l.api, "--json")
	var run captioner.Run
	if err := json.Unmarshal([]byte(out), &run); err != nil {
		t.Fatalf("captioner train --json: %v:\n%s", err, out)
	}
	if run.State != captioner.RunCompleted || run.Result == nil {
		t.Fatalf("the run ended as %s: %s", run.State, run.Error)
	}
	result := run.Result
	if !result.Version.Valid() || len(result.Evaluation.Scores) != 2 || len(result.Evaluation.Samples) == 0 {
		t.Errorf("result = %+v, want a version, two scores and samples", result)
	}
	if _, ok := result.Evaluation.Demonstration["pair_f1"]; !ok {
		t.Errorf("the demonstration's scores are missing: %v", result.Evaluation.Demonstration)
	}

	// A model this small may well be collapsed and rejected; make it live all the same.
	if !result.Deployed {
		t.Fatalf("not deployed: %s: %v", result.Decision.Outcome, result.Decision.Reasons)
	}
	t.Run("predict", func(t *testing.T) {
		for _, algorithm := range []string{"greedy", "beam"} {
			r, code := l.predict(t, picture, algorithm)
			if code != http.StatusOK || r.Caption == "" || r.ModelVersion != result.Version || r.Algorithm != algorithm {
				t.Errorf("%s: status %d, %+v, want a caption by version %s", algorithm, code, r, result.Version)
			}
		}
		if r, code := l.predict(t, []byte("no picture"), "beam"); code < 400 || code >= 500 {
			t.Errorf("text as a picture: status %d %s, want 4xx", code, r.Code)
		}
		out := p.mustRun(t, "predict", firstPicture(t, data.Images), "--server", l.api)
		if !strings.Contains(out, ": ") {
			t.Errorf("captioner predict printed %q", out)
		}
	})

	t.Run("look", func(t *testing.T) {
		for _, args := range [][]string{
			{"runs", "list", "--server", l.api}, {"runs", "show", run.ID, "--server", l.api},
			{"models", "list", "--data-dir", l.dataDir}, {"models", "show", result.Version.Short(), "--data-dir", l.dataDir},
			{"models", "verify", result.Version.Short(), "--data-dir", l.dataDir},
		} {
			if out := p.mustRun(t, args...); !strings.Contains(out, run.ID) && !strings.Contains(out, result.Version.Short()) {
				t.Errorf("captioner %s names neither the run nor the version:\n%s", strings.Join(args, " "), out)
			}
		}
		for _, path := range []string{"/", "/health", "/ready", "/metrics", "/model/info", "/models", "/models/" + string(result.Version), "/runs"} {
			if code := l.get(t, path, nil); code != http.StatusOK {
				t.Errorf("GET %s: status %d", path, code)
			}
		}
	})

	t.Run("progress", func(t *testing.T) { testProgress(t, l, run.ID) })

	t.Run("deployment manifest", func(t *testing.T) {
		var manifest struct {
			Version captioner.Digest `json:"version"`
		}
		found := readFile(t, filepath.Join(l.dataDir, "runs", run.ID, "deployment.json"))
		if err := json.Unmarshal(found, &manifest); err != nil || manifest.Version != result.Version {
			t.Errorf("deployment.json names version %q (%v), want %s", manifest.Version, err, result.Version)
		}
	})

	t.Run("second run reuses the first", func(t *testing.T) {
		again := l.awaitEnd(t, l.startRun(t, cfg), time.Minute)
		if again.State != captioner.RunCompleted || again.Result.Version != result.Version {
			t.Fatalf("the second run ended as %s (%s), version %v, want %s", again.State, again.Error, again.Result, result.Version)
		}
		for _, s := range again.Stages {
			if s.Name == "Train" && !s.Cached {
				t.Errorf("the second run trained again")
			}
		}
		testProgress(t, l, again.ID) // has the curves of the first
	})

	t.Run("bad configuration", func(t *testing.T) {
		bad := `{"data": {"images": "/does/not/exist", "captions": "/neither"}, "training": {"batch_size": -1, "learning_rat": 1}}`
		resp, err := http.Post(l.api+"/runs", "application/json", strings.NewReader(bad))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var reply struct {
			Errors []captioner.Problem `json:"errors"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil || resp.StatusCode != http.StatusUnprocessableEntity {
			t.Fatalf("status %s (%v), want 422", resp.Status, err)
		}
		if len(reply.Errors) < 2 {
			t.Errorf("problems = %v, want the unknown key and the negative batch size at least", reply.Errors)
		}

		// What only the worker can see is told with its place in the file.
		file := filepath.Join(t.TempDir(), "missing.yaml")
		writeFile(t, file, "# mine\ndata:\n  images: nowhere\n  captions: neither.txt\n")
		_, stderr, code := p.run(t, "train", "--config", file, "--server", l.api)
		if code != 2 || !strings.Contains(stderr, "line 3, column 11: data.images: does not exist") ||
			!strings.Contains(stderr, "line 4, column 13: data.captions: does not exist") {
			t.Errorf("captioner train: exit code %d, %s, want 2 and both paths with their lines", code, stderr)
		}
	})

	t.Run("temporal command line", func(t *testing.T) {
		input, _ := json.Marshal(cfg)
		temporal(t, l, "workflow", "start", "--type", "TrainAndDeploy", "--task-queue", "captioner", "--workflow-id", "by-hand", "--input", string(input))
		temporal(t, l, "workflow", "result", "--workflow-id", "by-hand")
		if out := temporal(t, l, "workflow", "query", "--workflow-id", "by-hand", "--name", "progress", "--output", "json"); !strings.Contains(out, "RegisterVersion") {
			t.Errorf("the query progress answers %s", out)
		}
		if out := temporal(t, l, "workflow", "describe", "--workflow-id", "by-hand"); !strings.Contains(out, "TrainAndDeploy") {
			t.Errorf("describe prints %s", out)
		}
		long := cfg
		long.Training.Steps = 1_000_000
		input, _ = json.Marshal(long)
		temporal(t, l, "workflow", "start", "--type", "TrainAndDeploy", "--task-queue", "captioner", "--workflow-id", "by-hand/2", "--input", string(input))
		l.awaitTraining(t, "by-hand%2F2", 20)
		temporal(t, l, "workflow", "cancel", "--workflow-id", "by-hand/2")
		if run := l.awaitEnd(t, "by-hand%2F2", 20*time.Second); run.State != captioner.RunCancelled {
			t.Errorf("the run that was cancelled by hand is %s", run.State)
		}
		// A run that was started from elsewhere is a run like any other.
		if run := l.describe(t, "by-hand"); run.State != captioner.RunCompleted {
			t.Errorf("the run by hand is %s", run.State)
		}
	})

	t.Run("engine killed while serving", func(t *testing.T) {
		killServingEngine(t, l, picture, result.Version)
	})

	t.Run("one bundle alone", func(t *testing.T) {
		bundle := filepath.Join(l.dataDir, "cache", "models", string(result.Version))
		out := p.mustRun(t, "predict", firstPicture(t, data.Images), "--bundle", bundle)
		if !strings.Contains(out, ": ") {
			t.Errorf("captioner predict --bundle printed %q", out)
		}
		serveBundle(t, p, bundle, picture, result.Version)
	})

	// A flipped byte anywhere is found; what is served goes on.
	t.Run("flipped byte", func(t *testing.T) {
		var blob string
		filepath.Walk(filepath.Join(l.dataDir, "cache", "models", string(result.Version)), func(path string, info os.FileInfo, err error) error {
			if err == nil && filepath.Base(path) == "saved_model.pb" {
				blob = path
			}
			return nil
		})
		flip(t, blob)
		_, stderr, code := p.run(t, "models", "verify", string(result.Version), "--data-dir", l.dataDir)
		if code == 0 {
			t.Errorf("models verify accepted a flipped byte")
		}
		if !strings.Contains(stderr, "saved_model.pb") {
			t.Errorf("models verify does not name the damaged file: %s", stderr)
		}
		if _, code := l.predict(t, picture, "greedy"); code != http.StatusOK {
			t.Errorf("/predict after the flip: status %d", code)
		}
	})

	l.stop(t)
	checkRunFiles(t, l.dataDir, run, 60)
}

// serveBundle serves a bundle as a container does: the port from the variable
// PORT, no data folder, an end by SIGTERM.
func serveBundle(t *testing.T, p programs, bundle string, picture []byte, version captioner.Digest) {
	t.Helper()
	port := fmt.Sprint(freePort(t))
	l := &local{programs: p, api: "http://127.0.0.1:" + port, args: []string{"serve", "--bundle", bundle}, env: []string{"PORT=" + port}}
	l.start(t)
	eventually(t, 30*time.Second, "the bundle is served", func() bool { return l.get(t, "/ready", nil) == http.StatusOK })
	for _, algorithm := range []string{"greedy", "beam"} {
		if r, code := l.predict(t, picture, algorithm); code != http.StatusOK || r.ModelVersion != version {
			t.Errorf("%s: status %d %s by version %s, want version %s", algorithm, code, r.Code, r.ModelVersion, version)
		}
	}
	for path, want := range map[string]int{"/health": 200, "/model/info": 200, "/metrics": 200, "/models": 404, "/runs": 503} {
		if code := l.get(t, path, nil); code != want {
			t.Errorf("GET %s: status %d, want %d", path, code, want)
		}
	}
	if children := l.children(t, ""); len(children) != 1 {
		t.Errorf("children %v, want the engine alone", children)
	}
	if code := l.end(t, func() { l.cmd.Process.Signal(syscall.SIGTERM) }); code != 0 {
		t.Errorf("captioner serve --bundle ended with exit code %d:\n%s", code, l.logText())
	}
}

// killServingEngine kills the serving engine under requests: every one of them
// must be answered, by a fresh engine, within 5 s.
func killServingEngine(t *testing.T, l *local, picture []byte, version captioner.Digest) {
	pids := l.children(t, filepath.Join("cache", "models"))
	if len(pids) != 1 {
		t.Fatalf("serving engines = %v, want one", pids)
	}
	const clients = 4
	slowest := make(chan time.Duration, clients)
	for range clients {
		go func() {
			var worst time.Duration
			for range 25 {
				start := time.Now()
				if r, code := l.predict(t, picture, "beam"); code != http.StatusOK || r.ModelVersion != version {
					t.Errorf("/predict while the engine is killed: status %d %s", code, r.Code)
				}
				worst = max(worst, time.Since(start))
			}
			slowest <- worst
		}()
	}
	syscall.Kill(pids[0], syscall.SIGKILL)
	for range clients {
		if worst := <-slowest; worst > 5*time.Second {
			t.Errorf("a request took %s, want at most 5 s", worst)
		}
	}
	if now := l.children(t, filepath.Join("cache", "models")); len(now) != 1 || now[0] == pids[0] {
		t.Errorf("serving engines after the kill = %v, want a new one", now)
	}
}

// temporal runs Temporal's own command line against the local server.
func temporal(t *testing.T, l *local, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), l.programs.temporal, append(args, "--address", l.temporal)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("temporal %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func firstPicture(t testing.TB, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.jpg"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no picture in %s (%v)", dir, err)
	}
	return found[0]
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeJSON(t testing.TB, name string, v any) {
	t.Helper()
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, name, string(data))
}

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit in the middle of a file.
func flip(t testing.TB, name string) {
	t.Helper()
	data := bytes.Clone(readFile(t, name))
	data[len(data)/2] ^= 1
	os.Chmod(name, 0o644)
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
