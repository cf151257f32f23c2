package span

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// TraceKey is the name under which log lines carry the ID of their trace.
const TraceKey = "trace_id"

// LogHandler adds to each record the trace of the context that it was written
// under, if there is one.
type LogHandler struct{ slog.Handler }

// Handle adds the trace.
func (h LogHandler) Handle(ctx context.Context, r slog.Record) error {
	if s := trace.SpanContextFromContext(ctx); s.HasTraceID() {
		r = r.Clone()
		r.AddAttrs(slog.String(TraceKey, s.TraceID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the handler around the one with the attributes.
func (h LogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return LogHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the handler around the one with the group.
func (h LogHandler) WithGroup(name string) slog.Handler { return LogHandler{h.Handler.WithGroup(name)} }
