package e2e_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	_ "modernc.org/sqlite" // reads the records beside the process that writes them

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/failpoint"
	"github.com/captioner/captioner/internal/temporaldev"
)

const (
	// tortureHeartbeat is how soon a silent step is tried again.
	tortureHeartbeat = 2 * time.Second
	// tortureLimit bounds a run with all that is done to it.
	tortureLimit = 10 * time.Minute
	// temporalCommand and engineCommand are in the command lines of the children.
	temporalCommand = "start-dev"
	engineCommand   = "captioner-engine"
	// nobody is what was killed where there was no such child.
	nobody = "nobody"
	// lostSlack is what the loss of a kill may exceed the checkpoint interval by:
	// a step and the writing of the checkpoint, on a busy machine.
	lostSlack = 5 * time.Second
	// maxKills is how often one run is killed at random at most.
	maxKills = 8
	// seedsFile keeps the seeds of the runs that failed. They come first the next
	// time, until they pass.
	seedsFile = "../../bin/torture-seeds.txt"
)

// TestTorture kills a run at every failpoint, at random moments and in its
// recovery, stops it for longer than a heartbeat may take, and each time compares
// what it ends in with the undisturbed run. `make torture` is the long form:
// CAPTIONER_TORTURE_KILLS is the number of random kills, CAPTIONER_TORTURE_MINUTES
// bounds their time, CAPTIONER_TORTURE_SEED repeats one run.
func TestTorture(t *testing.T) {
	to := newTorture(t)
	t.Run("failpoints", to.failpoints)
	t.Run("stopped worker", to.stoppedWorker)
	t.Run("random", to.random)
}

// TestNoFailpoints: the programs that people run have none.
func TestNoFailpoints(t *testing.T) {
	ordinary, tortured := needPrograms(t), needFailpoints(t)
	names := map[string]string{ // by the program with the place, "" for both
		failpoint.Variable: "", failpoint.Written: "", failpoint.Synced: "", failpoint.Renamed: "", failpoint.BundleHashed: "captioner",
		failpoint.BeforeCommit: "captioner", failpoint.AfterCommit: "captioner", failpoint.DeploymentWritten: "captioner",
	}
	for _, program := range []struct{ name, ordinary, tortured string }{
		{"captioner", ordinary.captioner, tortured.captioner}, {"engine", ordinary.engine, tortured.engine},
	} {
		without, with := readFile(t, program.ordinary), readFile(t, program.tortured)
		for name, where := range names {
			if bytes.Contains(without, []byte(name)) {
				t.Errorf("the ordinary %s contains %q", program.name, name)
			}
			if (where == "" || where == program.name) && !bytes.Contains(with, []byte(name)) {
				t.Errorf("the %s with failpoints does not contain %q, so that its absence says nothing", program.name, name)
			}
		}
	}
}

// needFailpoints returns the programs that were built with failpoints.
func needFailpoints(t testing.TB) programs {
	t.Helper()
	p := needPrograms(t)
	dir := os.Getenv("CAPTIONER_FAILPOINT_BINARIES")
	if _, err := os.Stat(filepath.Join(dir, "captioner-engine")); dir == "" || err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CAPTIONER_FAILPOINT_BINARIES must name the folder of the programs with failpoints: run `make test-e2e`")
		}
		t.Skip("CAPTIONER_FAILPOINT_BINARIES does not name the folder of the programs with failpoints: run `make failpoints`")
	}
	p.captioner, p.engine = filepath.Join(dir, "captioner"), filepath.Join(dir, "captioner-engine")
	return p
}

// torture is what all runs share: a configuration, and what it makes undisturbed.
type torture struct {
	programs
	cfg      captioner.Config
	want     captioner.Digest
	took     time.Duration
	restarts durations
}

func newTorture(t *testing.T) *torture {
	to := &torture{programs: needFailpoints(t)}
	data := picturesIn(t, filepath.Join(t.TempDir(), "pictures"), 60)
	data.SplitFiles = captioner.SplitFiles{}
	data.MinWordCount = 1
	addPictures(t, data, map[string][]byte{"damaged.png": brokenPictures(t).files["damaged.png"]})
	to.cfg = smallConfig(data, 150)
	to.cfg.Model.ImageSize, to.cfg.Training.Threads = 32, 1
	to.cfg.Training.CheckpointInterval = captioner.Duration(time.Second)

	v := to.patient(t)
	start := time.Now()
	v.await(t, "the undisturbed run ends", v.finished)
	to.took = time.Since(start)
	run := v.outcome(t)
	if run.State != captioner.RunCompleted || run.Result == nil {
		t.Fatalf("the undisturbed run ended as %s: %s", run.State, run.Error)
	}
	to.want = run.Result.Version
	v.check(t)
	t.Logf("undisturbed, the run takes %s and makes version %s", to.took.Round(time.Millisecond), to.want.Short())
	return to
}

