package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/captioner/captioner"
)

// script is what a server sends to one connection after another. A part that
// begins with a status answers with it.
type script struct {
	mu    sync.Mutex
	parts []string
	after []string // the Last-Event-ID of each connection
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	part := s.parts[0]
	s.parts = s.parts[1:]
	s.after = append(s.after, r.Header.Get("Last-Event-ID"))
	s.mu.Unlock()
	if part == "502" {
		http.Error(w, "the proxy cannot reach the server", http.StatusBadGateway)
		return
	}
	if part == "404" {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"code": "not_found", "detail": "there is no run"}`)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	text, broken := strings.CutSuffix(part, "BROKEN")
	fmt.Fprint(w, text)
	if broken {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func metricsEvent(id string, step int) string {
	var points []captioner.Metric
	for name, value := range map[string]float64{
		"step": float64(step), "steps": 90, "epoch": 2, "epochs": 3, "loss": 1.25, "images_per_second": 100, "seconds_left": 75,
	} {
		points = append(points, captioner.Metric{Step: step, Name: name, Value: value})
	}
	data, _ := json.Marshal(points)
	return fmt.Sprintf("event: metrics\nid: %s\ndata: %s\n\n", id, data)
}

const (
	trainingStage = "event: stages\ndata: [{\"name\":\"PrepareData\",\"state\":\"completed\",\"cached\":true},{\"name\":\"Train\",\"state\":\"running\"},{\"name\":\"Deploy\",\"state\":\"pending\"}]\n\n"
	trainedStage  = "event: stages\ndata: [{\"name\":\"Train\",\"state\":\"completed\"}]\n\n"
	sampleEvent   = "event: sample\nid: k-9-2\ndata: {\"epoch\":2,\"step\":60,\"samples\":[{\"image\":\"a.png\",\"caption\":\"a dog\"}]}\n\n"
	endEvent      = "event: end\ndata: {\"id\":\"r\",\"state\":\"completed\",\"started_at\":\"2026-05-01T12:00:00Z\"}\n\n"
)

func extractingStage(done int, state string) string {
	return fmt.Sprintf("event: stages\ndata: [{\"name\":\"ExtractFeatures\",\"state\":%q,\"done\":%d,\"total\":2}]\n\n", state, done)
}

// followScript follows a run at a server that plays the parts.
func followScript(t *testing.T, w io.Writer, asJSON bool, parts ...string) (run captioner.Run, after []string, err error) {
	t.Helper()
	s := &script{parts: parts}
	server := httptest.NewServer(s)
	defer server.Close()
	run, err = follow(t.Context(), newProgressView(w, asJSON), newAPIClient(server.URL), "r")
	return run, s.after, err
}

// A server that breaks off, is away and comes back is followed to the end, each
// time from the last event that was seen.
func TestFollowReconnects(t *testing.T) {
	var out bytes.Buffer
	run, after, err := followScript(t, &out, false,
		"retry: 1000\n\n"+trainingStage+metricsEvent("k-7-0", 30)+"BROKEN", "502", ":\n\n"+sampleEvent, trainedStage+endEvent)
	if err != nil || run.ID != "r" || run.State != captioner.RunCompleted {
		t.Fatalf("run %+v, %v", run, err)
	}
	if diff := cmp.Diff([]string{"", "k-7-0", "k-7-0", "k-9-2"}, after); diff != "" {
		t.Errorf("Last-Event-ID (-want +got):\n%s", diff)
	}
	lines := strings.Split(out.String(), "\n")
	for i, want := range []string{
		"  PrepareData              completed (kept from an earlier run)",
		"  Train                    running",
		"    step 30/90  epoch 2/3  loss 1.250  100 pictures/s  1m15s left",
		"  waiting for the server: ",
		`    epoch 2 says of a.png: "a dog"`,
		"  Train                    completed",
	} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d does not begin with %q in:\n%s", i, want, &out)
		}
	}
}

// TestFollowState: a person is told when a run does not get on, and when it does
// again, and of nothing else.
func TestFollowState(t *testing.T) {
	state := func(data string) string { return "event: state\ndata: " + data + "\n\n" }
	var b bytes.Buffer
	if _, _, err := followScript(t, &b, false, state(`{"state":"running"}`)+
		state(`{"state":"recovering","note":"its worker was lost"}`)+state(`{"state":"running"}`)+
		state(`{"state":"stalled","note":"no step for 1m15s"}`)+endEvent); err != nil {
		t.Fatal(err)
	}
	want := "  recovering: its worker was lost\n  running again\n  stalled: no step for 1m15s\n"
	if b.String() != want {
		t.Errorf("printed %q, want %q", b.String(), want)
	}
}

func TestFollowJSON(t *testing.T) {
	var out bytes.Buffer
	if _, _, err := followScript(t, &out, true, trainedStage+sampleEvent+endEvent); err != nil {
		t.Fatal(err)
	}
	want := `{"event":"stages","data":[{"name":"Train","state":"completed"}]}
{"event":"sample","id":"k-9-2","data":{"epoch":2,"step":60,"samples":[{"image":"a.png","caption":"a dog"}]}}
{"event":"end","id":"k-9-2","data":{"id":"r","state":"completed","started_at":"2026-05-01T12:00:00Z"}}
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFollowErrors(t *testing.T) {
	for name, test := range map[string]struct {
		part string
		kind captioner.Kind
	}{
		"no such run":      {"404", captioner.NotFound},
		"unreadable end":   {"event: end\ndata: [\n\n", captioner.Internal},
		"unreadable event": {"event: metrics\ndata: nothing\n\n", captioner.Internal},
	} {
		if _, _, err := followScript(t, io.Discard, false, test.part); captioner.KindOf(err) != test.kind {
			t.Errorf("%s: %v, want kind %s", name, err, test.kind)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := follow(ctx, newProgressView(io.Discard, false), newAPIClient("http://127.0.0.1:1"), "r"); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context ended: %v", err)
	}
}

// On a terminal the training is a bar with the time left, which is gone in the end.
func TestFollowOnTerminal(t *testing.T) {
	text := showOnTerminal(t, 160, extractingStage(1, "running")+extractingStage(2, "completed")+trainingStage+metricsEvent("k-7-0", 30)+sampleEvent+metricsEvent("k-8-0", 60)+trainedStage+endEvent)
	for _, want := range []string{"Train                    running", "33%", "100 pictures/s  1m15s left", `epoch 2 says of a.png: "a dog"`, "Train                    completed",
		"  ExtractFeatures          running 1/2\r\n\x1b[1A\x1b[J  ExtractFeatures          completed 2/2\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the terminal never showed %q:\n%q", want, text)
		}
	}
}

