package workflows_test

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities/activitiestest"
	"github.com/captioner/captioner/workflows"
)

// scheduled executes a workflow with a configuration and more members of its
// input; last is the result of the last completed run of its schedule, nil for
// none.
func (h *harness) scheduled(t *testing.T, cfg captioner.Config, members map[string]any, last any) captioner.RunResult {
	t.Helper()
	data, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	input := map[string]any{}
	if err := json.Unmarshal(data, &input); err != nil {
		t.Fatal(err)
	}
	for name, value := range members {
		input[name] = value
	}
	if data, err = json.Marshal(input); err != nil {
		t.Fatal(err)
	}
	if last != nil {
		h.SetLastCompletionResult(last)
	}
	h.ExecuteWorkflow(workflows.TrainAndDeploy, json.RawMessage(data))
	var result captioner.RunResult
	if err := h.GetWorkflowError(); err != nil {
		t.Fatal(err)
	}
	if err := h.GetWorkflowResult(&result); err != nil {
		t.Fatal(err)
	}
	return result
}

// TestUnchanged: a run of a schedule trains if its data is not what the last
// completed one was trained on, and any other run trains in any case.
func TestUnchanged(t *testing.T) {
	type members = map[string]any
	nightly := members{"schedule": "nightly"}
	f := activitiestest.New(t)
	first := newHarness(t, f).scheduled(t, f.Config(), nightly, nil)
	if first.Trained == nil || !first.Trained.Data.Valid() || first.Trained.Run != "default-test-workflow-id" || !first.Version.Valid() {
		t.Fatalf("the first run %+v, want it to have trained and to say on what", first)
	}
	other := first
	other.Trained = &captioner.Trained{Run: "train-other", Data: captioner.DigestOf([]byte("other"))}
	earlier := first
	earlier.Trained = &captioner.Trained{Run: "train-earlier", Data: first.Trained.Data}

	for _, test := range []struct {
		name      string
		members   members
		last      any
		unchanged bool
	}{
		{"the same data", nightly, earlier, true},
		{"after an unchanged run", nightly, captioner.RunResult{Unchanged: true, Trained: earlier.Trained}, true},
		{"other data", nightly, other, false},
		{"by force", members{"schedule": "nightly", "force": true}, earlier, false},
		{"a last run that says nothing", nightly, captioner.RunResult{Version: first.Version}, false},
		{"a last run of somebody else's", nightly, "done", false},
		{"of no schedule", nil, earlier, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHarness(t, f)
			result := h.scheduled(t, f.Config(), test.members, test.last)
			if result.Unchanged != test.unchanged || (result.Version == "") != test.unchanged {
				t.Fatalf("result %+v, want unchanged %v", result, test.unchanged)
			}
			record := h.record(t)
			if !test.unchanged {
				if record.State != captioner.RunCompleted || record.Result == nil {
					t.Errorf("record %+v, want it completed", record)
				}
				return
			}
			if *result.Trained != *earlier.Trained {
				t.Errorf("trained %+v, want it to be of the run that trained", *result.Trained)
			}
			if want := []string{"ValidateConfig@captioner", "PrepareData@captioner", "RecordRun@captioner"}; !slices.Equal(h.started, want) {
				t.Errorf("activities %v, want %v", h.started, want)
			}
			if record.State != captioner.RunUnchanged || record.Result != nil {
				t.Errorf("record %+v, want it unchanged and without a result", record)
			}
			for i, s := range h.progress(t).Stages {
				if i < 2 != (s.State == "completed") || i >= 2 != (s.State == "skipped") {
					t.Errorf("stage %+v, want the first two completed and the others skipped", s)
				}
				if s.Name == "PrepareData" && !strings.Contains(s.Note, "train-earlier") {
					t.Errorf("stage %+v, want it to name the run that trained", s)
				}
			}
		})
	}

	t.Run("another caption", func(t *testing.T) {
		addCaption(t, f.Data.Captions)
		if result := newHarness(t, f).scheduled(t, f.Config(), nightly, earlier); result.Unchanged || result.Trained.Data == first.Trained.Data {
			t.Errorf("result %+v, want it trained on other data", result)
		}
	})
}

