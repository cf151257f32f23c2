package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/telemetry"
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
		`captioner_engine_restarts_total 1`,
		`captioner_build_info{go="go1.`,
		`go_goroutines `,
		`process_resident_memory_bytes `,
		`other_things_total{`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(text, `version="aaaa"`) {
		t.Error("metrics still name the version before")
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

func TestTracesGoToTheEndpoint(t *testing.T) {
	received := make(chan *collector.ExportTraceServiceRequest, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		request := new(collector.ExportTraceServiceRequest)
		if err := proto.Unmarshal(body, request); err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		received <- request
	}))
	defer server.Close()
	// The exporter itself reads the process' environment.
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")

	tel, err := telemetry.New(t.Context(), telemetry.Options{Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	_, span := tel.TracerProvider.Tracer("test").Start(t.Context(), "work")
	span.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatalf("Shutdown: %v", err)
	}
	request := <-received
	attributes := map[string]string{}
	for _, a := range request.ResourceSpans[0].Resource.Attributes {
		attributes[a.Key] = a.Value.GetStringValue()
	}
	for name, want := range map[string]string{
		"service.name": "captioner", "service.version": "1.2.3", "deployment.environment": "test",
	} {
		if attributes[name] != want {
			t.Errorf("resource attribute %s = %q, want %q", name, attributes[name], want)
		}
	}
	if got := request.ResourceSpans[0].ScopeSpans[0].Spans[0].Name; got != "work" {
		t.Errorf("span = %q, want work", got)
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
