package temporaltrace

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"

	"github.com/captioner/captioner/internal/telemetry/span"
)

// InterceptClient is called once for the client.
func (i *Interceptor) InterceptClient(next interceptor.ClientOutboundInterceptor) interceptor.ClientOutboundInterceptor {
	out := &clientOutbound{tracer: i.tracer}
	out.Next = next
	return out
}

type clientOutbound struct {
	interceptor.ClientOutboundInterceptorBase
	tracer trace.Tracer
}

// ExecuteWorkflow starts a workflow below the span in ctx. Without one the
// workflow begins a trace of its own.
func (c *clientOutbound) ExecuteWorkflow(ctx context.Context, in *interceptor.ClientExecuteWorkflowInput) (client.WorkflowRun, error) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return c.Next.ExecuteWorkflow(ctx, in)
	}
	ctx, s := c.tracer.Start(ctx, "StartWorkflow:"+in.WorkflowType, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("temporalWorkflowID", in.Options.ID)))
	if err := writeHeader(interceptor.Header(ctx), s.SpanContext()); err != nil {
		span.End(s, err)
		return nil, err
	}
	run, err := c.Next.ExecuteWorkflow(ctx, in)
	span.End(s, err)
	return run, err
}
