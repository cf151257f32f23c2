package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.opentelemetry.io/otel/trace"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/telemetry"
	"github.com/captioner/captioner/internal/telemetry/otlptest"
	"github.com/captioner/captioner/internal/telemetry/relay"
	"github.com/captioner/captioner/internal/telemetry/span"
)

func newTelemetry(t *testing.T, env map[string]string) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.New(t.Context(), telemetry.Options{
		Version: "1.2.3", Getenv: func(name string) string { return env[name] },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tel.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return tel
}

func scrape(t *testing.T, tel *telemetry.Telemetry) string {
	t.Helper()
	w := httptest.NewRecorder()
	tel.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("scrape: status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// TestPredictionsSampled: of what begins here, predictions alone are too many to record all.
func TestPredictionsSampled(t *testing.T) {
	const spans = 1000
	parent := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled, Remote: true,
	})
	for _, test := range []struct {
		name, span, sampler string
		parent              trace.SpanContext
		all                 bool
	}{
		{name: "predictions", span: "POST /predict"},
		{name: "predictions of a caller that records them", span: "POST /predict", parent: parent, all: true},
		{name: "predictions, as the environment says", span: "POST /predict", sampler: "parentbased_always_on", all: true},
		{name: "runs", span: "POST /runs", all: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			// OpenTelemetry's own packages read the process' environment.
			env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": otlptest.Start(t).URL, "OTEL_TRACES_SAMPLER": test.sampler}
			for name, value := range env {
				t.Setenv(name, value)
			}
			tracer := newTelemetry(t, env).TracerProvider.Tracer("test")
			recorded := 0
			for range spans {
				_, s := tracer.Start(trace.ContextWithRemoteSpanContext(t.Context(), test.parent), test.span)
				if s.IsRecording() {
					recorded++
				}
				if !s.SpanContext().HasTraceID() {
					t.Fatal("a request without a trace ID")
				}
				s.End()
			}
			if test.all != (recorded == spans) || recorded < 100 {
				t.Errorf("%d of %d are recorded", recorded, spans)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	tel := newTelemetry(t, nil)
	m := tel.Metrics
	m.RequestStarted()
	m.RequestStarted()
	m.RequestFinished("POST", "/predict", 200, 20*time.Millisecond)
	m.RequestStarted()
	m.RequestFinished("BREW", "", 404, time.Millisecond)
	m.Predicted("greedy", 12*time.Millisecond)
	m.Live(captioner.ModelInfo{Version: "aaaa", Encoder: "conv", Decoder: "transformer", TensorFlow: "2.18.0"})
	m.Live(captioner.ModelInfo{Version: "bbbb", Encoder: "conv", Decoder: "transformer", TensorFlow: "2.18.0"})
	m.LoadFailed()
	m.EngineRestarted()
	m.JobEngineRestarted()
	m.Waiting(3)
	m.Waiting(-1)
	m.Waited(20 * time.Millisecond)
	m.Captioned(captioner.CaptionReply{Batch: 4, Waited: 7 * time.Millisecond})
	m.RunEnded(captioner.RunCompleted, captioner.Hold)
	m.RunEnded(captioner.RunFailed, "")
	m.Training("train-1", captioner.TrainStep{Step: 30, Steps: 100, Epoch: 2, Epochs: 5, Loss: 1.5, ImagesPerSecond: 160, SecondsLeft: 12})
	m.Validated("train-1", captioner.TrainEpoch{Epoch: 1, ValidationLoss: 2.5})
	m.Training("train-2", captioner.TrainStep{Step: 1})
	m.TrainingStalled("train-1", true)
	m.TrainingStalled("train-2", true)
	m.TrainingEnded("train-2")
	counter, err := tel.MeterProvider.Meter("test").Int64Counter("other.things")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 3)

	text := scrape(t, tel)
	for _, want := range []string{
		`captioner_http_requests_total{method="POST",route="/predict",status="200"} 1`,
		`captioner_http_requests_total{method="other",route="unmatched",status="404"} 1`,
		`captioner_http_request_duration_seconds_bucket{method="POST",route="/predict",le="0.02"} 1`,
		`captioner_http_requests_in_flight 1`,
		`captioner_predict_duration_seconds_count{algorithm="greedy"} 1`,
		`captioner_model_info{decoder="transformer",encoder="conv",tensorflow="2.18.0",version="bbbb"} 1`,
		`captioner_model_swaps_total 1`,
		`captioner_model_load_failures_total 1`,
		`captioner_engine_restarts_total{engine="serving"} 1`,
		`captioner_engine_restarts_total{engine="job"} 1`,
		`captioner_predict_queue_requests 2`,
		`captioner_predict_queue_wait_seconds_bucket{queue="server",le="0.02"} 1`,
		`captioner_predict_queue_wait_seconds_sum{queue="engine"} 0.007`,
		`captioner_predict_batch_images_sum 4`,
		`captioner_runs_total{state="completed"} 1`,
		`captioner_runs_total{state="cancelled"} 0`,
		`captioner_runs_total{state="unchanged"} 0`,
		`captioner_promotion_decisions_total{outcome="hold"} 1`,
		`captioner_training_step{run="train-1"} 30`,
		`captioner_training_steps{run="train-1"} 100`,
		`captioner_training_epoch{run="train-1"} 2`,
		`captioner_training_loss_nats{run="train-1"} 1.5`,
		`captioner_training_validation_loss_nats{run="train-1"} 2.5`,
		`captioner_training_images_per_second{run="train-1"} 160`,
		`captioner_training_remaining_seconds{run="train-1"} 12`,
		`captioner_training_stalled{run="train-1"} 1`,
		`captioner_build_info{go="go1.`,
		`go_goroutines `,
		`process_resident_memory_bytes `,
		`other_things_total{`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	for _, gone := range []string{`version="aaaa"`, `run="train-2"`} {
		if strings.Contains(text, gone) {
			t.Errorf("metrics still have %s", gone)
		}
	}
	if t.Failed() {
		t.Log(text)
	}

	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "captioner_") {
			t.Errorf("promlint: %s: %s", p.Metric, p.Text)
		}
	}
}

// units are all of the program's own metrics with their units.
var units = map[string]string{
	"captioner_build_info":                    "",
	"captioner_engine_restarts_total":         "engines",
	"captioner_http_request_duration_seconds": "seconds",
	"captioner_http_requests_in_flight":       "requests",
	"captioner_http_requests_total":           "requests",
	"captioner_model_info":                    "",
	"captioner_model_load_failures_total":     "loads",
	"captioner_model_swaps_total":             "swaps",
	"captioner_predict_batch_images":          "images",
	"captioner_predict_duration_seconds":      "seconds",
	"captioner_predict_queue_requests":        "requests",
	"captioner_predict_queue_wait_seconds":    "seconds",
	"captioner_promotion_decisions_total":     "decisions",
	"captioner_runs_total":                    "runs",
	"captioner_training_epoch":                "epochs",
	"captioner_training_epochs":               "epochs",
	"captioner_training_images_per_second":    "images per second",
	"captioner_training_loss_nats":            "nats per token",
	"captioner_training_remaining_seconds":    "seconds",
	"captioner_training_stalled":              "",
	"captioner_training_step":                 "steps",
	"captioner_training_steps":                "steps",
	"captioner_training_validation_loss_nats": "nats per token",
}

// TestMetricsAreDocumented compares what is exported with the table of DOCS.md:
// the name, the type, the labels and the unit of each metric.
func TestMetricsAreDocumented(t *testing.T) {
	tel := newTelemetry(t, nil)
	m := tel.Metrics
	m.RequestStarted()
	m.RequestFinished("GET", "/", 200, 0)
	m.Predicted("greedy", 0)
	m.Waited(0)
	m.Captioned(captioner.CaptionReply{})
	m.Live(captioner.ModelInfo{})
	m.Training("run", captioner.TrainStep{})
	m.Validated("run", captioner.TrainEpoch{})
	m.TrainingStalled("run", false)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(scrape(t, tel)))
	if err != nil {
		t.Fatal(err)
	}
	var exported []string
	for name, family := range families {
		if !strings.HasPrefix(name, "captioner_") {
			continue
		}
		unit, known := units[name]
		if !known {
			t.Errorf("%s has no unit in this test", name)
		}
		if !strings.HasSuffix(name, "_total") && strings.HasSuffix(unit, "seconds") && !strings.HasSuffix(name, "_seconds") {
			t.Errorf("%s is in seconds and does not say so", name)
		}
		var labels []string
		for _, l := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		exported = append(exported, fmt.Sprintf("| `%s` | %s | %s | %s |", name, strings.ToLower(family.GetType().String()), unit, strings.Join(labels, ", ")))
	}
	slices.Sort(exported)

	guide, err := os.ReadFile("../../DOCS.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^(\\| `captioner_[a-z_]+` \\|[^|\n]*\\|[^|\n]*\\|[^|\n]*\\|)[^|\n]+\\|$")
	var documented []string
	for _, found := range row.FindAllStringSubmatch(string(guide), -1) {
		documented = append(documented, found[1])
	}
	slices.Sort(documented)
	if diff := cmp.Diff(exported, documented); diff != "" {
		t.Errorf("the table of DOCS.md (-exported +documented):\n%s", diff)
	}
}

func TestLoggerNamesTheTrace(t *testing.T) {
	tel := newTelemetry(t, nil)
	var b bytes.Buffer
	logger := telemetry.NewLogger(&b, slog.LevelInfo).With("component", "test")
	ctx, span := tel.TracerProvider.Tracer("test").Start(t.Context(), "work")
	logger.InfoContext(ctx, "inside")
	logger.DebugContext(ctx, "too quiet")
	span.End()
	logger.Info("outside")

	var got []map[string]any
	for line := range strings.Lines(b.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("not JSON: %q: %v", line, err)
		}
		delete(record, "time")
		got = append(got, record)
	}
	id := span.SpanContext().TraceID().String()
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) || strings.Trim(id, "0") == "" {
		t.Errorf("trace ID = %q without an exporter, want a valid one", id)
	}
	want := []map[string]any{
		{"level": "INFO", "msg": "inside", "component": "test", "trace_id": id},
		{"level": "INFO", "msg": "outside", "component": "test"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// TestTracesGoToTheEndpoint: by either protocol, with the resource of the
// environment, and with the spans of an engine among the others.
func TestTracesGoToTheEndpoint(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			receiver := otlptest.Start(t)
			// The exporter itself reads the process' environment.
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", map[string]string{"grpc": receiver.GRPC, "http/protobuf": receiver.URL}[protocol])
			t.Setenv("OTEL_SERVICE_NAME", "my-captioner")
			tel, err := telemetry.New(t.Context(), telemetry.Options{Version: "1.2.3"})
			if err != nil {
				t.Fatal(err)
			}
			ctx, work := tel.TracerProvider.Tracer("test").Start(t.Context(), "work")
			engineWorks(t, ctx, tel)
			work.End()
			if err := tel.Shutdown(t.Context()); err != nil {
				t.Fatalf("Shutdown: %v", err)
			}
			got := receiver.Trace(work.SpanContext().TraceID().String())
			got.CheckTree(t)
			if diff := cmp.Diff([]string{"> work", "decode > step", "work > decode"}, got.Edges()); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
			if all := receiver.Spans(); len(all) != len(got) {
				t.Errorf("%d spans, %d of them of the trace: the engine began one of its own", len(all), len(got))
			}
			for _, s := range got {
				if s.Service != "my-captioner" {
					t.Errorf("the service of %q is %q", s.Name, s.Service)
				}
			}
		})
	}
}

