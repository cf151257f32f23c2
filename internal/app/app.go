// Package app is the composition root: it knows every implementation and joins
// them into a process. An [App] is the local mode, an API server, a worker, or
// the server of one bundle, by its [Options]; the code path is the same.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"go.temporal.io/sdk/client"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/demodata"
	"github.com/captioner/captioner/internal/serving"
	"github.com/captioner/captioner/internal/telemetry"
	"github.com/captioner/captioner/internal/temporaldev"
	"github.com/captioner/captioner/internal/tracking/mlflow"
	"github.com/captioner/captioner/workflows"
)

// Options say what the process is and where things are.
type Options struct {
	// Local starts a Temporal server as a child; API serves HTTP; Worker
	// executes runs. Bundle, with API alone, serves the bundle in that folder, or
	// in an object store as s3://BUCKET?...#VERSION, without database and Temporal.
	Local, API, Worker bool
	Bundle             string

	// DataDir holds the state; it is made where it is missing.
	DataDir string
	// Database is the address of the database; empty is DatabaseAddress.
	Database string
	// Blobs is the address of the object store; empty is the folder blobs/.
	Blobs string

	// Listen is the API's address. DataRoot confines paths that arrive over
	// HTTP; empty means anywhere for a loopback Listen, else DataDir.
	Listen         string
	DataRoot       string
	CORSOrigins    []string
	MaxUploadBytes int64
	MaxPixels      int
	// DrainDelay is how long the API goes on serving once /ready says that it goes
	// away, for load balancers to notice; at most MaxDrainDelay.
	DrainDelay time.Duration

	// TemporalAddress, TemporalNamespace and TemporalUIURL name the cluster;
	// the other fields are those of the local server.
	TemporalAddress   string
	TemporalNamespace string
	TemporalUIURL     string
	TemporalBinary    string
	TemporalIP        string
	TemporalPort      int
	TemporalUIPort    int

	// TaskQueues that a worker serves; empty means all.
	TaskQueues []string
	// HeartbeatTimeout is how long a step may be silent before it is taken for
	// dead; 0 means workflows.HeartbeatTimeout.
	HeartbeatTimeout time.Duration
	// StallAfter is the shortest time without a step after which a training shows
	// as stalled; 0 means activities.StallAfter.
	StallAfter time.Duration
	// MetricsListen is the address of /metrics of a process without API; empty
	// offers none.
	MetricsListen string

	// EngineBinary is the path of captioner-engine; empty looks beside this
	// program and on the PATH.
	EngineBinary string
	// ServeThreads is the number of CPU threads of the serving engine.
	ServeThreads int

	// MLflowURI is the address of the MLflow server that a worker delivers runs
	// to; empty is that of MLflow's own variable, and none if that is empty too.
	// MLflowExperiment takes the runs, MLflowModel the versions.
	MLflowURI, MLflowExperiment, MLflowModel string
	// PublicURL is the address of the API for people, for links to the page;
	// empty is the one that this process listens on.
	PublicURL string

	// DemonstrationProgress is told how far drawing the demonstration has come.
	DemonstrationProgress func(done, total int)

	// Version, Commit and Branch are the program's, as git tells them.
	Version, Commit, Branch string
	Logger                  *slog.Logger
}

// serves reports whether this process' worker takes tasks of the queue.
func (o Options) serves(queue string) bool {
	return len(o.TaskQueues) == 0 || slices.Contains(o.TaskQueues, queue)
}

// needsEngine reports whether this process starts an engine.
func (o Options) needsEngine() bool { return o.API || o.Worker && o.serves(workflows.EngineTaskQueue) }

// MaxDrainDelay leaves half of the 30 s that a process has to stop.
const MaxDrainDelay = 15 * time.Second

// DefaultListen is the API's address: that of the variable PORT on all
// interfaces, as container platforms set it, else port 8000 on the loopback.
func DefaultListen() string {
	if port := os.Getenv("PORT"); port != "" {
		return ":" + port
	}
	return "127.0.0.1:8000"
}

