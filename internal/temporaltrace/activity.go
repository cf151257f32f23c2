package temporaltrace

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"

	"github.com/captioner/captioner/internal/telemetry/span"
)

// InterceptActivity is called for each attempt.
func (i *Interceptor) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	in := &activityInbound{tracer: i.tracer}
	in.Next = next
	return in
}

type activityInbound struct {
	interceptor.ActivityInboundInterceptorBase
	tracer trace.Tracer
}

// Init puts the outbound side in.
func (a *activityInbound) Init(next interceptor.ActivityOutboundInterceptor) error {
	out := &activityOutbound{}
	out.Next = next
	return a.Next.Init(out)
}

// ExecuteActivity makes an attempt. What the attempt does lies below the
// activity's span, not below one of the attempt's: that would be lost with a
// worker that is killed. An attempt that will be followed by another leaves a
// span that says how it failed.
func (a *activityInbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	ctx = span.Continue(readHeader(ctx, interceptor.Header(ctx)), a.tracer)
	out, err := a.Next.ExecuteActivity(ctx, in)
	if tryAgain(err) {
		_, attempt := a.tracer.Start(ctx, "attempt", trace.WithTimestamp(info.StartedTime), trace.WithAttributes(
			attribute.Int("temporal.attempt", int(info.Attempt)), attribute.String("temporal.task_queue", info.TaskQueue),
		))
		span.End(attempt, err)
	}
	return out, err
}

// tryAgain reports whether Temporal will make another attempt.
func tryAgain(err error) bool {
	var failure *temporal.ApplicationError
	final := errors.As(err, &failure) && failure.NonRetryable()
	return err != nil && !final && !temporal.IsCanceledError(err)
}

type activityOutbound struct {
	interceptor.ActivityOutboundInterceptorBase
}

// GetLogger returns a logger whose lines carry the trace.
func (a *activityOutbound) GetLogger(ctx context.Context) log.Logger {
	return withTrace(a.Next.GetLogger(ctx), trace.SpanContextFromContext(ctx))
}
