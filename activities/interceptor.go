package activities

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/failpoint"
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
// (unless the activity looks after that itself, see [workerStop]), fences off
// attempts that were replaced, and turns its error into the form that Temporal
// keeps, see [ToFailure].
type Interceptor struct {
	interceptor.WorkerInterceptorBase
	// Store is told of each attempt that begins; nil fences nothing off.
	Store captioner.Store
}

// InterceptActivity is called by the worker for each activity.
func (i *Interceptor) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	in := &inbound{store: i.Store}
	in.Next = next
	return in
}

type inbound struct {
	interceptor.ActivityInboundInterceptorBase
	store captioner.Store
}

// attempt is what an activity and the goroutine beside it share.
type attempt struct {
	stop      <-chan struct{}
	stopsSelf atomic.Bool  // the activity handles stop
	progress  atomic.Value // of progressDetails
	failures  atomic.Int32 // of the attempts so far; those that were killed do not count
}

type progressDetails struct{ value any }

type attemptKey struct{}

// ExecuteActivity runs one attempt.
func (i *inbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	at := &attempt{stop: activity.GetWorkerStopChannel(ctx)}
	at.failures.Store(failuresBefore(ctx))
	inner, cancel := context.WithCancelCause(context.WithValue(ctx, attemptKey{}, at))
	done := make(chan struct{})
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		at.watch(ctx, info.HeartbeatTimeout, cancel, done)
	}()

	out, err := i.execute(inner, info, in)
	cause := context.Cause(inner)
	close(done)
	<-beating
	cancel(nil)
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, context.Canceled) && temporal.IsCanceledError(cause):
		return nil, temporal.NewCanceledError()
	case errors.Is(err, context.Canceled) && cause != nil:
		// The worker stops, or the server could not be reached for too long.
		if err = cause; captioner.CodeOf(cause) != codeStopped {
			err = captioner.Wrap(captioner.Unavailable, cause, "the step was interrupted")
		}
	case captioner.KindOf(err) == captioner.Invalid:
		logger(ctx).Info("the step has refused its input", "error", err)
	}
	if captioner.CodeOf(err) != codeStopped {
		at.failures.Add(1)
	}
	if info.HeartbeatTimeout > 0 {
		at.beat(ctx) // what the next attempt should know
	}
	return nil, ToFailure(err, at.failures.Load())
}

// failuresBefore reads how many attempts before this one have failed.
func failuresBefore(ctx context.Context) (failures int32) {
	var progress converter.RawValue
	if !activity.HasHeartbeatDetails(ctx) || activity.GetHeartbeatDetails(ctx, &progress, &failures) != nil {
		return 0
	}
	return failures
}

// execute does the work in the name of this attempt: once a newer one has begun,
// a worker that comes back from the dead can change nothing any more.
func (i *inbound) execute(ctx context.Context, info activity.Info, in *interceptor.ExecuteActivityInput) (any, error) {
	if i.store != nil {
		work := info.WorkflowExecution.ID + "/" + info.WorkflowExecution.RunID + "/" + info.ActivityID
		ctx = captioner.WithAttempt(ctx, captioner.Attempt{Work: work, Started: info.StartedTime})
		if err := i.store.BeginAttempt(ctx); err != nil {
			return nil, err
		}
	}
	out, err := i.Next.ExecuteActivity(ctx, in)
	if err == nil {
		failpoint.ReachedBy(failpoint.Done, info.ActivityType.Name)
	}
	return out, err
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

// beat says that the step is alive, how far it has come and how often it has failed.
func (at *attempt) beat(ctx context.Context) {
	p, _ := at.progress.Load().(progressDetails)
	activity.RecordHeartbeat(ctx, p.value, at.failures.Load())
}

// report makes details, a small struct, the progress that heartbeats carry.
func report(ctx context.Context, details any) {
	if at, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		at.progress.Store(progressDetails{details})
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