// addCaption adds a line to a captions file.
func addCaption(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, "000.png,Something new is to be seen.\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestSchedules makes a schedule on a real server, has it start runs, pauses and
// deletes it.
func TestSchedules(t *testing.T) {
	d := deploy(t)
	d.work(t)
	ctx := t.Context()
	cfg := d.fixture.Config()
	schedule := captioner.Schedule{
		Name: "nightly", Cron: "0 3 * * *", TimeZone: "Europe/Berlin", Jitter: captioner.Duration(10 * time.Minute), Config: &cfg,
	}

	t.Run("refused", func(t *testing.T) {
		for field, change := range map[string]func(*captioner.Schedule){
			"cron":      func(s *captioner.Schedule) { s.Cron = "at night" },
			"time_zone": func(s *captioner.Schedule) { s.TimeZone = "Europe/Atlantis" },
		} {
			s := schedule
			change(&s)
			_, err := d.runs.CreateSchedule(ctx, s)
			if p := captioner.ProblemsOf(err); captioner.KindOf(err) != captioner.Invalid || len(p) != 1 || p[0].Field != field {
				t.Errorf("CreateSchedule() = %v, want a problem of %s", err, field)
			}
		}
	})
	made, err := d.runs.CreateSchedule(ctx, schedule)
	if err != nil {
		t.Fatal(err)
	}
	if made.Cron != schedule.Cron || made.TimeZone != schedule.TimeZone || made.Jitter != schedule.Jitter || made.Overlap != captioner.OverlapSkip ||
		made.Paused || made.Config == nil || made.Config.Training.Steps != 20 || len(made.Runs) != 0 {
		t.Errorf("made %+v", made)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Next) == 0 || made.Next[0].In(berlin).Hour() != 3 {
		t.Errorf("the next times are %v, want three at night in Berlin", made.Next)
	}
	if _, err := d.runs.CreateSchedule(ctx, schedule); captioner.CodeOf(err) != "schedule_exists" {
		t.Errorf("made a second time: %v, want schedule_exists", err)
	}

	first := d.trigger(t, "nightly", captioner.RunCompleted)
	if !strings.HasPrefix(first.ID, "train-nightly-") || first.Result == nil || first.Result.Trained == nil {
		t.Errorf("the first run %+v, want it trained", first)
	}
	if record, err := d.fixture.Store.RunRecord(ctx, first.ID); err != nil || record.Actor != "schedule:nightly" {
		t.Errorf("record %+v, %v", record, err)
	}
	second := d.trigger(t, "nightly", captioner.RunUnchanged)
	if again := d.trigger(t, "nightly", captioner.RunUnchanged); again.ID == second.ID { // it took a fraction of a second
		t.Errorf("two runs have the ID %s", again.ID)
	}
	if second.Result != nil || len(trainings(d.fixture.Engine)) != 1 {
		t.Errorf("the second run %+v after trainings %v, want nothing done", second, trainings(d.fixture.Engine))
	}
	addCaption(t, cfg.Data.Captions)
	third := d.trigger(t, "nightly", captioner.RunCompleted)
	if third.Result.Version == first.Result.Version {
		t.Errorf("version %s after the data has changed as before", third.Result.Version.Short())
	}

	t.Run("by force", func(t *testing.T) {
		run, err := d.runs.TriggerSchedule(ctx, "nightly", true)
		if err != nil {
			t.Fatal(err)
		}
		result, err := d.runs.WaitResult(ctx, run.ID)
		if err != nil || result.Version != third.Result.Version || result.Unchanged {
			t.Errorf("result %+v, %v; want the version of the third run again", result, err)
		}
	})
	t.Run("while one is under way", func(t *testing.T) { testOverlap(t, d) })
	t.Run("list", func(t *testing.T) { testListSchedules(t, d, second.ID) })
	t.Run("pause", func(t *testing.T) {
		for _, paused := range []bool{true, false} {
			if s, err := d.runs.PauseSchedule(ctx, "nightly", paused); err != nil || s.Paused != paused {
				t.Errorf("PauseSchedule(%v) = %+v, %v", paused, s, err)
			}
		}
	})
	t.Run("delete", func(t *testing.T) {
		if err := d.runs.DeleteSchedule(ctx, "nightly"); err != nil {
			t.Fatal(err)
		}
		_, show := d.runs.Schedule(ctx, "nightly")
		_, pause := d.runs.PauseSchedule(ctx, "nightly", true)
		_, trigger := d.runs.TriggerSchedule(ctx, "nightly", false)
		again := d.runs.DeleteSchedule(ctx, "nightly")
		for what, err := range map[string]error{"show": show, "pause": pause, "trigger": trigger, "delete": again} {
			if captioner.KindOf(err) != captioner.NotFound {
				t.Errorf("%s a schedule that was deleted: %v, want NotFound", what, err)
			}
		}
	})
	t.Run("of another workflow", func(t *testing.T) {
		if _, err := d.temporal.ScheduleClient().Create(ctx, client.ScheduleOptions{
			ID: "foreign", Spec: client.ScheduleSpec{CronExpressions: []string{"@yearly"}},
			Action: &client.ScheduleWorkflowAction{ID: "foreign", Workflow: "Clean", TaskQueue: "other"},
		}); err != nil {
			t.Fatal(err)
		}
		if err := d.runs.DeleteSchedule(ctx, "foreign"); captioner.KindOf(err) != captioner.NotFound {
			t.Errorf("DeleteSchedule() = %v, want NotFound", err)
		}
	})
}

// trigger has a schedule start a run and waits until it has ended as wanted.
func (d *deployment) trigger(t *testing.T, name string, state captioner.RunState) captioner.Run {
	t.Helper()
	run, err := d.runs.TriggerSchedule(t.Context(), name, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.runs.WaitResult(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	if run, err = d.runs.Describe(t.Context(), run.ID); err != nil || run.State != state {
		t.Fatalf("the run is %s, %v; want it %s", run.State, err, state)
	}
	return run
}

// testOverlap triggers a schedule while a run of it trains.
func testOverlap(t *testing.T, d *deployment) {
	addCaption(t, d.fixture.Data.Captions)
	training, goOn := make(chan struct{}), make(chan struct{})
	d.fixture.Engine.OnStep = func(ctx context.Context, step int) error {
		if step == 8 {
			close(training)
			select {
			case <-goOn:
			case <-ctx.Done():
			}
		}
		return nil
	}
	run, err := d.runs.TriggerSchedule(t.Context(), "nightly", false)
	if err != nil {
		t.Fatal(err)
	}
	<-training
	for _, force := range []bool{false, true} {
		if _, err := d.runs.TriggerSchedule(t.Context(), "nightly", force); captioner.CodeOf(err) != "run_under_way" {
			t.Errorf("TriggerSchedule(force %v) = %v, want run_under_way", force, err)
		}
	}
	close(goOn)
	if _, err := d.runs.WaitResult(t.Context(), run.ID); err != nil {
		t.Error(err)
	}
	d.fixture.Engine.OnStep = nil
}

// testListSchedules waits for a schedule to be listed, and an unchanged run of it
// among the runs.
func testListSchedules(t *testing.T, d *deployment, unchanged string) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		schedules, err := d.runs.Schedules(ctx)
		if err != nil {
			t.Fatal(err)
		}
		runs, err := d.runs.List(ctx, 100)
		if err != nil {
			t.Fatal(err)
		}
		listed := len(schedules) == 1 && schedules[0].Name == "nightly" && schedules[0].Cron == "0 3 * * *" && schedules[0].Config == nil && len(schedules[0].Runs) > 0
		i := slices.IndexFunc(runs, func(r captioner.Run) bool { return r.ID == unchanged })
		if listed && i >= 0 && runs[i].State == captioner.RunUnchanged {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("schedules %+v, runs %+v; want nightly with its runs, and run %s unchanged", schedules, runs, unchanged)
		case <-ticker.C:
		}
	}
}
