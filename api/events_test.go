package api_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/api"
)

const runKey = "feedfacefeedfacefeedface"

func (f *fake) Metrics(_ context.Context, key string, after int64, limit int) ([]captioner.Metric, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away != nil || key != runKey {
		return nil, after, f.away
	}
	first := min(int(after), len(f.metrics))
	last := min(first+limit, len(f.metrics))
	return slices.Clone(f.metrics[first:last]), int64(last), nil
}

func (f *fake) Samples(_ context.Context, key string, after int64, limit int) ([]captioner.Sample, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []captioner.Sample
	for _, s := range f.samples {
		if s.RunKey == key && s.Sequence > after && len(found) < limit {
			found = append(found, s)
			after = s.Sequence
		}
	}
	return found, after, f.away
}

func (f *fake) SamplePicture(_ context.Context, key, image string) (captioner.Digest, error) {
	for _, s := range f.samples {
		if s.RunKey == key && s.Image == image && s.Picture != "" {
			return s.Picture, f.away
		}
	}
	return "", captioner.Errorf(captioner.NotFound, "no such sample")
}

func (f *fake) Open(_ context.Context, d captioner.Digest) (io.ReadCloser, error) {
	data, ok := f.pictures[d]
	if !ok {
		return nil, captioner.Errorf(captioner.NotFound, "no such blob")
	}
	return io.NopCloser(strings.NewReader(data)), f.away
}

// change changes the fake while a server uses it.
func (f *fake) change(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// training fills the fake with a run that has trained for a number of points
// and two epochs of samples.
func (f *fake) training(points int) {
	f.runs[0].RunKey, f.runs[1].RunKey = runKey, runKey
	at := time.Date(2026, 5, 1, 12, 1, 0, 0, time.UTC)
	for i := range points {
		f.metrics = append(f.metrics, captioner.Metric{RunKey: runKey, Step: i + 1, Name: "loss", Value: 1 / float64(i+1), Time: at})
	}
	picture := captioner.DigestOf([]byte("picture"))
	f.pictures = map[captioner.Digest]string{picture: "\x89PNG"}
	for epoch := 1; epoch <= 2; epoch++ {
		f.samples = append(f.samples,
			captioner.Sample{RunKey: runKey, Epoch: epoch, Step: 10 * epoch, Image: "a/ä.png", Caption: fmt.Sprintf("caption %d", epoch),
				Reference: "a red circle", Picture: picture, Sequence: int64(20 * epoch)},
			captioner.Sample{RunKey: runKey, Epoch: epoch, Step: 10 * epoch, Image: "b.png", Caption: "", Reference: "a dog", Sequence: int64(20*epoch + 1)})
	}
}

// event is one server-sent event.
type event struct{ name, id, data string }

func (e event) String() string { return e.name + " " + e.data }

// readEvents returns the events up to the end of the stream, or until enough
// says so.
func readEvents(t testing.TB, r io.Reader, enough func([]event) bool) []event {
	t.Helper()
	var events []event
	var e event
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case lines.Text() == "" && e.data != "":
			events = append(events, e)
			e = event{}
			if enough != nil && enough(events) {
				return events
			}
		case field == "event":
			e.name = value
		case field == "id":
			e.id = value
		case field == "data":
			e.data = value
		case field == "retry" || strings.HasPrefix(lines.Text(), ":") || lines.Text() == "":
		default:
			t.Errorf("line %q of the stream", lines.Text())
		}
	}
	return events
}

// names lists the events' names.
func names(events []event) []string {
	var names []string
	for _, e := range events {
		names = append(names, e.name)
	}
	return names
}

// steps returns the steps of all points, in order.
func steps(t testing.TB, events []event) []int {
	t.Helper()
	var steps []int
	for _, e := range events {
		if e.name != "metrics" {
			continue
		}
		var points []struct{ Step int }
		if err := json.Unmarshal([]byte(e.data), &points); err != nil {
			t.Fatal(err)
		}
		for _, p := range points {
			steps = append(steps, p.Step)
		}
	}
	return steps
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i + 1
	}
	return all
}

