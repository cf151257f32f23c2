package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/store"
	"github.com/captioner/captioner/internal/store/postgrestest"
	"github.com/captioner/captioner/internal/tracking"
	"github.com/captioner/captioner/internal/tracking/mlflow"
	"github.com/captioner/captioner/internal/tracking/mlflow/mlflowtest"
)

// TestOutbox delivers to a real server, through a line that a test can cut, and
// reads with MLflow's own client.
func TestOutbox(t *testing.T) {
	server := mlflowtest.Start(t, mlflowtest.Options{})
	for _, tt := range []struct {
		name string
		test func(t *testing.T, f *fixture)
	}{
		{"Whole", testWhole},
		{"Resumed", testResumed},
		{"Away", testAway},
		{"ReplyLost", testReplyLost},
		{"KilledBeforeItsNote", testKilledBeforeItsNote},
		{"StartedAgain", testStartedAgain},
		{"Refused", testRefused},
		{"DamagedBundle", testDamagedBundle},
		{"Failed", testFailed},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newFixture(t, server)) })
	}
	t.Run("TwoReplicas", func(t *testing.T) { testTwoReplicas(t, server) })
}

// line forwards to MLflow until it is cut.
type line struct {
	mu       sync.Mutex
	cut      bool                       // nobody answers
	lose     func(r *http.Request) bool // replies that do not come back
	requests map[string]int             // by path, and by path and user
	*httptest.Server
}

