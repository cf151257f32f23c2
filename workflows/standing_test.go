package workflows_test

import (
	"strings"
	"testing"
	"time"

	activitypb "go.temporal.io/api/activity/v1"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/workflows"
)

// TestStanding holds what Temporal says of a run's steps against the state that
// people are shown, at an injected time.
func TestStanding(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	const (
		scheduled = enumspb.PENDING_ACTIVITY_STATE_SCHEDULED
		started   = enumspb.PENDING_ACTIVITY_STATE_STARTED
	)
	lost := &failurepb.Failure{FailureInfo: &failurepb.Failure_TimeoutFailureInfo{
		TimeoutFailureInfo: &failurepb.TimeoutFailureInfo{TimeoutType: enumspb.TIMEOUT_TYPE_HEARTBEAT},
	}}
	pending := func(name, queue string, state enumspb.PendingActivityState, attempt int32, waited time.Duration) *workflowpb.PendingActivityInfo {
		return &workflowpb.PendingActivityInfo{
			ActivityType: &commonpb.ActivityType{Name: name}, State: state, Attempt: attempt,
			ScheduledTime:   timestamppb.New(now.Add(-waited)),
			ActivityOptions: &activitypb.ActivityOptions{TaskQueue: &taskqueuepb.TaskQueue{Name: queue}},
		}
	}
	failed := func(p *workflowpb.PendingActivityInfo, f *failurepb.Failure) *workflowpb.PendingActivityInfo {
		p.LastFailure = f
		return p
	}
	training := func(attempt int32, p any) *workflowpb.PendingActivityInfo {
		info := pending("Train", workflows.EngineTaskQueue, started, attempt, time.Hour)
		details, err := converter.GetDefaultDataConverter().ToPayloads(p)
		if err != nil {
			t.Fatal(err)
		}
		info.HeartbeatDetails = details
		return info
	}
	task := func(waited time.Duration) *workflowpb.PendingWorkflowTaskInfo {
		return &workflowpb.PendingWorkflowTaskInfo{ScheduledTime: timestamppb.New(now.Add(-waited))}
	}
	list := func(p ...*workflowpb.PendingActivityInfo) []*workflowpb.PendingActivityInfo { return p }

	for _, tt := range []struct {
		name  string
		steps []*workflowpb.PendingActivityInfo
		task  *workflowpb.PendingWorkflowTaskInfo
		want  captioner.RunState
		note  string // a part of it
	}{
		{name: "between two steps", want: captioner.RunRunning},
		{name: "a step is worked on", steps: list(pending("PrepareData", workflows.TaskQueue, started, 1, time.Hour)), want: captioner.RunRunning},
		{name: "a step has just been asked for", steps: list(pending("PrepareData", workflows.TaskQueue, scheduled, 1, time.Second)), want: captioner.RunRunning},
		{name: "the engines are busy", steps: list(pending("Train", workflows.EngineTaskQueue, scheduled, 1, 24*time.Hour)), want: captioner.RunRunning},
		{name: "a worker was lost", steps: list(failed(pending("Train", workflows.EngineTaskQueue, scheduled, 2, time.Hour), lost)),
			want: captioner.RunRecovering, note: "Train waits for a worker to go on with it: its worker was lost"},
		{name: "another worker has taken over", steps: list(failed(training(2, activities.TrainProgress{Step: 7}), lost)), want: captioner.RunRunning},
		{name: "given back", steps: list(pending("ExtractFeatures", workflows.EngineTaskQueue, scheduled, 3, 0)),
			want: captioner.RunRecovering, note: "it was given back"},
		{name: "one shard of two was lost", steps: list(pending("CaptionShard", workflows.EngineTaskQueue, started, 1, time.Hour),
			failed(pending("CaptionShard", workflows.EngineTaskQueue, scheduled, 2, time.Hour), lost)), want: captioner.RunRecovering, note: "CaptionShard"},
		{name: "no worker of the control plane", steps: list(pending("Evaluate", workflows.TaskQueue, scheduled, 1, 16*time.Second)),
			want: captioner.RunRecovering, note: "no worker takes"},
		{name: "a decision is due", task: task(14 * time.Second), want: captioner.RunRunning},
		{name: "nobody decides", task: task(16 * time.Second), want: captioner.RunRecovering, note: "no worker takes"},
		{name: "nobody decides, attempt after attempt", want: captioner.RunRecovering, note: "no worker takes",
			task: &workflowpb.PendingWorkflowTaskInfo{ScheduledTime: timestamppb.New(now), OriginalScheduledTime: timestamppb.New(now.Add(-time.Minute)), Attempt: 6}},
		{name: "a training gets on", steps: list(training(1, activities.TrainProgress{Step: 7, Idle: 60, Patience: 60})), want: captioner.RunRunning},
		{name: "a slow training gets on", steps: list(training(1, activities.TrainProgress{Step: 7, Idle: 3000, Patience: 3600})), want: captioner.RunRunning},
		{name: "a training has stalled", steps: list(training(1, activities.TrainProgress{Step: 7, Idle: 75, Patience: 60})),
			want: captioner.RunStalled, note: "no step for 1m15s after step 7, and 1m0s"},
		{name: "a training that has stalled and was lost", steps: list(func() *workflowpb.PendingActivityInfo {
			p := training(2, activities.TrainProgress{Step: 7, Idle: 75, Patience: 60})
			p.State = scheduled
			return failed(p, lost)
		}()), want: captioner.RunRecovering},
		{name: "heartbeats of another program", steps: list(training(1, "hello")), want: captioner.RunRunning},
		{name: "heartbeats without a pace", steps: list(training(1, map[string]int{"step": 7})), want: captioner.RunRunning},
	} {
		t.Run(tt.name, func(t *testing.T) {
			state, note := workflows.Standing(&workflowservice.DescribeWorkflowExecutionResponse{
				PendingActivities: tt.steps, PendingWorkflowTask: tt.task,
			}, now)
			if state != tt.want || !strings.Contains(note, tt.note) || (note == "") != (state == captioner.RunRunning) {
				t.Errorf("state %s, note %q; want %s with %q", state, note, tt.want, tt.note)
			}
		})
	}
}