// A run that has ended is replayed whole, then the stream closes.
func TestEventsOfEndedRun(t *testing.T) {
	f := newFake()
	f.training(2500)
	f.metrics[1].Value = math.NaN()
	f.runs[1].Stages = []captioner.Stage{{Name: "Train", State: "completed", Cached: true}}
	w := serve(newServer(t, f, nil), scenario{path: "/runs/by%2Fhand/events"})
	checkCommon(t, w)
	if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("status %d, content type %q", w.Code, got)
	}
	events := readEvents(t, w.Body, nil)
	for _, e := range events {
		needDocument(t).CheckEvent(t, "/runs/{id}/events", e.name, e.data)
	}
	want := []string{"stages", "metrics", "metrics", "metrics", "sample", "sample", "end"}
	if diff := gocmp.Diff(want, names(events)); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff(upTo(2500), steps(t, events)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	for event, want := range map[int]string{
		0: `[{"name":"Train","state":"completed","cached":true}]`,
		5: `{"epoch":2,"step":20,"samples":[{"image":"a/ä.png","caption":"caption 2","reference":"a red circle","has_picture":true},` +
			`{"image":"b.png","caption":"","reference":"a dog","has_picture":false}]}`,
	} {
		if events[event].data != want {
			t.Errorf("event %d is %s, want %s", event, events[event].data, want)
		}
	}
	if !strings.Contains(events[1].data, `{"step":2,"name":"loss","value":null,"time":"2026-05-01T12:01:00Z"}`) {
		t.Errorf("a loss that is no number is not null in %.200s", events[1].data)
	}
	var end captioner.Run
	if err := json.Unmarshal([]byte(events[6].data), &end); err != nil || end.State != captioner.RunCompleted || end.Result == nil || end.Result.Version != version {
		t.Errorf("end %s (%v)", events[6].data, err)
	}
}

// A client that comes back at any point has read everything once in the end.
func TestEventsResume(t *testing.T) {
	f := newFake()
	f.training(2500)
	s := newServer(t, f, nil)
	all := readEvents(t, serve(s, scenario{path: "/runs/by%2Fhand/events"}).Body, nil)
	for cut := range all {
		before := all[:cut+1]
		last := ""
		for _, e := range before {
			last = cmp.Or(e.id, last)
		}
		w := serve(s, scenario{path: "/runs/by%2Fhand/events", header: map[string]string{"Last-Event-ID": last}})
		joined := slices.Concat(before, readEvents(t, w.Body, nil))
		if diff := gocmp.Diff(upTo(2500), steps(t, joined)); diff != "" {
			t.Errorf("cut after event %d, ID %q (-want +got):\n%s", cut, last, diff)
		}
		samples := slices.DeleteFunc(names(joined), func(name string) bool { return name != "sample" })
		if len(samples) != 2 {
			t.Errorf("cut after event %d, ID %q: %d events with samples, want 2", cut, last, len(samples))
		}
	}
	for _, id := range []string{"nonsense", "feedfacefeed-1", "feedfacefeed--1-0", "feedfacefeed-1-2-3", "otherotherot-2000-21"} {
		w := serve(s, scenario{path: "/runs/by%2Fhand/events", header: map[string]string{"Last-Event-ID": id}})
		if got := len(steps(t, readEvents(t, w.Body, nil))); got != 2500 {
			t.Errorf("after the ID %q: %d points, want all", id, got)
		}
	}
}

// listen starts the API as a server that cuts ordinary requests off after some
// time; 0 for never. A busy machine may take longer than that to send a header.
func listen(t *testing.T, s *api.Server, cut time.Duration) *httptest.Server {
	t.Helper()
	h := httptest.NewUnstartedServer(s.Handler())
	h.Config.ReadTimeout, h.Config.WriteTimeout, h.Config.ReadHeaderTimeout = cut, cut, time.Minute
	h.Start()
	t.Cleanup(h.Close)
	return h
}

func openEvents(t *testing.T, h *httptest.Server) io.ReadCloser {
	t.Helper()
	resp, err := h.Client().Get(h.URL + "/runs/train-01/events")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d", resp.StatusCode)
	}
	return resp.Body
}

func fast(o *api.Options) { o.PollInterval = 5 * time.Millisecond }

