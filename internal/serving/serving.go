// Package serving answers caption requests with the version that is live.
//
// A [Server] follows the alias "production": it reads it once a second, has the
// new version's bundle materialised and verified, starts an engine on it, warms
// the engine up, switches to it in one step and lets the old engine finish the
// requests that it has begun. A version that cannot be loaded never takes over:
// the old one keeps serving and the reason stands in the replica's record. An
// engine that dies is replaced at once, and the requests that it took with it
// are asked again, once, of its successor.
//
// The package knows no TensorFlow, no gRPC and no database: engines, bundles and
// the alias come through [Options]. What a caption means for an HTTP client is
// package api's affair.
package serving

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/captioner/captioner"
)

// Engine is a process that holds one model, as internal/engine's Model.
type Engine interface {
	captioner.Captioner
	// Close ends the process. Requests in flight are finished first.
	Close() error
	// Done is closed when the process has ended, whatever the reason.
	Done() <-chan struct{}
}

// Store is the part of captioner.Store that a replica needs.
type Store interface {
	Alias(ctx context.Context, name string) (captioner.Alias, error)
	SeeReplica(ctx context.Context, r captioner.Replica) error
	ForgetReplica(ctx context.Context, id string) error
}

// Observer is told what operators count. internal/telemetry implements it.
type Observer interface {
	// Live says which version answers from now on; restarted engines of the
	// same version are not told again.
	Live(m captioner.ModelInfo)
	// LoadFailed says that a version could not be loaded.
	LoadFailed()
	// EngineRestarted says that a dead engine has been replaced.
	EngineRestarted()
}

// Options are what a [Server] is made from. Start is required, and for [New]
// Store, Materialise and Verify too.
type Options struct {
	Store Store
	// Materialise returns a folder of this machine with the version's bundle.
	Materialise func(ctx context.Context, version captioner.Digest) (dir string, err error)
	// Verify checks every file of the folder against its manifest.json and that
	// against the version. Kind Corrupt when something is missing, extra or
	// changed. It runs before each load.
	Verify func(dir string, version captioner.Digest) error
	// Start starts an engine with the folder's model. ctx bounds the start and
	// not the life of the engine.
	Start func(ctx context.Context, modelDir string) (Engine, error)

	// ReplicaID names this process among its like. Default: host name and eight
	// random hexadecimal digits.
	ReplicaID string
	// PollInterval is the time between two looks at the alias, and between two
	// heartbeats. Default 1 s, as docs/architecture.md promises to Deploy.
	PollInterval time.Duration
	// RetryTimeout bounds the wait for a new engine after one died under a
	// request. Default 5 s.
	RetryTimeout time.Duration
	// LoadTimeout bounds materialising, starting and warming up together.
	// Default 5 min: a bundle may come over a network.
	LoadTimeout time.Duration
	// DrainTimeout bounds the wait for the old engine's requests after a switch.
	// Default 1 min.
	DrainTimeout time.Duration

	Observer Observer
	// TracerProvider makes a span of each load. Default none.
	TracerProvider trace.TracerProvider
	Logger         *slog.Logger
}

// State says whether requests can be answered. It is a plain string, so that
// package api can ask for it without knowing this package.
type State = string

// The states of a [Server].
const (
	// None means that no version has ever been made live.
	None State = "none"
	// Loading means that there is a live version and no warm engine for it yet,
	// or that the alias could not be read so far.
	Loading State = "loading"
	// Ready means that a warm engine answers.
	Ready State = "ready"
)

// Server implements captioner.Captioner with whatever version is live. Its
// methods are safe for concurrent use.
type Server struct {
	opts  Options
	fixed bool // one bundle, no alias

	mu sync.Mutex
	// changed is closed and replaced whenever one of the fields below changes.
	changed chan struct{}
	// target is what should be served; aliasRead says that it is known.
	target    captioner.Alias
	aliasRead bool
	// live is what is served; process is its engine, nil while one is started
	// in the place of a dead one.
	live    *deployment
	process *process
	// failure says why target could not be loaded, empty if it could.
	failure  string
	stopping bool

	wake chan struct{} // capacity 1: the supervisor should look again
	beat chan struct{} // capacity 1: a heartbeat is due now

	stop       context.CancelFunc
	background sync.WaitGroup
}

// New returns a server that follows the alias captioner.Production once it is
// started.
func New(opts Options) (*Server, error) {
	if opts.Store == nil || opts.Materialise == nil || opts.Verify == nil {
		return nil, errors.New("serving: a store, Materialise and Verify are required")
	}
	return newServer(opts)
}