func newLine(t testing.TB, server *mlflowtest.Server) *line {
	target, err := url.Parse(server.URL)
	must(t, err)
	forward := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	l := &line{requests: map[string]int{}}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		cut, lose := l.cut, l.lose != nil && l.lose(r)
		path := strings.TrimPrefix(r.URL.Path, "/api/2.0/mlflow/")
		user, _, _ := r.BasicAuth()
		l.requests[path]++
		l.requests[path+" "+user]++
		l.mu.Unlock()
		switch {
		case cut:
			panic(http.ErrAbortHandler)
		case lose:
			forward.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		default:
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *line) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

func (l *line) count(path string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests[path]
}

// fixture is a database with a run that a test drives, and the server that its
// outbox delivers to.
type fixture struct {
	*line
	server   *mlflowtest.Server
	store    captioner.Store
	blobs    captioner.BlobStore
	blobsDir string
	log      bytes.Buffer
	attempt  int64
	runID    string
	runKey   string
	name     string // of the experiment and of the model
}

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func newFixture(t testing.TB, server *mlflowtest.Server) *fixture {
	t.Helper()
	return newFixtureOn(t, server, "sqlite:"+filepath.Join(t.TempDir(), "captioner.db"))
}

func newFixtureOn(t testing.TB, server *mlflowtest.Server, database string) *fixture {
	t.Helper()
	f := &fixture{
		line: newLine(t, server), server: server, blobsDir: t.TempDir(), runID: "train-" + filepath.Base(t.Name()), name: t.Name(),
		runKey: "key of " + t.Name(),
	}
	f.name = strings.ReplaceAll(f.name, "/", "-")
	f.store = openStore(t, database)
	var err error
	f.blobs, err = blob.NewDisk(f.blobsDir)
	must(t, err)
	cfg, err := json.Marshal(captioner.DefaultConfig())
	must(t, err)
	_, _, err = f.store.PutRun(t.Context(), captioner.RunRecord{ID: f.runID, Config: cfg, CreatedAt: start, Actor: "api"})
	must(t, err)
	return f
}

func openStore(t testing.TB, database string) captioner.Store {
	t.Helper()
	s, err := store.Open(t.Context(), database)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// outbox returns a new one, as a process that starts makes it.
func (f *fixture) outbox(t *testing.T) *Outbox { return f.outboxOf(t, f.store, "anybody") }

func (f *fixture) outboxOf(t *testing.T, records captioner.Store, user string) *Outbox {
	t.Helper()
	client, err := mlflow.New(mlflow.Options{URI: f.URL, Username: user, Password: "of no interest"})
	must(t, err)
	return New(Options{
		Store: records, Blobs: f.blobs, Server: client, Experiment: f.name, Model: f.name, PageURL: "http://captioner",
		Build: tracking.Build{Version: "v1.2.3", Commit: "0123"}, Interval: 10 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(&f.log, nil)),
	})
}

// begin claims the training for a new attempt.
func (f *fixture) begin(t *testing.T) {
	t.Helper()
	attempt, err := f.store.ClaimAttempt(t.Context(), f.runKey)
	must(t, err)
	f.attempt = attempt
	must(t, f.store.PutProgress(t.Context(), f.runID, captioner.Progress{RunKey: f.runKey}))
}

// trains reports steps, and after each third the end of an epoch. Times differ
// from one attempt to the next, values do not.
func (f *fixture) trains(t *testing.T, steps ...int) {
	t.Helper()
	for _, step := range steps {
		at := start.Add(time.Duration(f.attempt)*time.Hour + time.Duration(step)*time.Second)
		values := map[string]float64{"step": float64(step), "epochs": 3, "loss": 1 / float64(step), "learning_rate": 0.5}
		if step == 2 {
			values["loss"] = math.NaN()
		}
		if step%3 == 0 {
			values["validation_loss"] = float64(step)
		}
		var points []captioner.Metric
		for _, name := range slices.Sorted(maps.Keys(values)) {
			points = append(points, captioner.Metric{RunKey: f.runKey, Step: step, Name: name, Value: values[name], Time: at})
		}
		must(t, f.store.AppendMetrics(t.Context(), f.attempt, points))
		if step%3 == 0 {
			must(t, f.store.PutSamples(t.Context(), f.attempt, []captioner.Sample{
				{RunKey: f.runKey, Epoch: step / 3, Step: step, Image: "a.png", Caption: "a dog", Reference: "the dog", Time: at},
			}))
		}
	}
}

// finish records the outcome of a run that has captioned its test split and made
// a version, which it returns.
func (f *fixture) finish(t *testing.T) captioner.Digest {
	t.Helper()
	put := func(v any) captioner.Digest {
		data, err := json.Marshal(v)
		must(t, err)
		digest, _, err := f.blobs.Put(t.Context(), bytes.NewReader(data))
		must(t, err)
		return digest
	}
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "saved_model"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "saved_model", "saved_model.pb"), []byte("a model of "+f.runID), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "lineage.json"), []byte("{}"), 0o644))
	_, version, err := registry.StoreTree(t.Context(), f.blobs, dir)
	must(t, err)
	must(t, f.store.PutModelVersion(t.Context(), captioner.ModelVersion{Version: version, RunID: f.runID}))
	must(t, f.store.PutProgress(t.Context(), f.runID, captioner.Progress{
		RunKey: f.runKey, TraceID: "0af7651916cd43dd8448eb211c80319c",
		Dataset: put(captioner.Dataset{Examples: []captioner.Example{
			{Image: "t.png", Split: captioner.Test, References: []string{"a red dog runs fast"}},
		}}),
		Captions: []captioner.Digest{put([]captioner.CaptionedImage{{Image: "t.png", Greedy: "a red dog runs fast", Beam: "a red dog runs fast"}})},
	}))
	must(t, f.store.FinishRun(t.Context(), f.runID, captioner.RunCompleted, &captioner.RunResult{
		Version: version, Deployed: true, Decision: captioner.Decision{Outcome: captioner.Promote, Reasons: []string{"first", "good"}},
		Evaluation: captioner.Evaluation{
			Scores:        []captioner.Scores{{Algorithm: "beam", BLEU1: 0.5, BLEU4: 0.25, Metrics: map[string]float64{"cider": 1.5}}},
			Demonstration: map[string]float64{"pair_f1": 0.75},
		},
	}, ""))
	return version
}

// round delivers once, and must go well. Another outbox may be next.
func (f *fixture) round(t *testing.T, o *Outbox) {
	t.Helper()
	done := false
	must(t, o.whileHeld(t.Context(), func(ctx context.Context) error {
		done = true
		return o.round(ctx)
	}))
	if !done {
		t.Fatal("another outbox has the lease")
	}
	must(t, f.store.GiveBackLease(t.Context(), o.lease, o.holder))
}

// awaitAll waits until all points of the training have been delivered.
func (f *fixture) awaitAll(t *testing.T) {
	t.Helper()
	_, last, err := f.store.Metrics(t.Context(), f.runKey, 0, 0)
	must(t, err)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		d, err := f.store.Delivery(t.Context(), f.runID)
		if err == nil && d.Sequence == last {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute the delivery is %+v, %v, want sequence %d", d, err, last)
		}
	}
}

// tracked returns the runs of the experiment as MLflow's own client reads them.
func (f *fixture) tracked(t *testing.T) []mlflowtest.Run {
	t.Helper()
	return f.server.Read(t, f.name).Runs
}

