package temporaltrace

import (
	"context"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/workflow"

	"github.com/captioner/captioner/internal/telemetry/span"
)

// InterceptWorkflow is called for each execution, replays included.
func (i *Interceptor) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	in := &workflowInbound{out: &workflowOutbound{tracer: i.tracer}}
	in.Next = next
	return in
}

type workflowInbound struct {
	interceptor.WorkflowInboundInterceptorBase
	out *workflowOutbound
}

// Init puts the outbound side in.
func (w *workflowInbound) Init(next interceptor.WorkflowOutboundInterceptor) error {
	w.out.Next = next
	return w.Next.Init(w.out)
}

// ExecuteWorkflow runs the workflow below the span in its header. A worker that
// loses the workflow leaves this function by Goexit, and one that replays it
// knows so: then the span is another's to record.
func (w *workflowInbound) ExecuteWorkflow(ctx workflow.Context, in *interceptor.ExecuteWorkflowInput) (any, error) {
	info := workflow.GetInfo(ctx)
	runID := info.WorkflowExecution.RunID
	s := span.StartAs(readHeader(context.Background(), interceptor.WorkflowHeader(ctx)), w.out.tracer,
		WorkflowTraceID(runID), span.IDOf("workflow", runID), "RunWorkflow:"+info.WorkflowType.Name,
		trace.WithTimestamp(info.WorkflowStartTime), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(workflowAttributes(info.WorkflowExecution.ID, runID)...))
	w.out.span = s.SpanContext()

	out, err := w.Next.ExecuteWorkflow(ctx, in)
	if w.out.live(ctx) {
		w.out.settle(ctx)
		s.SetAttributes(outcomeAttributes(out)...)
		span.End(s, err)
	}
	return out, err
}

// workflowOutbound makes the spans of the workflow's activities. They are
// recorded here, where every outcome arrives, and not by the attempts, of which
// the last may have been killed or may never have come.
type workflowOutbound struct {
	interceptor.WorkflowOutboundInterceptorBase
	tracer    trace.Tracer
	span      trace.SpanContext
	scheduled int
	open      []*scheduled
	replayed  time.Time // of the task that was replayed last
}

// scheduled is an activity whose span has not ended.
type scheduled struct {
	future workflow.Future
	span   trace.Span
}

// ExecuteActivity schedules an activity below a span of its own. The span's ID
// follows from the activity's number among the workflow's, which every replay
// gives again.
func (w *workflowOutbound) ExecuteActivity(ctx workflow.Context, activityType string, args ...any) workflow.Future {
	w.live(ctx) // notes a replay
	info := workflow.GetInfo(ctx).WorkflowExecution
	w.scheduled++
	s := span.StartAs(trace.ContextWithSpanContext(context.Background(), w.span), w.tracer,
		trace.TraceID{}, span.IDOf("activity", info.RunID, strconv.Itoa(w.scheduled)), "RunActivity:"+activityType,
		trace.WithTimestamp(workflow.Now(ctx)), trace.WithAttributes(workflowAttributes(info.ID, info.RunID)...))
	if err := writeHeader(interceptor.WorkflowHeader(ctx), s.SpanContext()); err != nil {
		failed, settable := workflow.NewFuture(ctx)
		settable.SetError(err)
		return failed
	}
	future := w.Next.ExecuteActivity(ctx, activityType, args...)
	w.open = append(w.open, &scheduled{future, s})
	workflow.Go(ctx, func(ctx workflow.Context) { // it watches and commands nothing
		_ = future.Get(ctx, nil)
		w.settle(ctx)
	})
	return future
}

// settle ends the spans of the activities that have ended. In a replay they are
// another's to end.
func (w *workflowOutbound) settle(ctx workflow.Context) {
	live := w.live(ctx)
	var open []*scheduled
	for _, a := range w.open {
		switch {
		case !a.future.IsReady(), !live && !workflow.IsReplaying(ctx):
			open = append(open, a)
		case live:
			span.EndAt(a.span, a.future.Get(ctx, nil), workflow.Now(ctx))
		}
	}
	w.open = open
}

// live reports whether what happens now happens for the first time. A worker
// that replays a workflow to answer a query sees events that came after the last
// task, and no task yet that would act on them: the SDK calls that no replay, but
// the workflow's time stands still.
func (w *workflowOutbound) live(ctx workflow.Context) bool {
	now := workflow.Now(ctx)
	if workflow.IsReplaying(ctx) {
		w.replayed = now
		return false
	}
	return !now.Equal(w.replayed)
}

// GetLogger returns a logger whose lines carry the trace.
func (w *workflowOutbound) GetLogger(ctx workflow.Context) log.Logger {
	return withTrace(w.Next.GetLogger(ctx), w.span)
}

func withTrace(l log.Logger, s trace.SpanContext) log.Logger {
	if !s.HasTraceID() {
		return l
	}
	return log.With(l, span.TraceKey, s.TraceID().String())
}
