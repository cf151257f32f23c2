package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/captioner/captioner"
)

// long says that the tests may take their time, as in `make verify`.
var long = os.Getenv("CAPTIONER_LONG_TESTS") != ""

// stagesOf are the stages that a run of these tests is disturbed in: all of them
// in a long test.
func stagesOf(t *testing.T, few ...string) []string {
	t.Helper()
	if !long {
		return few
	}
	return []string{
		"ValidateConfig", "PrepareData", "ExtractFeatures", "Train", "CaptionShard", "Evaluate", "RegisterVersion",
		"DecidePromotion", "WriteDeploymentManifest", "Deploy",
	}
}

// awaitStage waits until a run is in a stage, or beyond it where the stage is over
// in a moment, and returns where it is.
func (l *local) awaitStage(t *testing.T, id, stage string) string {
	t.Helper()
	now := ""
	eventually(t, 2*time.Minute, "the run comes to "+stage, func() bool {
		run := l.describe(t, id)
		reached := false
		for _, s := range run.Stages {
			if s.Name == stage {
				reached = s.State != "pending"
			}
			if s.State == "running" {
				now = s.Name
			}
		}
		return reached || run.State.Ended()
	})
	return now
}

// TestStoppedInEveryStage ends the local mode with SIGTERM in each stage of a run:
// it exits with 0 within 30 s, leaves no process and no temporary file, and the run
// completes after the next start.
func TestStoppedInEveryStage(t *testing.T) {
	p := needPrograms(t)
	dataDir := filepath.Join(t.TempDir(), "data")
	cfg := smallConfig(pictures(t, 100), 300)
	l := startLocal(t, p, dataDir)
	for i, stage := range stagesOf(t, "ExtractFeatures", "Train", "RegisterVersion") {
		cfg.Training.Seed, cfg.Model.ImageSize = uint64(i+1), 32+8*(i%4) // nothing is found done
		id := l.startRun(t, cfg)
		in := l.awaitStage(t, id, stage)
		begin := time.Now()
		if code := l.end(t, func() { l.cmd.Process.Signal(syscall.SIGTERM) }); code != 0 {
			t.Errorf("stopped in %s: exit code %d", in, code)
		}
		took := time.Since(begin)
		t.Logf("stopped in %q, on the way to %s, within %v", in, stage, took.Round(time.Millisecond))
		if took > 30*time.Second {
			t.Errorf("stopped in %s: it took %v, want at most 30 s", in, took)
		}
		if left := l.leftOvers(t); len(left) > 0 {
			t.Errorf("stopped in %s: %v are left", in, left)
		}
		l.start(t)
		if run := l.awaitEnd(t, id, 2*time.Minute); run.State != captioner.RunCompleted {
			t.Fatalf("stopped in %s the run ended as %s: %s", in, run.State, run.Error)
		}
	}
	l.stop(t)
}

