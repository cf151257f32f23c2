// Package otlptest gives tests a collector: it receives spans as any OTLP
// backend does, over HTTP and gRPC, and checks the trees that they form.
package otlptest

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Span is a span as it was received.
type Span struct {
	Service, Name       string
	Instance            string // of the service: one for each process
	TraceID, ID, Parent string // hexadecimal; Parent is empty for a root
	Start, End          time.Time
	Attributes          map[string]string
	Events              []string
	Failed              bool
}

// Receiver is a collector. Its methods are safe for concurrent use.
type Receiver struct {
	// URL takes OTLP over HTTP, GRPC over gRPC: values of
	// OTEL_EXPORTER_OTLP_ENDPOINT.
	URL, GRPC string

	mu      sync.Mutex
	spans   []Span
	arrived chan struct{} // closed and replaced with each arrival
}

// Start starts a receiver for the test.
func Start(tb testing.TB) *Receiver {
	tb.Helper()
	r := &Receiver{arrived: make(chan struct{})}
	web := httptest.NewServer(http.HandlerFunc(r.serveHTTP))
	tb.Cleanup(web.Close)
	r.URL = web.URL

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, service{r: r})
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	tb.Cleanup(func() { server.Stop(); serving.Wait() })
	r.GRPC = "http://" + listener.Addr().String()
	return r
}

func (r *Receiver) serveHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	message := new(collector.ExportTraceServiceRequest)
	if err == nil {
		err = proto.Unmarshal(body, message)
	}
	if err != nil || req.URL.Path != "/v1/traces" {
		http.Error(w, "not OTLP", http.StatusBadRequest)
		return
	}
	r.add(message.GetResourceSpans())
}

type service struct {
	collector.UnimplementedTraceServiceServer
	r *Receiver
}

func (s service) Export(_ context.Context, m *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.r.add(m.GetResourceSpans())
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *Receiver) add(received []*tracepb.ResourceSpans) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range received {
		about := attributes(of.GetResource().GetAttributes())
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				r.spans = append(r.spans, convert(about, s))
			}
		}
	}
	close(r.arrived)
	r.arrived = make(chan struct{})
}

func convert(about map[string]string, s *tracepb.Span) Span {
	out := Span{
		Service: about["service.name"], Instance: about["service.instance.id"], Name: s.GetName(),
		TraceID: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Start: time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())),
		Attributes: attributes(s.GetAttributes()),
		Failed:     s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
	}
	for _, e := range s.GetEvents() {
		out.Events = append(out.Events, e.GetName())
	}
	return out
}

func attributes(list []*commonpb.KeyValue) map[string]string {
	values := map[string]string{}
	for _, a := range list {
		switch v := a.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			values[a.GetKey()] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			values[a.GetKey()] = fmt.Sprint(v.IntValue)
		case *commonpb.AnyValue_DoubleValue:
			values[a.GetKey()] = fmt.Sprint(v.DoubleValue)
		case *commonpb.AnyValue_BoolValue:
			values[a.GetKey()] = fmt.Sprint(v.BoolValue)
		}
	}
	return values
}

// Spans returns what has been received, in the order of the spans' beginning.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	spans := slices.Clone(r.spans)
	slices.SortStableFunc(spans, func(a, b Span) int { return a.Start.Compare(b.Start) })
	return spans
}

// Trace returns the spans of one trace.
func (r *Receiver) Trace(id string) Trace {
	var t Trace
	for _, s := range r.Spans() {
		if s.TraceID == id {
			t = append(t, s)
		}
	}
	return t
}

// Await waits until the trace is as wanted and returns it.
func (r *Receiver) Await(tb testing.TB, id string, wanted func(Trace) bool) Trace {
	tb.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		r.mu.Lock()
		arrived := r.arrived
		r.mu.Unlock()
		t := r.Trace(id)
		if wanted(t) {
			return t
		}
		select {
		case <-arrived:
		case <-deadline.C:
			tb.Fatalf("trace %s is not complete after 20 s:\n%s", id, t)
		}
	}
}

// Trace holds spans of one trace, in the order of their beginning.
type Trace []Span

// Named returns the spans of that name.
func (t Trace) Named(name string) (found []Span) {
	for _, s := range t {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// Has reports whether there is a span of that name.
func (t Trace) Has(name string) bool { return len(t.Named(name)) > 0 }

// CheckTree reports whatever keeps the spans from being one tree: none or
// several roots, parents that are missing, IDs that occur twice.
func (t Trace) CheckTree(tb testing.TB) {
	tb.Helper()
	known := map[string]int{}
	for _, s := range t {
		known[s.ID]++
	}
	var roots []string
	for _, s := range t {
		switch {
		case known[s.ID] > 1:
			tb.Errorf("the span %q, %s, was received %d times", s.Name, s.ID, known[s.ID])
		case s.Parent == "":
			roots = append(roots, s.Name)
		case known[s.Parent] == 0:
			tb.Errorf("the span %q has a parent, %s, that nobody has sent", s.Name, s.Parent)
		}
	}
	if len(roots) != 1 {
		tb.Errorf("roots %q, want one", roots)
	}
	if tb.Failed() {
		tb.Logf("the trace:\n%s", t)
	}
}

// Edges lists "parent > child" by name, sorted and each once. The root's is
// "> root".
func (t Trace) Edges() []string {
	names := map[string]string{}
	for _, s := range t {
		names[s.ID] = s.Name
	}
	var edges []string
	for _, s := range t {
		edges = append(edges, strings.TrimSpace(names[s.Parent]+" > "+s.Name))
	}
	slices.Sort(edges)
	return slices.Compact(edges)
}

// String draws the tree; spans whose parent is missing stand below "?".
func (t Trace) String() string {
	known := map[string]bool{"": true}
	for _, s := range t {
		known[s.ID] = true
	}
	var b strings.Builder
	t.draw(&b, "", 0)
	for _, s := range t {
		if !known[s.Parent] {
			fmt.Fprintf(&b, "? > %s %s\n", s.Name, s.End.Sub(s.Start))
			t.draw(&b, s.ID, 1)
		}
	}
	return cmp.Or(b.String(), "(nothing)\n")
}

func (t Trace) draw(b *strings.Builder, parent string, depth int) {
	for _, s := range t {
		if s.Parent == parent {
			fmt.Fprintf(b, "%s%s  %s %s\n", strings.Repeat("  ", depth), s.Name, s.Service, s.End.Sub(s.Start))
			t.draw(b, s.ID, depth+1)
		}
	}
}
