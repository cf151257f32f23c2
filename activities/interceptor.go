package activities

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"

	"github.com/captioner/captioner"
)

// heartbeatInterval is how often an activity with a heartbeat timeout says that
// it is alive. The worker passes on one in four seconds; see package worker.
// A step that may be silent for a shorter time says so four times within that.
const heartbeatInterval = time.Second

// errStopping is the cause of an attempt's context that ended with its worker.
var errStopping = &captioner.Error{
	Kind: captioner.Unavailable, Code: codeStopped, Message: "the worker is stopping; the step will be done elsewhere or later",
}

// Interceptor surrounds each activity with what they have in common: it sends
// heartbeats while the activity runs, ends its context when the worker stops
// (unless the activity looks after that itself, see [workerStop]), and turns
// its error into the form that Temporal keeps, see [ToFailure].
type Interceptor struct {
	interceptor.WorkerInterceptorBase
}

// InterceptActivity is called by the worker for each activity.
func (*Interceptor) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	in := &inbound{}
	in.Next = next
	return in
}

type inbound struct {
	interceptor.ActivityInboundInterceptorBase
}

// attempt is what an activity and the goroutine beside it share.
type attempt struct {
	stop      <-chan struct{}
	stopsSelf atomic.Bool  // the activity handles stop
	progress  atomic.Value // of func() any
}

type attemptKey struct{}

// ExecuteActivity runs one attempt.
func (i *inbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	at := &attempt{stop: activity.GetWorkerStopChannel(ctx)}
	inner, cancel := context.WithCancelCause(context.WithValue(ctx, attemptKey{}, at))
	done := make(chan struct{})
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		at.watch(ctx, info.HeartbeatTimeout, cancel, done)
	}()

	out, err := i.Next.ExecuteActivity(inner, in)
	cause := context.Cause(inner)
	close(done)
	<-beating
	cancel(nil)
	if err != nil && info.HeartbeatTimeout > 0 {
		at.beat(ctx) // what the next attempt should know
	}

	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, context.Canceled) && temporal.IsCanceledError(cause):
		return nil, temporal.NewCanceledError()
	case errors.Is(err, context.Canceled) && cause != nil:
		// The worker stops, or the server could not be reached for too long.
		if captioner.CodeOf(cause) != codeStopped {
			cause = captioner.Wrap(captioner.Unavailable, cause, "the step was interrupted")
		}
		return nil, ToFailure(cause, info.Attempt)
	default:
		if captioner.KindOf(err) == captioner.Invalid {
			logger(ctx).Info("the step has refused its input", "error", err)
		}
		return nil, ToFailure(err, info.Attempt)
	}
}

// watch sends heartbeats and passes the worker's stop on, until done.
func (at *attempt) watch(ctx context.Context, timeout time.Duration, cancel context.CancelCauseFunc, done <-chan struct{}) {
	beats, interval := timeout > 0, heartbeatInterval
	if beats {
		interval = min(interval, timeout/4)
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	stop := at.stop
	for {
		if beats {
			at.beat(ctx)
		}
		select {
		case <-done:
			return
		case <-stop:
			stop = nil
			if !at.stopsSelf.Load() {
				cancel(errStopping)
			}
		case <-ticker.C:
		}
	}
}

func (at *attempt) beat(ctx context.Context) {
	if progress, ok := at.progress.Load().(func() any); ok {
		activity.RecordHeartbeat(ctx, progress())
		return
	}
	activity.RecordHeartbeat(ctx)
}

// report makes details, a small struct, the progress that heartbeats carry.
func report(ctx context.Context, details any) {
	reportEach(ctx, func() any { return details })
}

// reportEach does the same for details that are asked for at each heartbeat, from
// another goroutine.
func reportEach(ctx context.Context, details func() any) {
	if at, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		at.progress.Store(details)
	}
}

// lastProgress reads the details of the attempt before this one; an error when
// there are none.
func lastProgress(ctx context.Context, details any) error {
	if !activity.IsActivity(ctx) || !activity.HasHeartbeatDetails(ctx) {
		return captioner.Errorf(captioner.NotFound, "this is the first attempt")
	}
	return activity.GetHeartbeatDetails(ctx, details)
}

// workerStop returns a channel that closes when the worker stops, and leaves it
// to the caller to end in time: the context no longer does. Outside a worker
// the channel never closes.
func workerStop(ctx context.Context) <-chan struct{} {
	at, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok {
		return nil
	}
	at.stopsSelf.Store(true)
	return at.stop
}

// ShardProgress is what the heartbeats of a step over many pictures carry.
type ShardProgress struct {
	Done  int `json:"done"`
	Total int `json:"total"`
}
