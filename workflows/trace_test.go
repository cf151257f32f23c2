package workflows_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/telemetry"
	"github.com/captioner/captioner/internal/telemetry/otlptest"
	"github.com/captioner/captioner/internal/temporaldev"
	"github.com/captioner/captioner/internal/temporaltrace"
	"github.com/captioner/captioner/workflows"
)

// traced is a deployment whose runs are traced.
type traced struct {
	*deployment
	receiver *otlptest.Receiver
	tracing  *telemetry.Telemetry
	log      *syncedBuffer
}

func deployTraced(t *testing.T) *traced {
	t.Helper()
	d := &traced{deployment: deploy(t), receiver: otlptest.Start(t), log: &syncedBuffer{}}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", d.receiver.URL)
	var err error
	d.tracing, d.temporal, err = dialTraced(d.server.Address(), d.log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.temporal.Close()
		if err := d.tracing.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	d.runs = &workflows.Client{Temporal: d.temporal, Store: d.fixture.Store}
	return d
}

// dialTraced is the way in which the program connects to Temporal.
func dialTraced(address string, w *syncedBuffer) (*telemetry.Telemetry, client.Client, error) {
	tracing, err := telemetry.New(context.Background(), telemetry.Options{})
	if err != nil {
		return nil, nil, err
	}
	c, err := client.Dial(client.Options{
		HostPort: address, Namespace: temporaldev.Namespace, Logger: log.NewStructuredLogger(telemetry.NewLogger(w, slog.LevelInfo)),
		Interceptors: []interceptor.ClientInterceptor{temporaltrace.New(tracing.TracerProvider)},
	})
	return tracing, c, err
}

type syncedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncedBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(data)
}

