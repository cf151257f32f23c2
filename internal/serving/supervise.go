package serving

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/captioner/captioner"
)

// Back-off of failing loads and of engines that die young. The first restart
// comes at once: a request may be waiting for it.
const (
	loadBackoffMin    = time.Second
	loadBackoffMax    = time.Minute
	restartBackoffMin = 100 * time.Millisecond
	restartBackoffMax = 30 * time.Second
	// stableAfter is the life after which an engine's death is no longer taken
	// for a part of the same crash loop.
	stableAfter = 10 * time.Second
)

// supervisor is the one goroutine that starts, switches and ends engines. At
// most two loads run at a time: one of the version to swap to, and one that
// replaces the dead engine of the live version, so that neither waits for the
// other.
type supervisor struct {
	s           *Server
	loads       chan *load
	outstanding int // loads that have not been received

	swap, restart         *load
	swapTarget            captioner.Alias // what swapRetry is about
	swapRetry, crashRetry backoff
}

// load is the start of an engine under way, and then its outcome.
type load struct {
	version captioner.Digest
	cancel  context.CancelFunc
	process *process
	err     error
}

func newSupervisor(s *Server) *supervisor {
	return &supervisor{
		s:          s,
		loads:      make(chan *load),
		swapRetry:  backoff{min: loadBackoffMin, max: loadBackoffMax},
		crashRetry: backoff{min: restartBackoffMin, max: restartBackoffMax},
	}
}

// run acts on deaths, on a new target and on finished loads until ctx ends.
func (v *supervisor) run(ctx context.Context) {
	for {
		retry := v.begin(ctx)
		select {
		case <-v.s.wake:
		case <-v.death():
			v.dead()
		case l := <-v.loads:
			v.finished(l)
		case <-retry:
		case <-ctx.Done():
			v.end()
			return
		}
	}
}

// begin starts the loads that are due, and drops one that is no longer wanted.
// The channel it returns fires when a load that backs off is due.
func (v *supervisor) begin(ctx context.Context) <-chan time.Time {
	s := v.s
	s.mu.Lock()
	target, live, alive := s.target, s.live, s.process != nil
	if live != nil && live.info.Version == target.Version && live.generation != target.Generation {
		live.generation = target.Generation // the alias moved onto what is served
		s.failure = ""
		s.change()
		signal(s.beat)
	}
	s.mu.Unlock()

	if target != v.swapTarget {
		v.swapTarget = target
		v.swapRetry.reset()
	}
	wanted := target.Version != "" && (live == nil || live.info.Version != target.Version)
	if v.swap != nil && (!wanted || v.swap.version != target.Version) {
		v.swap.cancel()
		v.swap = nil
	}

	var due time.Time
	if wanted && v.swap == nil {
		if v.swapRetry.due() {
			v.swap = v.start(ctx, target.Version)
		} else {
			due = v.swapRetry.until
		}
	}
	if live != nil && !alive && v.restart == nil {
		if v.crashRetry.due() {
			v.restart = v.start(ctx, live.info.Version)
		} else if due.IsZero() || v.crashRetry.until.Before(due) {
			due = v.crashRetry.until
		}
	}
	if due.IsZero() {
		return nil
	}
	return time.After(time.Until(due))
}

// start begins a load.
func (v *supervisor) start(ctx context.Context, version captioner.Digest) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{version: version, cancel: cancel}
	v.outstanding++
	v.s.background.Go(func() {
		defer cancel()
		l.process, l.err = v.s.load(ctx, version)
		v.loads <- l
	})
	return l
}

// finished switches to a loaded engine, or records why there is none. An engine
// that is no longer wanted is closed.
func (v *supervisor) finished(l *load) {
	v.outstanding--
	switch l {
	case v.swap:
		v.swap = nil
		v.swapped(l)
	case v.restart:
		v.restart = nil
		v.restarted(l)
	default:
		v.discard(l)
	}
}

// loadTries is how often a version that could not be loaded is tried again before
// anybody is told: an engine may have been killed for its memory, or by hand, and a
// deployment would be taken back for it.
const loadTries = 3

// swapped makes the loaded version the live one.
func (v *supervisor) swapped(l *load) {
	s := v.s
	if l.err != nil {
		v.swapRetry.fail()
		if captioner.KindOf(l.err) == captioner.Unavailable && v.swapRetry.failures < loadTries {
			s.opts.Logger.Warn("engine lost while it was loading, starting another", "version", l.version.Short(), "error", l.err)
			return
		}
		v.failed(l, "could not load the version, keeping what is live")
		return
	}
	s.mu.Lock()
	if s.stopping || s.target.Version != l.version {
		s.mu.Unlock()
		v.discard(l)
		return
	}
	old := s.process
	l.process.deployment.generation = s.target.Generation
	s.live = l.process.deployment
	s.install(l.process)
	s.mu.Unlock()

	v.swapRetry.reset()
	v.crashRetry.reset()
	if v.restart != nil { // of the version before
		v.restart.cancel()
		v.restart = nil
	}
	s.opts.Logger.Info("serving version", "version", l.version.Short(), "generation", l.process.deployment.generation)
	s.opts.Observer.Live(l.process.deployment.info)
	v.retire(old)
}