// A run is followed while it goes on, longer than the server's deadlines, also
// while the database and the workflow service are away.
func TestEventsFollow(t *testing.T) {
	f := newFake()
	f.training(3)
	f.runs[0].Stages = []captioner.Stage{{Name: "Train", State: "running"}}
	h := listen(t, newServer(t, f, fast), 100*time.Millisecond)
	body := openEvents(t, h)
	started := time.Now()
	points := 3
	events := readEvents(t, body, func(events []event) bool {
		// After each answer something happens; at last the run ends.
		f.change(func() {
			switch last := events[len(events)-1]; {
			case last.name != "metrics":
			case time.Since(started) > 300*time.Millisecond && points > 20:
				f.runs[0].State = captioner.RunFailed
				f.runs[0].Error = "the disk is full"
				f.runs[0].Stages = []captioner.Stage{{Name: "Train", State: "failed"}}
			default:
				f.away = nil
				if points%5 == 0 {
					f.away = captioner.Errorf(captioner.Unavailable, "the database cannot be reached")
					time.AfterFunc(20*time.Millisecond, func() { f.change(func() { f.away = nil }) })
				}
				points++
				f.metrics = append(f.metrics, captioner.Metric{RunKey: runKey, Step: points, Name: "loss"})
			}
		})
		return false
	})
	if diff := gocmp.Diff(upTo(points), steps(t, events)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	var stages []string
	for _, e := range events {
		if e.name == "stages" {
			stages = append(stages, e.data)
		}
	}
	if diff := gocmp.Diff([]string{`[{"name":"Train","state":"running"}]`, `[{"name":"Train","state":"failed"}]`}, stages); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	if last := events[len(events)-1]; last.name != "end" || !strings.Contains(last.data, "the disk is full") {
		t.Errorf("the last event is %s", last)
	}
}

// Where a run stands is told at first and whenever that changes, until its end.
func TestEventsTellTheState(t *testing.T) {
	f := newFake()
	h := listen(t, newServer(t, f, fast), 0)
	next := []func(){
		func() { f.runs[0].State, f.runs[0].Note = captioner.RunRecovering, "its worker was lost" },
		func() { f.runs[0].State, f.runs[0].Note = captioner.RunStalled, "no step for 1m15s" },
		func() { f.runs[0].State, f.runs[0].Note = captioner.RunRunning, "" },
		func() { f.runs[0].State = captioner.RunCompleted },
	}
	var told []string
	readEvents(t, openEvents(t, h), func(events []event) bool {
		if last := events[len(events)-1]; last.name == "state" {
			told = append(told, last.data)
			f.change(next[0])
			next = next[1:]
		}
		return false
	})
	want := []string{
		`{"state":"running"}`, `{"state":"recovering","note":"its worker was lost"}`,
		`{"state":"stalled","note":"no step for 1m15s"}`, `{"state":"running"}`,
	}
	if diff := gocmp.Diff(want, told); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// However many follow a run, the workflow service is asked once an interval.
func TestEventsShareTheirQuestions(t *testing.T) {
	f := newFake()
	s := newServer(t, f, func(o *api.Options) { o.PollInterval = time.Hour })
	h := listen(t, s, 0)
	for range 20 {
		openEvents(t, h)
	}
	if f.described.Load() != 1 {
		t.Errorf("20 streams have asked %d times, want once", f.described.Load())
	}
}

func TestEventsAreBounded(t *testing.T) {
	f := newFake()
	s := newServer(t, f, func(o *api.Options) { fast(o); o.MaxStreams = 2 })
	h := listen(t, s, 0)
	first, second := openEvents(t, h), openEvents(t, h)
	w := serve(s, scenario{path: "/runs/train-01/events"})
	checkCommon(t, w)
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "too_many_streams") {
		t.Errorf("a third stream: %d %s", w.Code, w.Body)
	}
	// A client that leaves makes room.
	first.Close()
	for deadline := time.Now().Add(10 * time.Second); ; {
		resp, err := h.Client().Get(h.URL + "/runs/train-01/events")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the place of a client that has left is not free within 10 s")
		}
	}
	// A server that goes away ends its streams at once and takes no new ones.
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if events := readEvents(t, second, nil); slices.Contains(names(events), "end") {
		t.Error("a stream that was cut off says that the run has ended")
	}
	if w := serve(s, scenario{path: "/runs/train-01/events"}); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "shutting_down") {
		t.Errorf("a stream of a server that goes away: %d %s", w.Code, w.Body)
	}
}

func TestRunReplies(t *testing.T) {
	trained := func(f *fake) { f.training(1) }
	run(t, []scenario{
		{name: "events of no run", path: "/runs/nothing/events"},
		{name: "events with the service away", path: "/runs/train-01/events", prepare: func(f *fake) {
			f.err = captioner.Errorf(captioner.Unavailable, "the workflow service cannot be reached")
		}},
		{name: "events by HEAD", method: http.MethodHead, path: "/runs/train-01/events"},
		{name: "bundle events", path: "/runs/train-01/events", options: bundleOnly},
		{name: "picture", path: "/runs/train-01/samples/a%2F%C3%A4.png", prepare: trained},
		{name: "picture known", path: "/runs/train-01/samples/a%2F%C3%A4.png", prepare: trained,
			header: map[string]string{"If-None-Match": `"` + string(captioner.DigestOf([]byte("picture"))) + `"`}},
		{name: "picture not kept", path: "/runs/train-01/samples/b.png", prepare: trained},
		{name: "picture elsewhere", path: "/runs/train-01/samples/..%2F..%2Fetc%2Fpasswd", prepare: trained},
		{name: "picture lost", path: "/runs/train-01/samples/a%2F%C3%A4.png", prepare: func(f *fake) { f.training(1); f.pictures = nil }},
		{name: "picture of no run", path: "/runs/nothing/samples/b.png"},
		{name: "picture with the database away", path: "/runs/train-01/samples/a%2F%C3%A4.png", prepare: func(f *fake) {
			f.training(1)
			f.away = captioner.Errorf(captioner.Unavailable, "the database cannot be reached")
		}},
	})
}
