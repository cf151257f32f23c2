package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/telemetry/otlptest"
)

// The names of the engine's calls in traces.
const (
	callCaption = "captioner.engine.v1.Engine/Caption"
	callExtract = "captioner.engine.v1.Engine/ExtractFeatures"
	callTrain   = "captioner.engine.v1.Engine/Train"
)

// captionEdges are the tree below a call that captions pictures.
var captionEdges = []string{
	callCaption + " > decode",
	callCaption + " > encode",
	callCaption + " > preprocess",
	callCaption + " > queue",
}

// runEdges are the tree of a run that nothing disturbs.
var runEdges = sorted(append([]string{
	"> POST /runs",
	"POST /runs > StartWorkflow:TrainAndDeploy",
	"StartWorkflow:TrainAndDeploy > RunWorkflow:TrainAndDeploy",
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
	"RunActivity:ExtractFeatures > " + callExtract,
	callExtract + " > extract shard",
	"RunActivity:Train > " + callTrain,
	"RunActivity:Train > epoch",
	callTrain + " > export",
	"RunActivity:CaptionShard > " + callCaption,
	"RunActivity:RegisterVersion > " + callCaption,
}, captionEdges...))

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

// TestTraces: a run and a caption are one tree each, from the request to the
// engine's steps.
func TestTraces(t *testing.T) {
	p := needPrograms(t)
	receiver := otlptest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	data := pictures(t, 120)
	cfg := smallConfig(data, 120)
	id := l.startRun(t, cfg)
	l.awaitTraining(t, id, 1)
	if text := l.metrics(t); !strings.Contains(text, `captioner_training_steps{run="`+id+`"} 120`) {
		t.Errorf("the training that runs is not among the metrics")
	}
	run := l.awaitEnd(t, id, time.Minute)
	if run.State != captioner.RunCompleted || !run.Result.Deployed {
		t.Fatalf("the run ended as %s: %s %+v", run.State, run.Error, run.Result)
	}

	t.Run("run", func(t *testing.T) {
		got := receiver.Await(t, run.TraceID, func(t otlptest.Trace) bool {
			return t.Has("RunWorkflow:TrainAndDeploy") && t.Has("POST /runs") && t.Has("decode")
		})
		got.CheckTree(t)
		if diff := cmp.Diff(runEdges, got.Edges()); diff != "" {
			t.Errorf("tree (-want +got):\n%s", diff)
		}
		epochs := got.Named("epoch")
		for i, s := range epochs {
			if s.Attributes["captioner.epoch"] != strconv.Itoa(i+1) || s.Service != "captioner" {
				t.Errorf("epoch %d is %+v", i+1, s)
			}
		}
		if want := int(run.Metrics["epochs"]); len(epochs) != want || want < 2 {
			t.Errorf("%d spans of epochs, want %d", len(epochs), want)
		}
		for _, name := range []string{"decode", "extract shard", "export"} {
			if s := got.Named(name); s[0].Service != "captioner-engine" {
				t.Errorf("%q is of %q, want the engine's", name, s[0].Service)
			}
		}
	})
	t.Run("caption", func(t *testing.T) {
		for _, algorithm := range []string{"greedy", "beam"} {
			id := l.tracedPredict(t, readFile(t, firstPicture(t, data.Images)), algorithm)
			got := receiver.Await(t, id, func(t otlptest.Trace) bool {
				return t.Has("POST /predict") && t.Has("decode")
			})
			got.CheckTree(t)
			want := sorted(append([]string{"> POST /predict", "POST /predict > " + callCaption}, captionEdges...))
			if diff := cmp.Diff(want, got.Edges()); diff != "" || len(got) != 6 {
				t.Errorf("%d spans, want 6; tree (-want +got):\n%s", len(got), diff)
			}
			decode := got.Named("decode")[0]
			if steps := decode.Attributes["captioner.decode.steps"]; len(decode.Events) == 0 || strconv.Itoa(len(decode.Events)) != steps || decode.Attributes["captioner.algorithm"] != algorithm {
				t.Errorf("the decoding is %+v, want an event for each of its %s steps", decode, steps)
			}
		}
	})
	t.Run("log", func(t *testing.T) {
		found := 0
		for line := range strings.Lines(l.logText()) {
			var record map[string]any
			if json.Unmarshal([]byte(line), &record) != nil || record["msg"] != "request" || record["path"] != "/predict" {
				continue
			}
			found++
			if record["trace_id"] == nil || record["trace_id"] != record["request_id"] {
				t.Errorf("a request's line without its trace: %s", line)
			}
		}
		if found == 0 {
			t.Error("no line of a request to /predict")
		}
	})
	l.stop(t)

	// Nothing else has begun a trace, but for loading the version.
	var roots []string
	for _, s := range receiver.Spans() {
		if s.Parent == "" && !strings.HasPrefix(s.Name, "GET ") {
			roots = append(roots, s.Name)
		}
	}
	if want := []string{"POST /runs", "load version", "POST /predict", "POST /predict"}; !slices.Equal(roots, want) {
		t.Errorf("roots %q, want %q", roots, want)
	}
}

