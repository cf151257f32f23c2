package workflows_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	sdk "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/workflows"
)

var update = flag.Bool("update", false, "record the histories in testdata anew")

// TestReplay replays recorded histories: a change to the workflow must not
// change what it did in runs that are under way. The histories were recorded by
// this test with -update on a development server.
func TestReplay(t *testing.T) {
	if *update {
		record(t)
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d recorded histories (%v), want at least 4", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			replayer := sdk.NewWorkflowReplayer()
			replayer.RegisterWorkflowWithOptions(workflows.TrainAndDeploy, workflow.RegisterOptions{Name: workflows.TrainAndDeployName})
			if err := replayer.ReplayWorkflowHistoryFromJSONFile(nil, file); err != nil {
				t.Error(err)
			}
		})
	}
}

// record runs the workflow and keeps its histories.
func record(t *testing.T) {
	d := deploy(t)
	d.work(t)
	keep := func(name string, cfg captioner.Config) {
		t.Helper()
		run, err := d.runs.Start(t.Context(), cfg, "")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = d.runs.WaitResult(t.Context(), run.ID) // failures are recorded too
		d.save(t, run.ID, name)
	}
	cfg := d.fixture.Config()
	keep("promote", cfg)
	keep("cached", cfg)

	rescored := cfg
	rescored.Training.Seed, rescored.Evaluation.BeamWidth = 43, 5
	keep("rescore", rescored)

	d.fixture.Engine.Say = say(2)
	held := cfg
	held.Training.Seed = 44
	keep("hold", held)
	d.fixture.Engine.Say = nil

	invalid := cfg
	invalid.Training.BatchSize = 0
	keep("invalid", invalid)

	d.fixture.Engine.Undecodable = []string{"007.png"}
	excluded := cfg
	excluded.Model.ImageSize = 64
	keep("exclude", excluded)

	training := make(chan struct{})
	d.fixture.Engine.OnStep = func(ctx context.Context, step int) error {
		if step == 8 {
			close(training)
			<-ctx.Done()
		}
		return nil
	}
	cancelled := cfg
	cancelled.Training.Seed = 45
	run, err := d.runs.Start(t.Context(), cancelled, "")
	if err != nil {
		t.Fatal(err)
	}
	<-training
	if err := d.runs.Cancel(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	_, _ = d.runs.WaitResult(t.Context(), run.ID)
	d.save(t, run.ID, "cancel")
}

// save writes a run's history as `temporal workflow show --output json` does.
func (d *deployment) save(t *testing.T, id, name string) {
	t.Helper()
	var history historypb.History
	events := d.temporal.GetWorkflowHistory(t.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			t.Fatal(err)
		}
		history.Events = append(history.Events, e)
	}
	data, err := temporalproto.CustomJSONMarshalOptions{}.Marshal(&history)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata", name+".json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
}
