package workflows_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	sdk "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/captioner/captioner/workflows"
)

// branch is a way through the workflow, of which testdata has a history.
type branch struct {
	name string
	// ends is how the run closed, shows whether an event is in the history that
	// makes it one of this branch.
	ends  enums.EventType
	shows func(*historypb.HistoryEvent, *history) bool
}

// branches are all that there are.
var branches = slices.Concat([]branch{
	{"promote", completed, decided("promote")},
	{"hold", completed, decided("hold")},
	{"reject", completed, decided("reject")},
	{"cached", completed, result(`"cached":true`)},
	{"rescore", completed, result(`"rescore":{`)},
	{"decide-again", completed, failedActivity("Deploy")},
	{"exclude", completed, scheduledActivity("ExcludeImages")},
	{"retry", completed, attempts("Train", 3)},
	{"resume-killed", completed, attempts("Train", 2)},
	{"resume-stopped", completed, attempts("Train", 2)},
	{"invalid", failed, failedActivity("ValidateConfig")},
	{"failed", failed, failedActivity("Train")},
	{"failed-shard", failed, failedActivity("ExtractFeatures")},
	{"resume-completed", completed, resumed},
	{"resume-failed", completed, resumed},
	{"word-vectors", completed, result(`"word_vectors":{`)},
	{"cancel-ExcludeImages", cancelledRun, cancelledActivity("ExcludeImages")},
	{"schedule-first", completed, startedWith(`"schedule":"nightly"`, false)},
	{"schedule-unchanged", completed, endedWith(`"unchanged":true`)},
	{"schedule-changed", completed, startedWith(`"schedule":"nightly"`, true)},
	{"schedule-forced", completed, startedWith(`"force":true`, true)},
}, cancelled(), retried(), failedForGood())

const (
	completed = enums.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
	failed    = enums.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED

	cancelledRun = enums.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED
)

// cancelled are the branches of runs that were cancelled, one for each stage.
func cancelled() (list []branch) {
	for _, stage := range stages {
		list = append(list, branch{"cancel-" + stage, cancelledRun, cancelledActivity(stage)})
	}
	return list
}

// retried are the branches of runs of which one activity was tried twice.
func retried() (list []branch) {
	for _, name := range retriedActivities {
		list = append(list, branch{"retry-" + name, completed, attempts(name, 2)})
	}
	return list
}

// failedForGood are the branches of runs that failed for good in one of their stages.
func failedForGood() (list []branch) {
	for _, stage := range failingStages {
		list = append(list, branch{"failed-" + stage, failed, failedActivity(stage)})
	}
	return list
}

var (
	// retriedActivities are all; for Train there is the branch "retry".
	retriedActivities = slices.DeleteFunc(slices.Concat(stages, workflows.Beside), func(name string) bool { return name == "Train" })
	// failingStages are those that the branches "invalid", "failed-shard" and
	// "failed" are not about.
	failingStages = []string{
		"PrepareData", "CaptionShard", "Evaluate", "RegisterVersion", "DecidePromotion", "WriteDeploymentManifest", "Deploy",
	}
)

// stages are the activities that a run can be cancelled in.
var stages = workflows.Stages()

// TestReplay replays recorded histories: a change to the workflow must not
// change what it did in runs that are under way. `make histories` records them
// anew, which is right only when no run of the old code is left.
func TestReplay(t *testing.T) {
	for _, b := range branches {
		t.Run(b.name, func(t *testing.T) {
			if err := replay(b.name, workflows.TrainAndDeploy); err != nil {
				t.Error(err)
			}
			h := readHistory(t, b.name)
			if last := h.Events[len(h.Events)-1]; last.GetEventType() != b.ends {
				t.Errorf("the run ended with %v, want %v", last.GetEventType(), b.ends)
			}
			if !slices.ContainsFunc(h.Events, func(e *historypb.HistoryEvent) bool { return b.shows(e, h) }) {
				t.Errorf("nothing in this history is of the branch %s", b.name)
			}
		})
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) != len(branches) {
		t.Errorf("%d recorded histories (%v) of %d branches", len(files), err, len(branches))
	}
}

// TestReplayFindsChanges: every one of the changes that break runs under way shows
// in at least one history.
func TestReplayFindsChanges(t *testing.T) {
	if n := len(workflows.Edited); n < 20 {
		t.Errorf("%d changes are tried, want at least 20", n)
	}
	for name, changed := range workflows.Edited {
		t.Run(name, func(t *testing.T) {
			for _, b := range branches {
				err := replay(b.name, changed)
				if err == nil {
					continue
				}
				if !strings.Contains(err.Error(), "TMPRL1100") { // Temporal's code for non-determinism
					t.Errorf("%s: %v, want an error of non-determinism", b.name, err)
				}
				return
			}
			t.Errorf("none of %d histories shows the change", len(branches))
		})
	}
	// A run that ended before the change is as it was.
	if err := replay("invalid", workflows.Edited["scored twice"]); err != nil {
		t.Errorf("invalid: %v", err)
	}
}