// start starts a run below the span of a request and returns it with its trace.
func (d *traced) start(t *testing.T, cfg captioner.Config) (captioner.Run, string) {
	t.Helper()
	ctx, request := d.tracing.TracerProvider.Tracer("test").Start(t.Context(), "POST /runs", trace.WithSpanKind(trace.SpanKindServer))
	defer request.End()
	run, err := d.runs.Start(ctx, cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	id := request.SpanContext().TraceID().String()
	if run.TraceID != id {
		t.Errorf("the started run names the trace %q, want the request's, %s", run.TraceID, id)
	}
	return run, id
}

// complete awaits a trace in which the workflow's span has arrived.
func (d *traced) complete(t *testing.T, id string) otlptest.Trace {
	t.Helper()
	got := d.receiver.Await(t, id, func(t otlptest.Trace) bool { return t.Has("RunWorkflow:TrainAndDeploy") })
	got.CheckTree(t)
	return got
}

// straightEdges are those of a run that nothing disturbs.
var straightEdges = []string{
	"> POST /runs",
	"POST /runs > StartWorkflow:TrainAndDeploy",
	"RunActivity:Train > epoch",
	"RunWorkflow:TrainAndDeploy > RunActivity:CaptionShard",
	"RunWorkflow:TrainAndDeploy > RunActivity:DecidePromotion",
	"RunWorkflow:TrainAndDeploy > RunActivity:Deploy",
	"RunWorkflow:TrainAndDeploy > RunActivity:Evaluate",
	"RunWorkflow:TrainAndDeploy > RunActivity:ExtractFeatures",
	"RunWorkflow:TrainAndDeploy > RunActivity:PrepareData",
	"RunWorkflow:TrainAndDeploy > RunActivity:RecordRun",
	"RunWorkflow:TrainAndDeploy > RunActivity:RegisterVersion",
	"RunWorkflow:TrainAndDeploy > RunActivity:Train",
	"RunWorkflow:TrainAndDeploy > RunActivity:ValidateConfig",
	"RunWorkflow:TrainAndDeploy > RunActivity:WriteDeploymentManifest",
	"StartWorkflow:TrainAndDeploy > RunWorkflow:TrainAndDeploy",
}

// TestTraceOfARun: from the request to the last activity one tree, which
// neither queries of the ended run nor a replay on another worker add to.
func TestTraceOfARun(t *testing.T) {
	d := deployTraced(t)
	stop := d.work(t)
	run, id := d.start(t, d.fixture.Config())
	if _, err := d.runs.WaitResult(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	got := d.complete(t, id)
	if diff := cmp.Diff(straightEdges, got.Edges()); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if n := len(got.Named("RunActivity:ExtractFeatures")); n != 3 {
		t.Errorf("%d spans of ExtractFeatures, want one for each of the 3 shards", n)
	}
	whole := got.Named("RunWorkflow:TrainAndDeploy")[0]
	for _, s := range got {
		if s.Parent == whole.ID && (s.Start.Before(whole.Start) || s.End.After(whole.End) || s.Failed) {
			t.Errorf("span %+v is not within %+v", s, whole)
		}
	}

	described, err := d.runs.Describe(t.Context(), run.ID)
	if err != nil || described.TraceID != id {
		t.Errorf("the run names the trace %q (%v), want %s", described.TraceID, err, id)
	}
	stop()
	d.work(t)
	if again, err := d.runs.Describe(t.Context(), run.ID); err != nil || len(again.Stages) != 10 || again.Stages[9].State != "completed" {
		t.Errorf("described by another worker: %+v (%v)", again, err)
	}
	if err := d.tracing.TracerProvider.(interface{ ForceFlush(context.Context) error }).ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := d.receiver.Trace(id); len(after) != len(got) {
		t.Errorf("%d spans after queries and a replay, %d before:\n%s", len(after), len(got), after)
	}
	d.checkLog(t, id)
}

// checkLog looks for the trace in the lines of the activities.
func (d *traced) checkLog(t *testing.T, id string) {
	t.Helper()
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	for line := range strings.Lines(d.log.b.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if record["ActivityType"] != nil && record["trace_id"] != id {
			t.Errorf("a line without the trace %s: %s", id, line)
		}
	}
}

// TestTraceOfARunFromElsewhere: a run that the temporal command starts begins a
// trace of its own, which the run names. It says which run it is in MLflow.
func TestTraceOfARunFromElsewhere(t *testing.T) {
	d := deployTraced(t)
	d.work(t)
	if _, _, err := d.fixture.Store.PutRun(t.Context(), captioner.RunRecord{ID: "by-hand", Config: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if err := d.fixture.Store.PutDelivery(t.Context(), captioner.Delivery{RunID: "by-hand", TrackedRun: "0123", URL: "http://mlflow/0123"}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "by-hand", TaskQueue: workflows.TaskQueue},
		workflows.TrainAndDeployName, d.fixture.Config()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.runs.WaitResult(t.Context(), "by-hand"); err != nil {
		t.Fatal(err)
	}
	described, err := d.runs.Describe(t.Context(), "by-hand")
	if err != nil || described.TraceID == "" {
		t.Fatalf("the run names the trace %q (%v)", described.TraceID, err)
	}
	if described.MLflowURL != "http://mlflow/0123" {
		t.Errorf("the run's page in MLflow is %q", described.MLflowURL)
	}
	got := d.complete(t, described.TraceID)
	if tracked := got.Named("tracked"); len(tracked) != 1 || tracked[0].Attributes["mlflow.run_id"] != "0123" {
		t.Errorf("spans of the run in MLflow: %+v", tracked)
	}
	if got[0].Name != "RunWorkflow:TrainAndDeploy" || len(got.Named("RunActivity:Train")) != 1 {
		t.Errorf("the trace:\n%s", got)
	}
}

// TestTraceOfARetry: attempts that fail are below their activity.
func TestTraceOfARetry(t *testing.T) {
	d := deployTraced(t)
	d.fixture.Activities.Store = &fault{Store: d.fixture.Store, left: 1, err: captioner.Errorf(captioner.Unavailable, "the database is away")}
	d.work(t)
	run, id := d.start(t, d.fixture.Config())
	if _, err := d.runs.WaitResult(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	got := d.complete(t, id)
	want := append(slices.Clone(straightEdges), "RunActivity:Train > attempt")
	slices.Sort(want)
	if diff := cmp.Diff(want, got.Edges()); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	attempts, trainings := got.Named("attempt"), got.Named("RunActivity:Train")
	if len(attempts) != 1 || !attempts[0].Failed || len(trainings) != 1 || trainings[0].Failed {
		t.Errorf("attempts %+v of trainings %+v, want one that failed of one that did not", attempts, trainings)
	}
}

// TestTraceOfACancelledRun: what a cancellation cuts short is in the tree too.
func TestTraceOfACancelledRun(t *testing.T) {
	d := deployTraced(t)
	training := make(chan struct{})
	d.fixture.Engine.OnStep = func(ctx context.Context, step int) error {
		if step == 8 {
			close(training)
			<-ctx.Done()
		}
		return nil
	}
	d.work(t)
	run, id := d.start(t, d.fixture.Config())
	<-training
	if err := d.runs.Cancel(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	_, _ = d.runs.WaitResult(t.Context(), run.ID)
	got := d.complete(t, id)
	if s := got.Named("RunActivity:Train"); len(s) != 1 || !s[0].Failed {
		t.Errorf("the training's span is %+v, want it failed", s)
	}
}

// TestTraceOfAKilledWorker: a worker process that is killed in mid-training
// takes its open spans with it, and the tree holds all the same.
func TestTraceOfAKilledWorker(t *testing.T) {
	d := deployTraced(t)
	run, id := d.start(t, d.fixture.Config())
	victim := d.startVictim(t, 13)
	d.await(t, run.ID, "at step 12", func(r captioner.Run) bool { return r.Metrics["step"] == 12 })
	// What the victim has recorded is on its way within a second.
	d.receiver.Await(t, id, func(t otlptest.Trace) bool { return t.Has("RunActivity:PrepareData") })
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait() // killed

	d.work(t)
	if _, err := d.runs.WaitResult(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	got := d.complete(t, id)
	if diff := cmp.Diff(straightEdges, got.Edges()); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if n := len(got.Named("RunActivity:Train")); n != 1 {
		t.Errorf("%d spans of Train, want one over both attempts", n)
	}
}

// startVictim starts a worker in a process of its own, whose training hangs at
// a step; see TestMain.
func (d *deployment) startVictim(t *testing.T, hang int) *exec.Cmd {
	t.Helper()
	data, err := json.Marshal(d.fixture.Data)
	if err != nil {
		t.Fatal(err)
	}
	victim := exec.Command(os.Args[0])
	victim.Env = append(os.Environ(), "WORKFLOWS_TEST_WORKER="+d.server.Address(), "WORKFLOWS_TEST_DATA_DIR="+d.fixture.Activities.DataDir,
		"WORKFLOWS_TEST_DATA="+string(data), "WORKFLOWS_TEST_HANG="+strconv.Itoa(hang))
	victim.Stderr = os.Stderr
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	return victim
}
