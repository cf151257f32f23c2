package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/telemetry/otlptest"
	"github.com/captioner/captioner/internal/temporaldev"
	"github.com/captioner/captioner/internal/tracking/mlflow/mlflowtest"
)

// TestThreeWorkers has three worker processes share a run and kills the one that
// trains, twice: the last one completes it, and what all of them did is one tree,
// which knows the run in Temporal and in MLflow and the version.
func TestThreeWorkers(t *testing.T) {
	p := needPrograms(t)
	receiver := otlptest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	server, _ := mlflowtest.Fake(t)
	t.Setenv("MLFLOW_TRACKING_URI", server)
	temporal, err := temporaldev.Start(t.Context(), temporaldev.Options{Binary: p.temporal})
	if err != nil {
		t.Fatal(err)
	}
	defer temporal.Stop()
	dataDir := filepath.Join(t.TempDir(), "data")
	api := process(t, p, dataDir, "serve", "--temporal-address", temporal.Address())
	api.start(t)
	var workers []*local
	for range 3 {
		metrics := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		w := process(t, p, dataDir, "worker", "--temporal-address", temporal.Address(), "--metrics-listen", metrics)
		w.api = "http://" + metrics
		w.launch(t)
		workers = append(workers, w)
	}
	for _, w := range workers {
		eventually(t, time.Minute, "the worker starts", func() bool { return strings.Contains(w.logText(), "worker started") })
	}

	cfg := smallConfig(pictures(t, 200), 3000)
	cfg.Data.ShardSize = 25
	cfg.Training.CheckpointInterval = captioner.Duration(time.Second)
	id := api.startRun(t, cfg)
	trace := api.describe(t, id).TraceID
	for killed := range 2 {
		// Once a worker has sent an epoch's span, those before it have been sent too.
		eventually(t, 2*time.Minute, fmt.Sprintf("worker %d trains", killed+1), func() bool {
			return len(instances(receiver.Trace(trace).Named("epoch"))) > killed
		})
		workers = killTrainer(t, workers, id)
	}
	run := api.awaitEnd(t, id, 5*time.Minute)
	if run.State != captioner.RunCompleted || !run.Result.Deployed {
		t.Fatalf("the run ended as %s (%s), result %+v", run.State, run.Error, run.Result)
	}
	workers[0].stop(t)
	api.stop(t)

	got := receiver.Await(t, trace, func(t otlptest.Trace) bool { return t.Has("RunWorkflow:TrainAndDeploy") })
	got.CheckTree(t)
	want := sorted(append([]string{"RunActivity:RecordRun > tracked"}, runEdges...))
	if diff := cmp.Diff(want, got.Edges()); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if n := len(instances(got.Named("epoch"))); n != 3 {
		t.Errorf("epochs of %d processes, want 3", n)
	}
	if n := len(got.Named("RunActivity:ExtractFeatures")); n != 8 {
		t.Errorf("%d shards were extracted, want 8", n)
	}
	workflow := got.Named("RunWorkflow:TrainAndDeploy")[0].Attributes
	if workflow["temporalWorkflowID"] != id || workflow["temporalRunID"] != run.TemporalRunID || workflow["captioner.version"] != string(run.Result.Version) {
		t.Errorf("the workflow's attributes are %v, want run %s, %s and version %s", workflow, id, run.TemporalRunID, run.Result.Version)
	}
	if tracked := got.Named("tracked")[0].Attributes; tracked["mlflow.run_id"] != "0123" || tracked["mlflow.url"] == "" {
		t.Errorf("the attributes of the tracked run are %v", tracked)
	}
}

// instances are the processes that spans come from.
func instances(spans []otlptest.Span) map[string]bool {
	found := map[string]bool{}
	for _, s := range spans {
		found[s.Instance] = true
	}
	return found
}

// killTrainer kills the worker that trains for a run, and returns the others.
func killTrainer(t *testing.T, workers []*local, id string) (left []*local) {
	t.Helper()
	var victim *local
	for _, w := range workers {
		if victim == nil && strings.Contains(w.metrics(t), `captioner_training_step{run="`+id+`"}`) {
			victim = w
			continue
		}
		left = append(left, w)
	}
	if victim == nil {
		t.Fatal("no worker trains")
	}
	victim.kill(t)
	return left
}
