package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/demodata"
)

// programs are the paths of what the tests start.
type programs struct{ captioner, engine, temporal string }

func needPrograms(t testing.TB) programs {
	t.Helper()
	p := programs{os.Getenv("CAPTIONER_BINARY"), os.Getenv("CAPTIONER_ENGINE"), os.Getenv("CAPTIONER_TEMPORAL")}
	if p.captioner == "" || p.engine == "" || p.temporal == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("CAPTIONER_BINARY, CAPTIONER_ENGINE and CAPTIONER_TEMPORAL must name the programs: run `make test-e2e`")
		}
		t.Skip("CAPTIONER_BINARY, CAPTIONER_ENGINE and CAPTIONER_TEMPORAL are not set: run `make test-e2e`")
	}
	return p
}

// command returns a captioner command with the programs in its environment.
func (p programs) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.captioner, args...)
	cmd.Env = append(os.Environ(), "CAPTIONER_ENGINE="+p.engine, "CAPTIONER_TEMPORAL="+p.temporal)
	return cmd
}

// run runs a captioner command to its end and returns what it printed and its
// exit code.
func (p programs) run(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := p.command(t.Context(), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("captioner %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// mustRun is run for a command that has to succeed.
func (p programs) mustRun(t testing.TB, args ...string) string {
	t.Helper()
	stdout, stderr, code := p.run(t, args...)
	if code != 0 {
		t.Fatalf("captioner %s: exit code %d\n%s\n%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// local is a running local mode.
type local struct {
	programs
	dataDir  string
	api      string
	temporal string
	cmd      *exec.Cmd
	ended    chan struct{}
	args     []string
	env      []string
	cpu      string // the one core that it may use; empty for all

	mu  sync.Mutex
	log bytes.Buffer
}

// startLocal starts `captioner up` on free ports, with more flags if any are
// given, and waits until it serves.
func startLocal(t testing.TB, p programs, dataDir string, flags ...string) *local {
	t.Helper()
	l := newLocal(t, p, dataDir, append([]string{"up"}, flags...)...)
	l.start(t)
	return l
}

// newLocal prepares a command that starts the local mode, on free ports.
func newLocal(t testing.TB, p programs, dataDir string, command ...string) *local {
	t.Helper()
	apiPort, temporalPort, uiPort := freePort(t), freePort(t), freePort(t)
	l := &local{
		programs: p, dataDir: dataDir,
		api: fmt.Sprintf("http://127.0.0.1:%d", apiPort), temporal: fmt.Sprintf("127.0.0.1:%d", temporalPort),
		args: append(command, "--data-dir", dataDir, "--listen", fmt.Sprintf("127.0.0.1:%d", apiPort),
			"--temporal-port", fmt.Sprint(temporalPort), "--temporal-ui-port", fmt.Sprint(uiPort)),
	}
	t.Cleanup(func() {
		l.stop(t)
		if t.Failed() {
			t.Logf("log of captioner %s:\n%s", l.args[0], l.logText())
		}
	})
	return l
}

// start starts the process, again after a stop or a kill, and waits until it
// serves.
func (l *local) start(t testing.TB) {
	t.Helper()
	ready := l.launch(t)
	select {
	case <-ready:
	case <-l.ended:
		t.Fatalf("captioner %s ended at its start:\n%s", l.args[0], l.logText())
	case <-time.After(60 * time.Second):
		t.Fatalf("captioner %s did not start within a minute:\n%s", l.args[0], l.logText())
	}
}

// launch starts the process. The channel closes when it prints the API's
// address.
func (l *local) launch(t testing.TB) <-chan struct{} {
	t.Helper()
	cmd := l.command(context.Background(), l.args...)
	if l.cpu != "" {
		pinned := exec.Command("taskset", append([]string{"--cpu-list", l.cpu}, cmd.Args...)...)
		pinned.Env = cmd.Env
		cmd = pinned
	}
	cmd.Env = append(cmd.Env, l.env...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = &lockedWriter{mu: &l.mu, w: &l.log}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended, ready := make(chan struct{}), make(chan struct{})
	l.cmd, l.ended = cmd, ended
	go func() {
		lines := bufio.NewScanner(stdout)
		var once sync.Once
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "API ") {
				once.Do(func() { close(ready) })
			}
		}
		cmd.Wait()
		close(ended)
	}()
	return ready
}

// stop ends the process as Ctrl-C does and checks that it left no other.
func (l *local) stop(t testing.TB) {
	t.Helper()
	if l.cmd == nil {
		return
	}
	if code := l.end(t, func() { l.cmd.Process.Signal(os.Interrupt) }); code != 0 {
		t.Errorf("captioner %s ended with exit code %d", l.args[0], code)
	}
}

// end waits for the process to end after what is done to it, checks that it has
// left no child, and returns its exit code.
func (l *local) end(t testing.TB, do func()) int {
	t.Helper()
	children := l.children(t, "")
	do()
	select {
	case <-l.ended:
	case <-time.After(60 * time.Second):
		l.cmd.Process.Kill()
		<-l.ended
		t.Errorf("captioner %s did not stop within a minute", l.args[0])
	}
	for _, pid := range children {
		if alive(pid) {
			t.Errorf("captioner %s left process %d behind", l.args[0], pid)
		}
	}
	code := l.cmd.ProcessState.ExitCode()
	l.cmd = nil
	return code
}

// kill ends the control plane with SIGKILL; its children must follow.
func (l *local) kill(t testing.TB) {
	t.Helper()
	children := l.children(t, "")
	l.cmd.Process.Kill()
	<-l.ended
	eventually(t, 20*time.Second, "the children end with their parent", func() bool {
		return !slices.ContainsFunc(children, alive)
	})
	l.cmd = nil
}

func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func (l *local) logText() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.String()
}

// children returns the child processes of the local mode whose command line
// contains text.
func (l *local) children(t testing.TB, text string) []int {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, entry := range entries {
		stat, err := os.ReadFile(filepath.Join(entry, "stat"))
		if err != nil {
			continue
		}
		// "pid (comm) state ppid pgrp …"; comm may contain spaces.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 2 || fields[1] != fmt.Sprint(l.cmd.Process.Pid) {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(entry, "cmdline"))
		if strings.Contains(strings.ReplaceAll(string(cmdline), "\x00", " "), text) {
			var pid int
			fmt.Sscan(filepath.Base(entry), &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// get decodes the JSON at a path of the API.
func (l *local) get(t testing.TB, path string, out any) int {
	t.Helper()
	resp, err := http.Get(l.api + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if out != nil && resp.StatusCode < 400 {
		if err := json.Unmarshal(data, out); err != nil {
			t.Fatalf("GET %s: %v: %s", path, err, data)
		}
	}
	return resp.StatusCode
}

// startRun posts a configuration and returns the run's ID.
func (l *local) startRun(t testing.TB, cfg any) string {
	t.Helper()
	body, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(l.api+"/runs", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("POST /runs: %s: %s", resp.Status, data)
	}
	var run captioner.Run
	if err := json.Unmarshal(data, &run); err != nil {
		t.Fatalf("POST /runs: %v: %s", err, data)
	}
	if want := "/runs/" + run.ID; resp.Header.Get("Location") != want {
		t.Errorf("POST /runs: Location %q, want %q", resp.Header.Get("Location"), want)
	}
	return run.ID
}

// post sends JSON with a key, if there is one, and returns the reply; nil where
// there was none.
func (l *local) post(t testing.TB, path, body, key string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.api+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err.Error()
	}
	return resp, string(data)
}

// run describes a run.
func (l *local) describe(t testing.TB, id string) captioner.Run {
	t.Helper()
	var run captioner.Run
	if code := l.get(t, "/runs/"+id, &run); code != http.StatusOK {
		t.Fatalf("GET /runs/%s: status %d", id, code)
	}
	return run
}

// awaitEnd waits until a run has ended.
func (l *local) awaitEnd(t testing.TB, id string, limit time.Duration) captioner.Run {
	t.Helper()
	var run captioner.Run
	eventually(t, limit, "the run ends", func() bool {
		run = l.describe(t, id)
		return run.State.Ended()
	})
	return run
}

// awaitTraining waits until a run has trained for at least some steps.
func (l *local) awaitTraining(t testing.TB, id string, steps float64) captioner.Run {
	t.Helper()
	var run captioner.Run
	eventually(t, 2*time.Minute, fmt.Sprintf("training reaches step %.0f", steps), func() bool {
		run = l.describe(t, id)
		if run.State.Ended() {
			t.Fatalf("the run ended before step %.0f: %s %s", steps, run.State, run.Error)
		}
		return run.Metrics["step"] >= steps
	})
	return run
}

// reply is what POST /predict answers.
type reply struct {
	Caption      string                 `json:"caption"`
	Algorithm    string                 `json:"algorithm"`
	ImageSize    []int                  `json:"image_size"`
	ModelVersion captioner.Digest       `json:"model_version"`
	Captions     []captioner.Hypothesis `json:"captions"`
	Code         string                 `json:"code"`
}

// predict sends a picture and returns the reply and its status.
func (l *local) predict(t testing.TB, picture []byte, algorithm string) (reply, int) {
	t.Helper()
	body, contentType := predictForm(t, picture, algorithm)
	resp, err := http.Post(l.api+"/predict", contentType, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var r reply
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		t.Fatalf("POST /predict: %s: %v", resp.Status, err)
	}
	return r, resp.StatusCode
}

// eventually polls a condition of another process until it holds.
func eventually(t testing.TB, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("within %s it did not happen that %s", limit, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// freePort returns a port that nobody listens on now.
func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// lockedWriter lets two goroutines share a buffer.
type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (w *lockedWriter) Write(data []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(data)
}

// pictures makes a small demonstration data set in a folder of the test.
func pictures(t testing.TB, images int) captioner.DataConfig {
	t.Helper()
	return picturesIn(t, filepath.Join(t.TempDir(), "pictures"), images)
}

func picturesIn(t testing.TB, dir string, images int) captioner.DataConfig {
	t.Helper()
	if err := demodata.Generate(t.Context(), dir, demodata.Options{Images: images, Seed: 7}, nil); err != nil {
		t.Fatal(err)
	}
	data := captioner.DefaultConfig().Data
	data.Images = filepath.Join(dir, demodata.ImagesDir)
	data.Captions = filepath.Join(dir, demodata.CaptionsFile)
	data.SplitFiles = captioner.SplitFiles{
		Train:      filepath.Join(dir, demodata.TrainFile),
		Validation: filepath.Join(dir, demodata.ValidationFile),
		Test:       filepath.Join(dir, demodata.TestFile),
	}
	return data
}

// smallConfig is a model that trains in seconds.
func smallConfig(data captioner.DataConfig, steps int) captioner.Config {
	cfg := captioner.DefaultConfig()
	cfg.Data = data
	cfg.Model.ImageSize = 32
	cfg.Model.Width, cfg.Model.Layers, cfg.Model.Heads, cfg.Model.FeedForward = 32, 1, 2, 64
	cfg.Training.Steps, cfg.Training.WarmupSteps, cfg.Training.BatchSize = steps, 10, 8
	return cfg
}
