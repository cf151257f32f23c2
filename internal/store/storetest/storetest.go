// Package storetest is the contract of captioner.Store as a test suite. Every
// implementation runs it; what it asserts is what users of a store may rely on.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/captioner/captioner"
)

// Open returns an empty store whose time is now. The suite closes it.
type Open func(t *testing.T, now func() time.Time) captioner.Store

// Run runs every test of the contract, each on a store of its own.
func Run(t *testing.T, open Open) {
	tests := []struct {
		name string
		test func(t *testing.T, s captioner.Store)
	}{
		{"StepResults", testStepResults},
		{"LargeStepResult", testLargeStepResult},
		{"StepResultRace", testStepResultRace},
		{"Attempts", testAttempts},
		{"AttemptRace", testAttemptRace},
		{"LateWrites", testLateWrites},
		{"Checkpoints", testCheckpoints},
		{"Metrics", testMetrics},
		{"MetricsFenced", testMetricsFenced},
		{"MetricsFollowed", testMetricsFollowed},
		{"MetricsNotNumbers", testMetricsNotNumbers},
		{"Samples", testSamples},
		{"Runs", testRuns},
		{"RunProgress", testRunProgress},
		{"RunsListed", testRunsListed},
		{"ModelVersions", testModelVersions},
		{"ModelVersionPrefix", testModelVersionPrefix},
		{"Pins", testPins},
		{"Retired", testRetired},
		{"Uses", testUses},
		{"Forgotten", testForgotten},
		{"Alias", testAlias},
		{"AliasRace", testAliasRace},
		{"AliasesApart", testAliasesApart},
		{"AliasRolledBack", testAliasRolledBack},
		{"AliasMoveAt", testAliasMoveAt},
		{"Requests", testRequests},
		{"RequestRace", testRequestRace},
		{"RequestMovesOnce", testRequestMovesOnce},
		{"Replicas", testReplicas},
		{"Deliveries", testDeliveries},
		{"Leases", testLeases},
		{"OddText", testOddText},
		{"ContextEnded", testContextEnded},
		{"Closed", testClosed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, func() time.Time { return now })
			t.Cleanup(func() { _ = s.Close() })
			tt.test(t, s)
		})
	}
}

// now has nanoseconds, of which a store keeps the microseconds, and a zone.
var (
	now       = time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.FixedZone("test", 3600))
	storedNow = time.Date(2026, 3, 4, 4, 6, 7, 123456000, time.UTC)
)

func testStepResults(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	_, err := s.StepResult(ctx, "k")
	wantKind(t, err, captioner.NotFound)

	for i, output := range [][]byte{[]byte("first"), []byte("second"), nil} {
		kept, err := s.PutStepResult(ctx, "k", "Train", output)
		if err != nil || string(kept) != "first" {
			t.Fatalf("put %d: kept %q, %v; want the first output", i, kept, err)
		}
	}
	got, err := s.StepResult(ctx, "k")
	if err != nil || string(got) != "first" {
		t.Fatalf("StepResult = %q, %v", got, err)
	}

	must(t, s.DeleteStepResult(ctx, "k"))
	must(t, s.DeleteStepResult(ctx, "k"))
	_, err = s.StepResult(ctx, "k")
	wantKind(t, err, captioner.NotFound)
	for _, empty := range [][]byte{nil, {}} {
		kept, err := s.PutStepResult(ctx, "k", "Train", empty)
		if err != nil || kept == nil || len(kept) != 0 {
			t.Fatalf("an empty output is kept as %#v, %v", kept, err)
		}
	}
}

// testLargeStepResult keeps what a data set of a million captions would need.
func testLargeStepResult(t *testing.T, s captioner.Store) {
	large := bytes.Repeat([]byte("a dog \x00\xff runs"), 8<<20/13)
	kept, err := s.PutStepResult(t.Context(), "large", "PrepareData", large)
	must(t, err)
	got, err := s.StepResult(t.Context(), "large")
	must(t, err)
	if !bytes.Equal(kept, large) || !bytes.Equal(got, large) {
		t.Errorf("%d bytes came back as %d and %d", len(large), len(kept), len(got))
	}
}

func testStepResultRace(t *testing.T, s captioner.Store) {
	const writers = 16
	kept := make([]string, writers)
	inParallel(writers, func(i int) {
		out, err := s.PutStepResult(t.Context(), "k", "Train", fmt.Appendf(nil, "output %d", i))
		if err != nil {
			t.Errorf("writer %d: %v", i, err)
		}
		kept[i] = string(out)
	})
	for i := range kept {
		if kept[i] != kept[0] || kept[i] == "" {
			t.Fatalf("writers were told different outputs: %q", kept)
		}
	}
}

func testAttempts(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	var last int64
	for range 3 {
		attempt, err := s.ClaimAttempt(ctx, "run")
		must(t, err)
		if attempt <= last {
			t.Fatalf("attempt %d after %d", attempt, last)
		}
		last = attempt
	}
	other, err := s.ClaimAttempt(ctx, "other")
	must(t, err)
	if other != 1 {
		t.Errorf("first attempt at another training is %d, want 1", other)
	}
}

func testAttemptRace(t *testing.T, s captioner.Store) {
	const claims = 32
	var mu sync.Mutex
	seen := map[int64]bool{}
	inParallel(claims, func(int) {
		attempt, err := s.ClaimAttempt(t.Context(), "run")
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		seen[attempt] = true
	})
	if len(seen) != claims {
		t.Errorf("%d claims got %d different numbers", claims, len(seen))
	}
}

