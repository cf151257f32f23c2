package api_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/api"
	"github.com/captioner/captioner/internal/config"
)

var update = flag.Bool("update", false, "rewrite the golden replies in testdata")

const version = captioner.Digest("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

// fake answers for everything behind the API.
type fake struct {
	mu      sync.Mutex
	state   string
	info    captioner.ModelInfo
	caption func(ctx context.Context, req captioner.CaptionRequest) (captioner.CaptionReply, error)
	asked   []captioner.CaptionRequest

	runs []captioner.Run
	err  error // of every call below

	described atomic.Int64
	started   []captioner.Config
	keys      []string

	metrics  []captioner.Metric // with sequence numbers from 1
	samples  []captioner.Sample
	pictures map[captioner.Digest]string
	away     error // of the three above

	models  []captioner.ModelVersion
	alias   captioner.Alias
	noAlias bool
	moves   []captioner.AliasMove
	// deployed are the calls of Promote and Rollback, as "actor: reason".
	deployed []string

	schedules []captioner.Schedule
	// scheduled are the calls that change schedules, as "what name".
	scheduled []string
}

func newFake() *fake {
	started := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	lineage := captioner.Lineage{Dataset: captioner.DigestOf([]byte("data")), Config: captioner.DigestOf([]byte("config")),
		ResultVersions: map[string]int{"Train": 1}, TensorFlow: "2.18.0", Threads: 2}
	finished := started.Add(4 * time.Minute)
	return &fake{
		state: "ready",
		info: captioner.ModelInfo{Version: version, VocabularySize: 120, MaxTokens: 20, Encoder: "conv", Decoder: "transformer",
			ImageSize: 96, TensorFlow: "2.18.0", Devices: []string{"/device:CPU:0"}},
		runs: []captioner.Run{{
			ID: "train-01", TemporalRunID: "t1", State: captioner.RunRunning, StartedAt: started,
			Stages:  []captioner.Stage{{Name: "Train", State: "running", StartedAt: &started}},
			Metrics: map[string]float64{"train_loss": 1.5, "validation_loss": nan()},
		}, {
			ID: "by/hand", State: captioner.RunCompleted, StartedAt: started, FinishedAt: &finished,
			Result: &captioner.RunResult{Version: version, Deployed: true, Decision: captioner.Decision{Outcome: captioner.Promote}},
		}},
		models: []captioner.ModelVersion{
			{Version: version, RunID: "train-01", CreatedAt: finished, Lineage: lineage, Evaluation: captioner.Evaluation{
				Scores:  []captioner.Scores{{Algorithm: "beam", Signature: "a", BLEU4: 0.5, Images: 100}},
				Samples: []captioner.SampleCaption{{Image: "a.jpg", Beam: "a dog"}},
			}},
			{Version: captioner.DigestOf([]byte("old")), RunID: "train-00", CreatedAt: started, Lineage: lineage},
		},
		schedules: []captioner.Schedule{nightly()},
		alias:     captioner.Alias{Name: captioner.Production, Version: version, Generation: 2},
		moves: []captioner.AliasMove{
			{Alias: captioner.Alias{Name: captioner.Production, Version: version, Generation: 2}, Previous: captioner.DigestOf([]byte("old")),
				Kind: captioner.Promotion, MovedAt: finished, Actor: "train-01", Reason: "better"},
			{Alias: captioner.Alias{Name: captioner.Production, Version: captioner.DigestOf([]byte("old")), Generation: 1},
				Kind: captioner.Promotion, MovedAt: started, Actor: "train-00", Reason: "no version is live yet, and this one has not collapsed"},
		},
	}
}

func nan() float64 { zero := 0.0; return zero / zero }

func (f *fake) State() string              { return f.state }
func (f *fake) Model() captioner.ModelInfo { return f.info }

func (f *fake) Caption(ctx context.Context, req captioner.CaptionRequest) (captioner.CaptionReply, error) {
	f.mu.Lock()
	f.asked = append(f.asked, req)
	f.mu.Unlock()
	if f.caption != nil {
		return f.caption(ctx, req)
	}
	return captioner.CaptionReply{Version: version, Batch: 3, Waited: 2 * time.Millisecond, Results: []captioner.CaptionResult{{
		Width: 4, Height: 3, Hypotheses: []captioner.Hypothesis{{Text: "a red circle", LogProbability: -0.25, Tokens: []int32{4, 9, 12}}},
	}}}, nil
}

func (f *fake) Start(_ context.Context, cfg captioner.Config, key string) (captioner.Run, error) {
	f.started, f.keys = append(f.started, cfg), append(f.keys, key)
	return f.runs[0], f.err
}

func (f *fake) Continue(ctx context.Context, id string, changes []byte) (captioner.Config, error) {
	run, err := f.Describe(ctx, id)
	if err == nil && !run.State.Ended() {
		err = &captioner.Error{Kind: captioner.Conflict, Code: "run_under_way", Message: "the run is still under way"}
	}
	if err != nil {
		return captioner.Config{}, err
	}
	_, after, err := config.Continue([]byte(`{"data":{"seed":8},"training":{"epochs":2}}`), changes)
	return after, err
}

func (f *fake) Resume(ctx context.Context, id string, cfg captioner.Config, key string) (captioner.Run, error) {
	return f.Start(ctx, cfg, key+" after "+id)
}

func (f *fake) Describe(_ context.Context, id string) (captioner.Run, error) {
	f.described.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.runs {
		if r.ID == id {
			return r, f.err
		}
	}
	return captioner.Run{}, captioner.Errorf(captioner.NotFound, "there is no run %q", id)
}

func (f *fake) List(_ context.Context, limit int) ([]captioner.Run, error) {
	return f.runs[:min(limit, len(f.runs))], f.err
}

func (f *fake) Cancel(ctx context.Context, id string) error {
	run, err := f.Describe(ctx, id)
	if err == nil && run.State.Ended() {
		err = captioner.Errorf(captioner.Conflict, "the run has ended")
	}
	return cmp.Or(f.err, err)
}

func (f *fake) Config(_ context.Context, id string) (captioner.Config, error) {
	if id != f.runs[0].ID {
		return captioner.Config{}, cmp.Or[error](f.err, captioner.Errorf(captioner.NotFound, "no configuration of run %q is known", id))
	}
	cfg := captioner.DefaultConfig()
	cfg.Data.Images, cfg.Data.Captions = "/data/pictures", "/elsewhere/captions.csv"
	return cfg, f.err
}

func (f *fake) DryRun(context.Context, captioner.Config) error { return f.err }

func (f *fake) ModelVersions(_ context.Context, limit int) ([]captioner.ModelVersion, error) {
	return f.models[:min(limit, len(f.models))], f.err
}

func (f *fake) ModelVersion(_ context.Context, v string) (captioner.ModelVersion, error) {
	for _, m := range f.models {
		if strings.HasPrefix(string(m.Version), v) {
			return m, f.err
		}
	}
	return captioner.ModelVersion{}, captioner.Errorf(captioner.NotFound, "there is no version %q", v)
}

func (f *fake) PinVersion(_ context.Context, v captioner.Digest, pinned bool) error {
	for i := range f.models {
		m := &f.models[i]
		switch {
		case m.Version != v:
		case m.DeletedAt != nil:
			return &captioner.Error{Kind: captioner.Conflict, Code: "version_deleted", Message: "the files of the version were deleted"}
		case pinned:
			m.PinnedAt = &m.CreatedAt
		default:
			m.PinnedAt = nil
		}
	}
	return f.err
}

func (f *fake) Alias(context.Context, string) (captioner.Alias, error) {
	if f.noAlias {
		return captioner.Alias{}, captioner.Errorf(captioner.NotFound, "no such alias")
	}
	return f.alias, nil
}

func (f *fake) AliasMoves(_ context.Context, _ string, limit int) ([]captioner.AliasMove, error) {
	return f.moves[:min(limit, len(f.moves))], f.err
}

func (f *fake) AliasMoveAt(_ context.Context, _ string, at time.Time) (captioner.AliasMove, error) {
	for _, m := range f.moves {
		if !m.MovedAt.After(at) {
			return m, f.err
		}
	}
	return captioner.AliasMove{}, captioner.Errorf(captioner.NotFound, "nothing was live")
}

func (f *fake) Promote(ctx context.Context, v, actor, reason, key string) (captioner.Deployment, error) {
	f.deployed, f.keys = append(f.deployed, actor+": "+reason), append(f.keys, key)
	m, err := f.ModelVersion(ctx, v)
	return captioner.Deployment{Version: m.Version, Previous: version, Generation: 3, Moved: true, Servers: 2, Confirmed: true}, cmp.Or(ctx.Err(), err)
}

func (f *fake) Rollback(_ context.Context, actor, reason, key string) (captioner.Deployment, error) {
	f.deployed, f.keys = append(f.deployed, actor+": "+reason), append(f.keys, key)
	return captioner.Deployment{Version: f.moves[1].Version, Previous: version, Generation: 3, Moved: true, Note: "no server was running"}, f.err
}

func (f *fake) RollbackTarget(context.Context) (captioner.Digest, error) {
	return f.moves[1].Version, f.err
}

// newServer returns the API over f; change may alter the options.
func newServer(t testing.TB, f *fake, change func(*api.Options)) *api.Server {
	t.Helper()
	opts := api.Options{
		Captioner: f, Runs: f, Schedules: f, Models: f, Progress: f, Blobs: f, ParseConfig: config.ParseWith, ConfigSchema: []byte(`{"type":"object"}`),
		Version: "1.2.3", TracerProvider: sdktrace.NewTracerProvider(),
		MetricsHandler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
			fmt.Fprintln(w, "captioner_up 1")
		}),
		MaxUploadBytes: 64 << 10, MaxPixels: 1_000_000, Deployer: f,
	}
	if change != nil {
		change(&opts)
	}
	s, err := api.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// scenario is one request and the golden reply in testdata.
