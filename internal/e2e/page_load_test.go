package e2e_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/api"
	"github.com/captioner/captioner/internal/config"
)

// manyRuns answers for hundreds of runs, of which the newest is in training: as
// much as no test could wait for.
type manyRuns struct {
	api.Captioner
	runs []captioner.Run

	mu      sync.Mutex
	metrics []captioner.Metric
}

func newManyRuns(n int) *manyRuns {
	m := &manyRuns{}
	started := time.Now().Add(-time.Hour)
	for i := range n {
		run := captioner.Run{ID: fmt.Sprintf("train-%04d", n-i), State: captioner.RunCompleted, StartedAt: started.Add(-time.Duration(i) * time.Minute)}
		finished := run.StartedAt.Add(50 * time.Second)
		run.FinishedAt = &finished
		run.Result = &captioner.RunResult{Version: captioner.DigestOf([]byte(run.ID)), Decision: captioner.Decision{Outcome: captioner.Hold},
			Evaluation: captioner.Evaluation{Scores: []captioner.Scores{{Algorithm: "beam", BLEU1: 0.7, BLEU4: 0.4}}}}
		m.runs = append(m.runs, run)
	}
	m.runs[0].State, m.runs[0].FinishedAt, m.runs[0].Result = captioner.RunRunning, nil, nil
	m.runs[0].RunKey = "feedfacefeedface"
	m.runs[0].Stages = []captioner.Stage{{Name: "Train", State: "running", StartedAt: &started}}
	return m
}

// train adds steps to the newest run's curves.
func (m *manyRuns) train(steps int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range steps {
		step := len(m.metrics)/5 + 1
		loss := 4/math.Sqrt(float64(step)) + 0.2*math.Sin(float64(step)/7)
		for _, v := range []struct {
			name  string
			value float64
		}{{"step", float64(step)}, {"steps", 20_000}, {"loss", loss}, {"learning_rate", 1e-3}, {"images_per_second", 200}} {
			m.metrics = append(m.metrics, captioner.Metric{Step: step, Name: v.name, Value: v.value, Time: time.Now()})
		}
	}
}

func (m *manyRuns) List(_ context.Context, limit int) ([]captioner.Run, error) {
	return m.runs[:min(limit, len(m.runs))], nil
}

func (m *manyRuns) Describe(_ context.Context, id string) (captioner.Run, error) {
	for _, run := range m.runs {
		if run.ID == id {
			return run, nil
		}
	}
	return captioner.Run{}, captioner.Errorf(captioner.NotFound, "there is no run %q", id)
}

func (m *manyRuns) Metrics(_ context.Context, _ string, after int64, limit int) ([]captioner.Metric, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := min(int(after), len(m.metrics))
	last := min(first+limit, len(m.metrics))
	return append([]captioner.Metric(nil), m.metrics[first:last]...), int64(last), nil
}

func (m *manyRuns) Samples(_ context.Context, _ string, after int64, _ int) ([]captioner.Sample, int64, error) {
	return nil, after, nil
}

func (m *manyRuns) SamplePicture(context.Context, string, string) (captioner.Digest, error) {
	return "", captioner.Errorf(captioner.NotFound, "no samples")
}

func (m *manyRuns) Open(context.Context, captioner.Digest) (io.ReadCloser, error) {
	return nil, captioner.Errorf(captioner.NotFound, "no blobs")
}

func (m *manyRuns) Start(context.Context, captioner.Config, string) (captioner.Run, error) {
	return m.runs[0], nil
}

func (m *manyRuns) Continue(context.Context, string, []byte) (captioner.Config, error) {
	return captioner.DefaultConfig(), nil
}

func (m *manyRuns) Resume(context.Context, string, captioner.Config, string) (captioner.Run, error) {
	return m.runs[0], nil
}

func (m *manyRuns) Cancel(context.Context, string) error { return nil }

func (m *manyRuns) Config(context.Context, string) (captioner.Config, error) {
	return captioner.DefaultConfig(), nil
}

func (m *manyRuns) DryRun(context.Context, captioner.Config) error { return nil }

