package relay

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// tracer begins spans.
type tracer struct {
	embedded.Tracer
	provider *Provider
}

// Start begins a span below one that is recorded; there is none below others.
func (t tracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	parent := trace.SpanContextFromContext(ctx)
	if !parent.IsSampled() {
		return ctx, noop.Span{}
	}
	traceID, above := parent.TraceID(), parent.SpanID()
	var id trace.SpanID
	binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	flags := uint32(parent.TraceFlags()) | uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
	if parent.IsRemote() {
		flags |= uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
	}
	config := trace.NewSpanStartConfig(options...)
	s := &recorded{
		provider: t.provider,
		context:  parent.WithSpanID(id).WithRemote(false),
		message: &tracepb.Span{
			TraceId: traceID[:], SpanId: id[:], ParentSpanId: above[:], TraceState: parent.TraceState().String(), Flags: flags,
			Name: name, Kind: tracepb.Span_SpanKind(trace.ValidateSpanKind(config.SpanKind())), // the same numbers
			StartTimeUnixNano: nanoseconds(config.Timestamp()), Attributes: keyValues(config.Attributes()),
		},
	}
	return trace.ContextWithSpan(ctx, s), s
}

// recorded is a span that is recorded, as OTLP's message from the start. What it
// does not override does nothing: engines use no links and no events with
// attributes.
type recorded struct {
	noop.Span
	provider *Provider
	context  trace.SpanContext

	mu      sync.Mutex
	message *tracepb.Span // nil once it has ended
}

// change changes the message, unless the span has ended.
func (s *recorded) change(do func(m *tracepb.Span)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.message != nil {
		do(s.message)
	}
}

// SpanContext identifies the span.
func (s *recorded) SpanContext() trace.SpanContext { return s.context }

// TracerProvider returns what has made the span.
func (s *recorded) TracerProvider() trace.TracerProvider { return s.provider }

// IsRecording reports whether the span has not ended.
func (s *recorded) IsRecording() (yes bool) {
	s.change(func(*tracepb.Span) { yes = true })
	return yes
}

// SetAttributes adds attributes, each of which must be new.
func (s *recorded) SetAttributes(attributes ...attribute.KeyValue) {
	s.change(func(m *tracepb.Span) { m.Attributes = append(m.Attributes, keyValues(attributes)...) })
}

// AddEvent adds an event, without attributes.
func (s *recorded) AddEvent(name string, options ...trace.EventOption) {
	config := trace.NewEventConfig(options...)
	event := &tracepb.Span_Event{Name: name, TimeUnixNano: nanoseconds(config.Timestamp())}
	s.change(func(m *tracepb.Span) { m.Events = append(m.Events, event) })
}

// AddEvents adds an event for each of the times; see span.Events.
func (s *recorded) AddEvents(name string, at []time.Time) {
	events := make([]tracepb.Span_Event, len(at)) // one allocation
	s.change(func(m *tracepb.Span) {
		m.Events = slices.Grow(m.Events, len(at))
		for i := range events {
			events[i].Name, events[i].TimeUnixNano = name, nanoseconds(at[i])
			m.Events = append(m.Events, &events[i])
		}
	})
}

// SetStatus sets whether what the span stands for has failed.
func (s *recorded) SetStatus(code codes.Code, description string) {
	status := &tracepb.Status{}
	switch code {
	case codes.Error:
		status.Code, status.Message = tracepb.Status_STATUS_CODE_ERROR, description
	case codes.Ok:
		status.Code = tracepb.Status_STATUS_CODE_OK
	}
	s.change(func(m *tracepb.Span) { m.Status = status })
}

// End hands the span to the batcher.
func (s *recorded) End(options ...trace.SpanEndOption) {
	config := trace.NewSpanEndConfig(options...)
	s.change(func(m *tracepb.Span) {
		m.EndTimeUnixNano = nanoseconds(config.Timestamp())
		s.message = nil
		encoded, err := proto.Marshal(m)
		if err != nil { // a text that is not UTF-8
			otel.Handle(err)
			return
		}
		s.provider.Add(encoded)
	})
}

// nanoseconds gives a time as OTLP does; now for none.
func nanoseconds(t time.Time) uint64 {
	if t.IsZero() {
		t = time.Now()
	}
	return uint64(t.UnixNano())
}

// keyValues gives attributes as OTLP does. Lists, which engines do not use, become
// text.
func keyValues(attributes []attribute.KeyValue) []*commonpb.KeyValue {
	converted := make([]*commonpb.KeyValue, len(attributes))
	pairs := make([]struct { // one allocation
		attribute commonpb.KeyValue
		value     commonpb.AnyValue
	}, len(attributes))
	for i, a := range attributes {
		p := &pairs[i]
		switch a.Value.Type() {
		case attribute.BOOL:
			p.value.Value = &commonpb.AnyValue_BoolValue{BoolValue: a.Value.AsBool()}
		case attribute.INT64:
			p.value.Value = &commonpb.AnyValue_IntValue{IntValue: a.Value.AsInt64()}
		case attribute.FLOAT64:
			p.value.Value = &commonpb.AnyValue_DoubleValue{DoubleValue: a.Value.AsFloat64()}
		default:
			p.value.Value = &commonpb.AnyValue_StringValue{StringValue: a.Value.String()}
		}
		p.attribute.Key, p.attribute.Value = string(a.Key), &p.value
		converted[i] = &p.attribute
	}
	return converted
}