type scenario struct {
	name    string
	method  string // default GET
	path    string
	body    string
	header  map[string]string
	prepare func(*fake)
	options func(*api.Options)
	// check looks at what happened behind the API.
	check func(*testing.T, *fake)
}

func (sc scenario) request() *http.Request {
	r := httptest.NewRequest(cmp.Or(sc.method, http.MethodGet), sc.path, strings.NewReader(sc.body))
	for name, value := range sc.header {
		r.Header.Set(name, value)
	}
	return r
}

// run plays the scenarios and compares each reply with its golden file.
func run(t *testing.T, scenarios []scenario) {
	t.Helper()
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			f := newFake()
			if sc.prepare != nil {
				sc.prepare(f)
			}
			w := httptest.NewRecorder()
			newServer(t, f, sc.options).Handler().ServeHTTP(w, sc.request())
			checkCommon(t, w)
			holdAgainstDocument(t, sc.request(), w)
			compareGolden(t, w)
			if sc.check != nil {
				sc.check(t, f)
			}
		})
	}
}

var (
	requestID    = regexp.MustCompile(`^[0-9a-f]{32}$`)
	responseTime = regexp.MustCompile(`^\d+\.\d{6}s$`)
)

// checkCommon checks what holds for every reply.
func checkCommon(t testing.TB, w *httptest.ResponseRecorder) {
	t.Helper()
	id := w.Header().Get("X-Request-ID")
	if !requestID.MatchString(id) {
		t.Errorf("X-Request-ID = %q, want 32 hexadecimal digits", id)
	}
	if got := w.Header().Get("X-Response-Time"); !responseTime.MatchString(got) {
		t.Errorf("X-Response-Time = %q, want seconds", got)
	}
	if w.Code < 400 {
		return
	}
	var p struct {
		Status    int
		Code      string
		Title     string
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("status %d without a JSON body: %v: %s", w.Code, err, w.Body)
	}
	if w.Header().Get("Content-Type") != "application/problem+json" || p.Status != w.Code || p.Code == "" || p.Title == "" || p.RequestID != id {
		t.Errorf("status %d, %s: not a complete problem: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	if (w.Code == http.StatusServiceUnavailable) != (w.Header().Get("Retry-After") != "") {
		t.Errorf("status %d with Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
}

var volatile = regexp.MustCompile(`("(?:request_id|processing_time_seconds|uptime_seconds|startup_time)": )("[^"]*"|[0-9.e-]+)`)

func compareGolden(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s\n", w.Code, http.StatusText(w.Code))
	for _, name := range []string{"Content-Type", "Location", "Retry-After", "Allow", "Vary", "Access-Control-Allow-Origin",
		"Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Allow-Credentials"} {
		if value := w.Header().Get(name); value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	b.WriteByte('\n')
	var body bytes.Buffer
	if json.Indent(&body, w.Body.Bytes(), "", "  ") != nil {
		body = *w.Body
	}
	b.WriteString(volatile.ReplaceAllString(body.String(), `$1"*"`))

	path := filepath.Join("testdata", filepath.FromSlash(strings.ReplaceAll(t.Name(), "#", "_"))+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("reply (-golden +got); -update rewrites it:\n%s", diff)
	}
}

// picture is a 4 × 3 JPEG.
func picture(t testing.TB) string {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewRGBA(image.Rect(0, 0, 4, 3)), nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const boundary = "captioner-test-boundary"

var formHeader = map[string]string{"Content-Type": "multipart/form-data; boundary=" + boundary}

// form writes name, value, name, value … as a multipart form; the field "file"
// as a file.
func form(t testing.TB, fields ...string) string {
	t.Helper()
	var b strings.Builder
	w := multipart.NewWriter(&b)
	if err := w.SetBoundary(boundary); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		var part io.Writer
		var err error
		if fields[i] == "file" {
			part, err = w.CreateFormFile("file", "picture.jpg")
		} else {
			part, err = w.CreateFormField(fields[i])
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(part, fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// bundleOnly is `captioner serve --bundle`.
func bundleOnly(o *api.Options) { o.Runs, o.Schedules, o.Models = nil, nil, nil }

// logTo gives the server a logger that writes JSON lines to w.
func logTo(w io.Writer) func(*api.Options) {
	return func(o *api.Options) {
		o.Logger = slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
}
