package serving_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/serving"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine is a serving.Engine whose caption is the folder it was started with.
type engine struct {
	name string
	// answer is called for each request after the warm-up; nil answers at once.
	answer func(ctx context.Context, e *engine) error

	done     chan struct{}
	once     sync.Once
	warm     atomic.Int32
	inFlight atomic.Int32
	closed   atomic.Bool
	// misuse is set when the engine is closed under a request, or asked
	// after it was closed.
	misuse atomic.Bool
	last   atomic.Pointer[captioner.CaptionRequest]
}

func (e *engine) kill()                      { e.once.Do(func() { close(e.done) }) }
func (e *engine) Done() <-chan struct{}      { return e.done }
func (e *engine) Model() captioner.ModelInfo { return captioner.ModelInfo{VocabularySize: 7} }
func (e *engine) Close() error {
	dead := e.dead()
	if e.inFlight.Load() > 0 && !dead {
		e.misuse.Store(true)
	}
	e.closed.Store(true)
	e.kill()
	return nil
}

func (e *engine) dead() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

func (e *engine) Caption(ctx context.Context, req captioner.CaptionRequest) (captioner.CaptionReply, error) {
	e.inFlight.Add(1)
	defer e.inFlight.Add(-1)
	if e.closed.Load() {
		e.misuse.Store(true)
	}
	e.last.Store(&req)
	if e.answer != nil && e.warm.Add(1) > 2 { // greedy and beam warm it up
		if err := e.answer(ctx, e); err != nil {
			return captioner.CaptionReply{}, err
		}
	}
	if e.dead() {
		return captioner.CaptionReply{}, captioner.Wrap(captioner.Unavailable, errors.New("EOF"), "the engine died")
	}
	results := make([]captioner.CaptionResult, len(req.Images))
	for i := range results {
		results[i].Hypotheses = []captioner.Hypothesis{{Text: e.name, LogProbability: -1.5}}
	}
	return captioner.CaptionReply{Results: results}, nil
}

// memory is a Store that holds one alias and the replicas in memory.
type memory struct {
	mu       sync.Mutex
	alias    captioner.Alias
	replicas map[string]captioner.Replica
	beats    int
	away     bool
}

func (s *memory) Alias(context.Context, string) (captioner.Alias, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.away:
		return captioner.Alias{}, captioner.Errorf(captioner.Unavailable, "database away")
	case s.alias.Generation == 0:
		return captioner.Alias{}, captioner.Errorf(captioner.NotFound, "no such alias")
	}
	return s.alias, nil
}

func (s *memory) SeeReplica(_ context.Context, r captioner.Replica) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return captioner.Errorf(captioner.Unavailable, "database away")
	}
	s.beats++
	s.replicas[r.ID] = r
	return nil
}

func (s *memory) ForgetReplica(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.replicas, id)
	return nil
}

func (s *memory) move(v captioner.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alias.Name, s.alias.Version = captioner.Production, v
	s.alias.Generation++
}

func (s *memory) setAway(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

func (s *memory) replica() (captioner.Replica, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.replicas["r1"]
	return r, ok
}

// world is a server with all that surrounds it.
type world struct {
	t      testing.TB
	store  *memory
	server *serving.Server

	mu      sync.Mutex
	engines []*engine
	// answer and startErr are given to the engines that are started from now on.
	answer   func(context.Context, *engine) error
	startErr error
	startFor time.Duration
	corrupt  map[string]bool

	live, failed, restarts atomic.Int32
}

func (w *world) Live(captioner.ModelInfo) { w.live.Add(1) }
func (w *world) LoadFailed()              { w.failed.Add(1) }
func (w *world) EngineRestarted()         { w.restarts.Add(1) }

func (w *world) start(ctx context.Context, dir string) (serving.Engine, error) {
	w.mu.Lock()
	wait, err := w.startFor, w.startErr
	w.mu.Unlock()
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &engine{name: filepath.Base(dir), answer: w.answer, done: make(chan struct{})}
	w.engines = append(w.engines, e)
	if err != nil {
		e.kill()
		return nil, err
	}
	return e, nil
}

func (w *world) verify(dir string, _ captioner.Digest) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.corrupt[filepath.Base(dir)] {
		return &captioner.Error{Kind: captioner.Corrupt, Message: "the bundle does not match its manifest",
			Problems: []captioner.Problem{{Field: "vocabulary.json", Message: "changed"}}}
	}
	return nil
}

// set changes the world under its lock.
func (w *world) set(f func(*world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

func (w *world) started() []*engine {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*engine(nil), w.engines...)
}

// newWorld makes a server whose bundles are the given versions.
func newWorld(t testing.TB, versions ...captioner.Digest) *world {
	t.Helper()
	return newWorldPolling(t, time.Second, versions...)
}

func newWorldPolling(t testing.TB, interval time.Duration, versions ...captioner.Digest) *world {
	t.Helper()
	w := &world{t: t, store: &memory{replicas: map[string]captioner.Replica{}}, corrupt: map[string]bool{}}
	root := t.TempDir()
	for _, v := range versions {
		writeBundle(t, filepath.Join(root, string(v)), nil)
	}
	server, err := serving.New(serving.Options{
		Store: w.store,
		Materialise: func(_ context.Context, v captioner.Digest) (string, error) {
			return filepath.Join(root, string(v)), nil
		},
		Verify: w.verify, Start: w.start, ReplicaID: "r1", Observer: w, PollInterval: interval,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.server = server
	return w
}

// writeBundle writes what serving reads of a bundle, and files.
func writeBundle(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	all := map[string]string{
		"manifest.json": fmt.Sprintf("{%q: 1}", filepath.Base(dir)),
		"config.yaml":   "model:\n  encoder: from-the-future\nevaluation:\n  beam_width: 4\n  length_penalty: 0.6\n",
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) stop() {
	w.t.Helper()
	if err := w.server.Stop(context.Background()); err != nil {
		w.t.Errorf("Stop: %v", err)
	}
	for i, e := range w.started() {
		if e.misuse.Load() {
			w.t.Errorf("engine %d (%s) was closed under a request or asked after it", i, e.name)
		}
		if !e.dead() {
			w.t.Errorf("engine %d (%s) was left running", i, e.name)
		}
	}
}

// request asks for a caption and returns it with the version that answered.
func (w *world) request(ctx context.Context) (string, captioner.Digest, error) {
	reply, err := w.server.Caption(ctx, captioner.CaptionRequest{
		Images: []captioner.ImageInput{{Data: []byte("picture")}}, Algorithm: "greedy",
	})
	if err != nil {
		return "", reply.Version, err
	}
	return reply.Results[0].Hypotheses[0].Text, reply.Version, nil
}