// testLateWrites has a worker that was taken for dead come back: whatever it
// still wants to change is refused, and nothing has changed.
func testLateWrites(t *testing.T, s captioner.Store) {
	begun := time.Now()
	attempt := func(work string, started time.Time) context.Context {
		return captioner.WithAttempt(t.Context(), captioner.Attempt{Work: work, Started: started})
	}
	early, late := attempt("deploy", begun), attempt("deploy", begun.Add(time.Nanosecond))
	must(t, s.PutModelVersion(early, captioner.ModelVersion{Version: digest(1)}))
	_, _, err := s.PutRun(early, captioner.RunRecord{ID: "run", Config: []byte("{}")})
	must(t, err)
	_, err = s.PutStepResult(early, "kept", "Train", []byte("{}"))
	must(t, err)
	must(t, s.BeginAttempt(early))
	must(t, s.BeginAttempt(early)) // told twice
	must(t, s.CheckAttempt(early))
	must(t, s.BeginAttempt(late))
	must(t, s.BeginAttempt(attempt("train", begun)))
	must(t, s.BeginAttempt(t.Context()))

	changes := map[string]func(ctx context.Context) error{
		"begin an attempt": s.BeginAttempt,
		"check an attempt": s.CheckAttempt,
		"keep a result":    func(ctx context.Context) error { _, err := s.PutStepResult(ctx, "new", "Train", nil); return err },
		"forget a result":  func(ctx context.Context) error { return s.DeleteStepResult(ctx, "kept") },
		"claim a training": func(ctx context.Context) error { _, err := s.ClaimAttempt(ctx, "key"); return err },
		"checkpoint": func(ctx context.Context) error {
			return s.PutCheckpoint(ctx, captioner.Checkpoint{RunKey: "key", Attempt: 9, Blob: digest(1)})
		},
		"metrics": func(ctx context.Context) error {
			return s.AppendMetrics(ctx, 9, []captioner.Metric{{RunKey: "key", Name: "loss"}})
		},
		"samples": func(ctx context.Context) error {
			return s.PutSamples(ctx, 9, []captioner.Sample{{RunKey: "key", Image: "a.jpg"}})
		},
		"record a run": func(ctx context.Context) error {
			_, _, err := s.PutRun(ctx, captioner.RunRecord{ID: "other", Config: []byte("{}")})
			return err
		},
		"progress of a run": func(ctx context.Context) error { return s.PutProgress(ctx, "run", captioner.Progress{RunKey: "key"}) },
		"outcome of a run":  func(ctx context.Context) error { return s.FinishRun(ctx, "run", captioner.RunFailed, nil, "late") },
		"register a version": func(ctx context.Context) error {
			return s.PutModelVersion(ctx, captioner.ModelVersion{Version: digest(2)})
		},
		"move an alias": func(ctx context.Context) error {
			_, err := s.MoveAlias(ctx, "production", digest(1), 0, "run", "")
			return err
		},
		"roll an alias back": func(ctx context.Context) error {
			_, err := s.RollBackAlias(ctx, "production", digest(1), 0, "run", "")
			return err
		},
	}
	for name, change := range changes {
		if err := change(early); captioner.KindOf(err) != captioner.Conflict || captioner.CodeOf(err) != "stale_attempt" {
			t.Errorf("%s by an attempt that was replaced: %v, want the conflict stale_attempt", name, err)
		}
	}
	_, err = s.StepResult(t.Context(), "kept")
	must(t, err)
	for name, read := range map[string]func() error{
		"result":     func() error { _, err := s.StepResult(t.Context(), "new"); return err },
		"checkpoint": func() error { _, err := s.Checkpoint(t.Context(), "key"); return err },
		"run":        func() error { _, err := s.RunRecord(t.Context(), "other"); return err },
		"version":    func() error { _, err := s.ModelVersion(t.Context(), string(digest(2))); return err },
		"alias":      func() error { _, err := s.Alias(t.Context(), "production"); return err },
	} {
		if err := read(); captioner.KindOf(err) != captioner.NotFound {
			t.Errorf("the refused %s is there: %v", name, err)
		}
	}
	run, err := s.RunRecord(t.Context(), "run")
	must(t, err)
	if run.State != captioner.RunRunning || run.Progress != nil {
		t.Errorf("the run's record is %+v, want it as it was", run)
	}

	// The one that counts, and whoever is no attempt, may.
	for _, ctx := range []context.Context{late, t.Context(), attempt("train", begun)} {
		must(t, s.CheckAttempt(ctx))
		must(t, s.PutProgress(ctx, "run", captioner.Progress{RunKey: "key"}))
	}
	_, err = s.MoveAlias(late, "production", digest(1), 0, "run", "")
	must(t, err)
}

func testCheckpoints(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	_, err := s.Checkpoint(ctx, "run")
	wantKind(t, err, captioner.NotFound)
	first, err := s.ClaimAttempt(ctx, "run")
	must(t, err)
	_, err = s.Checkpoint(ctx, "run")
	wantKind(t, err, captioner.NotFound)

	// The latest of an attempt counts.
	c := captioner.Checkpoint{RunKey: "run", Attempt: first, Blob: digest(1), Step: 100}
	must(t, s.PutCheckpoint(ctx, c))
	c.Blob, c.Step, c.PreviousBlob, c.PreviousStep = digest(2), 200, digest(1), 100
	must(t, s.PutCheckpoint(ctx, c))
	wantCheckpoint(t, s, c)

	// A new attempt fences the old one off before it has written anything.
	second, err := s.ClaimAttempt(ctx, "run")
	must(t, err)
	late := c
	late.Step = 300
	wantKind(t, s.PutCheckpoint(ctx, late), captioner.Conflict)
	wantCheckpoint(t, s, c)

	// It may start again from an earlier step.
	c = captioner.Checkpoint{RunKey: "run", Attempt: second, Blob: digest(3), Step: 50}
	must(t, s.PutCheckpoint(ctx, c))
	wantCheckpoint(t, s, c)

	// An attempt that was never claimed but is newer fences as well.
	newer := captioner.Checkpoint{RunKey: "run", Attempt: second + 5, Blob: digest(4), Step: 60}
	must(t, s.PutCheckpoint(ctx, newer))
	wantKind(t, s.PutCheckpoint(ctx, c), captioner.Conflict)
	third, err := s.ClaimAttempt(ctx, "run")
	must(t, err)
	if third <= newer.Attempt {
		t.Errorf("attempt %d was claimed after %d had written", third, newer.Attempt)
	}
	_, err = s.Checkpoint(ctx, "other")
	wantKind(t, err, captioner.NotFound)
}

