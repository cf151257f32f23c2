package span

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// IDs is the generator of a provider's IDs: random ones, except for spans that
// [StartAs] begins. It implements OpenTelemetry's IDGenerator.
type IDs struct{}

// fixed are the IDs that StartAs wants; a zero one is left to chance.
type fixed struct {
	trace trace.TraceID
	span  trace.SpanID
}

type fixedKey struct{}

// StartAs begins a span with an ID that is known beforehand, so that whoever
// ends the thing that it stands for can record it, also in another process: it
// must be ended once in all. traceID counts where ctx holds no span. The
// tracer's provider must generate its IDs with [IDs].
func StartAs(ctx context.Context, t trace.Tracer, traceID trace.TraceID, spanID trace.SpanID, name string, options ...trace.SpanStartOption) trace.Span {
	_, s := t.Start(context.WithValue(ctx, fixedKey{}, fixed{traceID, spanID}), name, options...)
	return s
}

// IDOf derives a span's ID from what names it.
func IDOf(parts ...string) (id trace.SpanID) {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	copy(id[:], sum[:])
	return id
}

// NewIDs returns the IDs of a span without a parent.
func (IDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	want, _ := ctx.Value(fixedKey{}).(fixed)
	for !want.trace.IsValid() {
		binary.NativeEndian.PutUint64(want.trace[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(want.trace[8:], rand.Uint64())
	}
	return want.trace, spanID(want)
}

// NewSpanID returns the ID of a span in a trace.
func (IDs) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	want, _ := ctx.Value(fixedKey{}).(fixed)
	return spanID(want)
}

func spanID(want fixed) trace.SpanID {
	for !want.span.IsValid() {
		binary.NativeEndian.PutUint64(want.span[:], rand.Uint64())
	}
	return want.span
}