// failpoints arms every point at once, restarts whatever dies of one, and expects
// that the run has died at each.
func (to *torture) failpoints(t *testing.T) {
	armed := filepath.Join(t.TempDir(), "armed")
	for _, point := range failpoint.All() {
		if err := os.MkdirAll(armed, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(armed, point), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v := to.patient(t, failpoint.Variable+"="+armed)
	v.await(t, "the run ends", v.finished)
	v.check(t)
	left, err := os.ReadDir(armed)
	if err != nil {
		t.Fatal(err)
	}
	for _, point := range left {
		t.Errorf("the run has not passed the failpoint %q", point.Name())
	}
	t.Logf("killed at %d failpoints, %d restarts of the control plane", len(failpoint.All())-len(left), v.starts-1)
}

// stoppedWorker stops the worker that trains for longer than a heartbeat may take,
// has another one take the training over, and then lets the first one go on: what
// it still writes must change nothing.
func (to *torture) stoppedWorker(t *testing.T) {
	v := to.patient(t)
	second := v.secondWorker(t)
	temporal, err := client.Dial(client.Options{HostPort: v.temporal, Namespace: temporaldev.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	defer temporal.Close()
	// trainer returns the process that trains now, 0 for none.
	trainer := func() (pid int) {
		described, err := temporal.DescribeWorkflowExecution(t.Context(), v.id, "")
		if err != nil {
			return 0
		}
		for _, a := range described.GetPendingActivities() {
			if a.GetActivityType().GetName() == "Train" {
				fmt.Sscanf(a.GetLastWorkerIdentity(), "%d@", &pid)
			}
		}
		return pid
	}
	stopped := 0
	v.await(t, "training begins", func() bool {
		if v.query(`SELECT COALESCE(MAX(metric_sequence), 0) FROM trainings`) > 0 {
			stopped = trainer()
		}
		return stopped != 0 || v.finished()
	})
	if stopped == 0 {
		t.Fatal("the run ended before a worker could be stopped")
	}
	if err := syscall.Kill(stopped, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	v.await(t, "another worker has taken the training over", func() bool {
		return v.query(`SELECT COALESCE(MAX(attempt), 0) FROM checkpoints`) > 1
	})
	if err := syscall.Kill(stopped, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	v.await(t, "the run ends", v.finished)
	second.Process.Signal(syscall.SIGTERM)
	if err := second.Wait(); err != nil {
		t.Errorf("the second worker ended with %v", err)
	}
	v.check(t)
	if claimed, kept := v.query(`SELECT MAX(attempt) FROM trainings`), v.query(`SELECT MAX(attempt) FROM checkpoints`); claimed != kept {
		t.Errorf("the checkpoint is attempt %d's, want that of the newest, %d", kept, claimed)
	}
}

// random kills runs at random moments until there were enough kills.
func (to *torture) random(t *testing.T) {
	want := variable(t, "CAPTIONER_TORTURE_KILLS", 20)
	limit := time.Duration(variable(t, "CAPTIONER_TORTURE_MINUTES", 4)) * time.Minute
	seeds := keptSeeds(t)
	next := uint64(time.Now().UnixNano() / 1e6 % 1e9)
	if seed := variable(t, "CAPTIONER_TORTURE_SEED", 0); seed > 0 {
		seeds, want = []uint64{uint64(seed)}, 0
	}
	start, kills, runs := time.Now(), map[string]int{}, 0
	to.restarts = nil // those at failpoints die before they get anywhere
	for ; sum(kills) < want || len(seeds) > 0; runs++ {
		gone := time.Since(start)
		if gone > limit {
			t.Logf("the time is over")
			break
		}
		if n := sum(kills); n > 0 {
			t.Logf("%d of %d kills in %d runs, %s gone, about %s left", n, want, runs,
				gone.Round(time.Second), min(limit-gone, gone/time.Duration(n)*time.Duration(max(0, want-n))).Round(time.Second))
		}
		seed := next
		if len(seeds) > 0 {
			seed, seeds = seeds[0], seeds[1:]
		} else {
			next++
		}
		passed := t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { to.randomRun(t, seed, want-sum(kills), kills) })
		keepSeed(t, seed, !passed)
		if !passed {
			t.Errorf("repeat it with: make torture SEED=%d", seed)
		}
	}
	t.Logf("%d random kills in %d runs: %v", sum(kills), runs, kills)
	to.restarts.report(t)
}

// randomRun kills one run; the seed decides how often, whom and when.
func (to *torture) randomRun(t *testing.T, seed uint64, most int, kills map[string]int) {
	r := rand.New(rand.NewPCG(seed, 0))
	v := to.patient(t)
	count := 1 + r.IntN(maxKills)
	if most > 0 {
		count = min(count, most)
	}
	for range count {
		kind, part, after := r.IntN(20), r.Float64(), r.Float64()
		var done string
		switch {
		case kind < 6:
			v.pass(t, time.Duration(after*float64(to.took)))
			done = v.killControl(t, "control plane")
		case kind < 11:
			v.pass(t, time.Duration(after*float64(to.took)))
			done = v.killChild(t, "engine", engineCommand, part)
		case kind < 14:
			v.pass(t, time.Duration(after*float64(to.took)))
			done = v.killChild(t, "Temporal", temporalCommand, part)
		case kind < 18: // in its recovery, or its first start
			v.killControl(t, "control plane")
			v.restart(t)
			v.wait(t, time.Duration(after*float64(3*time.Second)))
			done = v.killControl(t, "control plane that starts")
		default:
			v.pass(t, time.Duration(after*float64(to.took)))
			done = v.pause(t, tortureHeartbeat+time.Second)
		}
		if done == "" {
			break // the run has ended
		}
		if done != nobody {
			kills[done]++
		}
	}
	v.await(t, "the run ends", v.finished)
	v.check(t)
}

// patient is a local mode with one run, in a folder of its own, that things are
// done to. Whenever it has ended it is started again, as a supervisor does.
type patient struct {
	*local
	torture *torture
	id      string
	dir     string
	ready   <-chan struct{}
	starts  int
	// since is when the process was last started again, until the run goes on.
	since  time.Time
	behind int64 // the progress by then
}

// patient starts a local mode and its run.
func (to *torture) patient(t *testing.T, env ...string) *patient {
	t.Helper()
	dir, err := os.MkdirTemp("", "torture-") // short: engines' sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			os.RemoveAll(dir)
		}
	})
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	v := &patient{torture: to, dir: dir}
	v.local = newLocal(t, to.programs, filepath.Join(dir, "data"), "up")
	v.env = append(env, "TMPDIR="+filepath.Join(dir, "tmp"), "CAPTIONER_HEARTBEAT_TIMEOUT="+tortureHeartbeat.String())
	v.restart(t)
	body, err := json.Marshal(to.cfg)
	if err != nil {
		t.Fatal(err)
	}
	v.await(t, "the run is accepted", func() bool { return v.isReady() && v.post(t, body) })
	return v
}

// post asks for the run, as often as it takes, and reports whether it has begun.
func (v *patient) post(t testing.TB, body []byte) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.api+"/runs", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", filepath.Base(v.dir))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false // it was killed meanwhile
	}
	defer resp.Body.Close()
	var run captioner.Run
	if resp.StatusCode != http.StatusAccepted || json.NewDecoder(resp.Body).Decode(&run) != nil {
		return false
	}
	v.id = run.ID
	return true
}

