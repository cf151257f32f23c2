package api_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/api"
)

// nightly is the schedule that the fake has from the beginning.
func nightly() captioner.Schedule {
	cfg := captioner.DefaultConfig()
	cfg.Data.Images, cfg.Data.Captions = "/data/pictures", "/elsewhere/captions.csv"
	at := time.Date(2026, 5, 1, 1, 0, 0, 0, time.UTC)
	return captioner.Schedule{
		Name: "nightly", Cron: "0 3 * * *", TimeZone: "Europe/Berlin", Jitter: captioner.Duration(10 * time.Minute), Overlap: captioner.OverlapSkip,
		Config: &cfg, Next: []time.Time{at.Add(24 * time.Hour)},
		Runs: []captioner.ScheduledRun{{ID: "train-nightly-2026-05-01T01:00:00Z", StartedAt: at, State: captioner.RunUnchanged}},
	}
}

func (f *fake) CreateSchedule(_ context.Context, s captioner.Schedule) (captioner.Schedule, error) {
	f.scheduled = append(f.scheduled, fmt.Sprintf("create %s seed %d", s.Name, s.Config.Data.Seed))
	f.schedules = append(f.schedules, s)
	return s, f.err
}

func (f *fake) Schedules(context.Context) ([]captioner.Schedule, error) {
	list := slices.Clone(f.schedules)
	for i := range list {
		list[i].Config = nil
	}
	return list, f.err
}

func (f *fake) Schedule(_ context.Context, name string) (captioner.Schedule, error) {
	for _, s := range f.schedules {
		if s.Name == name {
			return s, f.err
		}
	}
	return captioner.Schedule{}, cmp.Or[error](f.err, captioner.Errorf(captioner.NotFound, "there is no schedule %q", name))
}

func (f *fake) PauseSchedule(ctx context.Context, name string, paused bool) (captioner.Schedule, error) {
	f.scheduled = append(f.scheduled, fmt.Sprintf("pause %s %v", name, paused))
	s, err := f.Schedule(ctx, name)
	s.Paused = paused
	return s, err
}

func (f *fake) TriggerSchedule(ctx context.Context, name string, force bool) (captioner.Run, error) {
	f.scheduled = append(f.scheduled, fmt.Sprintf("trigger %s %v", name, force))
	_, err := f.Schedule(ctx, name)
	return f.runs[0], err
}

func (f *fake) DeleteSchedule(ctx context.Context, name string) error {
	f.scheduled = append(f.scheduled, "delete "+name)
	_, err := f.Schedule(ctx, name)
	return err
}

func TestSchedules(t *testing.T) {
	jsonHeader := map[string]string{"Content-Type": "application/json"}
	post := func(name, path, body string, want ...string) scenario {
		sc := scenario{name: name, method: http.MethodPost, path: path, body: body, header: jsonHeader}
		sc.options = func(o *api.Options) { o.DataRoot = "/data" }
		sc.check = func(t *testing.T, f *fake) {
			if diff := gocmp.Diff(want, f.scheduled); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		}
		return sc
	}
	with := func(sc scenario, err error) scenario {
		sc.prepare = func(f *fake) { f.err = err }
		return sc
	}
	deleted := post("delete", "/schedules/nightly", "", "delete nightly")
	deleted.method = http.MethodDelete
	deletedUnknown := post("delete unknown", "/schedules/daily", "", "delete daily")
	deletedUnknown.method = http.MethodDelete
	form := post("form", "/schedules", "name=x")
	form.header = map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	away := captioner.Errorf(captioner.Unavailable, "the workflow service cannot be reached")
	exists := &captioner.Error{Kind: captioner.Conflict, Code: "schedule_exists", Message: `there is a schedule "daily" already`}
	underWay := &captioner.Error{Kind: captioner.Conflict, Code: "run_under_way", Message: "run train-nightly of the schedule is still under way"}

	run(t, []scenario{
		post("create", "/schedules", `{"name": "daily", "every": "24h", "jitter": "5m", "overlap": "cancel", "config": {"data": {"seed": 7}}}`, "create daily seed 7"),
		post("create with the defaults", "/schedules", `{"name": "daily", "cron": "@daily"}`, "create daily seed 42"),
		post("create with a preset", "/schedules", `{"name": "daily", "cron": "@daily", "paused": true, "force": true, "config": {"preset": "flickr8k", "data": {"images": "pictures", "captions": "captions.txt"}}}`, "create daily seed 42"),
		with(post("create a second time", "/schedules", `{"name": "daily", "cron": "@daily"}`, "create daily seed 42"), exists),
		post("all problems at once", "/schedules", `{"name": "every day", "cron": "@daily", "every": "24h", "jitter": "-1s", "overlap": "allow", "config": {"training": {"batch_size": 0}, "data": {"images": "/etc"}}}`),
		post("without times", "/schedules", `{"name": "never"}`),
		post("too often", "/schedules", `{"name": "often", "every": "1s", "time_zone": "Europe/Berlin"}`),
		post("no duration", "/schedules", `{"name": "often", "every": "often"}`),
		post("unknown member", "/schedules", `{"name": "daily", "corn": "@daily"}`),
		post("not JSON", "/schedules", "nightly"),
		post("too large", "/schedules", `{"name": "`+strings.Repeat("x", 65<<10)+`"}`),
		form,
		with(post("create with the service away", "/schedules", `{"name": "daily", "cron": "@daily"}`, "create daily seed 42"), away),
		{name: "list", path: "/schedules"},
		{name: "list nothing", path: "/schedules", prepare: func(f *fake) { f.schedules = nil }},
		{name: "list with the service away", path: "/schedules", prepare: func(f *fake) { f.err = away }},
		{name: "show", path: "/schedules/nightly", options: func(o *api.Options) { o.DataRoot = "/data" }},
		{name: "show unknown", path: "/schedules/daily"},
		post("pause", "/schedules/nightly/pause", "", "pause nightly true"),
		post("pause unknown", "/schedules/daily/pause", "", "pause daily true"),
		post("resume", "/schedules/nightly/resume", "", "pause nightly false"),
		post("trigger", "/schedules/nightly/trigger", "", "trigger nightly false"),
		post("trigger by force", "/schedules/nightly/trigger?force", "", "trigger nightly true"),
		post("trigger misspelt", "/schedules/nightly/trigger?force=perhaps", ""),
		post("trigger unknown", "/schedules/daily/trigger", "", "trigger daily false"),
		with(post("trigger while a run is under way", "/schedules/nightly/trigger", "", "trigger nightly false"), underWay),
		deleted,
		deletedUnknown,
		{name: "bundle create", method: http.MethodPost, path: "/schedules", body: "{}", header: jsonHeader, options: bundleOnly},
		{name: "bundle list", path: "/schedules", options: bundleOnly},
		{name: "bundle show", path: "/schedules/x", options: bundleOnly},
		{name: "bundle pause", method: http.MethodPost, path: "/schedules/x/pause", options: bundleOnly},
		{name: "bundle trigger", method: http.MethodPost, path: "/schedules/x/trigger", options: bundleOnly},
		{name: "bundle delete", method: http.MethodDelete, path: "/schedules/x", options: bundleOnly},
	})
}
