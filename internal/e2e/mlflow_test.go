package e2e_test

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	godiff "github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/store"
	"github.com/captioner/captioner/internal/tracking"
	"github.com/captioner/captioner/internal/tracking/mlflow"
	"github.com/captioner/captioner/internal/tracking/mlflow/mlflowtest"
)

// TestMLflow trains beside a real MLflow server that is killed in mid-training,
// before the control plane is killed too. The training ends without the server;
// once that is back it has everything, read with MLflow's own client.
func TestMLflow(t *testing.T) {
	p := needPrograms(t)
	server := mlflowtest.Start(t, mlflowtest.Options{})
	t.Setenv("MLFLOW_TRACKING_URI", server.URL)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"), "--public-url", "http://captioner.test/")
	cfg := smallConfig(pictures(t, 100), 600)
	cfg.Training.CheckpointInterval = captioner.Duration(time.Second)
	id := l.startRun(t, cfg)
	l.awaitTraining(t, id, 100)
	eventually(t, time.Minute, "MLflow has the run", func() bool { return l.describe(t, id).MLflowURL != "" })
	address := l.describe(t, id).MLflowURL
	server.Stop(t)
	l.awaitTraining(t, id, 200)
	l.kill(t)
	l.start(t)
	run := l.awaitEnd(t, id, 3*time.Minute)
	if run.State != captioner.RunCompleted || !run.Result.Deployed {
		t.Fatalf("the run ended as %s: %s", run.State, run.Error)
	}
	if log := l.logText(); !strings.Contains(log, "MLflow is away") {
		t.Errorf("no warning that MLflow is away")
	}

	server.Restart(t)
	client, err := mlflow.New(mlflow.Options{URI: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	tracked := address[strings.LastIndex(address, "/")+1:]
	eventually(t, 3*time.Minute, "MLflow has the whole run", func() bool {
		r, err := client.Run(t.Context(), tracked)
		return err == nil && r.Status == mlflow.Finished
	})
	l.stop(t)

	contents := server.Read(t, "captioner")
	if len(contents.Runs) != 1 || contents.Runs[0].ID != tracked || !strings.HasPrefix(address, server.URL+"/#/experiments/") {
		t.Fatalf("MLflow has %d runs, the run's page is %s", len(contents.Runs), address)
	}
	got := contents.Runs[0]
	if got.Status != "FINISHED" || got.Params["training.steps"] != "600" || got.Tags["captioner.version"] != string(run.Result.Version) ||
		got.Tags["captioner.trace_id"] != run.TraceID || !strings.Contains(got.Artifacts["bundle/manifest.json"], "saved_model") {
		t.Errorf("the run in MLflow: %s, parameters %v, tags %v", got.Status, got.Params, got.Tags)
	}
	beam, _ := run.Result.Evaluation.Score("beam")
	if scores := got.Metrics["scores/beam/bleu4"]; len(scores) != 1 || scores[0][0] != 600. || scores[0][1] != beam.BLEU4 {
		t.Errorf("BLEU-4 in MLflow: %v, want %v at step 600", scores, beam.BLEU4)
	}
	if v := contents.Models["captioner"]; len(v) != 1 || v[0].RunID != tracked ||
		!slices.Contains(v[0].Aliases, "production") || !slices.Contains(v[0].Aliases, run.Result.Version.Short()) {
		t.Errorf("versions in MLflow: %+v", v)
	}
	checkDelivered(t, l.dataDir, id, got)
}

// TestMLflowAwayThroughout has MLflow away from before the start of captioner
// until after the end of a run, which does not notice; once the server is there it
// is given everything, once.
func TestMLflowAwayThroughout(t *testing.T) {
	p := needPrograms(t)
	server := mlflowtest.Start(t, mlflowtest.Options{})
	server.Stop(t)
	l := newLocal(t, p, filepath.Join(t.TempDir(), "data"), "up")
	l.env = []string{"MLFLOW_TRACKING_URI=" + server.URL}
	l.start(t)
	id := l.startRun(t, smallConfig(pictures(t, 100), 300))
	run := l.awaitEnd(t, id, 3*time.Minute)
	if run.State != captioner.RunCompleted || !run.Result.Deployed {
		t.Fatalf("the run ended as %s: %s", run.State, run.Error)
	}
	if run.MLflowURL != "" {
		t.Errorf("the run has the page %s of a server that was away", run.MLflowURL)
	}

	server.Restart(t)
	client, err := mlflow.New(mlflow.Options{URI: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 3*time.Minute, "MLflow has the whole run", func() bool {
		address := l.describe(t, id).MLflowURL
		if address == "" {
			return false
		}
		r, err := client.Run(t.Context(), address[strings.LastIndex(address, "/")+1:])
		return err == nil && r.Status == mlflow.Finished
	})
	l.stop(t)
	contents := server.Read(t, "captioner")
	if len(contents.Runs) != 1 {
		t.Fatalf("MLflow has %d runs, want the one", len(contents.Runs))
	}
	if v := contents.Models["captioner"]; len(v) != 1 || v[0].RunID != contents.Runs[0].ID {
		t.Errorf("versions in MLflow: %+v", v)
	}
	checkDelivered(t, l.dataDir, id, contents.Runs[0])
}

// checkDelivered compares a run's curves in MLflow with the database: each step
// once, with its loss.
func checkDelivered(t *testing.T, dataDir, id string, got mlflowtest.Run) {
	t.Helper()
	records, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dataDir, "captioner.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	record, err := records.RunRecord(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	points, _, err := records.Metrics(t.Context(), record.Progress.RunKey, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(points, func(a, b captioner.Metric) int { return cmp.Compare(a.Step, b.Step) })
	want, delivered := map[string][]float64{}, map[string][]float64{}
	for _, point := range points {
		if !tracking.Housekeeping(point.Name) {
			want[point.Name] = append(want[point.Name], float64(point.Step))
		}
	}
	for name, curve := range got.Metrics {
		for _, point := range curve {
			if !strings.HasPrefix(name, "scores/") {
				delivered[name] = append(delivered[name], point[0].(float64))
			}
		}
	}
	if diff := godiff.Diff(want, delivered); diff != "" || len(want["loss"]) < 5 {
		t.Errorf("%d losses; steps of the curves (-database +MLflow):\n%s", len(want["loss"]), diff)
	}
}

// TestMLflowSettings: what cannot work is told at the start, and nothing is left
// running.
func TestMLflowSettings(t *testing.T) {
	p := needPrograms(t)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer refusing.Close()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }))
	defer page.Close()
	for _, test := range []struct{ uri, want string }{
		{refusing.URL, "MLflow does not accept the credentials: check MLFLOW_TRACKING_USERNAME"},
		{page.URL, "what answers at MLFLOW_TRACKING_URI is no MLflow tracking server"},
		{"databricks", "MLFLOW_TRACKING_URI: must be the address of a tracking server"},
	} {
		_, stderr, code := p.run(t, "up", "--mlflow-tracking-uri", test.uri, "--data-dir", filepath.Join(t.TempDir(), "data"),
			"--listen", fmt.Sprintf("127.0.0.1:%d", freePort(t)), "--temporal-port", fmt.Sprint(freePort(t)), "--temporal-ui-port", fmt.Sprint(freePort(t)))
		if code != 2 || !strings.Contains(stderr, test.want) {
			t.Errorf("%s: exit code %d, want 2 and %q:\n%s", test.uri, code, test.want, stderr)
		}
	}
}