// outcome waits until Temporal, too, knows that the run has ended.
func (v *patient) outcome(t testing.TB) (run captioner.Run) {
	t.Helper()
	v.await(t, "the run is known to have ended", func() bool {
		resp, err := http.Get(v.api + "/runs/" + v.id)
		if err != nil {
			return false // it was killed meanwhile
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK && json.NewDecoder(resp.Body).Decode(&run) == nil && run.State.Ended()
	})
	return run
}

// restart starts the process unless it runs.
func (v *patient) restart(t testing.TB) {
	if v.cmd != nil {
		select {
		case <-v.ended:
			v.cmd = nil
		default:
			return
		}
	}
	if v.starts++; v.starts > 1 {
		v.since, v.behind = time.Now(), v.progress()
	}
	v.ready = v.launch(t)
}

func (v *patient) isReady() bool {
	select {
	case <-v.ready:
		return true
	default:
		return false
	}
}

// await restarts what has ended until the condition holds.
func (v *patient) await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	eventually(t, tortureLimit, what, func() bool {
		v.restart(t)
		if !v.since.IsZero() && v.progress() > v.behind {
			v.torture.restarts.add(time.Since(v.since))
			v.since = time.Time{}
		}
		return condition()
	})
}

// wait lets time pass, unless the run ends before.
func (v *patient) wait(t testing.TB, d time.Duration) {
	until := time.Now().Add(d)
	v.await(t, "time passes", func() bool { return time.Now().After(until) || v.finished() })
}

