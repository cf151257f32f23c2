// Package worker executes runs: it registers the workflows and activities on
// Temporal's task queues and ends them in order. Which machine serves which
// queue is decided by [Options]: the control plane's steps need the user's
// files and the database, those of the engine queue a device as well.
package worker

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	sdk "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/workflows"
)

const (
	// heartbeatThrottle is how often a heartbeat is passed on. A cancellation
	// comes back with one, so a step learns of it within this time. Also, a
	// heartbeat that fails is tried again for this long before the step is
	// given up: it is the longest outage of the server that a step rides out.
	heartbeatThrottle = 4 * time.Second
	// stickyTimeout is how long a run's next decision waits for the worker that
	// made the last one and remembers the run, before any other worker makes it.
	stickyTimeout = 2 * time.Second
	// stopTimeout bounds the wait for steps when the worker stops: long enough
	// for a training to save its state.
	stopTimeout = 30 * time.Second
)

// Options say what a worker does.
type Options struct {
	// TaskQueues are the queues to serve; empty means all of them.
	TaskQueues []string
	// Devices is how many jobs the engine queue runs at a time; 0 means 1.
	Devices int
	// HeartbeatTimeout is how long a step may be silent before it is taken for
	// dead and tried elsewhere; 0 means workflows.HeartbeatTimeout.
	HeartbeatTimeout time.Duration
	// StopTimeout bounds the wait for steps in Stop; 0 means 30 s.
	StopTimeout time.Duration
	// Logger tells when work begins and ends; nil means nobody.
	Logger *slog.Logger
}

// Worker serves one or more task queues.
type Worker struct {
	workers []sdk.Worker
	queues  []string
	failed  chan error
	log     *slog.Logger
}

// New returns a worker, which begins to work with Start. A task queue that
// nobody asks for is Invalid.
func New(c client.Client, a *activities.Activities, o Options) (*Worker, error) {
	if o.HeartbeatTimeout != 0 && o.HeartbeatTimeout < time.Second {
		return nil, captioner.Errorf(captioner.Invalid, "a step cannot be taken for dead after %v: at least a second must pass", o.HeartbeatTimeout)
	}
	queues := o.TaskQueues
	if len(queues) == 0 {
		queues = []string{workflows.TaskQueue, workflows.EngineTaskQueue}
	}
	w := &Worker{queues: queues, failed: make(chan error, len(queues)), log: o.Logger}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	for _, queue := range queues {
		options := sdk.Options{
			// A heartbeat that gets lost is no death: three fit into the timeout.
			MaxHeartbeatThrottleInterval: min(heartbeatThrottle, cmp.Or(o.HeartbeatTimeout, workflows.HeartbeatTimeout)/3),
			StickyScheduleToStartTimeout: stickyTimeout,
			WorkerStopTimeout:            cmp.Or(o.StopTimeout, stopTimeout),
			Interceptors:                 []interceptor.WorkerInterceptor{&activities.Interceptor{Store: a.Store}},
			OnFatalError:                 w.fail,
		}
		switch queue {
		case workflows.TaskQueue:
		case workflows.EngineTaskQueue:
			options.DisableWorkflowWorker = true
			options.MaxConcurrentActivityExecutionSize = max(1, o.Devices)
		default:
			return nil, captioner.Errorf(captioner.Invalid, "there is no task queue %q: use %q or %q",
				queue, workflows.TaskQueue, workflows.EngineTaskQueue)
		}
		served := sdk.New(c, queue, options)
		register(served, queue, a, workflows.Settings{HeartbeatTimeout: o.HeartbeatTimeout})
		w.workers = append(w.workers, served)
	}
	return w, nil
}

// register names what the queue's worker can do. Which step goes to which queue
// is decided by the workflow.
func register(served sdk.Worker, queue string, a *activities.Activities, s workflows.Settings) {
	served.RegisterActivity(a)
	if queue == workflows.TaskQueue {
		served.RegisterWorkflowWithOptions(s.TrainAndDeploy, workflow.RegisterOptions{Name: workflows.TrainAndDeployName})
		served.RegisterWorkflowWithOptions(s.ValidateOnly, workflow.RegisterOptions{Name: workflows.ValidateOnlyName})
	}
}

// Start begins to ask for work. It returns at once.
func (w *Worker) Start() error {
	for i, served := range w.workers {
		if err := served.Start(); err != nil {
			for _, started := range w.workers[:i] {
				started.Stop()
			}
			return captioner.Wrap(captioner.Unavailable, err, "the worker cannot start")
		}
	}
	w.log.Info("worker started", "task_queues", w.queues)
	return nil
}

// Failed gives the error after which the worker cannot go on, such as a
// namespace that does not exist. Losing the server for a while is none.
func (w *Worker) Failed() <-chan error { return w.failed }

func (w *Worker) fail(err error) {
	select {
	case w.failed <- err:
	default: // one is reported already
	}
}

// Stop takes no more work and waits for the steps in progress: a training saves
// its state first and is given back, as are the other long steps, to be done by
// another worker or by this one after its next start. When ctx ends first its
// error is returned and the steps are left to themselves.
func (w *Worker) Stop(ctx context.Context) error {
	w.log.Info("worker stops; steps in progress are saved or given back")
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		var all sync.WaitGroup
		for _, served := range w.workers {
			all.Go(served.Stop)
		}
		all.Wait()
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
