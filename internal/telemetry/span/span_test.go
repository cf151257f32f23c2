package span_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/telemetry/span"
)

func newProvider() (*sdktrace.TracerProvider, *tracetest.InMemoryExporter) {
	exporter := tracetest.NewInMemoryExporter()
	return sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter), sdktrace.WithIDGenerator(span.IDs{})), exporter
}

func TestStart(t *testing.T) {
	provider, exporter := newProvider()
	ctx, above := provider.Tracer("test").Start(t.Context(), "above")
	_, below := span.Start(ctx, "below")
	span.End(below, captioner.Errorf(captioner.Corrupt, "damaged"))
	from := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	span.Past(ctx, "past", from, from.Add(time.Second))
	above.End()
	got := exporter.GetSpans()
	if len(got) != 3 || got[0].Parent.SpanID() != above.SpanContext().SpanID() || got[1].Parent.SpanID() != above.SpanContext().SpanID() {
		t.Fatalf("spans %+v, want two below the first", got)
	}
	if got[0].Status.Code != codes.Error || got[1].Status.Code != codes.Unset {
		t.Errorf("states %v and %v, want the first failed", got[0].Status, got[1].Status)
	}
	if !got[1].StartTime.Equal(from) || got[1].EndTime.Sub(got[1].StartTime) != time.Second {
		t.Errorf("the past lasted from %v to %v", got[1].StartTime, got[1].EndTime)
	}
	if _, nothing := span.Start(t.Context(), "nowhere"); nothing.IsRecording() || span.Recording(t.Context()) {
		t.Error("a span without one above it is recorded")
	}
}

// TestStartAs: the ID is the wanted one, and that of nobody below.
func TestStartAs(t *testing.T) {
	provider, _ := newProvider()
	tracer := provider.Tracer("test")
	wantTrace, wantSpan := trace.TraceID{1, 2}, span.IDOf("workflow", "x")
	s := span.StartAs(t.Context(), tracer, wantTrace, wantSpan, "root")
	if got := s.SpanContext(); got.TraceID() != wantTrace || got.SpanID() != wantSpan {
		t.Errorf("the root is %v %v, want %v %v", got.TraceID(), got.SpanID(), wantTrace, wantSpan)
	}
	_, below := span.Start(trace.ContextWithSpan(t.Context(), s), "below")
	if got := below.SpanContext(); got.TraceID() != wantTrace || got.SpanID() == wantSpan || !got.SpanID().IsValid() {
		t.Errorf("below the root is %v %v", got.TraceID(), got.SpanID())
	}
	again := span.StartAs(trace.ContextWithSpan(t.Context(), below), tracer, trace.TraceID{9}, span.IDOf("activity", "x"), "child")
	if got := again.SpanContext(); got.TraceID() != wantTrace || got.SpanID() != span.IDOf("activity", "x") {
		t.Errorf("the child is %v %v, want it in its parent's trace", got.TraceID(), got.SpanID())
	}
	if span.IDOf("a", "bc") == span.IDOf("ab", "c") {
		t.Error("different names give one ID")
	}
}

// failing is an exporter that fails a number of times and keeps the rest.
type failing struct {
	*tracetest.InMemoryExporter
	times   int
	batches []int
}

func (f *failing) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if f.times > 0 {
		f.times--
		return errors.New("the collector is away")
	}
	f.batches = append(f.batches, len(spans))
	return f.InMemoryExporter.ExportSpans(ctx, spans)
}

func TestBatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exporter := &failing{InMemoryExporter: tracetest.NewInMemoryExporter(), times: 1}
		var failures []error
		batcher := span.NewProcessor(exporter, span.BatchOptions{
			Delay: time.Second, MaxWaiting: 5, MaxBatch: 3, Failed: func(err error) { failures = append(failures, err) },
		})
		tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(batcher)).Tracer("test")
		finish := func(n int) {
			for range n {
				_, s := tracer.Start(t.Context(), "work")
				s.End()
			}
		}
		finish(1)
		time.Sleep(1500 * time.Millisecond) // synctest's time: at once
		synctest.Wait()
		if len(failures) != 1 || len(exporter.GetSpans()) != 0 {
			t.Errorf("failures %v and %d spans, want one failure and none", failures, len(exporter.GetSpans()))
		}
		finish(7) // two too many
		if n := len(exporter.GetSpans()); n != 0 {
			t.Errorf("%d spans before it was time", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(exporter.batches) != 2 || exporter.batches[0] != 3 || exporter.batches[1] != 2 {
			t.Errorf("batches of %v spans, want 3 and 2", exporter.batches)
		}
		finish(1)
		if err := batcher.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(exporter.batches) != 3 {
			t.Errorf("batches of %v spans, want one more from the shutdown", exporter.batches)
		}
	})
}