// App is a process made of parts that start in order and stop in reverse.
type App struct {
	opts   Options
	log    *slog.Logger
	failed chan error
	stops  []stopFunc

	storage   *Storage
	mlflow    *mlflow.Client // nil where runs are delivered to none
	telemetry *telemetry.Telemetry
	temporal  *temporaldev.Server
	client    client.Client
	serving   *serving.Server
	apiURL    string

	tensorFlow string
	devices    []string
}

// stopFunc ends one part.
type stopFunc struct {
	name string
	stop func(ctx context.Context) error
}

// New checks the options and finds the programs that will be started. It starts
// nothing.
func New(o Options) (*App, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.DrainDelay < 0 || o.DrainDelay > MaxDrainDelay {
		return nil, captioner.Errorf(captioner.Invalid, "--drain-delay must be between 0 and %v, is %v", MaxDrainDelay, o.DrainDelay)
	}
	var err error
	if o.DataDir, err = filepath.Abs(o.DataDir); err != nil {
		return nil, err
	}
	a := &App{opts: o, log: o.Logger, failed: make(chan error, 8)}
	if o.needsEngine() {
		if a.opts.EngineBinary, err = findEngine(o.EngineBinary); err != nil {
			return nil, err
		}
	}
	if o.Local {
		if a.opts.TemporalBinary, err = findTemporal(o.TemporalBinary); err != nil {
			return nil, err
		}
	}
	if o.Worker && o.serves(workflows.TaskQueue) {
		if a.mlflow, err = mlflowClient(o.MLflowURI); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Start starts every part. After an error everything is stopped again.
func (a *App) Start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Stop(context.WithoutCancel(ctx)))
		}
	}()
	if err := a.startTelemetry(ctx); err != nil {
		return err
	}
	if a.opts.Bundle != "" {
		return a.startBundle(ctx)
	}
	if err := a.takeData(); err != nil {
		return err
	}
	if err := a.check(ctx); err != nil {
		return err
	}
	if err := a.openData(ctx); err != nil {
		return err
	}
	if a.opts.MetricsListen != "" {
		if err := a.startMetrics(); err != nil {
			return err
		}
	}
	// The port of the API is taken before anything long begins.
	var listener net.Listener
	if a.opts.API {
		if listener, err = a.listen(); err != nil {
			return err
		}
	}
	if a.opts.Local {
		if err := a.startTemporal(ctx); err != nil {
			return err
		}
	}
	if err := a.dialTemporal(ctx); err != nil {
		return err
	}
	if a.opts.Worker {
		if err := a.startWorker(ctx); err != nil {
			return err
		}
	}
	if a.opts.API {
		if err := a.startServing(); err != nil {
			return err
		}
		return a.startAPI(listener)
	}
	return nil
}

// Stop ends every part in reverse order: first /ready says so and requests are
// drained, then the worker saves and gives back what it does. It returns when ctx
// ends, and whatever has not ended by then ends with the process. It may be called
// twice.
func (a *App) Stop(ctx context.Context) error {
	var errs []error
	for len(a.stops) > 0 {
		last := a.stops[len(a.stops)-1]
		a.stops = a.stops[:len(a.stops)-1]
		if err := last.within(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", last.name, err))
		}
	}
	return errors.Join(errs...)
}

// within ends the part, and returns at the latest when ctx ends.
func (s stopFunc) within(ctx context.Context) error {
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop(ctx) }()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Failed gives the error of a part that ended by itself.
func (a *App) Failed() <-chan error { return a.failed }

// APIURL is the address of the API, without a slash at the end.
func (a *App) APIURL() string { return a.apiURL }

// TensorFlow is the version of the library in this process' worker's engine,
// and Devices what it computes on; empty without a worker.
func (a *App) TensorFlow() (version string, devices []string) { return a.tensorFlow, a.devices }

// TemporalAddress is where Temporal clients connect.
func (a *App) TemporalAddress() string {
	if a.temporal != nil {
		return a.temporal.Address()
	}
	return a.opts.TemporalAddress
}

// TemporalUIURL is the address of the Temporal Web UI, empty if unknown.
func (a *App) TemporalUIURL() string {
	if a.temporal != nil {
		return a.temporal.UIURL()
	}
	return a.opts.TemporalUIURL
}