// pass lets time pass from when it serves.
func (v *patient) pass(t testing.TB, d time.Duration) {
	v.await(t, "it serves", func() bool { return v.isReady() || v.finished() })
	v.wait(t, d)
}

// killControl kills the control plane and returns what for; "" when the run has
// ended.
func (v *patient) killControl(t testing.TB, what string) string {
	if v.cmd == nil || v.finished() {
		return ""
	}
	v.kill(t)
	v.checkLost(t)
	return what
}

// killChild kills one of the children whose command line contains text.
func (v *patient) killChild(t testing.TB, what, text string, part float64) string {
	if v.finished() {
		return ""
	}
	pids := v.children(t, text)
	if len(pids) == 0 {
		return nobody
	}
	syscall.Kill(pids[int(part*float64(len(pids)))], syscall.SIGKILL)
	if text == temporalCommand { // without which the control plane ends
		eventually(t, time.Minute, "the control plane ends", func() bool {
			select {
			case <-v.ended:
				return true
			default:
				return false
			}
		})
	}
	v.checkLost(t)
	return what
}

// pause stops the control plane for a time.
func (v *patient) pause(t testing.TB, d time.Duration) string {
	if v.finished() {
		return ""
	}
	v.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(d)
	v.cmd.Process.Signal(syscall.SIGCONT)
	return "stopped for a time"
}

// query returns the number that a statement gives, 0 where the database does not
// answer or has none yet.
func (v *patient) query(statement string, args ...any) (n int64) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(v.dataDir, "captioner.db")+"?mode=ro&_pragma=busy_timeout(2000)")
	if err != nil {
		return 0
	}
	defer db.Close()
	if err := db.QueryRow(statement, args...).Scan(&n); err != nil {
		return 0
	}
	return n
}

func (v *patient) finished() bool {
	return v.query(`SELECT COUNT(*) FROM runs WHERE id = $1 AND finished_at IS NOT NULL`, v.id) > 0
}

// progress counts what runs have achieved: it grows with each point of the curves,
// each result, each move of the alias and the end of the run.
func (v *patient) progress() int64 {
	return v.query(`SELECT (SELECT COALESCE(SUM(metric_sequence), 0) FROM trainings) + (SELECT COUNT(*) FROM step_results)
	  + (SELECT COUNT(*) FROM alias_moves) + (SELECT COUNT(*) FROM runs WHERE finished_at IS NOT NULL)`)
}

// checkLost compares the last sign of training with the last checkpoint, or with
// the beginning of the attempt that gave it: while nothing runs nothing is lost.
func (v *patient) checkLost(t testing.TB) {
	lost := time.Duration(v.query(`
		SELECT COALESCE(last.time - MAX(
		    COALESCE((SELECT MAX(created_at) FROM checkpoints), 0),
		    COALESCE((SELECT MAX(started_at / 1000) FROM attempts WHERE started_at / 1000 <= last.time), 0)), 0)
		  FROM (SELECT MAX(time) AS time FROM metrics) last`)) * time.Microsecond
	if limit := time.Duration(v.torture.cfg.Training.CheckpointInterval) + lostSlack; lost > limit {
		t.Errorf("a kill has lost %s of training, want at most %s", lost, limit)
	}
}

