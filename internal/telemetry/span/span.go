// Package span makes the spans of the project's own steps, on both sides of the
// engine's socket. A span is made by whichever provider has made the one above
// it in the context, so that nobody has to be handed a provider: where nothing
// is traced there is none, and a call costs next to nothing.
package span

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"

	"github.com/captioner/captioner"
)

// Scope names the spans' origin among those of the libraries.
const Scope = "github.com/captioner/captioner"

// Start begins a span below the one in ctx. The caller ends it with [End].
func Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	return tracer(ctx).Start(ctx, name, options...)
}

// End ends a span, with the reason if what it stands for has failed.
func End(s trace.Span, err error) { EndAt(s, err, time.Now()) }

// EndAt is End for a span that ended a while ago.
func EndAt(s trace.Span, err error, at time.Time) {
	if err != nil && s.IsRecording() {
		s.SetStatus(codes.Error, err.Error())
		s.SetAttributes(attribute.String("error.type", captioner.CodeOf(err)))
		if errors.Is(err, context.Canceled) {
			s.SetAttributes(attribute.Bool("captioner.cancelled", true))
		}
	}
	s.End(trace.WithTimestamp(at))
}

// Past records, below the span in ctx, what happened between two times.
func Past(ctx context.Context, name string, from, to time.Time, attributes ...attribute.KeyValue) {
	_, s := tracer(ctx).Start(ctx, name, trace.WithTimestamp(from), trace.WithAttributes(attributes...))
	s.End(trace.WithTimestamp(to))
}

// Events records an event of a span for each of the times, in one go where the
// span can: OpenTelemetry's way of adding them costs more than all else that an
// engine tells of a caption.
func Events(s trace.Span, name string, at []time.Time) {
	if many, ok := s.(interface{ AddEvents(string, []time.Time) }); ok {
		many.AddEvents(name, at)
		return
	}
	for _, t := range at {
		s.AddEvent(name, trace.WithTimestamp(t))
	}
}

// Recording reports whether a span below that in ctx would be kept.
func Recording(ctx context.Context) bool { return trace.SpanFromContext(ctx).IsRecording() }

// Continue returns ctx with a stand-in for the span that it holds of another
// process, so that spans below that one are made here, by the tracer.
func Continue(ctx context.Context, t trace.Tracer) context.Context {
	remote := trace.SpanFromContext(ctx)
	if !remote.SpanContext().IsValid() {
		return ctx
	}
	return trace.ContextWithSpan(ctx, continued{Span: remote, provider: single{tracer: t}})
}

// continued is another process' span, with a provider of this one.
type continued struct {
	trace.Span
	provider trace.TracerProvider
}

// IsRecording reports whether the other process records the span.
func (c continued) IsRecording() bool { return c.SpanContext().IsSampled() }

// TracerProvider returns what makes the spans below.
func (c continued) TracerProvider() trace.TracerProvider { return c.provider }

// single provides one tracer for all.
type single struct {
	embedded.TracerProvider
	tracer trace.Tracer
}

// Tracer returns it.
func (s single) Tracer(string, ...trace.TracerOption) trace.Tracer { return s.tracer }

func tracer(ctx context.Context) trace.Tracer {
	return trace.SpanFromContext(ctx).TracerProvider().Tracer(Scope)
}
