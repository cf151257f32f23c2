package relay_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/captioner/captioner/internal/telemetry/relay"
	"github.com/captioner/captioner/internal/telemetry/span"
)

// sampled is a span of the control plane.
func sampled(t *testing.T) trace.SpanContext {
	t.Helper()
	state, err := trace.ParseTraceState("vendor=value")
	if err != nil {
		t.Fatal(err)
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state,
	})
}

// read decodes what Read hands on of the data.
func read(t *testing.T, data []byte) (batches []*tracepb.ResourceSpans, err error) {
	t.Helper()
	err = relay.Read(bytes.NewReader(data), func(batch *tracepb.ResourceSpans) {
		decoded := new(tracepb.ResourceSpans)
		sent, err := proto.Marshal(batch)
		if err = errors.Join(err, proto.Unmarshal(sent, decoded)); err != nil {
			t.Fatal(err)
		}
		batches = append(batches, decoded)
	})
	return batches, err
}

// TestRead: whole batches come through, one that was cut off by its writer's
// death is dropped, and what is no batch at all is an error.
func TestRead(t *testing.T) {
	var pipe bytes.Buffer
	provider, err := relay.NewProvider(t.Context(), &pipe, "captioner-engine", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	remote := trace.ContextWithRemoteSpanContext(t.Context(), sampled(t))
	for range 2 {
		_, s := provider.Tracer("test").Start(remote, "decode")
		s.End()
		if err := provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole := pipe.Bytes()
	for name, test := range map[string]struct {
		data    []byte
		batches int
	}{"whole": {whole, 2}, "cut off": {whole[:len(whole)-1], 1}, "cut off in a length": {append(bytes.Clone(whole), 0x80), 2}, "nothing": {nil, 0}} {
		if got, err := read(t, test.data); len(got) != test.batches || err != nil {
			t.Errorf("%s: %d batches, %v; want %d", name, len(got), err, test.batches)
		}
	}
	if _, err := read(t, []byte{2, 0xff, 0xff}); err == nil {
		t.Error("what is no batch was read without an error")
	}
}

// TestSpansAreThoseOfOpenTelemetry compares with what OpenTelemetry's own provider
// and exporter make of the same calls.
func TestSpansAreThoseOfOpenTelemetry(t *testing.T) {
	var pipe bytes.Buffer
	own, err := relay.NewProvider(t.Context(), &pipe, "captioner-engine", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	work(t, own)
	if err := own.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := read(t, pipe.Bytes())
	if err != nil || len(got) != 1 {
		t.Fatalf("%d batches, %v; want one", len(got), err)
	}

	var collector collector
	exporter, err := otlptrace.New(t.Context(), &collector)
	if err != nil {
		t.Fatal(err)
	}
	work(t, sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample()))))
	if diff := cmp.Diff(collector.spans, got[0].GetScopeSpans()[0].GetSpans(), protocmp.Transform(),
		protocmp.IgnoreFields(&tracepb.Span{}, "span_id"), protocmp.IgnoreEmptyMessages()); diff != "" {
		t.Errorf("spans (-OpenTelemetry's +ours):\n%s", diff)
	}
	if scope := got[0].GetScopeSpans()[0].GetScope(); scope.GetName() != span.Scope {
		t.Errorf("the scope is %v, want %s", scope, span.Scope)
	}
	resource := map[string]string{}
	for _, a := range got[0].GetResource().GetAttributes() {
		resource[a.GetKey()] = a.GetValue().GetStringValue()
	}
	if resource["service.name"] != "captioner-engine" || resource["service.version"] != "1.2.3" || resource["host.name"] == "" || resource["service.instance.id"] == "" {
		t.Errorf("the resource is %v", resource)
	}
}

// work makes spans of all kinds, some below others, some that are not recorded.
func work(t *testing.T, provider trace.TracerProvider) {
	t.Helper()
	tracer := provider.Tracer(span.Scope)
	at := time.Date(2026, 5, 1, 12, 0, 0, 123, time.UTC)
	ctx := span.Continue(trace.ContextWithRemoteSpanContext(t.Context(), sampled(t)), tracer)
	if !span.Recording(ctx) {
		t.Error("what the control plane records is not recorded")
	}
	_, decode := span.Start(ctx, "decode", trace.WithTimestamp(at), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("algorithm", "beam"), attribute.Int("steps", -3), attribute.Bool("done", true), attribute.Float64("score", -1.5)))
	decode.AddEvent("begun", trace.WithTimestamp(at))
	span.Events(decode, "step", []time.Time{at.Add(time.Millisecond), at.Add(2 * time.Millisecond)})
	decode.SetAttributes(attribute.String("long", strings.Repeat("x", 1000)))
	span.EndAt(decode, errors.New("it failed"), at.Add(time.Second))
	decode.AddEvent("too late")
	span.EndAt(decode, nil, at.Add(time.Hour))
	if decode.IsRecording() {
		t.Error("a span that has ended is still recording")
	}
	span.Past(ctx, "queue", at, at.Add(time.Minute), attribute.Int("images", 0))
	_, fine := span.Start(ctx, "fine", trace.WithTimestamp(at))
	fine.SetStatus(codes.Ok, "")
	span.EndAt(fine, nil, at)

	_, none := tracer.Start(t.Context(), "nobody asked for this")
	none.End()
	unsampled := sampled(t).WithTraceFlags(0)
	ctx = span.Continue(trace.ContextWithRemoteSpanContext(t.Context(), unsampled), tracer)
	inside, none := span.Start(ctx, "nor for this")
	if span.Recording(ctx) || none.IsRecording() || trace.SpanContextFromContext(inside).TraceID() != unsampled.TraceID() {
		t.Error("below a span that is not recorded another is, or its trace is lost")
	}
	none.End()
}

// collector keeps the spans that an exporter sends.
type collector struct{ spans []*tracepb.Span }

func (*collector) Start(context.Context) error { return nil }
func (*collector) Stop(context.Context) error  { return nil }

func (c *collector) UploadTraces(_ context.Context, batches []*tracepb.ResourceSpans) error {
	for _, batch := range batches {
		for _, scope := range batch.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
	return nil
}

// TestNobodyReads: spans that cannot be written are dropped, and hold up neither
// what makes them nor the end.
func TestNobodyReads(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	provider, err := relay.NewProvider(t.Context(), writer(func([]byte) { <-stuck }), "captioner-engine", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	remote := trace.ContextWithRemoteSpanContext(t.Context(), sampled(t))
	for range 5000 { // some MiB
		_, s := provider.Tracer("test").Start(remote, "decode", trace.WithAttributes(attribute.String("long", strings.Repeat("x", 1000))))
		s.End()
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := provider.Shutdown(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v, want it to give up", err)
	}
}

// writer is an io.Writer.
type writer func([]byte)

func (w writer) Write(data []byte) (int, error) { w(data); return len(data), nil }
