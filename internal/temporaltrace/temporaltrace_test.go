package temporaltrace_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/captioner/captioner/internal/telemetry/span"
	"github.com/captioner/captioner/internal/temporaltrace"
)

// tree runs a workflow of one activity and returns the spans' names with those
// of their parents, "" for none or one from elsewhere, and the failed ones.
func tree(t *testing.T, run func(context.Context) error) (parents map[string]string, failed []string) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder), sdktrace.WithIDGenerator(span.IDs{}))

	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{temporaltrace.New(provider)}})
	env.RegisterActivityWithOptions(run, activity.RegisterOptions{Name: "Step"})
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 2},
		})
		return workflow.ExecuteActivity(ctx, "Step").Get(ctx, nil)
	})
	if !env.IsWorkflowCompleted() {
		t.Fatal("the workflow did not end")
	}

	names := map[trace.SpanID]string{}
	for _, s := range recorder.Ended() {
		names[s.SpanContext().SpanID()] = s.Name()
	}
	parents = map[string]string{}
	for _, s := range recorder.Ended() {
		parents[s.Name()] = names[s.Parent().SpanID()]
		if s.Status().Code == codes.Error {
			failed = append(failed, s.Name())
		}
		if first := recorder.Ended()[0]; s.SpanContext().TraceID() != first.SpanContext().TraceID() {
			t.Errorf("%s lies in another trace than %s", s.Name(), first.Name())
		}
	}
	slices.Sort(failed)
	return parents, failed
}

// TestTree: what an attempt does lies below its activity, and that below the
// workflow; a failed attempt leaves a span.
func TestTree(t *testing.T) {
	const flow, step = "RunWorkflow:func1", "RunActivity:Step"
	work := func(ctx context.Context) {
		_, s := span.Start(ctx, "work")
		span.End(s, nil)
	}
	attempts := 0
	for name, tt := range map[string]struct {
		run     func(context.Context) error
		parents map[string]string
		failed  []string
	}{
		"success": {
			func(ctx context.Context) error { work(ctx); return nil },
			map[string]string{flow: "", step: flow, "work": step}, nil,
		},
		"second attempt": {
			func(ctx context.Context) error {
				if attempts++; attempts == 1 {
					return errors.New("not yet")
				}
				work(ctx)
				return nil
			},
			map[string]string{flow: "", step: flow, "attempt": step, "work": step}, []string{"attempt"},
		},
		"failure for good": {
			func(context.Context) error {
				return temporal.NewNonRetryableApplicationError("never", "Invalid", nil)
			},
			map[string]string{flow: "", step: flow}, []string{step, flow},
		},
	} {
		t.Run(name, func(t *testing.T) {
			parents, failed := tree(t, tt.run)
			if diff := cmp.Diff(tt.parents, parents); diff != "" {
				t.Errorf("parents (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.failed, failed); diff != "" {
				t.Errorf("failed spans (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWorkflowTraceID(t *testing.T) {
	if got := temporaltrace.WorkflowTraceID("0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b").String(); got != "0193a1b2c3d47e5f8a9b0c1d2e3f4a5b" {
		t.Errorf("got %s", got)
	}
	if id := temporaltrace.WorkflowTraceID("a run"); id.IsValid() {
		t.Errorf("got %s for what is no UUID, want none", id)
	}
}