// leftOvers are temporary files in the data folder.
func (l *local) leftOvers(t *testing.T) []string {
	t.Helper()
	var left []string
	for _, pattern := range []string{"blobs/incoming/*", "runs/*/attempt-*", "runs/*/.tmp-*", "cache/*/.build-*"} {
		found, err := filepath.Glob(filepath.Join(l.dataDir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	return left
}

// TestRequestsAreDrained: once told to stop the server says on /ready that it goes
// away, and a request that has begun is answered all the same.
func TestRequestsAreDrained(t *testing.T) {
	p := needPrograms(t)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"), "--drain-delay", "5s")
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.api, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const body = `{"reason": "a test"}`
	fmt.Fprintf(conn, "POST /models/ffff/promote HTTP/1.1\r\nHost: captioner\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	replies := bufio.NewReader(conn)
	// The server asks for the body: it is at work on the request.
	if line, err := replies.ReadString('\n'); err != nil || !strings.Contains(line, " 100 ") {
		t.Fatalf("the server says %q, %v; want 100 Continue", line, err)
	}
	if _, err := replies.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	code := l.end(t, func() {
		l.cmd.Process.Signal(syscall.SIGTERM)
		eventually(t, 5*time.Second, "the server is not ready any more", func() bool {
			return l.get(t, "/ready", nil) == http.StatusServiceUnavailable
		})
		fmt.Fprint(conn, body)
		resp, err := http.ReadResponse(replies, nil)
		if err != nil {
			t.Fatalf("the request that had begun was not answered: %v", err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("the request that had begun: %s, want 404 for a version that is not there", resp.Status)
		}
	})
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestSecondSignalForces: who does not want to wait for the end sends the signal
// again; no process is left, and the run goes on after the next start.
func TestSecondSignalForces(t *testing.T) {
	p := needPrograms(t)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	cfg := smallConfig(pictures(t, 100), 400)
	cfg.Training.CheckpointInterval = captioner.Duration(time.Second)
	id := l.startRun(t, cfg)
	l.awaitTraining(t, id, 50)
	// An engine that stands still cannot save its state: an orderly end would wait.
	engines := l.children(t, "captioner-engine")
	for _, pid := range engines {
		syscall.Kill(pid, syscall.SIGSTOP)
	}
	children := l.children(t, "")
	cmd := l.cmd
	cmd.Process.Signal(syscall.SIGTERM)
	eventually(t, 20*time.Second, "the server no longer listens", func() bool {
		resp, err := http.Get(l.api + "/health")
		if err == nil {
			resp.Body.Close()
		}
		return err != nil
	})
	cmd.Process.Signal(syscall.SIGTERM)
	<-l.ended
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v, want by the second SIGTERM", cmd.ProcessState)
	}
	eventually(t, 20*time.Second, "the children end with their parent", func() bool { return !slices.ContainsFunc(children, alive) })
	l.cmd = nil
	l.start(t)
	if run := l.awaitEnd(t, id, 2*time.Minute); run.State != captioner.RunCompleted {
		t.Errorf("the run ended as %s: %s", run.State, run.Error)
	}
	l.stop(t)
}

// TestCancelledAnywhere cancels runs in their stages and at random moments: each
// ends within 5 s and a training step, and nothing is left of any of them, no
// process, descriptor, goroutine or temporary file, and what was live is.
func TestCancelledAnywhere(t *testing.T) {
	p := needPrograms(t)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	cfg := smallConfig(pictures(t, 100), 200)
	whole := time.Duration(0) // of a run that finds its data prepared
	for seed := range uint64(2) {
		begin := time.Now()
		cfg.Training.Seed = 2000 + seed
		run := l.awaitEnd(t, l.startRun(t, cfg), 2*time.Minute)
		whole = time.Since(begin)
		if run.State != captioner.RunCompleted {
			t.Fatalf("run %d ended as %s: %s", seed, run.State, run.Error)
		}
	}
	cancel := func(name string, number int, await func(id string)) {
		t.Helper()
		before := l.live(t)
		cfg.Training.Seed, cfg.Model.ImageSize = uint64(number), 32+8*(number%4)
		id := l.startRun(t, cfg)
		await(id)
		asked := time.Now()
		resp, err := http.Post(l.api+"/runs/"+id+"/cancel", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted && resp.StatusCode != http.StatusConflict { // it may have ended
			t.Errorf("%s: POST /runs/%s/cancel: %s", name, id, resp.Status)
		}
		run := l.awaitEnd(t, id, 20*time.Second)
		took := time.Since(asked)
		t.Logf("%s: %s after %v", name, run.State, took.Round(time.Millisecond))
		if took > cancelLimit {
			t.Errorf("%s: the run ended %v after the cancel, want at most %v", name, took, cancelLimit)
		}
		if run.State == captioner.RunFailed {
			t.Errorf("%s: the run failed: %s", name, run.Error)
		}
		if now := l.live(t); run.State == captioner.RunCancelled && now != before {
			t.Errorf("%s: live was %+v, is %+v", name, before, now)
		}
	}
	// The first cancellations warm everything up that stays.
	cancel("warm up", 1000, func(id string) { l.awaitTraining(t, id, 10) })
	quiet := l.footprint(t)
	for i, stage := range stagesOf(t, "PrepareData", "ExtractFeatures", "Train", "CaptionShard") {
		cancel("in "+stage, i+1, func(id string) { l.awaitStage(t, id, stage) })
	}
	moments := 2
	if long {
		moments = 100
	}
	seed := rand.Uint64()
	t.Logf("random moments of seed %d within %v", seed, whole)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range moments {
		after := time.Duration(random.Int64N(int64(whole)))
		cancel(fmt.Sprintf("%v after the start", after.Round(time.Millisecond)), 100+i, func(string) { <-time.After(after) })
	}
	eventually(t, 30*time.Second, "nothing more is left than before", func() bool { return l.footprint(t).within(quiet) })
	t.Logf("before %+v, after %+v", quiet, l.footprint(t))
	if left := l.leftOvers(t); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	l.stop(t)
}

// cancelLimit is how long a run may take to end: 5 s, a training step, and as much
// as a busy machine takes to notice.
const cancelLimit = 6 * time.Second

// live is the alias as the API shows it.
func (l *local) live(t *testing.T) captioner.Alias {
	t.Helper()
	var models struct{ Production *captioner.Alias }
	l.get(t, "/models?limit=1", &models)
	if models.Production == nil {
		return captioner.Alias{}
	}
	return *models.Production
}

// footprint is what a process holds.
type footprint struct{ processes, descriptors, goroutines int }

// slack is how many goroutines and descriptors come and go with connections.
const slack = 20

func (f footprint) within(before footprint) bool {
	return f.processes <= before.processes && f.descriptors <= before.descriptors+slack && f.goroutines <= before.goroutines+slack
}

var goroutines = regexp.MustCompile(`(?m)^go_goroutines (\d+)`)

func (l *local) footprint(t *testing.T) footprint {
	t.Helper()
	http.DefaultClient.CloseIdleConnections()
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", l.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(l.api + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	metrics, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := goroutines.FindStringSubmatch(string(metrics))
	if found == nil {
		t.Fatalf("no go_goroutines among the metrics:\n%s", firstLines(string(metrics), 20))
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return footprint{len(l.children(t, "")), len(descriptors), n}
}

func firstLines(text string, n int) string {
	lines := strings.SplitN(text, "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], "\n")
}