func testMetrics(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	attempt, err := s.ClaimAttempt(ctx, "run")
	must(t, err)
	at := now.Add(time.Second)
	points := []captioner.Metric{
		{RunKey: "run", Step: 1, Name: "loss", Value: 2.5, Time: at},
		{RunKey: "run", Step: 1, Name: "learning_rate", Value: 1e-3, Time: at},
		{RunKey: "run", Step: 2, Name: "loss", Value: 2.25, Time: at},
		{RunKey: "other", Step: 9, Name: "loss", Value: 9, Time: at},
		{RunKey: "run", Step: 3, Name: "validation_loss", Value: math.Inf(1)}, // without a time: now
	}
	must(t, s.AppendMetrics(ctx, attempt, points))
	must(t, s.AppendMetrics(ctx, attempt, nil))

	got, _, err := s.Metrics(ctx, "run", 0, 0)
	must(t, err)
	want := []captioner.Metric{points[0], points[1], points[2], points[4]}
	for i := range want {
		want[i].Time = at.UTC().Truncate(time.Microsecond)
	}
	want[3].Time = storedNow
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("points (-want +got):\n%s", diff)
	}

	latest, err := s.LatestMetrics(ctx, "run")
	must(t, err)
	wantLatest := map[string]float64{"loss": 2.25, "learning_rate": 1e-3, "validation_loss": math.Inf(1)}
	if diff := cmp.Diff(wantLatest, latest); diff != "" {
		t.Errorf("latest (-want +got):\n%s", diff)
	}

	none, sequence, err := s.Metrics(ctx, "never", 0, 10)
	must(t, err)
	empty, err := s.LatestMetrics(ctx, "never")
	must(t, err)
	if len(none) != 0 || sequence != 0 || len(empty) != 0 {
		t.Errorf("a training without metrics has %v, sequence %d, %v", none, sequence, empty)
	}
}

func testMetricsFenced(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	old, err := s.ClaimAttempt(ctx, "run")
	must(t, err)
	_, err = s.ClaimAttempt(ctx, "run")
	must(t, err)
	// All or none: the point of another training is not kept either.
	err = s.AppendMetrics(ctx, old, []captioner.Metric{
		{RunKey: "free", Step: 1, Name: "loss", Value: 1},
		{RunKey: "run", Step: 1, Name: "loss", Value: 1},
	})
	wantKind(t, err, captioner.Conflict)
	for _, key := range []string{"run", "free"} {
		points, _, err := s.Metrics(ctx, key, 0, 0)
		must(t, err)
		if len(points) != 0 {
			t.Errorf("training %q kept %v from a fenced attempt", key, points)
		}
	}
}

// testMetricsFollowed reads as an event stream does, while a training resumes.
func testMetricsFollowed(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	attempt, err := s.ClaimAttempt(ctx, "run")
	must(t, err)
	write := func(from, to int, value float64) {
		t.Helper()
		var points []captioner.Metric
		for step := from; step <= to; step++ {
			points = append(points, captioner.Metric{RunKey: "run", Step: step, Name: "loss", Value: value})
		}
		must(t, s.AppendMetrics(ctx, attempt, points))
	}
	var after int64
	read := func(limit int, want ...int) {
		t.Helper()
		points, sequence, err := s.Metrics(ctx, "run", after, limit)
		must(t, err)
		var steps []int
		for _, p := range points {
			steps = append(steps, p.Step)
		}
		if diff := cmp.Diff(want, steps); diff != "" {
			t.Fatalf("steps after %d (-want +got):\n%s", after, diff)
		}
		after = sequence
	}

	write(1, 5, 1)
	read(3, 1, 2, 3)
	read(3, 4, 5)
	read(3)
	// Resumed from step 4: its points are new again, and not doubled.
	attempt, err = s.ClaimAttempt(ctx, "run")
	must(t, err)
	write(4, 6, 2)
	read(0, 4, 5, 6)
	after = 0
	read(0, 1, 2, 3, 4, 5, 6)
}