// restarted puts a fresh engine in the place of the dead one.
func (v *supervisor) restarted(l *load) {
	s := v.s
	if l.err != nil {
		v.crashRetry.fail()
		v.failed(l, "could not restart the engine")
		return
	}
	s.mu.Lock()
	if s.stopping || s.live == nil || s.live.info.Version != l.version || s.process != nil {
		s.mu.Unlock()
		v.discard(l)
		return
	}
	l.process.deployment = s.live
	s.install(l.process)
	s.mu.Unlock()
	s.opts.Logger.Info("engine restarted", "version", l.version.Short())
	s.opts.Observer.EngineRestarted()
}

// install makes p the engine of the live version. It needs s.mu.
func (s *Server) install(p *process) {
	s.process = p
	if s.live.info.Version == s.target.Version {
		s.failure = ""
	}
	s.change()
	signal(s.beat)
}

// failed records why a load failed, unless it was cancelled.
func (v *supervisor) failed(l *load, message string) {
	s := v.s
	s.mu.Lock()
	wanted := l.version == s.target.Version
	if wanted {
		s.failure = reason(l.err)
		s.change()
		signal(s.beat)
	}
	s.mu.Unlock()
	s.opts.Logger.Error(message, "version", l.version.Short(), "error", l.err)
	s.opts.Observer.LoadFailed()
}

// reason is what an operator is told of err: the messages that are meant to be
// shown. The whole text is in the log.
func reason(err error) string {
	var e *captioner.Error
	if !errors.As(err, &e) || e.Message == "" && len(e.Problems) == 0 {
		return "the version could not be loaded; the log says why"
	}
	parts := make([]string, 0, 1+len(e.Problems))
	if e.Message != "" {
		parts = append(parts, e.Message)
	}
	for _, p := range e.Problems {
		parts = append(parts, p.String())
	}
	return strings.Join(parts, "; ")
}

// death is the Done channel of the current engine, nil when there is none.
func (v *supervisor) death() <-chan struct{} {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if v.s.process == nil {
		return nil
	}
	return v.s.process.engine.Done()
}

// dead takes a dead engine out of service.
func (v *supervisor) dead() {
	s := v.s
	s.mu.Lock()
	p := s.process
	if s.stopping || p == nil {
		s.mu.Unlock()
		return
	}
	s.process = nil
	s.change()
	s.mu.Unlock()

	switch {
	case time.Since(p.started) >= stableAfter:
		v.crashRetry.reset()
	case v.crashRetry.failures == 0:
		v.crashRetry.failures = 1 // once is an accident: no wait
	default:
		v.crashRetry.fail()
	}
	s.opts.Logger.Error("the engine died, starting another", "version", p.deployment.info.Version.Short(),
		"lived", time.Since(p.started).Round(time.Millisecond), "wait", max(0, time.Until(v.crashRetry.until)))
	v.retire(p)
}

// retire closes p once its requests are done.
func (v *supervisor) retire(p *process) {
	if p == nil {
		return
	}
	s := v.s
	s.background.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.opts.DrainTimeout)
		defer cancel()
		if err := s.drain(ctx, p); err != nil {
			s.opts.Logger.Warn("an old engine did not end cleanly", "version", p.deployment.info.Version.Short(), "error", err)
		}
	})
}

// discard closes the engine of a load that nobody waits for.
func (v *supervisor) discard(l *load) {
	if l.process != nil {
		v.retire(l.process)
	}
}

// end gives up the loads under way. Their contexts have ended with run's.
func (v *supervisor) end() {
	for ; v.outstanding > 0; v.outstanding-- {
		v.discard(<-v.loads)
	}
}

// backoff says when a thing that failed may be tried again.
type backoff struct {
	min, max time.Duration
	failures int
	until    time.Time
}

func (b *backoff) due() bool { return !time.Now().Before(b.until) }

func (b *backoff) reset() { b.failures, b.until = 0, time.Time{} }

// fail doubles the wait, from min to max.
func (b *backoff) fail() {
	wait := b.min << min(b.failures, 20)
	b.failures++
	b.until = time.Now().Add(min(wait, b.max))
}