// TestVersionedChange: a change that is made with a version breaks none.
func TestVersionedChange(t *testing.T) {
	for _, b := range branches {
		if err := replay(b.name, workflows.Versioned); err != nil {
			t.Errorf("%s: %v", b.name, err)
		}
	}
}

func replay(branch string, w workflows.Workflow) error {
	replayer := sdk.NewWorkflowReplayer()
	replayer.RegisterWorkflowWithOptions(w, workflow.RegisterOptions{Name: workflows.TrainAndDeployName})
	return replayer.ReplayWorkflowHistoryFromJSONFile(nil, historyFile(branch))
}

func historyFile(branch string) string { return filepath.Join("testdata", branch+".json") }

// history is a recorded one.
type history struct{ *historypb.History }

func readHistory(t *testing.T, branch string) *history {
	t.Helper()
	data, err := os.ReadFile(historyFile(branch))
	if err != nil {
		t.Fatal(err)
	}
	h := &history{&historypb.History{}}
	if err := (temporalproto.CustomJSONUnmarshalOptions{}).Unmarshal(data, h.History); err != nil {
		t.Fatal(err)
	}
	return h
}

// activity is the type of the activity that was scheduled by an event.
func (h *history) activity(scheduled int64) string {
	return h.Events[scheduled-1].GetActivityTaskScheduledEventAttributes().GetActivityType().GetName()
}

// What makes a history one of a branch.

func result(text string) func(*historypb.HistoryEvent, *history) bool {
	return func(e *historypb.HistoryEvent, _ *history) bool {
		return contains(e.GetActivityTaskCompletedEventAttributes().GetResult(), text)
	}
}

// startedWith is true of the start of a run with a text in its input, and with or
// without the result of the last run of its schedule.
func startedWith(text string, last bool) func(*historypb.HistoryEvent, *history) bool {
	return func(e *historypb.HistoryEvent, _ *history) bool {
		a := e.GetWorkflowExecutionStartedEventAttributes()
		return a != nil && (a.GetLastCompletionResult() != nil) == last && contains(a.GetInput(), text)
	}
}

func endedWith(text string) func(*historypb.HistoryEvent, *history) bool {
	return func(e *historypb.HistoryEvent, _ *history) bool {
		return contains(e.GetWorkflowExecutionCompletedEventAttributes().GetResult(), text)
	}
}

func contains(payloads *commonpb.Payloads, text string) bool {
	return slices.ContainsFunc(payloads.GetPayloads(), func(p *commonpb.Payload) bool { return strings.Contains(string(p.GetData()), text) })
}

func decided(outcome string) func(*historypb.HistoryEvent, *history) bool {
	return result(`"outcome":"` + outcome + `"`)
}

// resumed is the start of a run that goes on from another.
func resumed(e *historypb.HistoryEvent, _ *history) bool {
	for _, p := range e.GetWorkflowExecutionStartedEventAttributes().GetInput().GetPayloads() {
		if strings.Contains(string(p.GetData()), `"resume":"`) {
			return true
		}
	}
	return false
}

func scheduledActivity(name string) func(*historypb.HistoryEvent, *history) bool {
	return func(e *historypb.HistoryEvent, _ *history) bool {
		return e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName() == name
	}
}

func failedActivity(name string) func(*historypb.HistoryEvent, *history) bool {
	return func(e *historypb.HistoryEvent, h *history) bool {
		a := e.GetActivityTaskFailedEventAttributes()
		return a != nil && h.activity(a.GetScheduledEventId()) == name
	}
}

func cancelledActivity(name string) func(*historypb.HistoryEvent, *history) bool {
	return func(e *historypb.HistoryEvent, h *history) bool {
		a := e.GetActivityTaskCanceledEventAttributes()
		return a != nil && h.activity(a.GetScheduledEventId()) == name
	}
}

func attempts(name string, least int32) func(*historypb.HistoryEvent, *history) bool {
	return func(e *historypb.HistoryEvent, h *history) bool {
		a := e.GetActivityTaskStartedEventAttributes()
		return a != nil && a.GetAttempt() >= least && h.activity(a.GetScheduledEventId()) == name
	}
}
