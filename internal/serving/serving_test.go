package serving_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/serving"
)

const (
	one = captioner.Digest("1111111111111111111111111111111111111111111111111111111111111111")
	two = captioner.Digest("2222222222222222222222222222222222222222222222222222222222222222")
)

// tick lets a poll happen and all that follows from it.
func tick() {
	time.Sleep(time.Second + time.Millisecond) // the bubble's clock, not the wall's
	synctest.Wait()
}

func TestFollowsTheAlias(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, one, two)
		if got := w.server.State(); got != serving.Loading {
			t.Errorf("state before the alias was read = %s, want loading", got)
		}
		w.server.Start()
		defer w.stop()
		synctest.Wait()

		if got := w.server.State(); got != serving.None {
			t.Errorf("state without an alias = %s, want none", got)
		}
		if _, _, err := w.request(t.Context()); captioner.CodeOf(err) != "no_model" {
			t.Errorf("request without an alias: %v, want code no_model", err)
		}
		if r, ok := w.store.replica(); !ok || r.Version != "" {
			t.Errorf("replica without an alias = %+v, %v; want one without a version", r, ok)
		}

		for i, version := range []captioner.Digest{one, two, one} {
			w.store.move(version)
			tick()
			text, answered, err := w.request(t.Context())
			if err != nil || text != string(version) || answered != version {
				t.Fatalf("move %d: got %q by %s, %v; want version %s", i, text, answered.Short(), err, version.Short())
			}
			r, _ := w.store.replica()
			want := captioner.Replica{ID: "r1", Version: version, Generation: int64(i + 1), SeenAt: r.SeenAt}
			if diff := cmp.Diff(want, r); diff != "" {
				t.Errorf("move %d: replica (-want +got):\n%s", i, diff)
			}
			if m := w.server.Model(); m.Version != version || m.VocabularySize != 7 {
				t.Errorf("move %d: model = %+v", i, m)
			}
		}
		if got := w.live.Load(); got != 3 {
			t.Errorf("observed %d switches, want 3", got)
		}
	})
}

func TestMoveOntoTheLiveVersionLoadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, one)
		w.store.move(one)
		w.server.Start()
		defer w.stop()
		tick()
		w.store.move(one)
		tick()
		if r, _ := w.store.replica(); r.Generation != 2 {
			t.Errorf("generation = %d, want 2", r.Generation)
		}
		if got := len(w.started()); got != 1 {
			t.Errorf("started %d engines, want 1", got)
		}
	})
}

func TestHotSwapLosesNoRequest(t *testing.T) {
	w := newWorldPolling(t, 10*time.Millisecond, one, two)
	w.answer = func(context.Context, *engine) error { time.Sleep(100 * time.Microsecond); return nil }
	w.store.move(one)
	w.server.Start()
	if err := w.server.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}

	// Eight clients ask all the time while the alias moves back and forth.
	var clients sync.WaitGroup
	var answered atomic.Int64
	quit := make(chan struct{})
	for range 8 {
		clients.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				text, version, err := w.request(context.Background())
				if err != nil || text != string(version) {
					t.Errorf("got %q by %s, %v", text, version.Short(), err)
					return
				}
				answered.Add(1)
			}
		})
	}
	for i := range 20 {
		w.store.move([]captioner.Digest{two, one}[i%2])
		switches := int64(i + 2) // the first load is one, too
		deadline := time.Now().Add(20 * time.Second)
		for int64(w.live.Load()) < switches && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond) // a poll of the condition, bounded by the deadline
		}
	}
	close(quit)
	clients.Wait()
	w.stop()
	if got := w.live.Load(); got != 21 {
		t.Errorf("observed %d switches, want 21", got)
	}
	t.Logf("%d requests answered during 20 swaps", answered.Load())
}

func TestOldEngineFinishesItsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, one, two)
		gate := make(chan struct{})
		w.answer = func(context.Context, *engine) error { <-gate; return nil }
		w.store.move(one)
		w.server.Start()
		defer w.stop()
		tick()

		var text string
		var err error
		go func() { text, _, err = w.request(t.Context()) }()
		synctest.Wait()
		w.set(func(w *world) { w.answer = nil })
		w.store.move(two)
		tick()
		if got, _, _ := w.request(t.Context()); got != string(two) {
			t.Errorf("new request answered by %q, want the new version", got)
		}
		if w.started()[0].dead() {
			t.Error("the old engine was ended under its request")
		}
		close(gate)
		synctest.Wait()
		if text != string(one) || err != nil {
			t.Errorf("old request got %q, %v; want the old version's answer", text, err)
		}
		if !w.started()[0].closed.Load() {
			t.Error("the old engine was not closed after its last request")
		}
	})
}

func TestEngineDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, one)
		w.store.move(one)
		w.answer = func(_ context.Context, e *engine) error { e.kill(); return nil } // the first request kills it
		w.startFor = 1500 * time.Millisecond
		w.server.Start()
		defer w.stop()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		w.set(func(w *world) { w.answer = nil })

		begun := time.Now()
		text, _, err := w.request(t.Context())
		if err != nil || text != string(one) {
			t.Fatalf("request = %q, %v; want an answer of the fresh engine", text, err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("answered after %s, want within 5 s", took)
		}
		if got := w.restarts.Load(); got != 1 {
			t.Errorf("observed %d restarts, want 1", got)
		}

		// One that dies idle is replaced as well, and reported as not ready until then.
		tick()
		w.started()[1].kill()
		synctest.Wait()
		if got := w.server.State(); got != serving.Loading {
			t.Errorf("state with a dead engine = %s, want loading", got)
		}
		tick()
		tick()
		if got := w.server.State(); got != serving.Ready {
			t.Errorf("state after the restart = %s, want ready", got)
		}
	})
}

func TestPoisonousRequestIsRetriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, one)
		w.store.move(one)
		w.answer = func(_ context.Context, e *engine) error { e.kill(); return nil }
		w.server.Start()
		defer w.stop()
		tick()
		_, _, err := w.request(t.Context())
		if captioner.KindOf(err) != captioner.Unavailable {
			t.Errorf("err = %v, want kind unavailable", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := len(w.started()); got != 3 {
			t.Errorf("started %d engines, want 3: the first and one after each death", got)
		}
	})
}

// TestEnginesLostWhileLoading: a version whose engines die while they load it is
// tried again before anybody is told.
func TestEnginesLostWhileLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, one, two)
		w.store.move(one)
		w.server.Start()
		defer w.stop()
		tick()
		lost := captioner.Errorf(captioner.Unavailable, "the engine ended before it had answered")
		for _, tt := range []struct {
			lasts time.Duration
			told  string
		}{
			{2 * time.Second, ""},            // two engines
			{10 * time.Second, lost.Error()}, // more than three
		} {
			w.set(func(w *world) { w.startErr = lost })
			w.store.move(two)
			time.Sleep(tt.lasts)
			synctest.Wait()
			if r, _ := w.store.replica(); r.Error != tt.told || r.Version != one {
				t.Errorf("after %v: replica = %+v, want version one and error %q", tt.lasts, r, tt.told)
			}
			w.set(func(w *world) { w.startErr = nil })
			time.Sleep(time.Minute)
			synctest.Wait()
			if r, _ := w.store.replica(); r.Error != "" || r.Version != two {
				t.Errorf("once engines live: replica = %+v, want version two", r)
			}
			w.store.move(one)
			time.Sleep(time.Minute)
			synctest.Wait()
		}
	})
}

func TestCrashLoopBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, one)
		w.store.move(one)
		w.server.Start()
		defer w.stop()
		tick()
		w.set(func(w *world) { w.startErr = captioner.Errorf(captioner.Unavailable, "the engine did not start") })
		w.started()[0].kill()

		begun := time.Now()
		_, _, err := w.request(t.Context())
		if captioner.CodeOf(err) != "engine_unavailable" || time.Since(begun) > 5*time.Second {
			t.Errorf("request: %v after %s, want code engine_unavailable within 5 s", err, time.Since(begun))
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		// 0.2, 0.4, ... 25.6, then every 30 s.
		if got := len(w.started()); got < 12 || got > 22 {
			t.Errorf("started %d engines in 5 minutes, want about 18", got)
		}
		if r, _ := w.store.replica(); r.Error != "the engine did not start" || r.Version != one {
			t.Errorf("replica = %+v, want the error beside the version", r)
		}

		w.set(func(w *world) { w.startErr = nil })
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if r, _ := w.store.replica(); r.Error != "" || w.server.State() != serving.Ready {
			t.Errorf("state %s, replica %+v; want ready without an error", w.server.State(), r)
		}
	})
}

func TestCorruptBundleNeverTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, one, two)
		w.corrupt[string(two)] = true
		w.store.move(one)
		w.server.Start()
		defer w.stop()
		tick()
		w.store.move(two)
		tick()
		if text, _, err := w.request(t.Context()); err != nil || text != string(one) {
			t.Errorf("request = %q, %v; want the old version's answer", text, err)
		}
		r, _ := w.store.replica()
		want := captioner.Replica{ID: "r1", Version: one, Generation: 1, SeenAt: r.SeenAt,
			Error: "the bundle does not match its manifest; vocabulary.json: changed"}
		if diff := cmp.Diff(want, r); diff != "" {
			t.Errorf("replica (-want +got):\n%s", diff)
		}

		// Another alias move ends the matter; so does a repaired bundle.
		w.store.move(one)
		tick()
		if r, _ := w.store.replica(); r.Error != "" || r.Generation != 3 {
			t.Errorf("after the rollback: %+v, want no error and generation 3", r)
		}
		w.store.move(two)
		tick()
		w.set(func(w *world) { delete(w.corrupt, string(two)) })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if text, _, _ := w.request(t.Context()); text != string(two) {
			t.Errorf("after the repair answered by %q, want the new version", text)
		}
		if got := len(w.started()); got != 2 {
			t.Errorf("started %d engines, want 2: none on a corrupt bundle", got)
		}
	})
}

func TestSupersededLoadIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, one, two)
		w.startFor = time.Minute
		w.store.move(one)
		w.server.Start()
		defer w.stop()
		tick()
		w.set(func(w *world) { w.startFor = 0 })
		w.store.move(two)
		tick()
		if text, _, err := w.request(t.Context()); text != string(two) {
			t.Errorf("answered by %q, %v; want the newer version without waiting for the older", text, err)
		}
		if got := w.failed.Load(); got != 0 {
			t.Errorf("observed %d failed loads, want none for a dropped one", got)
		}
	})
}

func TestDatabaseAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, one, two)
		w.store.setAway(true)
		w.server.Start()
		defer w.stop()
		tick()
		if got := w.server.State(); got != serving.Loading {
			t.Errorf("state with the database away from the start = %s, want loading", got)
		}
		w.store.setAway(false)
		w.store.move(one)
		tick()
		w.store.setAway(true)
		w.store.move(two)
		tick()
		if text, _, err := w.request(t.Context()); err != nil || text != string(one) {
			t.Errorf("request = %q, %v; want the last known version", text, err)
		}
		w.store.setAway(false)
		tick()
		if text, _, _ := w.request(t.Context()); text != string(two) {
			t.Errorf("answered by %q once the database is back, want the new version", text)
		}
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, one)
		gate := make(chan struct{})
		w.answer = func(context.Context, *engine) error { <-gate; return nil }
		w.store.move(one)
		w.server.Start()
		tick()
		var err error
		go func() { _, _, err = w.request(context.Background()) }()
		synctest.Wait()
		stopped := make(chan struct{})
		go func() { defer close(stopped); w.stop() }()
		synctest.Wait()
		if _, _, err := w.request(t.Context()); captioner.CodeOf(err) != "shutting_down" {
			t.Errorf("request while stopping: %v, want code shutting_down", err)
		}
		if _, ok := w.store.replica(); ok {
			t.Error("the replica is still listed while it drains")
		}
		close(gate)
		<-stopped
		synctest.Wait()
		if err != nil {
			t.Errorf("the request in flight failed: %v", err)
		}
	})
}

func TestStopGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, one)
		w.answer = func(_ context.Context, e *engine) error { <-e.done; return nil }
		w.store.move(one)
		w.server.Start()
		tick()
		go func() { _, _, _ = w.request(context.Background()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.server.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop = %v, want deadline exceeded", err)
		}
	})
}

func TestDecodingSettings(t *testing.T) {
	tests := []struct {
		name string
		req  captioner.CaptionRequest
		want captioner.CaptionRequest
		code string
	}{
		{"the version's", captioner.CaptionRequest{Algorithm: "beam"},
			captioner.CaptionRequest{Algorithm: "beam", BeamWidth: 4, LengthPenalty: 0.6, NoRepeatNGram: 3}, ""},
		{"own width", captioner.CaptionRequest{Algorithm: "beam", BeamWidth: 2, NumCaptions: 2, LengthPenalty: 9},
			captioner.CaptionRequest{Algorithm: "beam", BeamWidth: 2, NumCaptions: 2, LengthPenalty: 0.6, NoRepeatNGram: 3}, ""},
		{"more captions than beams", captioner.CaptionRequest{Algorithm: "beam", NumCaptions: 5}, captioner.CaptionRequest{}, "too_many_captions"},
		{"greedy with two", captioner.CaptionRequest{Algorithm: "greedy", NumCaptions: 2}, captioner.CaptionRequest{}, "too_many_captions"},
		{"sample with a width", captioner.CaptionRequest{Algorithm: "sample", BeamWidth: 3}, captioner.CaptionRequest{}, "invalid_beam_width"},
		{"beam with a seed", captioner.CaptionRequest{Algorithm: "beam", Sampling: captioner.Sampling{Seed: 7}}, captioner.CaptionRequest{}, "invalid_sampling"},
		{"greedy with a width", captioner.CaptionRequest{Algorithm: "greedy", BeamWidth: 3}, captioner.CaptionRequest{}, "invalid_beam_width"},
	}
	w := newWorld(t, one)
	w.store.move(one)
	w.server.Start()
	defer w.stop()
	if err := w.server.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.server.Caption(t.Context(), tt.req)
			if tt.code != "" {
				if captioner.CodeOf(err) != tt.code || captioner.KindOf(err) != captioner.Invalid {
					t.Errorf("err = %v, want invalid with code %s", err, tt.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, *w.started()[0].last.Load()); diff != "" {
				t.Errorf("request to the engine (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFixed(t *testing.T) {
	tests := []struct {
		name     string
		corrupt  bool
		startErr error
		want     string // of WaitReady; empty: ready
	}{
		{name: "plain"},
		{name: "refused by the engine", startErr: captioner.Errorf(captioner.Corrupt, "golden picture 1 gets other tokens"),
			want: "golden picture 1 gets other tokens"},
		{name: "corrupt", corrupt: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			dir := t.TempDir() + "/bundle"
			writeBundle(t, dir, nil)
			w.corrupt["bundle"], w.startErr = tt.corrupt, tt.startErr
			server, err := serving.NewFixed(serving.Options{Verify: w.verify, Start: w.start}, dir)
			if tt.corrupt {
				if captioner.KindOf(err) != captioner.Corrupt {
					t.Errorf("NewFixed = %v, want kind corrupt", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			w.server = server
			server.Start()
			defer w.stop()
			err = server.WaitReady(t.Context())
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("WaitReady = %v, want %q in it", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, version, err := w.request(t.Context()); err != nil || version != captioner.DigestOf([]byte(`{"bundle": 1}`)) {
				t.Errorf("answered by %s, %v; want the digest of the manifest", version, err)
			}
		})
	}
}

func TestFixedWithoutManifest(t *testing.T) {
	w := newWorld(t)
	_, err := serving.NewFixed(serving.Options{Verify: w.verify, Start: w.start}, t.TempDir())
	if captioner.KindOf(err) != captioner.Invalid {
		t.Errorf("NewFixed = %v, want kind invalid", err)
	}
}