// TestTraceOfKilledRun kills the engine and then the whole control plane in
// mid-training: the run's trace is one tree all the same.
func TestTraceOfKilledRun(t *testing.T) {
	p := needPrograms(t)
	receiver := otlptest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	cfg := smallConfig(pictures(t, 100), 600)
	cfg.Training.CheckpointInterval = captioner.Duration(time.Second)
	id := l.startRun(t, cfg)
	l.awaitTraining(t, id, 100)
	for _, pid := range l.children(t, "captioner-engine") {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	eventually(t, 30*time.Second, "the restart of the job engine is among the metrics", func() bool {
		return strings.Contains(l.metrics(t), `captioner_engine_restarts_total{engine="job"} 1`)
	})
	l.awaitTraining(t, id, 200)
	l.kill(t)
	l.start(t)
	run := l.awaitEnd(t, id, 3*time.Minute)
	if run.State != captioner.RunCompleted {
		t.Fatalf("the run ended as %s: %s", run.State, run.Error)
	}
	l.stop(t)

	got := receiver.Await(t, run.TraceID, func(t otlptest.Trace) bool { return t.Has("RunWorkflow:TrainAndDeploy") })
	got.CheckTree(t)
	if n := len(got.Named("RunActivity:Train")); n != 1 {
		t.Errorf("%d spans of Train, want one over all attempts", n)
	}
	if failed := got.Named("attempt"); len(failed) == 0 {
		t.Error("no span of the attempt whose engine was killed")
	}
	if want := sorted(append(slices.Clone(runEdges), "RunActivity:Train > attempt")); !slices.Equal(want, got.Edges()) {
		t.Errorf("tree (-want +got):\n%s", cmp.Diff(want, got.Edges()))
	}
}

// metrics returns what Prometheus would get.
func (l *local) metrics(t testing.TB) string {
	t.Helper()
	resp, err := http.Get(l.api + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tracedPredict captions a picture and returns the ID of the trace.
func (l *local) tracedPredict(t testing.TB, picture []byte, algorithm string) string {
	t.Helper()
	body, contentType := predictForm(t, picture, algorithm)
	resp, err := http.Post(l.api+"/predict", contentType, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("POST /predict: %s", resp.Status)
	}
	return resp.Header.Get("X-Request-ID")
}

// predictForm is the body of POST /predict and its type.
func predictForm(t testing.TB, picture []byte, algorithm string) ([]byte, string) {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	form.WriteField("algorithm", algorithm)
	part, err := form.CreateFormFile("file", "picture")
	if err != nil {
		t.Fatal(err)
	}
	part.Write(picture)
	form.Close()
	return body.Bytes(), form.FormDataContentType()
}
