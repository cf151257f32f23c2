package workflows_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.uber.org/goleak"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities/activitiestest"
	"github.com/captioner/captioner/internal/temporaldev"
	"github.com/captioner/captioner/internal/temporaldev/temporaltest"
	"github.com/captioner/captioner/worker"
	"github.com/captioner/captioner/workflows"
)

// The tests in this file run on a real Temporal server.

// deployment is a server with a client, and workers on demand.
type deployment struct {
	server   *temporaldev.Server
	temporal client.Client
	runs     *workflows.Client
	fixture  *activitiestest.Fixture
}

func deploy(t *testing.T) *deployment {
	t.Helper()
	server := temporaltest.Start(t)
	d := &deployment{server: server, temporal: temporaltest.Client(t, server), fixture: activitiestest.New(t)}
	d.runs = &workflows.Client{Temporal: d.temporal, Store: d.fixture.Store, UIURL: server.UIURL()}
	return d
}

// work starts a worker; the returned function stops it.
func (d *deployment) work(t *testing.T) (stop func()) {
	t.Helper()
	w, err := worker.New(d.temporal, d.fixture.Activities, worker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			if err := w.Stop(context.Background()); err != nil {
				t.Errorf("stop the worker: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// await describes the run until it is as wanted.
func (d *deployment) await(t *testing.T, id string, what string, wanted func(captioner.Run) bool) captioner.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		run, err := d.runs.Describe(ctx, id)
		if err == nil && wanted(run) {
			return run
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the run was never %s; last seen %+v, %v", what, run, err)
		case <-ticker.C:
		}
	}
}

func TestRunOnServer(t *testing.T) {
	d := deploy(t)
	d.fixture.Activities.Demonstration = func(context.Context) (captioner.DataConfig, error) { return d.fixture.Data, nil }
	d.work(t)
	cfg := d.fixture.Config()
	run, err := d.runs.Start(t.Context(), cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	if run.State != captioner.RunRunning || len(run.Stages) != 10 || !strings.HasPrefix(run.ID, "train-") {
		t.Errorf("started run %+v", run)
	}
	result, err := d.runs.WaitResult(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	described, err := d.runs.Describe(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	if described.State != captioner.RunCompleted || described.FinishedAt == nil || described.Result == nil ||
		described.Result.Version != result.Version || described.Metrics["step"] != 20 {
		t.Errorf("described run %+v", described)
	}
	if want := "/namespaces/default/workflows/" + run.ID + "/"; !strings.Contains(described.TemporalURL, want) {
		t.Errorf("link %q, want it to contain %q", described.TemporalURL, want)
	}
	record, err := d.fixture.Store.RunRecord(t.Context(), run.ID)
	if err != nil || record.State != captioner.RunCompleted || record.Actor != "api" {
		t.Errorf("record %+v (%v)", record, err)
	}
	if p := record.Progress; p == nil || p.RunKey == "" || p.RunKey != described.RunKey || !p.Dataset.Valid() || len(p.Captions) != 3 {
		t.Errorf("progress in the record %+v, want the run key %q, the data set and three blobs of captions", p, described.RunKey)
	} else if diff := cmp.Diff(described.Stages, p.Stages); diff != "" {
		t.Errorf("stages in the record (-described +recorded):\n%s", diff)
	}

	if cfg, err := d.runs.Config(t.Context(), run.ID); err != nil || cfg.Training.Steps != 20 {
		t.Errorf("configuration %+v (%v), want that of the run", cfg, err)
	}

	t.Run("forgotten", func(t *testing.T) { testForgotten(t, d, record, described) })
	t.Run("command line", func(t *testing.T) { testCommandLine(t, d) })
	t.Run("idempotency key", func(t *testing.T) { testIdempotencyKey(t, d) })
	t.Run("failure", func(t *testing.T) { testFailure(t, d) })
	t.Run("dry run", func(t *testing.T) { testDryRun(t, d) })
	t.Run("list", func(t *testing.T) { testList(t, d, run.ID) })
	t.Run("overhead", func(t *testing.T) { testOverhead(t, d) })
}

// testForgotten describes a run that only its record knows, as after the
// retention of histories.
func testForgotten(t *testing.T, d *deployment, record captioner.RunRecord, want captioner.Run) {
	record.ID = "train-long-ago"
	if _, _, err := d.fixture.Store.PutRun(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	got, err := d.runs.Describe(t.Context(), record.ID)
	if err != nil {
		t.Fatal(err)
	}
	want.ID, want.TemporalRunID, want.TemporalURL = record.ID, "", ""
	want.StartedAt, want.FinishedAt = record.CreatedAt, record.FinishedAt
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// testCommandLine starts a run with the temporal command, as any client may.
func testCommandLine(t *testing.T, d *deployment) {
	command := func(args ...string) string {
		t.Helper()
		args = append(args, "--address", d.server.Address())
		out, err := exec.CommandContext(t.Context(), temporaltest.Binary(t), args...).CombinedOutput()
		if err != nil {
			t.Fatalf("temporal %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	for id, input := range map[string][]string{"by-hand": {"--input", "{}"}, "train/without-input": nil} {
		command(append([]string{"workflow", "start", "--type", "TrainAndDeploy", "--task-queue", "captioner", "--workflow-id", id}, input...)...)
		if _, err := d.runs.WaitResult(t.Context(), id); err != nil {
			t.Errorf("run %s: %v", id, err)
		}
		record, err := d.fixture.Store.RunRecord(t.Context(), id)
		if err != nil || record.Actor != "temporal" || record.State != captioner.RunCompleted {
			t.Errorf("record of %s: %+v (%v)", id, record, err)
		}
	}
	if out := command("workflow", "query", "--workflow-id", "by-hand", "--name", "progress"); !strings.Contains(out, `"completed"`) {
		t.Errorf("query progress: %s", out)
	}
}

func testIdempotencyKey(t *testing.T, d *deployment) {
	cfg := d.fixture.Config()
	first, err := d.runs.Start(t.Context(), cfg, "my key")
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.runs.Start(t.Context(), cfg, "my key")
	if err != nil || again.ID != first.ID || again.TemporalRunID != first.TemporalRunID {
		t.Errorf("second start gave run %s (%v), want %s", again.ID, err, first.ID)
	}
	cfg.Training.Seed = 7
	if _, err := d.runs.Start(t.Context(), cfg, "my key"); captioner.KindOf(err) != captioner.Conflict {
		t.Errorf("start with another configuration = %v, want a Conflict", err)
	}
	if _, err := d.runs.WaitResult(t.Context(), first.ID); err != nil {
		t.Error(err)
	}
}

func testFailure(t *testing.T, d *deployment) {
	cfg := d.fixture.Config()
	cfg.Data.Images, cfg.Training.BatchSize = "/nowhere", 0
	run, err := d.runs.Start(t.Context(), cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.runs.WaitResult(t.Context(), run.ID); captioner.KindOf(err) != captioner.Invalid || len(captioner.ProblemsOf(err)) != 2 {
		t.Errorf("WaitResult() = %v, want Invalid with two problems", err)
	}
	described, err := d.runs.Describe(t.Context(), run.ID)
	if err != nil || described.State != captioner.RunFailed || described.Error == "" || len(described.Problems) != 2 || described.Stages[0].State != "failed" {
		t.Errorf("described run %+v (%v), want it failed with two problems", described, err)
	}
	if _, err := d.runs.Describe(t.Context(), "no-such-run"); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("Describe() of no run = %v, want NotFound", err)
	}
	if err := d.runs.Cancel(t.Context(), run.ID); captioner.KindOf(err) != captioner.Conflict {
		t.Errorf("Cancel() of an ended run = %v, want a Conflict", err)
	}
	if err := d.runs.Cancel(t.Context(), "no-such-run"); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("Cancel() of no run = %v, want NotFound", err)
	}
}

func testDryRun(t *testing.T, d *deployment) {
	cfg := d.fixture.Config()
	if err := d.runs.DryRun(t.Context(), cfg); err != nil {
		t.Error(err)
	}
	cfg.Data.Captions = "/nowhere"
	if err := d.runs.DryRun(t.Context(), cfg); captioner.KindOf(err) != captioner.Invalid || len(captioner.ProblemsOf(err)) != 1 {
		t.Errorf("DryRun() = %v, want Invalid with one problem", err)
	}
}

func testList(t *testing.T, d *deployment, first string) {
	// Temporal's index of runs follows a moment behind.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		runs, err := d.runs.List(ctx, 100)
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(runs, func(r captioner.Run) bool { return r.ID == first }); i >= 0 && runs[i].Result != nil {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the run %s is not listed with its result", first)
		case <-ticker.C:
		}
	}
	runs, err := d.runs.List(ctx, 3)
	if err != nil || len(runs) != 3 || !slices.IsSortedFunc(runs, func(a, b captioner.Run) int { return b.StartedAt.Compare(a.StartedAt) }) {
		t.Errorf("List(3) = %d runs, %v; want three, the newest first", len(runs), err)
	}
}

// maxOverhead is what a run may take beyond its activities.
const maxOverhead = 1500 * time.Millisecond

// testOverhead measures a run's span less the sum of its activities' spans.
func testOverhead(t *testing.T, d *deployment) {
	var overheads []time.Duration
	for seed := range 5 {
		cfg := d.fixture.Config()
		cfg.Training.Seed = uint64(100 + seed)
		cfg.Data.ShardSize = 100 // one shard, as the demonstration has
		run, err := d.runs.Start(t.Context(), cfg, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.runs.WaitResult(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
		span, sum := spans(t, d.temporal, run.ID)
		overheads = append(overheads, span-sum)
		t.Logf("run %v, its activities %v, overhead %v", span, sum, span-sum)
	}
	slices.Sort(overheads)
	if median := overheads[len(overheads)/2]; median > maxOverhead {
		t.Errorf("median overhead %v, want at most %v", median, maxOverhead)
	}
}

// spans returns how long a run took, and its activities from start to end.
func spans(t *testing.T, c client.Client, id string) (span, sum time.Duration) {
	t.Helper()
	started := map[int64]*historypb.HistoryEvent{}
	var first, last time.Time
	history := c.GetWorkflowHistory(t.Context(), id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		e, err := history.Next()
		if err != nil {
			t.Fatal(err)
		}
		if last = e.GetEventTime().AsTime(); first.IsZero() {
			first = last
		}
		switch {
		case e.GetActivityTaskStartedEventAttributes() != nil:
			started[e.GetEventId()] = e
		case e.GetActivityTaskCompletedEventAttributes() != nil:
			begin := started[e.GetActivityTaskCompletedEventAttributes().GetStartedEventId()]
			sum += last.Sub(begin.GetEventTime().AsTime())
		}
	}
	return last.Sub(first), sum
}

// TestCancelOnServer: a cancellation reaches the training within 5 s.
func TestCancelOnServer(t *testing.T) {
	d := deploy(t)
	training, ended := make(chan struct{}), make(chan time.Time, 1)
	d.fixture.Engine.OnStep = func(ctx context.Context, step int) error {
		if step == 8 {
			close(training)
			<-ctx.Done()
			ended <- time.Now()
		}
		return nil
	}
	d.work(t)
	run, err := d.runs.Start(t.Context(), d.fixture.Config(), "")
	if err != nil {
		t.Fatal(err)
	}
	<-training
	asked := time.Now()
	if err := d.runs.Cancel(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	took := (<-ended).Sub(asked)
	t.Logf("the training learned of it after %v", took)
	if took > 5*time.Second {
		t.Errorf("the cancellation took %v, want at most 5 s", took)
	}
	if _, err := d.runs.WaitResult(t.Context(), run.ID); captioner.CodeOf(err) != "cancelled" {
		t.Errorf("WaitResult() = %v, want code cancelled", err)
	}
	described, err := d.runs.Describe(t.Context(), run.ID)
	if err != nil || described.State != captioner.RunCancelled || described.Error != "" {
		t.Errorf("described run %+v (%v), want it cancelled", described, err)
	}
	record, err := d.fixture.Store.RunRecord(t.Context(), run.ID)
	if err != nil || record.State != captioner.RunCancelled {
		t.Errorf("record %+v (%v), want it cancelled", record, err)
	}
}

// TestTerminated: a run that was terminated, or whose worker is away, is still
// described, and its record learns of the end.
func TestTerminated(t *testing.T) {
	d := deploy(t)
	training, over := make(chan struct{}), make(chan struct{})
	d.fixture.Engine.OnStep = func(ctx context.Context, step int) error {
		if step == 8 {
			close(training)
			select {
			case <-ctx.Done():
			case <-over:
			}
		}
		return nil
	}
	stop := d.work(t)
	run, err := d.runs.Start(t.Context(), d.fixture.Config(), "")
	if err != nil {
		t.Fatal(err)
	}
	<-training
	if err := d.temporal.TerminateWorkflow(t.Context(), run.ID, "", "for a test"); err != nil {
		t.Fatal(err)
	}
	close(over)
	stop()
	described, err := d.runs.Describe(t.Context(), run.ID)
	if err != nil || described.State != captioner.RunCancelled {
		t.Errorf("described run %+v (%v), want it cancelled", described, err)
	}
	record, err := d.fixture.Store.RunRecord(t.Context(), run.ID)
	if err != nil || record.State != captioner.RunCancelled {
		t.Errorf("record %+v (%v), want it cancelled", record, err)
	}
	if _, err := d.runs.WaitResult(t.Context(), run.ID); captioner.CodeOf(err) != "cancelled" {
		t.Errorf("WaitResult() = %v, want code cancelled", err)
	}
}

// TestServerAway: without Temporal every answer is Unavailable.
func TestServerAway(t *testing.T) {
	d := deploy(t)
	if err := d.server.Stop(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := d.runs.Start(ctx, d.fixture.Config(), "")
	_, describeErr := d.runs.Describe(ctx, "train-x")
	for name, err := range map[string]error{"Start": err, "Describe": describeErr} {
		if captioner.KindOf(err) != captioner.Unavailable {
			t.Errorf("%s() = %v, want Unavailable", name, err)
		}
	}
}

// TestWorkerStops: a worker that is stopped in the middle of a training has it
// save its state, and the next worker goes on from there.
func TestWorkerStops(t *testing.T) {
	d := deploy(t)
	training := make(chan struct{})
	var once sync.Once
	d.fixture.Engine.OnStep = func(_ context.Context, step int) error {
		if step == 8 {
			once.Do(func() {
				close(training)
				<-d.fixture.Engine.Asked()
			})
		}
		return nil
	}
	stop := d.work(t)
	run, err := d.runs.Start(t.Context(), d.fixture.Config(), "")
	if err != nil {
		t.Fatal(err)
	}
	<-training
	begin := time.Now()
	stop()
	t.Logf("the worker stopped within %v", time.Since(begin))

	d.work(t)
	begin = time.Now()
	if _, err := d.runs.WaitResult(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	t.Logf("the run ended %v after the next worker's start", time.Since(begin))
	if diff := cmp.Diff([]string{"train 1-20", "train 8-20"}, trainings(d.fixture.Engine)); diff != "" {
		t.Errorf("trainings (-want +got):\n%s", diff)
	}
}

func trainings(e *activitiestest.Engine) []string {
	return slices.DeleteFunc(e.Log(), func(line string) bool { return !strings.HasPrefix(line, "train") })
}

// TestWorkerKilled: a worker process that is killed in the middle of a training
// costs nothing but the steps since its last checkpoint.
func TestWorkerKilled(t *testing.T) {
	d := deploy(t)
	run, err := d.runs.Start(t.Context(), d.fixture.Config(), "")
	if err != nil {
		t.Fatal(err)
	}
	victim := d.startVictim(t, 13) // after the checkpoint of step 10
	d.await(t, run.ID, "at step 12", func(r captioner.Run) bool { return r.Metrics["step"] == 12 })
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait() // killed

	d.work(t)
	begin := time.Now()
	result, err := d.runs.WaitResult(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the run ended %v after the next worker's start", time.Since(begin))
	if diff := cmp.Diff([]string{"train 11-20"}, trainings(d.fixture.Engine)); diff != "" {
		t.Errorf("trainings of the second worker (-want +got):\n%s", diff)
	}

	// The same in a straight run, elsewhere: the same version.
	f := activitiestest.New(t)
	if straight := complete(t, f, f.Config()); straight.Version != result.Version {
		t.Errorf("version %s after a kill, %s without", result.Version.Short(), straight.Version.Short())
	}
}

// TestMain is also the worker process that TestWorkerKilled kills. It finds
// goroutines that the tests leave behind.
func TestMain(m *testing.M) {
	if address := os.Getenv("WORKFLOWS_TEST_WORKER"); address != "" {
		if err := serveUntilKilled(address); err != nil {
			panic(err)
		}
	}
	const testEnvironment = "go.temporal.io/sdk/internal.(*testWorkflowEnvironmentImpl).ExecuteActivity." // leaves the retries of a workflow that has ended
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(testEnvironment+"func2"), goleak.IgnoreAnyFunction(testEnvironment+"func3"))
}

func serveUntilKilled(address string) error {
	var data captioner.DataConfig
	if err := json.Unmarshal([]byte(os.Getenv("WORKFLOWS_TEST_DATA")), &data); err != nil {
		return err
	}
	hang, err := strconv.Atoi(os.Getenv("WORKFLOWS_TEST_HANG"))
	if err != nil {
		return err
	}
	_, c, err := dialTraced(address, &syncedBuffer{})
	if err != nil {
		return err
	}
	f, err := activitiestest.Make(os.Getenv("WORKFLOWS_TEST_DATA_DIR"), data)
	if err != nil {
		return err
	}
	f.Engine.OnStep = func(_ context.Context, step int) error {
		if step == hang {
			select {}
		}
		return nil
	}
	w, err := worker.New(c, f.Activities, worker.Options{})
	if err != nil {
		return err
	}
	if err := w.Start(); err != nil {
		return err
	}
	select {}
}