// What is drawn over and over fits the width of the terminal: a line that it
// breaks in two would stay.
func TestFollowOnNarrowTerminal(t *testing.T) {
	const columns = 60
	training := func(trouble string) string {
		return fmt.Sprintf("event: stages\ndata: [{\"name\":\"Train\",\"state\":\"running\",\"error\":%q}]\n\n", trouble)
	}
	text := showOnTerminal(t, columns, training("attempt 2; the one before: training was stopped")+training("")+metricsEvent("k-7-0", 30)+metricsEvent("k-8-0", 60)+trainedStage+endEvent)
	for _, want := range []string{"running: attempt 2; the one before: training was stopped\r\n\x1b[2A\x1b[J", "epoch 2/3  loss 1.250  1m15s left"} {
		if !strings.Contains(text, want) {
			t.Errorf("the terminal never showed %q:\n%q", want, text)
		}
	}
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if strings.Contains(line, "%") && utf8.RuneCountInString(line) > columns {
			t.Errorf("the bar does not fit into %d columns: %q", columns, line)
		}
	}
}

// showOnTerminal follows a run on a terminal and returns what it was sent.
func showOnTerminal(t *testing.T, columns uint16, events string) string {
	t.Helper()
	screen, terminal := openTerminal(t, columns)
	shown := make(chan string)
	go func() {
		var b bytes.Buffer
		_, _ = io.Copy(&b, screen) // ends with an error when the other side is closed
		shown <- b.String()
	}()
	_, _, err := followScript(t, terminal, false, events)
	if err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	return <-shown
}

// openTerminal returns both sides of a pseudo-terminal.
func openTerminal(t *testing.T, columns uint16) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return screen, terminal
}