// NewFixed returns a server of the one bundle in dir. The bundle's manifest.json
// says which version it is; a bundle that does not match it is refused, of kind
// Corrupt. No database is needed: Store and Materialise are not used.
func NewFixed(opts Options, dir string) (*Server, error) {
	if opts.Verify == nil {
		return nil, errors.New("serving: Verify is required")
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return nil, captioner.Wrap(captioner.Invalid, err, "the folder holds no bundle: its manifest.json cannot be read")
	}
	version := captioner.DigestOf(manifest)
	if err := opts.Verify(dir, version); err != nil {
		return nil, err
	}

	opts.Materialise = func(context.Context, captioner.Digest) (string, error) { return dir, nil }
	s, err := newServer(opts)
	if err != nil {
		return nil, err
	}
	s.fixed = true
	s.aliasRead = true
	s.target = captioner.Alias{Name: captioner.Production, Version: version}
	return s, nil
}

func newServer(opts Options) (*Server, error) {
	if opts.Start == nil {
		return nil, errors.New("serving: Start is required")
	}
	opts.PollInterval = cmp.Or(opts.PollInterval, time.Second)
	opts.RetryTimeout = cmp.Or(opts.RetryTimeout, 5*time.Second)
	opts.LoadTimeout = cmp.Or(opts.LoadTimeout, 5*time.Minute)
	opts.DrainTimeout = cmp.Or(opts.DrainTimeout, time.Minute)
	if opts.ReplicaID == "" {
		opts.ReplicaID = newReplicaID()
	}
	if opts.Observer == nil {
		opts.Observer = ignore{}
	}
	if opts.TracerProvider == nil {
		opts.TracerProvider = nooptrace.NewTracerProvider()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{
		opts:    opts,
		changed: make(chan struct{}),
		wake:    make(chan struct{}, 1),
		beat:    make(chan struct{}, 1),
		stop:    func() {},
	}, nil
}

func newReplicaID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "replica"
	}
	var random [4]byte
	rand.Read(random[:]) // never fails, see crypto/rand
	return host + "-" + hex.EncodeToString(random[:])
}

// Start begins to follow the alias and to keep an engine running, and returns
// at once. It is called once.
func (s *Server) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.background.Go(func() { newSupervisor(s).run(ctx) })
	if !s.fixed {
		s.background.Go(func() { s.follow(ctx) })
	}
}

// Stop lets the requests in flight finish, forgets this replica and ends the
// engine. New requests fail with kind Unavailable. When ctx ends first the
// engine is closed under its requests and ctx's error is returned.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	last := s.process
	s.change()
	s.mu.Unlock()

	// The replica disappears from the table first, so that no deployment waits
	// for one that is going away.
	s.stop()
	err := s.drain(ctx, last)
	s.background.Wait()
	return err
}

// drain waits until no request runs on p, and closes it.
func (s *Server) drain(ctx context.Context, p *process) error {
	if p == nil {
		return nil
	}
	s.mu.Lock()
	p.retire()
	s.mu.Unlock()
	var err error
	select {
	case <-p.idle:
	case <-p.engine.Done():
	case <-ctx.Done():
		err = ctx.Err()
	}
	return errors.Join(err, p.engine.Close())
}

// State says whether requests can be answered.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state()
}

// state needs s.mu.
func (s *Server) state() State {
	switch {
	case s.process != nil:
		return Ready
	case s.live == nil && s.aliasRead && s.target.Version == "":
		return None
	default:
		return Loading
	}
}

// Model describes the version that is served; its zero value when none is.
func (s *Server) Model() captioner.ModelInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		return captioner.ModelInfo{}
	}
	return s.live.info
}

// Replica is what this server records about itself.
func (s *Server) Replica() captioner.Replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := captioner.Replica{ID: s.opts.ReplicaID, SeenAt: time.Now().UTC(), Error: s.failure}
	if s.live != nil {
		r.Version, r.Generation = s.live.info.Version, s.live.generation
	}
	return r
}

// WaitReady returns once requests can be answered, with an error when the
// wanted version could not be loaded and nothing else is served, or when ctx
// ended first.
func (s *Server) WaitReady(ctx context.Context) error {
	for {
		s.mu.Lock()
		state, failure, changed := s.state(), s.failure, s.changed
		s.mu.Unlock()
		if state == Ready {
			return nil
		}
		if failure != "" {
			return captioner.Errorf(captioner.Unavailable, "%s", failure)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// change wakes everyone who waits for a change of the guarded fields. It needs
// s.mu.
func (s *Server) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// signal fills a channel of capacity 1.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// ignore is the observer of a server that has none.
type ignore struct{}

func (ignore) Live(captioner.ModelInfo) {}
func (ignore) LoadFailed()              {}
func (ignore) EngineRestarted()         {}
