// Package temporaltrace carries a trace through Temporal: from whoever starts a
// workflow over the workflow to its activities and what they call. The one
// interceptor goes into the client's options and covers its workers too.
//
// A run outlives the processes that execute it, and its tree must hold then.
// So the spans of a workflow and of its activities have IDs that follow from
// Temporal's, and are recorded once, by whichever worker has the workflow when
// they end: what an attempt has left that was killed still has its parent.
// Attempts that failed and were tried again are spans below the activity's.
// Nothing is recorded when a history is replayed, be it for a worker that takes
// a run over or for a query.
//
// A workflow that was started from elsewhere, with the temporal command for
// example, has a trace of its own, whose ID is Temporal's run ID.
package temporaltrace

import (
	"context"
	"encoding/hex"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/telemetry/span"
)

// headerKey and its content, the headers of W3C's trace context in a map, are
// those of Temporal's own tracing, so that its clients can begin a run's trace.
const headerKey = "_tracer-data"

var propagator = propagation.TraceContext{}

// Interceptor traces workflows and activities.
type Interceptor struct {
	interceptor.InterceptorBase
	tracer trace.Tracer
}

// New returns an interceptor for a client's options. The provider must generate
// its IDs with span.IDs.
func New(provider trace.TracerProvider) *Interceptor {
	return &Interceptor{tracer: provider.Tracer(span.Scope)}
}

// WorkflowTraceID returns the ID of the trace of a workflow that was started
// outside any other, by its Temporal run ID.
func WorkflowTraceID(temporalRunID string) (id trace.TraceID) {
	if n, err := hex.Decode(id[:], []byte(strings.ReplaceAll(temporalRunID, "-", ""))); err != nil || n != len(id) {
		return trace.TraceID{} // no UUID; chance decides
	}
	return id
}

// The attributes of spans, as Temporal's own tracing calls them.
func workflowAttributes(id, runID string) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("temporalWorkflowID", id), attribute.String("temporalRunID", runID)}
}

// outcomeAttributes say what came of a run; nothing of another workflow.
func outcomeAttributes(out any) []attribute.KeyValue {
	result, ok := out.(captioner.RunResult)
	switch {
	case !ok || result.Version == "" && !result.Unchanged: // not ours, or failed
		return nil
	case result.Unchanged:
		return []attribute.KeyValue{attribute.Bool("captioner.unchanged", true)}
	}
	return []attribute.KeyValue{
		attribute.String("captioner.version", string(result.Version)), attribute.String("captioner.decision", string(result.Decision.Outcome)),
	}
}

// readHeader returns ctx with the remote span that the headers name, if they do.
func readHeader(ctx context.Context, header map[string]*commonpb.Payload) context.Context {
	payload, found := header[headerKey]
	if !found {
		return ctx
	}
	carrier := propagation.MapCarrier{}
	if converter.GetDefaultDataConverter().FromPayload(payload, &carrier) != nil {
		return ctx // somebody else's
	}
	return propagator.Extract(ctx, carrier)
}

// writeHeader names the span in the headers.
func writeHeader(header map[string]*commonpb.Payload, s trace.SpanContext) error {
	if header == nil || !s.IsValid() {
		return nil
	}
	carrier := propagation.MapCarrier{}
	propagator.Inject(trace.ContextWithSpanContext(context.Background(), s), carrier)
	payload, err := converter.GetDefaultDataConverter().ToPayload(carrier)
	if err != nil {
		return err
	}
	header[headerKey] = payload
	return nil
}