func testMetricsNotNumbers(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	must(t, s.AppendMetrics(ctx, 1, []captioner.Metric{
		{RunKey: "run", Step: 1, Name: "loss", Value: math.NaN()},
		{RunKey: "run", Step: 1, Name: "low", Value: math.Inf(-1)},
	}))
	got, err := s.LatestMetrics(ctx, "run")
	must(t, err)
	want := map[string]float64{"loss": math.NaN(), "low": math.Inf(-1)}
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func testSamples(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	old, err := s.ClaimAttempt(ctx, "run")
	must(t, err)
	epoch := func(n int, caption string) []captioner.Sample {
		return []captioner.Sample{
			{RunKey: "run", Epoch: n, Step: 10 * n, Image: "b/ä.png", Caption: caption, Reference: "a red dog", Picture: digest(1), Time: storedNow},
			{RunKey: "run", Epoch: n, Step: 10 * n, Image: "a.png", Caption: caption, Reference: "a cat", Time: storedNow},
		}
	}
	first, second, again := epoch(1, "a a a"), epoch(2, "a dog"), epoch(2, "the dog")
	must(t, s.PutSamples(ctx, old, nil))
	must(t, s.PutSamples(ctx, old, first))
	must(t, s.AppendMetrics(ctx, old, []captioner.Metric{{RunKey: "run", Step: 11, Name: "loss", Value: 1}}))
	must(t, s.PutSamples(ctx, old, second))

	var after int64
	read := func(limit int, want ...captioner.Sample) {
		t.Helper()
		samples, sequence, err := s.Samples(ctx, "run", after, limit)
		must(t, err)
		if diff := cmp.Diff(want, samples, cmpopts.IgnoreFields(captioner.Sample{}, "Sequence")); diff != "" {
			t.Fatalf("samples after %d (-want +got):\n%s", after, diff)
		}
		for i, sample := range samples {
			if i > 0 && sample.Sequence <= samples[i-1].Sequence || i == len(samples)-1 && sample.Sequence != sequence {
				t.Errorf("sample %d has number %d, the last one %d", i, sample.Sequence, sequence)
			}
		}
		after = sequence
	}
	read(3, first[0], first[1], second[0])
	read(3, second[1])
	read(3)
	// Resumed in the second epoch: its samples are new again, and not doubled.
	attempt, err := s.ClaimAttempt(ctx, "run")
	must(t, err)
	must(t, s.PutSamples(ctx, attempt, again))
	wantKind(t, s.PutSamples(ctx, old, second), captioner.Conflict)
	read(0, again...)
	after = 0
	read(0, append(first, again...)...)

	picture, err := s.SamplePicture(ctx, "run", "b/ä.png")
	must(t, err)
	if picture != digest(1) {
		t.Errorf("picture %s, want %s", picture, digest(1))
	}
	for _, asked := range [][2]string{{"run", "a.png"}, {"run", "none"}, {"other", "b/ä.png"}} {
		_, err := s.SamplePicture(ctx, asked[0], asked[1])
		wantKind(t, err, captioner.NotFound)
	}
}

func testRuns(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	_, err := s.RunRecord(ctx, "train-1")
	wantKind(t, err, captioner.NotFound)
	wantKind(t, s.FinishRun(ctx, "train-1", captioner.RunFailed, nil, ""), captioner.NotFound)

	started := now.Add(-time.Hour)
	record := captioner.RunRecord{ID: "train-1", Config: []byte(`{"data":{}}`), CreatedAt: started, Actor: "api"}
	want := record
	want.CreatedAt, want.State = storedNow.Add(-time.Hour), captioner.RunRunning
	kept, created, err := s.PutRun(ctx, record)
	must(t, err)
	if diff := cmp.Diff(want, kept); diff != "" || !created {
		t.Errorf("created %v (-want +got):\n%s", created, diff)
	}

	// The first record wins.
	second := record
	second.Config, second.Actor = []byte(`{}`), "cli"
	kept, created, err = s.PutRun(ctx, second)
	must(t, err)
	if diff := cmp.Diff(want, kept); diff != "" || created {
		t.Errorf("created %v (-want +got):\n%s", created, diff)
	}

	// The outcome.
	result := &captioner.RunResult{
		Version: digest(7), Deployed: true, Deployment: digest(8), Reused: []string{"Train"},
		Decision:   captioner.Decision{Outcome: captioner.Promote, Reasons: []string{"better"}, Generation: 3},
		Evaluation: captioner.Evaluation{Scores: []captioner.Scores{{Algorithm: "beam", BLEU4: 0.6123456789012345}}},
	}
	for range 2 {
		must(t, s.FinishRun(ctx, "train-1", captioner.RunCompleted, result, "done"))
		got, err := s.RunRecord(ctx, "train-1")
		must(t, err)
		finished := storedNow
		want.State, want.FinishedAt, want.Result, want.Message = captioner.RunCompleted, &finished, result, "done"
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	must(t, s.FinishRun(ctx, "train-1", captioner.RunFailed, nil, "the disk is full"))
	got, err := s.RunRecord(ctx, "train-1")
	must(t, err)
	if got.State != captioner.RunFailed || got.Result != nil || got.Message != "the disk is full" {
		t.Errorf("after another outcome: %+v", got)
	}
}

func testRunProgress(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	wantKind(t, s.PutProgress(ctx, "train-1", captioner.Progress{RunKey: "k"}), captioner.NotFound)
	started := storedNow
	for _, want := range []captioner.Progress{
		{RunKey: "k"},
		{RunKey: "k", Dataset: digest(1), Captions: []captioner.Digest{digest(2)}, Stages: []captioner.Stage{
			{Name: "Train", State: "completed", StartedAt: &started, FinishedAt: &started, Cached: true},
		}},
	} {
		_, _, err := s.PutRun(ctx, captioner.RunRecord{ID: "train-1", Config: []byte("{}")})
		must(t, err)
		must(t, s.PutProgress(ctx, "train-1", want))
		got, err := s.RunRecord(ctx, "train-1")
		must(t, err)
		if diff := cmp.Diff(&want, got.Progress); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func testRunsListed(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	// Of one time, in the order of bytes: small letters come after capitals.
	for i, id := range []string{"train-0", "train-B", "train-a", "train-1"} {
		minutes := []int{1, 2, 2, 3}[i]
		_, _, err := s.PutRun(ctx, captioner.RunRecord{
			ID: id, Config: []byte("{}"), CreatedAt: now.Add(time.Duration(minutes) * time.Minute)})
		must(t, err)
	}
	for limit, want := range map[int][]string{
		0: {"train-1", "train-a", "train-B", "train-0"},
		2: {"train-1", "train-a"},
		9: {"train-1", "train-a", "train-B", "train-0"},
	} {
		runs, err := s.RunRecords(ctx, limit)
		must(t, err)
		var ids []string
		for _, r := range runs {
			ids = append(ids, r.ID)
		}
		if diff := cmp.Diff(want, ids); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
	}
}

func testModelVersions(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	wantKind(t, s.PutModelVersion(ctx, captioner.ModelVersion{Version: "v1"}), captioner.Invalid)

	v := captioner.ModelVersion{
		Version: digest(1), RunID: "train-1", CreatedAt: now,
		Evaluation: captioner.Evaluation{
			Scores:        []captioner.Scores{{Algorithm: "greedy", Signature: "s", BLEU4: 1.0 / 3, Images: 50}},
			Demonstration: map[string]float64{"pair_f1": 0.98},
			Samples:       []captioner.SampleCaption{{Image: "a.jpg", Greedy: "a dog", Beam: "a dog", Reference: "the dog"}},
		},
		Lineage:  captioner.Lineage{Dataset: digest(9), ResultVersions: map[string]int{"Train": 1}, TensorFlow: "2.18.0", Threads: 2},
		Training: captioner.TrainResult{BestEpoch: 3, BestValidationLoss: 0.1 + 0.2, Parameters: 1_000_000},
	}
	v.Lineage.Seeds.Data = math.MaxUint64
	must(t, s.PutModelVersion(ctx, v))
	again := v
	again.RunID = "train-2"
	must(t, s.PutModelVersion(ctx, again))

	want := v
	want.CreatedAt, want.RegisteredAt = storedNow, storedNow
	got, err := s.ModelVersion(ctx, string(digest(1)))
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	newer := captioner.ModelVersion{Version: digest(2), CreatedAt: now.Add(time.Second)}
	must(t, s.PutModelVersion(ctx, newer))
	for limit, want := range map[int]int{0: 2, 1: 1, 5: 2} {
		list, err := s.ModelVersions(ctx, limit)
		must(t, err)
		if len(list) != want || list[0].Version != newer.Version {
			t.Errorf("limit %d lists %d versions, first %.8s", limit, len(list), list[0].Version)
		}
	}
}

func testModelVersionPrefix(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	pad := func(prefix string) captioner.Digest {
		return captioner.Digest(prefix + strings.Repeat("0", 64-len(prefix)))
	}
	for _, prefix := range []string{"abcd1", "abcd2", "ffffffff", "0123"} {
		must(t, s.PutModelVersion(ctx, captioner.ModelVersion{Version: pad(prefix)}))
	}
	for name, want := range map[string]captioner.Digest{
		"abcd1": pad("abcd1"), "ABCD2": pad("abcd2"), "ffff": pad("ffffffff"), "0123": pad("0123"),
		string(pad("abcd1")): pad("abcd1"),
	} {
		got, err := s.ModelVersion(ctx, name)
		if err != nil || got.Version != want {
			t.Errorf("%q finds %.8s, %v; want %.8s", name, got.Version, err, want)
		}
	}
	for name, want := range map[string]captioner.Kind{
		"abcd": captioner.Invalid, "abc": captioner.Invalid, "": captioner.Invalid,
		"abce": captioner.NotFound, "zzzz": captioner.NotFound, "ab%_": captioner.NotFound,
		string(pad("abcd1")) + "0": captioner.NotFound,
	} {
		_, err := s.ModelVersion(ctx, name)
		if captioner.KindOf(err) != want {
			t.Errorf("%q: kind %q (%v), want %q", name, captioner.KindOf(err), err, want)
		}
	}
}

// before and after are times on either side of what a test writes.
var before, after = now.Add(-time.Second), now.Add(time.Second)

func testPins(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	must(t, s.PutModelVersion(ctx, captioner.ModelVersion{Version: digest(1)}))
	pinned := func() bool {
		v, err := s.ModelVersion(ctx, string(digest(1)))
		must(t, err)
		if v.PinnedAt != nil && !v.PinnedAt.Equal(storedNow) {
			t.Errorf("pinned at %v", v.PinnedAt)
		}
		return v.PinnedAt != nil
	}
	for _, want := range []bool{true, true, false, false, true} {
		must(t, s.PinVersion(ctx, digest(1), want))
		if got := pinned(); got != want {
			t.Errorf("pinned: %v, want %v", got, want)
		}
	}
	if retired, err := s.RetireVersion(ctx, digest(1), after); retired || err != nil {
		t.Errorf("a pinned version: RetireVersion = %v, %v", retired, err)
	}
	wantKind(t, s.PinVersion(ctx, digest(2), true), captioner.NotFound)
}

func testRetired(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	retire := func(n int, cutoff time.Time, want bool) {
		t.Helper()
		if got, err := s.RetireVersion(ctx, digest(n), cutoff); got != want || err != nil {
			t.Errorf("RetireVersion of version %d = %v, %v; want %v", n, got, err, want)
		}
	}
	for n := range 2 {
		must(t, s.PutModelVersion(ctx, captioner.ModelVersion{Version: digest(n), CreatedAt: before.Add(-time.Hour)}))
	}
	alias, err := s.MoveAlias(ctx, captioner.Production, digest(0), 0, "test", "")
	must(t, err)
	retire(0, after, false)  // live
	retire(1, before, false) // registered since
	retire(1, after, true)
	retire(1, after, false) // retired already
	retire(2, after, false) // none

	v, err := s.ModelVersion(ctx, string(digest(1)))
	if err != nil || v.DeletedAt == nil || !v.DeletedAt.Equal(storedNow) {
		t.Errorf("the record is %+v, %v", v, err)
	}
	_, moveErr := s.MoveAlias(ctx, captioner.Production, digest(1), alias.Generation, "test", "")
	_, backErr := s.RollBackAlias(ctx, captioner.Production, digest(1), alias.Generation, "test", "")
	for _, err := range []error{s.PinVersion(ctx, digest(1), true), moveErr, backErr} {
		if captioner.CodeOf(err) != "version_deleted" || captioner.KindOf(err) != captioner.Conflict {
			t.Errorf("a version whose files are deleted: %v", err)
		}
	}
	must(t, s.PutModelVersion(ctx, captioner.ModelVersion{Version: digest(1)}))
	if v, err = s.ModelVersion(ctx, string(digest(1))); err != nil || v.DeletedAt != nil {
		t.Errorf("made again: %+v, %v", v, err)
	}
	_, err = s.MoveAlias(ctx, captioner.Production, digest(1), alias.Generation, "test", "")
	must(t, err)
}

func testUses(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	must(t, s.NoteUse(ctx, "b", "two"))
	must(t, s.NoteUse(ctx, "a", "two", "one"))
	must(t, s.NoteUse(ctx, "a", "one"))
	must(t, s.NoteUse(ctx, "a"))
	want := []captioner.Use{{RunID: "a", Digest: "one", NotedAt: storedNow}, {RunID: "a", Digest: "two", NotedAt: storedNow}, {RunID: "b", Digest: "two", NotedAt: storedNow}}
	wantUses := func() {
		t.Helper()
		uses, err := s.Uses(ctx)
		must(t, err)
		if diff := cmp.Diff(want, uses); diff != "" {
			t.Errorf("uses (-want +got):\n%s", diff)
		}
	}
	wantUses()
	must(t, s.ForgetUses(ctx, "a", before))
	wantUses()
	must(t, s.ForgetUses(ctx, "a", after))
	want = want[2:]
	wantUses()
}

func testForgotten(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	for i, key := range []string{"noted", "plain"} {
		_, err := s.PutStepResult(ctx, key, "Step", []byte(key+"'s output"))
		must(t, err)
		must(t, s.PutCheckpoint(ctx, captioner.Checkpoint{RunKey: key, Attempt: 1, Blob: digest(i), Step: 10 + i}))
	}
	must(t, s.PutCheckpoint(ctx, captioner.Checkpoint{RunKey: "noted by its blob", Attempt: 2, Blob: digest(7)}))
	must(t, s.NoteUse(ctx, "run", "noted", string(digest(7))))

	results, err := s.StepResults(ctx)
	must(t, err)
	if diff := cmp.Diff([]captioner.StepResult{
		{Key: "noted", Output: []byte("noted's output"), CreatedAt: storedNow}, {Key: "plain", Output: []byte("plain's output"), CreatedAt: storedNow},
	}, results); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	checkpoints, err := s.Checkpoints(ctx)
	must(t, err)
	if diff := cmp.Diff([]captioner.Checkpoint{
		{RunKey: "noted", Attempt: 1, Blob: digest(0), Step: 10, CreatedAt: storedNow},
		{RunKey: "noted by its blob", Attempt: 2, Blob: digest(7), CreatedAt: storedNow},
		{RunKey: "plain", Attempt: 1, Blob: digest(1), Step: 11, CreatedAt: storedNow},
	}, checkpoints); diff != "" {
		t.Errorf("checkpoints (-want +got):\n%s", diff)
	}
	for _, test := range []struct {
		key    string
		cutoff time.Time
		want   bool
	}{
		{"plain", before, false}, // younger
		{"plain", after, true},
		{"plain", after, false}, // gone
		{"noted", now, false},   // noted at that time or later
		{"noted", after, true},  // noted long ago
	} {
		result, resultErr := s.ForgetStepResult(ctx, test.key, test.cutoff)
		checkpoint, checkpointErr := s.ForgetCheckpoint(ctx, test.key, test.cutoff)
		if result != test.want || checkpoint != test.want || resultErr != nil || checkpointErr != nil {
			t.Errorf("forget %q: %v, %v and %v, %v; want %v", test.key, result, resultErr, checkpoint, checkpointErr, test.want)
		}
	}
}

func testAlias(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	_, err := s.Alias(ctx, captioner.Production)
	wantKind(t, err, captioner.NotFound)
	_, err = s.MoveAlias(ctx, captioner.Production, digest(1), 0, "train-1", "first")
	wantKind(t, err, captioner.NotFound) // no such version
	putVersions(t, s, 2)

	moves := []struct {
		version    captioner.Digest
		generation int64
		want       captioner.Kind
	}{
		{digest(1), 1, captioner.Conflict}, // never set
		{digest(1), 0, ""},
		{digest(2), 0, captioner.Conflict},
		{digest(2), 2, captioner.Conflict},
		{digest(2), -1, captioner.Conflict},
		{digest(3), 1, captioner.NotFound},
		{digest(2), 1, ""},
		{digest(1), 2, ""}, // back again
		{digest(1), 3, ""}, // to where it is
	}
	for i, m := range moves {
		got, err := s.MoveAlias(ctx, captioner.Production, m.version, m.generation, "train-1", fmt.Sprint("move ", i))
		wantKind(t, err, m.want)
		want := captioner.Alias{Name: captioner.Production, Version: m.version, Generation: m.generation + 1}
		if m.want != "" {
			want = captioner.Alias{}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("move %d (-want +got):\n%s", i, diff)
		}
	}

	alias, err := s.Alias(ctx, captioner.Production)
	must(t, err)
	if diff := cmp.Diff(captioner.Alias{Name: captioner.Production, Version: digest(1), Generation: 4}, alias); diff != "" {
		t.Errorf("alias (-want +got):\n%s", diff)
	}
	log, err := s.AliasMoves(ctx, captioner.Production, 0)
	must(t, err)
	row := func(version, previous captioner.Digest, generation int64, reason string) captioner.AliasMove {
		return captioner.AliasMove{
			Alias:    captioner.Alias{Name: captioner.Production, Version: version, Generation: generation},
			Previous: previous, Kind: captioner.Promotion, MovedAt: storedNow, Actor: "train-1", Reason: reason,
		}
	}
	want := []captioner.AliasMove{
		row(digest(1), digest(1), 4, "move 8"), row(digest(1), digest(2), 3, "move 7"),
		row(digest(2), digest(1), 2, "move 6"), row(digest(1), "", 1, "move 1"),
	}
	for i, record := range chain(t, want) {
		want[i].Record = record
	}
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	newest, err := s.AliasMoves(ctx, captioner.Production, 1)
	must(t, err)
	if diff := cmp.Diff(want[:1], newest); diff != "" {
		t.Errorf("newest of the log (-want +got):\n%s", diff)
	}
}

// testAliasRace moves an alias from many goroutines, generation by generation:
// exactly one wins each, and the log has exactly the winners.
func testAliasRace(t *testing.T, s captioner.Store) {
	const movers, generations = 24, 4
	putVersions(t, s, movers)
	for generation := range int64(generations) {
		var mu sync.Mutex
		var winners []captioner.Digest
		inParallel(movers, func(i int) {
			version := digest(i + 1)
			_, err := s.MoveAlias(t.Context(), captioner.Production, version, generation, "test", "race")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners = append(winners, version)
			} else if captioner.KindOf(err) != captioner.Conflict {
				t.Errorf("a loser got %v, want a conflict", err)
			}
		})
		if len(winners) != 1 {
			t.Fatalf("generation %d has %d winners, want 1", generation, len(winners))
		}
		alias, err := s.Alias(t.Context(), captioner.Production)
		must(t, err)
		if alias.Version != winners[0] || alias.Generation != generation+1 {
			t.Fatalf("alias is %+v after %.8s won generation %d", alias, winners[0], generation)
		}
	}
	log, err := s.AliasMoves(t.Context(), captioner.Production, 0)
	must(t, err)
	if len(log) != generations {
		t.Errorf("the log has %d rows, want %d", len(log), generations)
	}
}

func testAliasesApart(t *testing.T, s captioner.Store) {
	putVersions(t, s, 2)
	for i, name := range []string{"production", "shadow"} {
		_, err := s.MoveAlias(t.Context(), name, digest(i+1), 0, "test", "")
		must(t, err)
	}
	for i, name := range []string{"production", "shadow"} {
		alias, err := s.Alias(t.Context(), name)
		must(t, err)
		log, err := s.AliasMoves(t.Context(), name, 0)
		must(t, err)
		if alias.Version != digest(i+1) || len(log) != 1 {
			t.Errorf("%s is %+v with %d moves", name, alias, len(log))
		}
	}
	log, err := s.AliasMoves(t.Context(), "never", 0)
	must(t, err)
	if len(log) != 0 {
		t.Errorf("an alias that was never set has moves: %v", log)
	}
}

// testAliasRolledBack moves back under the same rules as forward; the log tells
// the two apart.
func testAliasRolledBack(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	putVersions(t, s, 2)
	for i := range 2 {
		_, err := s.MoveAlias(ctx, captioner.Production, digest(i+1), int64(i), "train-1", "better")
		must(t, err)
	}
	_, err := s.RollBackAlias(ctx, captioner.Production, digest(1), 1, "api", "late")
	wantKind(t, err, captioner.Conflict)
	_, err = s.RollBackAlias(ctx, captioner.Production, digest(9), 2, "api", "nowhere")
	wantKind(t, err, captioner.NotFound)
	got, err := s.RollBackAlias(ctx, captioner.Production, digest(1), 2, "api", "it says nothing but dogs")
	must(t, err)
	want := captioner.Alias{Name: captioner.Production, Version: digest(1), Generation: 3}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alias (-want +got):\n%s", diff)
	}
	log, err := s.AliasMoves(ctx, captioner.Production, 0)
	must(t, err)
	if len(log) != 3 || log[1].Kind != captioner.Promotion || log[2].Kind != captioner.Promotion {
		t.Fatalf("log = %+v, want two promotions and a rollback", log)
	}
	newest := captioner.AliasMove{Alias: want, Previous: digest(2), Kind: captioner.Rollback, MovedAt: storedNow, Actor: "api", Reason: "it says nothing but dogs",
		Record: chain(t, log)[0]}
	if diff := cmp.Diff(newest, log[0]); diff != "" {
		t.Errorf("rollback in the log (-want +got):\n%s", diff)
	}
}

// chain returns the digests of the records of a log, newest first as the log is.
func chain(t *testing.T, log []captioner.AliasMove) []captioner.Digest {
	t.Helper()
	oldestFirst := slices.Clone(log)
	slices.Reverse(oldestFirst)
	_, digests, err := captioner.ChainMoves(oldestFirst)
	must(t, err)
	slices.Reverse(digests)
	return digests
}

// testAliasMoveAt asks what was live. All moves of the suite are of one time,
// of which the last one counts.
func testAliasMoveAt(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	_, err := s.AliasMoveAt(ctx, captioner.Production, now)
	wantKind(t, err, captioner.NotFound)
	putVersions(t, s, 3)
	for i := range 2 {
		_, err := s.MoveAlias(ctx, captioner.Production, digest(i+1), int64(i), "train-1", fmt.Sprint("move ", i))
		must(t, err)
	}
	_, err = s.MoveAlias(ctx, "staging", digest(3), 0, "train-2", "elsewhere")
	must(t, err)

	want := captioner.AliasMove{
		Alias:    captioner.Alias{Name: captioner.Production, Version: digest(2), Generation: 2},
		Previous: digest(1), Kind: captioner.Promotion, MovedAt: storedNow, Actor: "train-1", Reason: "move 1",
	}
	log, err := s.AliasMoves(ctx, captioner.Production, 0)
	must(t, err)
	want.Record = chain(t, log)[0]
	for name, at := range map[string]time.Time{
		"the time of the move": storedNow, "in another zone": now, "a second later": now.Add(time.Second), "a year later": now.AddDate(1, 0, 0),
	} {
		got, err := s.AliasMoveAt(ctx, captioner.Production, at)
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("at %s (-want +got):\n%s", name, diff)
		}
	}
	_, err = s.AliasMoveAt(ctx, captioner.Production, storedNow.Add(-time.Microsecond))
	wantKind(t, err, captioner.NotFound)
}

func testReplicas(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	see := func(id string, at time.Time, problem string) {
		t.Helper()
		must(t, s.SeeReplica(ctx, captioner.Replica{ID: id, Version: digest(1), Generation: 2, SeenAt: at, Error: problem}))
	}
	since := func(at time.Time, want ...string) {
		t.Helper()
		list, err := s.Replicas(ctx, at)
		must(t, err)
		var ids []string
		for _, r := range list {
			ids = append(ids, r.ID)
		}
		if diff := cmp.Diff(want, ids); diff != "" {
			t.Errorf("seen since %v (-want +got):\n%s", at, diff)
		}
	}
	since(time.Time{})
	see("b", now, "")
	see("a", now.Add(-time.Minute), "cannot load")
	since(now.Add(-time.Hour), "a", "b")
	since(now, "b")
	since(now.Add(time.Microsecond))

	list, err := s.Replicas(ctx, now)
	must(t, err)
	want := []captioner.Replica{{ID: "b", Version: digest(1), Generation: 2, SeenAt: storedNow}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// The latest heartbeat counts, and one without a time is of now.
	see("a", time.Time{}, "")
	since(now, "a", "b")
	must(t, s.ForgetReplica(ctx, "a"))
	must(t, s.ForgetReplica(ctx, "a"))
	since(time.Time{}, "b")
}

// testOddText keeps what the errors of other programs may contain: an outcome
// must not be lost because of the bytes in its message.
func testOddText(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	const odd, kept = "picture \xff\x00.jpg: größer als 🐕", "picture \ufffd\ufffd.jpg: größer als 🐕"
	_, _, err := s.PutRun(ctx, captioner.RunRecord{ID: "train-1", Config: []byte("{}"), Actor: odd})
	must(t, err)
	must(t, s.FinishRun(ctx, "train-1", captioner.RunFailed, nil, odd))
	run, err := s.RunRecord(ctx, "train-1")
	must(t, err)
	must(t, s.SeeReplica(ctx, captioner.Replica{ID: "a", Error: odd}))
	replicas, err := s.Replicas(ctx, now)
	must(t, err)
	putVersions(t, s, 1)
	_, err = s.MoveAlias(ctx, captioner.Production, digest(1), 0, odd, odd)
	must(t, err)
	moves, err := s.AliasMoves(ctx, captioner.Production, 1)
	must(t, err)
	got := []string{run.Actor, run.Message, replicas[0].Error, moves[0].Actor, moves[0].Reason}
	if diff := cmp.Diff([]string{kept, kept, kept, kept, kept}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// What nothing can be called is not there, or said to be no name.
	for _, name := range []string{"a\x00b", "\xff"} {
		_, err := s.RunRecord(ctx, name)
		if kind := captioner.KindOf(err); kind != captioner.NotFound && kind != captioner.Invalid {
			t.Errorf("a run called %q: %v", name, err)
		}
	}
}

func testContextEnded(t *testing.T, s captioner.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, readErr := s.StepResult(ctx, "k")
	_, writeErr := s.PutStepResult(ctx, "k", "Train", nil)
	for _, err := range []error{readErr, writeErr, s.Ping(ctx)} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after the context ended: %v, want context.Canceled", err)
		}
	}
	must(t, s.Ping(t.Context()))
}

func testClosed(t *testing.T, s captioner.Store) {
	must(t, s.Close())
	ctx := t.Context()
	_, readErr := s.Alias(ctx, captioner.Production)
	_, writeErr := s.ClaimAttempt(ctx, "run")
	for _, err := range []error{readErr, writeErr, s.Ping(ctx)} {
		wantKind(t, err, captioner.Unavailable)
	}
}

// digest returns the i-th of some valid digests.
func digest(i int) captioner.Digest { return captioner.DigestOf(fmt.Appendf(nil, "%d", i)) }

// putVersions registers the digests 1 to n.
func putVersions(t *testing.T, s captioner.Store, n int) {
	t.Helper()
	for i := range n {
		must(t, s.PutModelVersion(t.Context(), captioner.ModelVersion{Version: digest(i + 1)}))
	}
}

// inParallel runs fn(0) to fn(n-1), all released at once, and waits for them.
func inParallel(n int, fn func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	wg.Wait()
}

func wantCheckpoint(t *testing.T, s captioner.Store, want captioner.Checkpoint) {
	t.Helper()
	got, err := s.Checkpoint(t.Context(), want.RunKey)
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("checkpoint (-want +got):\n%s", diff)
	}
}

func wantKind(t *testing.T, err error, want captioner.Kind) {
	t.Helper()
	if got := captioner.KindOf(err); got != want {
		t.Errorf("kind %q (%v), want %q", got, err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