func (m *manyRuns) serve(t *testing.T) string {
	t.Helper()
	schema, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	s, err := api.New(api.Options{Captioner: m, Runs: m, Progress: m, Blobs: m, ParseConfig: config.ParseWith, ConfigSchema: schema,
		PollInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// TestPageWithManyRuns shows the list by pages.
func TestPageWithManyRuns(t *testing.T) {
	b := startBrowser(t)
	address := newManyRuns(400).serve(t)
	b.do(chromedp.Navigate(address + "/ui/runs"))
	rows := `document.querySelectorAll("main tbody tr").length`
	b.await(actionTimeout, rows+` === 50`)
	b.look("runs-many")
	eval[bool](b, `(window.first = document.querySelector("main tbody tr:nth-child(2)"), true)`)
	for want := 100; want <= 400; want += 50 {
		b.clickText("Show older runs")
		b.await(actionTimeout, fmt.Sprintf("%s === %d", rows, want))
	}
	b.clickText("Show older runs")
	b.await(actionTimeout, `![...document.querySelectorAll("button")].some((b) => b.textContent === "Show older runs" && b.checkVisibility())`)
	if !eval[bool](b, `window.first.isConnected`) {
		t.Error("a row that has not changed was made anew")
	}
	b.enter("#search", "train-0123")
	b.await(actionTimeout, rows+` === 1`)

	// The audit would find something if there were something to find.
	eval[bool](b, `(document.querySelector("h1").style.color = "#ddd", document.querySelector("main").append(document.createElement("input")), true)`)
	if findings := eval[[]string](b, audit); len(findings) != 2 {
		t.Errorf("the audit finds %q, want the pale heading and the field without a name", findings)
	}
	b.checkOrigin(address)
}

// TestPageTellsWarnings: what was likely not meant is said beside the result.
func TestPageTellsWarnings(t *testing.T) {
	b := startBrowser(t)
	runs := newManyRuns(2)
	runs.runs[1].Result.Warnings = []string{"InceptionV3 was trained from random weights"}
	address := runs.serve(t)
	b.do(chromedp.Navigate(address + "/ui/runs/" + runs.runs[1].ID))
	b.awaitText(".card .notice", "InceptionV3 was trained from random weights.")
	b.look("run-warning")
}

// watchFrames looks at the loss curve in every frame: whether its canvas was
// replaced or ever empty, and how long the page was busy.
const watchFrames = `(() => {
  const plot = document.querySelector(".plot.tall");
  const canvas = plot.querySelector("canvas");
  const seen = (window.seen = { frames: 0, empty: 0, replaced: 0, longest: 0, shifted: 0 });
  new PerformanceObserver((list) => list.getEntries().forEach((e) => (seen.longest = Math.max(seen.longest, e.duration)))).observe({ type: "longtask" });
  new PerformanceObserver((list) => list.getEntries().forEach((e) => (seen.shifted += e.value))).observe({ type: "layout-shift" });
  const frame = () => {
    seen.frames++;
    if (plot.querySelector("canvas") !== canvas) seen.replaced++;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    if (!data.some((v, i) => i % 4 === 3 && v > 0)) seen.empty++;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  return true;
})()`

// TestPageWithManyPoints lets a run's curves grow by 1,000 points of each at a
// time to more than 10,000, and looks at every frame meanwhile.
func TestPageWithManyPoints(t *testing.T) {
	b := startBrowser(t)
	runs := newManyRuns(1)
	runs.train(500)
	address := runs.serve(t)
	b.do(chromedp.Navigate(address + "/ui/runs/train-0001"))
	atStep := func(step int) {
		t.Helper()
		b.await(actionTimeout, fmt.Sprintf(`document.querySelector(".plot.tall canvas") && document.querySelector(".plot.tall").getAttribute("aria-label")?.endsWith("at step %d")`, step))
	}
	atStep(500)
	eval[bool](b, watchFrames)
	for step := 1500; step <= 10_500; step += 1000 {
		runs.train(1000)
		atStep(step)
	}
	// From here on each step comes by itself, as in a real training.
	eval[bool](b, `(window.seen.longest = 0, true)`)
	for step := 10_501; step <= 10_510; step++ {
		runs.train(1)
		atStep(step)
	}
	seen := eval[map[string]float64](b, `window.seen`)
	t.Logf("seen with 10,000 points: %v", seen)
	if seen["frames"] < 10 || seen["empty"] > 0 || seen["replaced"] > 0 || seen["shifted"] > 0.01 {
		t.Errorf("the curve flickers: %v", seen)
	}
	if seen["longest"] > 500 { // milliseconds; drawing takes some 20 on a quiet machine
		t.Errorf("one more point keeps the page busy for %v ms", seen["longest"])
	}
	b.look("run-points")
	b.checkOrigin(address)
}

// TestCurves puts points in any order, as a training that resumes does.
func TestCurves(t *testing.T) {
	b := startBrowser(t)
	address := newManyRuns(1).serve(t)
	b.do(chromedp.Navigate(address + "/ui/runs"))
	got := eval[string](b, `import(document.querySelector("link[href$='chart.js']").href).then(({ Curves }) => {
		const curves = new Curves();
		for (const [name, step, value] of [["loss", 1, 9], ["loss", 5, 5], ["validation", 5, 6], ["loss", 3, 7], ["loss", 5, 4], ["loss", 9, null], ["validation", 2, 8]]) curves.put(name, step, value);
		return JSON.stringify([curves.columns(["loss", "validation", "nothing"]), curves.last("loss"), curves.last("nothing"), curves.names()]);
	})`)
	// A point that is missing is null in JSON, as one that is no number.
	want := `[[[1,2,3,5,9],[9,null,7,4,null],[null,8,null,6,null],[null,null,null,null,null]],{"step":5,"value":4},null,["loss","validation"]]`
	if got != want {
		t.Errorf("curves = %s, want %s", got, want)
	}
}
