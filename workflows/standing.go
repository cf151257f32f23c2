package workflows

import (
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
)

// workerSilence is how long a run's next step may wait for a worker of the
// control plane, which has room for a thousand of them, before none is taken to
// be there.
const workerSilence = HeartbeatTimeout

// standing says where a run that goes on stands, and why if it does not run:
//
//   - recovering, when a step waits to be tried again, after its worker was lost,
//     which Temporal notices by its heartbeats, or after a failure that may pass;
//     or when no worker of the control plane takes the run's next step;
//   - stalled, when its training's heartbeats say that it gets nowhere.
//
// That a first attempt waits for an engine is no cause: engines do one thing at
// a time.
func standing(described *workflowservice.DescribeWorkflowExecutionResponse, now time.Time) (captioner.RunState, string) {
	for _, pending := range described.GetPendingActivities() {
		if waitsAgain(pending) {
			return captioner.RunRecovering, pending.GetActivityType().GetName() + " waits for a worker to go on with it: " + whatHappened(pending)
		}
		if pending.GetState() == enumspb.PENDING_ACTIVITY_STATE_SCHEDULED && queueOf(pending) == TaskQueue &&
			now.Sub(pending.GetScheduledTime().AsTime()) > workerSilence {
			return captioner.RunRecovering, noWorker
		}
	}
	if task := described.GetPendingWorkflowTask(); task != nil && now.Sub(firstScheduled(task)) > workerSilence {
		return captioner.RunRecovering, noWorker
	}
	for _, pending := range described.GetPendingActivities() {
		if note := stalled(pending); note != "" {
			return captioner.RunStalled, note
		}
	}
	return captioner.RunRunning, ""
}

// noWorker is the note of a run that no process executes.
const noWorker = "no worker takes the run's next step: is one running?"

// waitsAgain reports a step whose last attempt has ended and whose next has not
// begun.
func waitsAgain(pending *workflowpb.PendingActivityInfo) bool {
	return pending.GetState() == enumspb.PENDING_ACTIVITY_STATE_SCHEDULED && pending.GetAttempt() > 1
}

// whatHappened says how a step's last attempt has ended.
func whatHappened(pending *workflowpb.PendingActivityInfo) string {
	if pending.GetLastFailure() == nil {
		return "it was given back"
	}
	cause := temporal.GetDefaultFailureConverter().FailureToError(pending.GetLastFailure())
	var timeout *temporal.TimeoutError
	if errors.As(cause, &timeout) && timeout.TimeoutType() == enumspb.TIMEOUT_TYPE_HEARTBEAT {
		return "its worker was lost"
	}
	return sentence(cause)
}

func queueOf(pending *workflowpb.PendingActivityInfo) string {
	return pending.GetActivityOptions().GetTaskQueue().GetName()
}

// firstScheduled is when the run's next decision was due: each attempt at it is
// scheduled anew.
func firstScheduled(task *workflowpb.PendingWorkflowTaskInfo) time.Time {
	if first := task.GetOriginalScheduledTime(); first != nil {
		return first.AsTime()
	}
	return task.GetScheduledTime().AsTime()
}

// stalled says of a training in what way it gets nowhere, by its last heartbeat;
// "" of any other step.
func stalled(pending *workflowpb.PendingActivityInfo) string {
	if pending.GetActivityType().GetName() != activities.StepTrain || pending.GetState() != enumspb.PENDING_ACTIVITY_STATE_STARTED {
		return ""
	}
	var p activities.TrainProgress
	err := converter.GetDefaultDataConverter().FromPayloads(pending.GetHeartbeatDetails(), &p)
	if err != nil || !p.Stuck() {
		return "" // details of another form are those of another program
	}
	return fmt.Sprintf("Train has taken no step for %v after step %d, and %v is the longest that is usual",
		seconds(p.Idle), p.Step, seconds(p.Patience))
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}

// noteRetries says of each running stage why its step is being tried again.
func noteRetries(stages []captioner.Stage, activities []*workflowpb.PendingActivityInfo) {
	for _, pending := range activities {
		if pending.GetAttempt() < 2 || pending.GetLastFailure() == nil {
			continue
		}
		for i := range stages {
			if stages[i].Name == pending.GetActivityType().GetName() && stages[i].State == stateRunning {
				stages[i].Error = fmt.Sprintf("attempt %d; the one before: %s", pending.GetAttempt(), whatHappened(pending))
			}
		}
	}
}

// waitWorthNoting is how long a step waits before anything is said of it: a
// moment passes between any two steps.
const waitWorthNoting = 3 * time.Second

// noteWaiting says of each running stage that no worker has taken its step yet:
// a worker does one thing at a time that needs an engine.
func noteWaiting(stages []captioner.Stage, activities []*workflowpb.PendingActivityInfo, now time.Time) {
	waits := map[string]bool{}
	for _, pending := range activities {
		name := pending.GetActivityType().GetName()
		taken := pending.GetState() != enumspb.PENDING_ACTIVITY_STATE_SCHEDULED || pending.GetAttempt() > 1 ||
			now.Sub(pending.GetScheduledTime().AsTime()) < waitWorthNoting
		others, seen := waits[name]
		waits[name] = !taken && (others || !seen)
	}
	for i := range stages {
		if stages[i].State == stateRunning && waits[stages[i].Name] {
			stages[i].Note = "waits for a free worker"
		}
	}
}
