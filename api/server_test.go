package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/api"
	"github.com/captioner/captioner/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(s *api.Server, sc scenario) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, sc.request())
	return w
}

func TestNewRefusesIncompleteOptions(t *testing.T) {
	f, schema := newFake(), []byte("{}")
	for name, opts := range map[string]api.Options{
		"no captioner":   {},
		"no ParseConfig": {Captioner: f, Runs: f, Progress: f, Blobs: f, ConfigSchema: schema},
		"no schema":      {Captioner: f, Runs: f, Progress: f, Blobs: f, ParseConfig: config.ParseWith},
		"no Progress":    {Captioner: f, Runs: f, Blobs: f, ParseConfig: config.ParseWith, ConfigSchema: schema},
		"no Blobs":       {Captioner: f, Runs: f, Progress: f, ParseConfig: config.ParseWith, ConfigSchema: schema},
		"bad origin":     {Captioner: f, CORSOrigins: []string{"app.example"}},
		"no Deployer":    {Captioner: f, Models: f},
	} {
		if _, err := api.New(opts); err == nil {
			t.Errorf("%s: New accepted it", name)
		}
	}
}

func TestRequestIDIsTheTrace(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	s := newServer(t, newFake(), func(o *api.Options) {
		o.TracerProvider, o.Propagator = provider, propagation.TraceContext{}
	})
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	w := serve(s, scenario{path: "/runs/train-01", header: map[string]string{"traceparent": "00-" + trace + "-00f067aa0ba902b7-01"}})
	if got := w.Header().Get("X-Request-ID"); got != trace {
		t.Errorf("X-Request-ID = %q, want the caller's trace %s", got, trace)
	}
	serve(s, scenario{path: "/health"})
	got := spans.GetSpans()
	if len(got) != 1 || got[0].Name != "GET /runs/:id" || got[0].SpanContext.TraceID().String() != trace {
		t.Errorf("spans = %+v, want one of GET /runs/:id and none of a probe", got)
	}
}

// TestRequestSpan: a span tells of its request by OpenTelemetry's conventions. What
// a client did wrong is no error of the server's.
func TestRequestSpan(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	f := newFake()
	f.caption = func(context.Context, captioner.CaptionRequest) (captioner.CaptionReply, error) {
		return captioner.CaptionReply{}, errors.New("the engine said no")
	}
	s := newServer(t, f, func(o *api.Options) { o.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)) })
	serve(s, scenario{path: "/runs/nothing", header: map[string]string{"User-Agent": "test/1"}})
	serve(s, scenario{path: "/nowhere"})
	serve(s, scenario{method: http.MethodPost, path: "/predict", header: formHeader, body: form(t, "file", picture(t))})

	type told struct {
		Name, Error string
		Attributes  map[string]string
	}
	var got []told
	for _, s := range spans.GetSpans() {
		attributes := map[string]string{}
		for _, a := range s.Attributes {
			attributes[string(a.Key)] = a.Value.String()
		}
		got = append(got, told{s.Name, s.Status.Description, attributes})
	}
	attributes := func(method, path, status, code string, others ...string) map[string]string {
		a := map[string]string{
			"http.request.method": method, "http.response.status_code": status, "url.scheme": "http", "url.path": path,
			"server.address": "example.com", "client.address": "192.0.2.1", "error.type": code,
		}
		for i := 0; i < len(others); i += 2 {
			a[others[i]] = others[i+1]
		}
		return a
	}
	want := []told{
		{"GET /runs/:id", "", attributes("GET", "/runs/nothing", "404", "not_found", "http.route", "/runs/:id", "user_agent.original", "test/1")},
		{"GET", "", attributes("GET", "/nowhere", "404", "not_found")},
		{"POST /predict", "the engine said no", attributes("POST", "/predict", "500", "internal", "http.route", "/predict")},
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

// TestPredictTrace: captioning is below the request.
func TestPredictTrace(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	f := newFake()
	f.caption = func(ctx context.Context, _ captioner.CaptionRequest) (captioner.CaptionReply, error) {
		_, inside := provider.Tracer("test").Start(ctx, "engine")
		inside.End()
		return captioner.CaptionReply{Results: []captioner.CaptionResult{{Hypotheses: []captioner.Hypothesis{{Text: "a dog"}}}}}, nil
	}
	s := newServer(t, f, func(o *api.Options) { o.TracerProvider = provider })
	w := serve(s, scenario{method: http.MethodPost, path: "/predict", header: formHeader, body: form(t, "file", picture(t))})
	var names []string
	got := spans.GetSpans()
	root := got[len(got)-1]
	for _, s := range got {
		names = append(names, s.Name)
		if below := s.Parent.SpanID() == root.SpanContext.SpanID(); below == (s.Name == root.Name) {
			t.Errorf("the parent of %q is %s", s.Name, s.Parent.SpanID())
		}
	}
	if diff := gocmp.Diff([]string{"engine", "POST /predict"}, names); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if id := root.SpanContext.TraceID().String(); w.Header().Get("X-Request-ID") != id {
		t.Errorf("X-Request-ID = %q, want the trace %s", w.Header().Get("X-Request-ID"), id)
	}
}

func TestRequestLog(t *testing.T) {
	var b bytes.Buffer
	f := newFake()
	f.caption = func(context.Context, captioner.CaptionRequest) (captioner.CaptionReply, error) {
		return captioner.CaptionReply{}, errors.New("engine said: /secret/path")
	}
	s := newServer(t, f, logTo(&b))
	w := serve(s, scenario{method: http.MethodPost, path: "/predict?token=secret", header: formHeader, body: form(t, "file", picture(t))})
	serve(s, scenario{path: "/health"})
	serve(s, scenario{path: "/runs/nothing"})

	if strings.Contains(w.Body.String(), "secret") {
		t.Errorf("the client was told %s", w.Body)
	}
	var got []map[string]any
	for line := range strings.Lines(b.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		if took, ok := record["took"].(float64); !ok || took <= 0 {
			t.Errorf("no duration in %s", line)
		}
		for _, key := range []string{"time", "took", "bytes"} {
			delete(record, key)
		}
		if record["method"] == "POST" && record["request_id"] != w.Header().Get("X-Request-ID") {
			t.Errorf("request_id = %v, want %s", record["request_id"], w.Header().Get("X-Request-ID"))
		}
		delete(record, "request_id")
		got = append(got, record)
	}
	want := []map[string]any{
		{"level": "ERROR", "msg": "request", "method": "POST", "path": "/predict", "status": 500.0, "client": "192.0.2.1",
			"code": "internal", "error": "engine said: /secret/path"},
		{"level": "DEBUG", "msg": "request", "method": "GET", "path": "/health", "status": 200.0, "client": "192.0.2.1"},
		{"level": "INFO", "msg": "request", "method": "GET", "path": "/runs/nothing", "status": 404.0, "client": "192.0.2.1",
			"code": "not_found", "error": `there is no run "nothing"`},
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestNoProxyIsTrusted(t *testing.T) {
	var b bytes.Buffer
	serve(newServer(t, newFake(), logTo(&b)), scenario{path: "/", header: map[string]string{"X-Forwarded-For": "10.9.8.7", "X-Real-IP": "10.9.8.7"}})
	if strings.Contains(b.String(), "10.9.8.7") {
		t.Errorf("the log believes a header: %s", &b)
	}
}

// counts is an observer.
type counts struct {
	mu       sync.Mutex
	inFlight int
	waiting  int
	lines    []string
}

func (c *counts) RequestStarted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight++
}

func (c *counts) RequestFinished(method, route string, status int, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight--
	c.lines = append(c.lines, method+" "+route+" "+http.StatusText(status))
}

func (c *counts) Waiting(change int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting += change
}

func (c *counts) Waited(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, "waited")
}

func (c *counts) Captioned(reply captioner.CaptionReply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, fmt.Sprintf("batch of %d after %s", reply.Batch, reply.Waited))
}

