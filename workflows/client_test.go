package workflows_test

import (
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/workflows"
)

func TestNoteWaiting(t *testing.T) {
	const scheduled, started = enumspb.PENDING_ACTIVITY_STATE_SCHEDULED, enumspb.PENDING_ACTIVITY_STATE_STARTED
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	pending := func(name string, state enumspb.PendingActivityState, attempt int32, since time.Duration) *workflowpb.PendingActivityInfo {
		return &workflowpb.PendingActivityInfo{
			ActivityType: &commonpb.ActivityType{Name: name}, State: state, Attempt: attempt, ScheduledTime: timestamppb.New(now.Add(-since)),
		}
	}
	for _, test := range []struct {
		name       string
		activities []*workflowpb.PendingActivityInfo
		want       string
	}{
		{"nothing is pending", nil, ""},
		{"taken", []*workflowpb.PendingActivityInfo{pending("Train", started, 1, time.Minute)}, ""},
		{"not taken", []*workflowpb.PendingActivityInfo{pending("Train", scheduled, 1, time.Minute)}, "waits for a free worker"},
		{"just scheduled", []*workflowpb.PendingActivityInfo{pending("Train", scheduled, 1, time.Second)}, ""},
		{"another step", []*workflowpb.PendingActivityInfo{pending("Evaluate", scheduled, 1, time.Minute)}, ""},
		{"before another attempt", []*workflowpb.PendingActivityInfo{pending("Train", scheduled, 2, time.Minute)}, ""},
		{"one of three taken", []*workflowpb.PendingActivityInfo{
			pending("Train", scheduled, 1, time.Minute), pending("Train", started, 1, time.Minute), pending("Train", scheduled, 1, time.Minute),
		}, ""},
		{"none of two taken", []*workflowpb.PendingActivityInfo{
			pending("Train", scheduled, 1, time.Minute), pending("Train", scheduled, 1, time.Minute),
		}, "waits for a free worker"},
	} {
		stages := []captioner.Stage{{Name: "PrepareData", State: "completed"}, {Name: "Train", State: "running"}}
		workflows.NoteWaiting(stages, test.activities, now)
		if stages[1].Note != test.want || stages[0].Note != "" {
			t.Errorf("%s: notes %q and %q, want none and %q", test.name, stages[0].Note, stages[1].Note, test.want)
		}
	}
}
