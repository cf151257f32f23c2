package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
)

// event is a line of `captioner runs watch --json`.
type event struct {
	Event string
	Data  json.RawMessage
}

// watching is a `captioner runs watch --json` that runs.
type watching struct {
	events chan []event
	err    bytes.Buffer
}

// watch begins to follow a run.
func (l *local) watch(t testing.TB, id string) *watching {
	t.Helper()
	w := &watching{events: make(chan []event, 1)}
	cmd := l.command(t.Context(), "runs", "watch", id, "--json", "--server", l.api)
	cmd.Stderr = &w.err
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		var events []event
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<24)
		for lines.Scan() {
			var e event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Errorf("captioner runs watch --json printed %q: %v", lines.Text(), err)
			}
			events = append(events, e)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("captioner runs watch: %v\n%s", err, &w.err)
		}
		w.events <- events
	}()
	return w
}

// end waits until the run has ended and returns all events.
func (w *watching) end(t testing.TB) []event {
	t.Helper()
	events := <-w.events
	if len(events) == 0 || events[len(events)-1].Event != "end" {
		t.Fatalf("the last of %d events is not the end:\n%s", len(events), &w.err)
	}
	return events
}

// points counts the events' points by name and step.
func points(t testing.TB, events []event) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, e := range events {
		var points []captioner.Metric
		if e.Event != "metrics" {
			continue
		}
		if err := json.Unmarshal(e.Data, &points); err != nil {
			t.Fatal(err)
		}
		for _, p := range points {
			counts[fmt.Sprintf("%s %d", p.Name, p.Step)]++
		}
	}
	return counts
}

// sampled returns a picture that has a sample caption, and the number of epochs
// with some.
func sampled(t testing.TB, events []event) (image string, epochs int) {
	t.Helper()
	seen := map[int]bool{}
	for _, e := range events {
		var epoch struct {
			Epoch   int
			Samples []struct {
				Image      string
				HasPicture bool `json:"has_picture"`
			}
		}
		if e.Event != "sample" {
			continue
		}
		if err := json.Unmarshal(e.Data, &epoch); err != nil {
			t.Fatal(err)
		}
		seen[epoch.Epoch] = true
		for _, s := range epoch.Samples {
			if s.HasPicture {
				image = s.Image
			}
		}
	}
	return image, len(seen)
}

// testProgress looks at a run that has ended through its event stream.
func testProgress(t *testing.T, l *local, id string) {
	events := l.watch(t, id).end(t)
	image, epochs := sampled(t, events)
	if events[0].Event != "stages" || len(points(t, events)) == 0 || image == "" || epochs == 0 {
		t.Fatalf("%d events, first %s, sample of %q in %d epochs", len(events), events[0].Event, image, epochs)
	}
	resp, err := http.Get(l.api + "/runs/" + id + "/samples/" + url.PathEscape(image))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if size, err := png.DecodeConfig(bytes.NewReader(data)); err != nil || size.Width < 32 {
		t.Errorf("the picture of sample %q: %s, %v (%v)", image, resp.Status, size, err)
	}
}

// checkRunFiles checks the files of a run that has ended, once the local mode
// has stopped.
func checkRunFiles(t *testing.T, dataDir string, run captioner.Run, steps int) {
	t.Helper()
	dir := filepath.Join(dataDir, "runs", run.ID)
	var summary struct {
		Status     captioner.RunState
		Version    captioner.Digest
		TotalSteps int `json:"total_steps"`
		Files      []string
	}
	if err := json.Unmarshal(readFile(t, filepath.Join(dir, "run_summary.json")), &summary); err != nil {
		t.Fatal(err)
	}
	if summary.Status != captioner.RunCompleted || summary.Version != run.Result.Version || summary.TotalSteps != steps {
		t.Errorf("run_summary.json: %+v", summary)
	}
	for _, name := range append(summary.Files, "config_snapshot.json", "metrics.csv", "bleu_scores.csv") {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if found, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*")); err != nil || len(found) != 1 {
		t.Errorf("event files %v (%v), want one", found, err)
	}

	records, err := csv.NewReader(bytes.NewReader(readFile(t, filepath.Join(dir, "metrics.csv")))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for _, r := range records[1:] {
		step, err := strconv.Atoi(r[1])
		if err != nil || step <= last {
			t.Errorf("step %s follows %d in metrics.csv", r[1], last)
		}
		last = step
	}
	if last != steps {
		t.Errorf("metrics.csv ends at step %d, want %d", last, steps)
	}
}

// checkFollowed compares what a follower has seen of a run, while server and
// training died and came back, with what is there.
func checkFollowed(t *testing.T, l *local, id string, w *watching) {
	t.Helper()
	seen, all := w.end(t), l.watch(t, id).end(t)
	got, want := points(t, seen), points(t, all)
	for name := range got { // a resumed training may report a step again
		got[name] = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("points (-all +followed):\n%s", diff)
	}
	_, seenEpochs := sampled(t, seen)
	if _, epochs := sampled(t, all); seenEpochs != epochs {
		t.Errorf("samples of %d epochs were followed, want %d", seenEpochs, epochs)
	}
}