// check compares a run that has ended with the undisturbed one, stops the local
// mode, and looks for what it may have left behind.
func (v *patient) check(t *testing.T) {
	t.Helper()
	run := v.outcome(t)
	if run.State != captioner.RunCompleted || run.Result == nil {
		t.Errorf("the run ended as %s: %s", run.State, run.Error)
		return
	}
	if v.torture.want != "" && run.Result.Version != v.torture.want {
		t.Errorf("the run made version %s, the undisturbed one %s", run.Result.Version, v.torture.want)
	}
	var models struct{ Models []captioner.ModelVersion }
	v.get(t, "/models", &models)
	if len(models.Models) != 1 || models.Models[0].Version != run.Result.Version {
		t.Errorf("%d versions are registered, want one", len(models.Models))
	}
	var log struct{ Deployments []captioner.AliasMove }
	v.get(t, "/deployments", &log)
	if len(log.Deployments) != 1 || log.Deployments[0].Version != run.Result.Version {
		t.Errorf("the alias has moved as in %+v, want once, to the version", log.Deployments)
	}
	picture := readFile(t, firstPicture(t, v.torture.cfg.Data.Images))
	eventually(t, time.Minute, "the version answers", func() bool {
		r, code := v.predict(t, picture, "greedy")
		return code == http.StatusOK && r.ModelVersion == run.Result.Version
	})
	v.stop(t)
	deployment := readFile(t, filepath.Join(v.dataDir, "runs", v.id, "deployment.json"))
	if captioner.DigestOf(deployment) != run.Result.Deployment {
		t.Error("deployment.json is not the one of the run's result")
	}
	checkRunFiles(t, v.dataDir, run, v.torture.cfg.Training.Steps)
	v.checkLeft(t)
}

// checkLeft looks for processes, temporary files and blobs that are not whole.
func (v *patient) checkLeft(t testing.TB) {
	t.Helper()
	for _, pid := range mentioning(t, v.dir) {
		t.Errorf("process %d is left", pid)
	}
	temporary, err := os.ReadDir(filepath.Join(v.dir, "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range temporary {
		t.Errorf("%s is left among the temporary files", entry.Name())
	}
	err = filepath.WalkDir(v.dataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		for _, pattern := range []string{"*.tmp", ".tmp-*", ".build-*", "attempt-*", ".*.safetensors.*"} {
			if match, _ := filepath.Match(pattern, name); match {
				t.Errorf("%s is left", path)
			}
		}
		if !entry.IsDir() && filepath.Base(filepath.Dir(filepath.Dir(path))) == "blobs" {
			if digest := captioner.DigestOf(readFile(t, path)); string(digest) != name {
				t.Errorf("blob %s has the bytes of %s", name, digest)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// mentioning lists the processes whose command line or environment names dir.
func mentioning(t testing.TB, dir string) (pids []int) {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		cmdline, _ := os.ReadFile(filepath.Join(entry, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(entry, "environ"))
		if bytes.Contains(cmdline, []byte(dir)) || bytes.Contains(environ, []byte(dir)) {
			pid, _ := strconv.Atoi(filepath.Base(entry))
			pids = append(pids, pid)
		}
	}
	return pids
}

// secondWorker starts a worker beside the local mode, in the same data folder.
func (v *patient) secondWorker(t testing.TB) *exec.Cmd {
	t.Helper()
	cmd := v.command(context.Background(), "worker", "--data-dir", v.dataDir, "--temporal-address", v.temporal, "--json")
	cmd.Env = append(cmd.Env, v.env...)
	cmd.Stderr = &lockedWriter{mu: &v.mu, w: &v.log}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	if err := json.NewDecoder(out).Decode(&struct{}{}); err != nil {
		t.Fatalf("the second worker does not start: %v\n%s", err, v.logText())
	}
	return cmd
}

// durations are times of which the slowest matter.
type durations []time.Duration

func (d *durations) add(took time.Duration) { *d = append(*d, took) }

// report logs how long restarts took until the run went on.
func (d durations) report(t testing.TB) {
	if len(d) == 0 {
		return
	}
	slices.Sort(d)
	at := func(share float64) time.Duration {
		return d[min(len(d)-1, int(share*float64(len(d))))].Round(10 * time.Millisecond)
	}
	t.Logf("%d restarts; from the start to progress: median %s, p90 %s, p99 %s, longest %s", len(d), at(0.5), at(0.9), at(0.99), at(1))
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// variable returns the number in an environment variable.
func variable(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// keptSeeds reads the seeds of the runs that failed.
func keptSeeds(t testing.TB) (seeds []uint64) {
	t.Helper()
	data, err := os.ReadFile(seedsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		seed, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", seedsFile, err)
		}
		seeds = append(seeds, seed)
	}
	return seeds
}

// keepSeed puts a seed into the file of those that failed, or takes it out.
func keepSeed(t testing.TB, seed uint64, failed bool) {
	t.Helper()
	seeds := slices.DeleteFunc(keptSeeds(t), func(s uint64) bool { return s == seed })
	if failed {
		seeds = append(seeds, seed)
	}
	var text strings.Builder
	for _, s := range seeds {
		fmt.Fprintln(&text, s)
	}
	if err := os.WriteFile(seedsFile, []byte(text.String()), 0o644); err != nil {
		t.Error(err)
	}
}