// Demonstration returns the place of the demonstration data set below the data
// folder, and makes it first where it is missing.
func (a *App) Demonstration(ctx context.Context) (captioner.DataConfig, error) {
	dir := a.demonstrationDir()
	err := demodata.Generate(ctx, dir, demodata.Options{Seed: demodata.DefaultSeed}, a.opts.DemonstrationProgress)
	if err != nil {
		return captioner.DataConfig{}, err
	}
	data := captioner.DefaultConfig().Data
	data.Images = filepath.Join(dir, demodata.ImagesDir)
	data.Captions = filepath.Join(dir, demodata.CaptionsFile)
	data.SplitFiles = captioner.SplitFiles{
		Train:      filepath.Join(dir, demodata.TrainFile),
		Validation: filepath.Join(dir, demodata.ValidationFile),
		Test:       filepath.Join(dir, demodata.TestFile),
	}
	return data, nil
}

// apiDataRoot is the folder that paths of a configuration must lie in when it
// arrives over HTTP: who can reach a loopback address can read files anyway.
func (a *App) apiDataRoot() string {
	switch {
	case a.opts.DataRoot != "":
		return a.opts.DataRoot
	case isLoopback(a.opts.Listen):
		return "/"
	default:
		return a.opts.DataDir
	}
}

func (a *App) demonstrationDir() string { return filepath.Join(a.opts.DataDir, "demo") }

func (a *App) onStop(name string, stop func(ctx context.Context) error) {
	a.stops = append(a.stops, stopFunc{name, stop})
}

// fail reports that a part ended by itself. It never blocks: the first errors
// are what matters.
func (a *App) fail(err error) {
	select {
	case a.failed <- err:
	default:
	}
}

func (a *App) startTelemetry(ctx context.Context) error {
	t, err := telemetry.New(ctx, telemetry.Options{Version: a.opts.Version, Logger: a.log})
	if err != nil {
		return captioner.Wrap(captioner.Invalid, err, "set up telemetry from the OTEL_ variables")
	}
	a.telemetry = t
	a.onStop("telemetry", t.Shutdown)
	return nil
}

// takeData makes the data folder, in the local mode this process' own.
func (a *App) takeData() error {
	if err := os.MkdirAll(a.opts.DataDir, 0o755); err != nil {
		return captioner.Wrap(captioner.Invalid, err, "make the data folder (--data-dir)")
	}
	if a.opts.Local {
		lock, err := lockData(a.opts.DataDir)
		if err != nil {
			return err
		}
		a.onStop("data folder", func(context.Context) error { return lock.Unlock() })
	}
	return nil
}

// openData opens what is in the data folder.
func (a *App) openData(ctx context.Context) error {
	storage, err := OpenStorage(ctx, a.opts.storage(a.log))
	if err != nil {
		return err
	}
	a.storage = storage
	a.onStop("storage", func(context.Context) error { return storage.Close() })
	return nil
}

// lockData makes a data folder this process' own.
func lockData(dir string) (*flock.Flock, error) {
	lock := flock.New(filepath.Join(dir, "lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, captioner.Wrap(captioner.Invalid, err, "lock the data folder (--data-dir)")
	}
	if !locked {
		return nil, captioner.Errorf(captioner.Conflict, "another captioner works in the data folder %s: stop it, or take another folder with --data-dir", dir)
	}
	return lock, nil
}

func (a *App) listen() (net.Listener, error) {
	listener, err := net.Listen("tcp", a.opts.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, captioner.Wrap(captioner.Conflict, err, "the API's address %s is taken: is another server running? End it, or take another address with --listen or the variable CAPTIONER_LISTEN", a.opts.Listen)
	}
	if err != nil {
		return nil, captioner.Wrap(captioner.Invalid, err, "the API cannot listen on %q (--listen)", a.opts.Listen)
	}
	a.onStop("listener", func(context.Context) error {
		if err := listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	a.apiURL = "http://" + reachable(listener.Addr().String())
	return listener, nil
}

// reachable replaces an address that means "all interfaces" by the loopback.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback())
}