// checkCurves compares what MLflow has with the database: each point once, with
// its value. The only run is returned.
func (f *fixture) checkCurves(t *testing.T) mlflowtest.Run {
	t.Helper()
	runs := f.tracked(t)
	if len(runs) != 1 {
		t.Fatalf("MLflow has %d runs, want one", len(runs))
	}
	points, _, err := f.store.Metrics(t.Context(), f.runKey, 0, 0)
	must(t, err)
	slices.SortFunc(points, func(a, b captioner.Metric) int { return a.Step - b.Step })
	want, got := map[string][][2]any{}, map[string][][2]any{}
	for _, p := range points {
		switch {
		case tracking.Housekeeping(p.Name):
		case math.IsNaN(p.Value):
			want[p.Name] = append(want[p.Name], [2]any{float64(p.Step), "nan"})
		default:
			want[p.Name] = append(want[p.Name], [2]any{float64(p.Step), p.Value})
		}
	}
	for name, curve := range runs[0].Metrics {
		for _, p := range curve {
			if !strings.HasPrefix(name, "scores/") {
				got[name] = append(got[name], [2]any{p[0], p[1]})
			}
		}
	}
	if len(want) == 0 {
		t.Fatal("the database has no points")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("curves (-database +MLflow):\n%s", diff)
	}
	return runs[0]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testWhole follows a run from its beginning to the version that is live.
func testWhole(t *testing.T, f *fixture) {
	o := f.outbox(t)
	f.round(t, o)
	d, err := f.store.Delivery(t.Context(), f.runID)
	must(t, err)
	if d.TrackedRun == "" || d.Server != f.URL || !strings.HasSuffix(d.URL, "/runs/"+d.TrackedRun) {
		t.Errorf("delivery at the beginning: %+v", d)
	}
	f.begin(t)
	f.trains(t, 1, 2, 3)
	f.round(t, o)
	f.checkCurves(t)
	f.trains(t, 4, 5, 6)
	version := f.finish(t)
	_, err = f.store.MoveAlias(t.Context(), captioner.Production, version, 0, "test", "first")
	must(t, err)
	f.round(t, o)

	r := f.checkCurves(t)
	if r.ID != d.TrackedRun || r.Name != f.runID || r.Status != "FINISHED" || r.StartTime != start.UnixMilli() || r.EndTime == 0 {
		t.Errorf("run %+v, want the one of the beginning, finished", r)
	}
	if r.Params["training.steps"] != fmt.Sprint(captioner.DefaultConfig().Training.Steps) || r.Params["model.encoder"] != captioner.DefaultConfig().Model.Encoder {
		t.Errorf("parameters %v", r.Params)
	}
	for key, want := range map[string]string{
		"captioner.run_id": f.runID, "captioner.training": f.runKey, "captioner.version": string(version), "captioner.decision": "promote",
		"captioner.reasons": "first; good", "captioner.deployed": "true", "captioner.trace_id": "0af7651916cd43dd8448eb211c80319c",
		"captioner.url": "http://captioner/ui/runs/" + f.runID, "mlflow.source.git.commit": "0123", "captioner.program": "v1.2.3",
	} {
		if r.Tags[key] != want {
			t.Errorf("tag %s is %q, want %q", key, r.Tags[key], want)
		}
	}
	for name, want := range map[string]float64{"beam/bleu1": 0.5, "beam/bleu4": 0.25, "beam/cider": 1.5, "demonstration/pair_f1": 0.75} {
		if points := r.Metrics["scores/"+name]; len(points) != 1 || points[0][0] != 6. || points[0][1] != want {
			t.Errorf("score %s: %v, want %v at step 6", name, points, want)
		}
	}
	for name, want := range map[string]string{
		"config.json": `"steps": `, "bleu_scores.csv": "t.png,beam,1,1,1,1", "samples.json": `[2,6,"a.png","a dog","the dog"]`,
		"bundle/saved_model/saved_model.pb": "a model of " + f.runID, "bundle/manifest.json": "saved_model/saved_model.pb",
	} {
		if !strings.Contains(r.Artifacts[name], want) {
			t.Errorf("artifact %s is %q, want %q in it", name, r.Artifacts[name], want)
		}
	}
	want := []mlflowtest.ModelVersion{{
		Version: "1", RunID: r.ID, Source: "runs:/" + r.ID + "/bundle", Aliases: []string{version.Short(), "production"},
		Description: fmt.Sprintf("[captioner version %s](http://captioner/ui/models/%[1]s), made by run %s", version, f.runID),
		Tags:        map[string]string{"captioner.version": string(version), "captioner.run_id": f.runID, "captioner.url": "http://captioner/ui/models/" + string(version)},
	}}
	slices.Sort(want[0].Aliases)
	if diff := cmp.Diff(want, f.server.Read(t, f.name).Models[f.name]); diff != "" {
		t.Errorf("model versions (-want +got):\n%s", diff)
	}

	// Nothing is left to do, also for a process that has just begun.
	before := f.count("runs/log-batch")
	f.round(t, o)
	f.round(t, f.outbox(t))
	if after := f.count("runs/log-batch"); after != before {
		t.Errorf("%d batches after everything was delivered", after-before)
	}
	if f.log.Len() > 0 {
		t.Errorf("log:\n%s", &f.log)
	}
}

// testResumed: a training that resumes writes points again, and others between.
func testResumed(t *testing.T, f *fixture) {
	o := f.outbox(t)
	f.begin(t)
	f.trains(t, 1, 2, 3, 5, 7)
	f.round(t, o)
	f.begin(t) // from a checkpoint at step 3
	f.trains(t, 4, 5)
	f.round(t, o)
	f.trains(t, 6, 7, 8, 9)
	f.round(t, o)
	f.checkCurves(t)
}

// testAway: the server is away for a whole run, and from then on there.
func testAway(t *testing.T, f *fixture) {
	f.setCut(true)
	o := f.outbox(t)
	o.Start()
	f.begin(t)
	f.trains(t, 1, 2, 3, 4, 5)
	f.begin(t)
	f.trains(t, 4, 6, 7, 8, 9)
	f.finish(t)
	must(t, o.Stop(context.WithoutCancel(t.Context())))
	if log := f.log.String(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "nothing can be delivered to MLflow") {
		t.Errorf("log, want one warning:\n%s", log)
	}

	f.setCut(false)
	f.round(t, f.outbox(t))
	if r := f.checkCurves(t); r.Status != "FINISHED" || r.Artifacts["bundle/manifest.json"] == "" {
		t.Errorf("after the server's return: %s, artifacts %v", r.Status, r.Artifacts)
	}
}

// testReplyLost: everything arrives, and the first reply from each path and
// every third to a batch do not come back.
func testReplyLost(t *testing.T, f *fixture) {
	asked := map[string]int{}
	f.lose = func(r *http.Request) bool {
		asked[r.URL.Path]++
		n := asked[r.URL.Path]
		return n == 1 || n%3 == 0 && strings.HasSuffix(r.URL.Path, "log-batch")
	}
	o := f.outbox(t)
	f.begin(t)
	patiently := func() {
		t.Helper()
		for range 100 {
			if o.whileHeld(t.Context(), o.round) == nil {
				return
			}
		}
		t.Fatal("a hundred rounds have not delivered everything")
	}
	for step := range 9 {
		f.trains(t, step+1)
		patiently()
	}
	f.finish(t)
	patiently()
	if r := f.checkCurves(t); r.Status != "FINISHED" {
		t.Errorf("status %s", r.Status)
	}
	if versions := f.server.Read(t, f.name).Models[f.name]; len(versions) != 1 {
		t.Errorf("model versions %+v, want one", versions)
	}
}

// testKilledBeforeItsNote: points arrive, the process is killed before it can
// note so, and the training resumes and writes them again, at another time.
func testKilledBeforeItsNote(t *testing.T, f *fixture) {
	o := f.outbox(t)
	f.begin(t)
	f.trains(t, 1, 2, 3)
	f.round(t, o)
	before, err := f.store.Delivery(t.Context(), f.runID)
	must(t, err)
	f.trains(t, 4, 5)
	f.round(t, o)
	must(t, f.store.PutDelivery(t.Context(), before)) // as if it had not come to it
	f.begin(t)
	f.trains(t, 4, 5, 6)
	f.round(t, f.outbox(t))
	f.checkCurves(t)

	// Killed after the run was made there, it is found again.
	before.TrackedRun = ""
	must(t, f.store.PutDelivery(t.Context(), before))
	f.round(t, f.outbox(t))
	f.checkCurves(t)
}

// testStartedAgain: a run ID that is used again for another training is another
// run there.
func testStartedAgain(t *testing.T, f *fixture) {
	o := f.outbox(t)
	f.begin(t)
	f.trains(t, 1, 2)
	must(t, f.store.FinishRun(t.Context(), f.runID, captioner.RunFailed, nil, "no"))
	f.round(t, o)
	f.runKey += " again"
	f.begin(t)
	f.trains(t, 1, 2, 3)
	f.finish(t)
	f.round(t, o)
	got := map[string]int{}
	for _, r := range f.tracked(t) {
		got[r.Status] = len(r.Metrics["loss"])
	}
	if diff := cmp.Diff(map[string]int{"FAILED": 2, "FINISHED": 3}, got); diff != "" {
		t.Errorf("losses of the runs (-want +got):\n%s", diff)
	}
}

// testRefused: a run that somebody has deleted there is left alone, and others
// are delivered.
func testRefused(t *testing.T, f *fixture) {
	o := f.outbox(t)
	f.begin(t)
	f.trains(t, 1)
	f.round(t, o)
	d, err := f.store.Delivery(t.Context(), f.runID)
	must(t, err)
	response, err := http.Post(f.URL+"/api/2.0/mlflow/runs/delete", "application/json", strings.NewReader(`{"run_id": "`+d.TrackedRun+`"}`))
	must(t, err)
	response.Body.Close()
	_, _, err = f.store.PutRun(t.Context(), captioner.RunRecord{ID: "train-other", Config: []byte("{}"), CreatedAt: start})
	must(t, err)
	f.trains(t, 2)
	for range 2 * maxRefusals {
		f.round(t, o)
	}
	if d, err = f.store.Delivery(t.Context(), f.runID); err != nil || d.Refused == "" {
		t.Errorf("delivery of the deleted run %+v, %v, want it refused", d, err)
	}
	if runs := f.tracked(t); len(runs) != 1 || runs[0].Name != "train-other" {
		t.Errorf("runs %+v, want the other one", runs)
	}
	if strings.Count(f.log.String(), "level=WARN") != 1 {
		t.Errorf("log, want one warning:\n%s", &f.log)
	}
}

// testDamagedBundle: an artifact that cannot be read costs a warning.
func testDamagedBundle(t *testing.T, f *fixture) {
	f.begin(t)
	f.trains(t, 1)
	f.finish(t)
	damaged := 0
	must(t, filepath.WalkDir(f.blobsDir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && bytes.HasPrefix(data, []byte("a model of")) {
			damaged++
			must(t, os.Chmod(path, 0o644))
			err = os.WriteFile(path, bytes.ToUpper(data), 0o644)
		}
		return err
	}))
	if damaged != 1 {
		t.Fatalf("%d blobs hold the model", damaged)
	}
	f.round(t, f.outbox(t))
	if r := f.checkCurves(t); r.Status != "FINISHED" {
		t.Errorf("status %s", r.Status)
	}
	if log := f.log.String(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "saved_model.pb") {
		t.Errorf("log, want one warning about the file:\n%s", log)
	}
}

