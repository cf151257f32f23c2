package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
)

// TestSchedule keeps a schedule by the command line: its runs train only when
// the data has changed, or by force.
func TestSchedule(t *testing.T) {
	p := needPrograms(t)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	cfg := smallConfig(pictures(t, 100), 60)
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) string { return p.mustRun(t, append(args, "--server", l.api)...) }
	trigger := func(flags ...string) captioner.Run {
		id := strings.TrimSpace(command(append([]string{"schedule", "trigger", "nightly"}, flags...)...))
		return l.awaitEnd(t, id, 2*time.Minute)
	}

	if _, stderr, code := p.run(t, "schedule", "create", "nightly", "--cron", "at night", "--config", file, "--server", l.api); code != 2 || !strings.Contains(stderr, "cron: ") {
		t.Errorf("times that cannot be read: exit code %d, %s", code, stderr)
	}
	made := command("schedule", "create", "nightly", "--cron", "0 3 * * *", "--time-zone", "Europe/Berlin", "--jitter", "10m", "--config", file)
	for _, want := range []string{"0 3 * * * Europe/Berlin, up to 10m0s later", "overlap   skip", "if the data has changed"} {
		if !strings.Contains(made, want) {
			t.Errorf("the schedule is shown without %q:\n%s", want, made)
		}
	}

	first := trigger()
	if first.State != captioner.RunCompleted || !first.Result.Deployed {
		t.Fatalf("the first run ended as %s: %s", first.State, first.Error)
	}
	second := trigger()
	if second.State != captioner.RunUnchanged || second.Result != nil {
		t.Errorf("the second run ended as %s with %+v, want it unchanged", second.State, second.Result)
	}
	if shown := command("runs", "show", second.ID); !strings.Contains(shown, "unchanged") || !strings.Contains(shown, "nothing to do: run "+first.ID) {
		t.Errorf("the second run is shown as\n%s", shown)
	}
	command("runs", "watch", second.ID) // exit code 0
	if shown := command("schedule", "show", "nightly"); !strings.Contains(shown, first.ID+"  completed") || !strings.Contains(shown, second.ID+"  unchanged") {
		t.Errorf("the schedule is shown as\n%s", shown)
	}

	addCaption(t, cfg.Data.Captions)
	third := trigger()
	if third.State != captioner.RunCompleted || third.Result.Version == first.Result.Version {
		t.Errorf("with another caption the run ended as %s, result %+v; want another version", third.State, third.Result)
	}
	if forced := trigger("--force"); forced.State != captioner.RunCompleted || forced.Result.Version != third.Result.Version {
		t.Errorf("by force the run ended as %s, result %+v; want the same version", forced.State, forced.Result)
	}

	command("schedule", "pause", "nightly")
	eventually(t, 20*time.Second, "the schedule is listed as paused", func() bool {
		return strings.Contains(command("schedule", "list"), "paused")
	})
	command("schedule", "resume", "nightly")
	command("schedule", "delete", "nightly")
	if _, stderr, code := p.run(t, "schedule", "show", "nightly", "--server", l.api); code != 1 || !strings.Contains(stderr, `there is no schedule "nightly"`) {
		t.Errorf("after its deletion: exit code %d, %s", code, stderr)
	}
}

// addCaption gives the first picture of a captions file one more.
func addCaption(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	picture, _, _ := strings.Cut(lines[1], ",")
	lines = append(lines, picture+",something new is to be seen", "")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
}