func (c *counts) Predicted(algorithm string, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, "predicted "+algorithm)
}

func TestObserver(t *testing.T) {
	c := &counts{}
	f := newFake()
	s := newServer(t, f, func(o *api.Options) { o.Observer = c })
	post := scenario{method: http.MethodPost, path: "/predict", header: formHeader, body: form(t, "file", picture(t))}
	serve(s, post)
	f.caption = func(context.Context, captioner.CaptionRequest) (captioner.CaptionReply, error) { panic("a bug") }
	serve(s, post)
	serve(s, scenario{path: "/runs/train-01"})
	serve(s, scenario{path: "/nothing"})
	want := []string{
		"waited", "batch of 3 after 2ms", "predicted beam", "POST /predict OK",
		"waited", "POST /predict Internal Server Error", "GET /runs/:id OK", "GET  Not Found",
	}
	if diff := gocmp.Diff(want, c.lines); diff != "" || c.inFlight != 0 || c.waiting != 0 {
		t.Errorf("%d in flight, %d waiting; observed (-want +got):\n%s", c.inFlight, c.waiting, diff)
	}
}

func TestShutdownDrains(t *testing.T) {
	f := newFake()
	inside, gate := make(chan struct{}), make(chan struct{})
	f.caption = func(context.Context, captioner.CaptionRequest) (captioner.CaptionReply, error) {
		close(inside)
		<-gate
		return captioner.CaptionReply{Results: []captioner.CaptionResult{{Hypotheses: []captioner.Hypothesis{{Text: "a dog"}}}}}, nil
	}
	s := newServer(t, f, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Start(ln) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	status := make(chan int, 1)
	go func() {
		resp, err := client.Post("http://"+ln.Addr().String()+"/predict", formHeader["Content-Type"], strings.NewReader(form(t, "file", picture(t))))
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	<-inside

	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	if err := <-ended; err != nil { // Start returns once nothing new is taken
		t.Errorf("Start = %v, want nil after Shutdown", err)
	}
	if w := serve(s, scenario{path: "/ready"}); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "shutting_down") {
		t.Errorf("/ready while draining: %d %s", w.Code, w.Body)
	}
	select {
	case err := <-down:
		t.Errorf("Shutdown returned %v before the request in flight was answered", err)
	default:
	}
	close(gate)
	if got := <-status; got != http.StatusOK {
		t.Errorf("the request in flight got status %d", got)
	}
	if err := <-down; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestShutdownGivesUpWithItsContext(t *testing.T) {
	f := newFake()
	inside := make(chan struct{})
	f.caption = func(ctx context.Context, _ captioner.CaptionRequest) (captioner.CaptionReply, error) {
		close(inside)
		<-ctx.Done() // a closed connection ends the request's context
		return captioner.CaptionReply{}, ctx.Err()
	}
	s := newServer(t, f, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Start(ln) }()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Post("http://"+ln.Addr().String()+"/predict", formHeader["Content-Type"], strings.NewReader(form(t, "file", picture(t))))
		if err == nil {
			resp.Body.Close()
			t.Errorf("the request was answered with status %d", resp.StatusCode)
		}
	}()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown = %v, want deadline exceeded", err)
	}
	<-answered
	<-ended
}