// testFailed: a run that never came to its training.
func testFailed(t *testing.T, f *fixture) {
	must(t, f.store.FinishRun(t.Context(), f.runID, captioner.RunFailed, nil, "the data set cannot be used"))
	_, _, err := f.store.PutRun(t.Context(), captioner.RunRecord{ID: "train-wrong", Config: []byte("no JSON"), CreatedAt: start, State: captioner.RunRunning})
	must(t, err)
	must(t, f.store.FinishRun(t.Context(), "train-wrong", captioner.RunCancelled, nil, ""))
	f.round(t, f.outbox(t))
	got := map[string]string{}
	for _, r := range f.tracked(t) {
		got[r.Name] = r.Status + " " + r.Tags["captioner.error"]
	}
	want := map[string]string{f.runID: "FAILED the data set cannot be used", "train-wrong": "KILLED "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// testTwoReplicas: of two processes on one PostgreSQL database one delivers at a
// time, also when they change over while a training goes on.
func testTwoReplicas(t *testing.T, server *mlflowtest.Server) {
	database := postgrestest.Start(t).Database(t)
	f := newFixtureOn(t, server, database)
	outboxes := map[string]*Outbox{"one": f.outboxOf(t, f.store, "one"), "two": f.outboxOf(t, openStore(t, database), "two")}
	for _, o := range outboxes {
		o.Start()
	}
	f.begin(t)
	for step := range 30 {
		f.trains(t, step+1)
		if step%7 == 6 { // and resumes
			f.begin(t)
			f.trains(t, step, step+1)
		}
	}
	f.awaitAll(t)
	f.checkCurves(t)

	// The one that delivers ends, and the other goes on.
	delivers, waits := "one", "two"
	if f.count("runs/log-batch two") > 0 {
		delivers, waits = waits, delivers
	}
	if f.count("runs/log-batch "+delivers) == 0 || f.count("runs/log-batch "+waits) > 0 || f.count("runs/create") != 1 {
		t.Errorf("requests %v, want all of them from one process", f.requests)
	}
	must(t, outboxes[delivers].Stop(t.Context()))
	f.trains(t, 31, 32, 33)
	f.awaitAll(t)
	f.checkCurves(t)
	if f.count("runs/log-batch "+waits) == 0 {
		t.Error("the other process has delivered nothing")
	}
	must(t, outboxes[waits].Stop(t.Context()))
}