// engineWorks makes spans as an engine does and has them relayed.
func engineWorks(t *testing.T, ctx context.Context, tel *telemetry.Telemetry) {
	t.Helper()
	from, to := io.Pipe()
	relayed := make(chan struct{})
	go func() { defer close(relayed); tel.Relay()(from) }()
	provider, err := relay.NewProvider(t.Context(), to, "captioner-engine", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	remote := trace.ContextWithRemoteSpanContext(t.Context(), trace.SpanContextFromContext(ctx))
	inside, decode := provider.Tracer("test").Start(remote, "decode")
	span.Past(inside, "step", time.Now(), time.Now())
	span.End(decode, nil)
	_, own := provider.Tracer("test").Start(t.Context(), "nobody asked for this")
	own.End()
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	to.Close()
	<-relayed
}

// TestNothingIsRecordedWithoutAnEndpoint: there are IDs to show, and no spans.
func TestNothingIsRecordedWithoutAnEndpoint(t *testing.T) {
	tel := newTelemetry(t, nil)
	ctx, s := tel.TracerProvider.Tracer("test").Start(t.Context(), "work")
	defer s.End()
	_, below := span.Start(ctx, "below")
	if s.IsRecording() || below.IsRecording() || !s.SpanContext().IsValid() || below.SpanContext().TraceID() != s.SpanContext().TraceID() {
		t.Errorf("spans %+v and %+v, want IDs of one trace and no recording", s, below)
	}
	if tel.Relay() != nil || tel.Exports {
		t.Error("engines are asked for spans that go nowhere")
	}
	if allocs := testing.AllocsPerRun(100, func() { span.Past(ctx, "past", time.Time{}, time.Time{}) }); allocs > 10 {
		t.Errorf("a span that is not recorded makes %v allocations", allocs)
	}
}

// TestSampler: the standard variable decides what is recorded.
func TestSampler(t *testing.T) {
	receiver := otlptest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
	tel, err := telemetry.New(t.Context(), telemetry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, s := tel.TracerProvider.Tracer("test").Start(t.Context(), "work")
	engineWorks(t, ctx, tel)
	s.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := receiver.Spans(); len(got) != 0 {
		t.Errorf("received %+v, want nothing", got)
	}
}

func TestEnvironment(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		want string // in the error
	}{
		{"nothing", nil, ""},
		{"protocol without an endpoint", map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}, ""},
		{"unknown protocol", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}, `"carrier-pigeon"`},
		{"grpc", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, ""},
		{"disabled", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}, ""},
		{"bad batches", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY": "soon"}, `"soon"`},
		{"batches", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_BSP_MAX_QUEUE_SIZE": "10"}, ""},
		{"no exporter", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tel, err := telemetry.New(t.Context(), telemetry.Options{Getenv: func(name string) string { return tt.env[name] }})
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("err = %v, want %s in it", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := tel.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
}
