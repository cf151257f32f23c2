// Package api is the HTTP face of the project: captions, runs, models, probes
// and metrics, one file per endpoint.
//
// It knows HTTP and the words of package captioner, and nothing of Temporal, the
// database or TensorFlow: whoever can caption, start runs or list versions is
// passed in through [Options]. What holds for every reply is in three places:
// problem.go maps error kinds to statuses and writes application/problem+json,
// observe.go gives each request an ID, a log line and its timing, limits.go
// bounds what a client can make the server hold.
package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/api/ui"
	"github.com/captioner/captioner/internal/telemetry/span"
)

// Captioner captions with whatever version is live, as internal/serving's
// Server. Its Model is the zero value while there is none.
type Captioner interface {
	captioner.Captioner
	// State is "none", "loading" or "ready".
	State() string
}

// RunClient starts and follows runs, as package workflows' Client.
type RunClient interface {
	// Start begins a run. A key that was used before gives the run that it
	// began, Conflict when that was another; an empty key always begins a new one.
	Start(ctx context.Context, cfg captioner.Config, key string) (captioner.Run, error)
	// Continue returns the configuration of a run that goes on from the training
	// of another: that run's with the changes, a JSON object. NotFound; Conflict
	// while that run is under way; Invalid with all problems.
	Continue(ctx context.Context, id string, changes []byte) (captioner.Config, error)
	// Resume begins such a run. The key is as Start's.
	Resume(ctx context.Context, id string, cfg captioner.Config, key string) (captioner.Run, error)
	// Describe returns a run with its stages; NotFound.
	Describe(ctx context.Context, id string) (captioner.Run, error)
	// List returns the newest runs first, without their stages.
	List(ctx context.Context, limit int) ([]captioner.Run, error)
	// Config returns what a run was started with, the defaults filled in;
	// NotFound where that was never recorded.
	Config(ctx context.Context, id string) (captioner.Config, error)
	// Cancel asks a run to stop; NotFound, or Conflict when it has ended.
	Cancel(ctx context.Context, id string) error
	// DryRun checks a configuration on a worker, where the data is. Invalid
	// with all problems when it cannot work.
	DryRun(ctx context.Context, cfg captioner.Config) error
}

// Scheduler keeps the schedules of runs, as package workflows' Client. But for the
// first two, its methods are NotFound for a schedule that there is not.
type Scheduler interface {
	// CreateSchedule makes a schedule that captioner.Schedule.Check has nothing
	// against. Conflict when there is one of that name.
	CreateSchedule(ctx context.Context, s captioner.Schedule) (captioner.Schedule, error)
	// Schedules lists all by name, without their configurations.
	Schedules(ctx context.Context) ([]captioner.Schedule, error)
	Schedule(ctx context.Context, name string) (captioner.Schedule, error)
	// PauseSchedule pauses a schedule, or resumes it with paused false.
	PauseSchedule(ctx context.Context, name string, paused bool) (captioner.Schedule, error)
	// TriggerSchedule starts a run now and returns it. Conflict while one is under
	// way.
	TriggerSchedule(ctx context.Context, name string, force bool) (captioner.Run, error)
	DeleteSchedule(ctx context.Context, name string) error
}

// ModelLister reads the registry and pins versions in it, as captioner.Store.
type ModelLister interface {
	ModelVersions(ctx context.Context, limit int) ([]captioner.ModelVersion, error)
	ModelVersion(ctx context.Context, version string) (captioner.ModelVersion, error)
	PinVersion(ctx context.Context, version captioner.Digest, pinned bool) error
	Alias(ctx context.Context, name string) (captioner.Alias, error)
	AliasMoves(ctx context.Context, name string, limit int) ([]captioner.AliasMove, error)
	AliasMoveAt(ctx context.Context, name string, at time.Time) (captioner.AliasMove, error)
}

// Deployer makes versions live, as internal/deployment's Deployer. Promote and
// Rollback return once the running servers serve the version; NotFound and Conflict
// before anything has moved, Unavailable when the alias was moved back. A key that
// was used before gives what came of that request, Conflict when it was another.
type Deployer interface {
	Promote(ctx context.Context, version, actor, reason, key string) (captioner.Deployment, error)
	Rollback(ctx context.Context, actor, reason, key string) (captioner.Deployment, error)
	// RollbackTarget is the version that Rollback would make live; empty for none.
	RollbackTarget(ctx context.Context) (captioner.Digest, error)
}

// ProgressReader reads what trainings leave as they go, as captioner.Store.
type ProgressReader interface {
	Metrics(ctx context.Context, runKey string, after int64, limit int) ([]captioner.Metric, int64, error)
	Samples(ctx context.Context, runKey string, after int64, limit int) ([]captioner.Sample, int64, error)
	SamplePicture(ctx context.Context, runKey, image string) (captioner.Digest, error)
}

// BlobReader reads blobs, as captioner.BlobStore.
type BlobReader interface {
	Open(ctx context.Context, d captioner.Digest) (io.ReadCloser, error)
}

// Observer is told what operators count. internal/telemetry implements it.
type Observer interface {
	RequestStarted()
	// RequestFinished gets the route's pattern, empty when none matched.
	RequestFinished(method, route string, status int, took time.Duration)
	// Waiting changes how many requests wait for a place, Waited says how long
	// one has.
	Waiting(change int)
	Waited(took time.Duration)
	// Captioned gets what the engine tells of its queue.
	Captioned(reply captioner.CaptionReply)
	Predicted(algorithm string, took time.Duration)
}

// Options are what a [Server] is made from. Captioner is required; without the
// others the endpoints that need them say so.
type Options struct {
	Captioner Captioner
	// Runs and Models are nil where one bundle is served without a database.
	Runs   RunClient
	Models ModelLister
	// Schedules is nil where there are none to keep.
	Schedules Scheduler
	// Progress and Blobs are required with Runs, whose progress and data they
	// show.
	Progress ProgressReader
	Blobs    BlobReader
	// ParseConfig reads a configuration in the format "json" or "yaml" over the
	// defaults and applies the static rules and those that it is given; Invalid
	// with all problems. Required with Runs.
	ParseConfig func(data []byte, format string, rules func(captioner.Config) []captioner.Problem) (captioner.Config, error)
	// ConfigSchema is the JSON Schema of what ParseConfig reads. Required with Runs.
	ConfigSchema []byte
	// DataRoot is the folder that every path in a configuration must lie in.
	// Empty means that no path can be named over HTTP, "/" that any can.
	DataRoot string
	// Deployer is required with Models.
	Deployer Deployer

	// Version is the program's.
	Version string
	// MetricsHandler answers GET /metrics.
	MetricsHandler http.Handler
	Observer       Observer
	TracerProvider trace.TracerProvider
	Propagator     propagation.TextMapPropagator
	Logger         *slog.Logger

	// MaxUploadBytes bounds the body of a request. Default 10 MiB.
	MaxUploadBytes int64
	// MaxPixels bounds width × height of a picture by its header. Default 50
	// million, as in captioner.DefaultConfig.
	MaxPixels int
	// MaxBeamWidth bounds what a client may ask for. Default 10.
	MaxBeamWidth int
	// MaxConcurrent is how many pictures are captioned at a time, MaxQueued how
	// many more requests may wait; the next is told to come back. Default: twice
	// the processors, and 64.
	MaxConcurrent, MaxQueued int
	// PredictTimeout bounds one caption. Default 30 s.
	PredictTimeout time.Duration
	// MaxStreams is how many event streams are open at a time; the next is told
	// to come back. Default 100.
	MaxStreams int
	// PollInterval is how often an event stream looks for news. Default 1 s.
	PollInterval time.Duration
	// CORSOrigins lists the origins whose pages may call the API; "*" for all.
	// Default none.
	CORSOrigins []string
	// DrainDelay is how long the server goes on serving after it has said on
	// /ready that it is going away, for load balancers to notice. Default 0.
	DrainDelay time.Duration
}

// Server is the HTTP server.
type Server struct {
	opts     Options
	engine   *gin.Engine
	tracer   trace.Tracer
	http     *http.Server
	predicts *gate
	streams  *gate
	runs     *recentRuns
	data     *dataSummaries
	page     http.Handler
	origins  *http.CrossOriginProtection
	document []byte // the API's description as JSON
	started  time.Time
	stopping atomic.Bool
	// drained ends, by drain, when streams must.
	drained context.Context
	drain   context.CancelFunc
}

// New returns a server that has not been started. Its Handler works at once.
func New(opts Options) (*Server, error) {
	if opts.Captioner == nil {
		return nil, errors.New("api: a captioner is required")
	}
	if opts.Runs != nil && (opts.ParseConfig == nil || opts.ConfigSchema == nil || opts.Progress == nil || opts.Blobs == nil) {
		return nil, errors.New("api: runs need ParseConfig, ConfigSchema, Progress and Blobs")
	}
	if opts.Models != nil && opts.Deployer == nil {
		return nil, errors.New("api: models need a Deployer")
	}
	setDefaults(&opts)
	s := &Server{
		opts:     opts,
		tracer:   opts.TracerProvider.Tracer(span.Scope),
		predicts: newGate(opts.MaxConcurrent, opts.MaxQueued),
		streams:  newGate(opts.MaxStreams, 0),
		runs:     newRecentRuns(opts.Runs, opts.PollInterval),
		data:     newDataSummaries(opts.Blobs),
		started:  time.Now(),
	}
	s.drained, s.drain = context.WithCancel(context.Background())
	var err error
	if s.page, err = ui.Handler(); err != nil {
		return nil, err
	}
	if s.origins, err = newCrossOriginProtection(opts.CORSOrigins); err != nil {
		return nil, err
	}
	if s.document, err = openAPIDocument(); err != nil {
		return nil, err
	}
	if err := s.route(); err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler: s.engine,
		// A client that dawdles over its header or body is dropped; idle
		// connections are kept as long as browsers do.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(opts.Logger.Handler(), slog.LevelWarn),
	}
	return s, nil
}

func setDefaults(o *Options) {
	o.MaxUploadBytes = cmp.Or(o.MaxUploadBytes, 10<<20)
	o.MaxPixels = cmp.Or(o.MaxPixels, captioner.DefaultConfig().Data.MaxPixels)
	o.MaxBeamWidth = cmp.Or(o.MaxBeamWidth, 10)
	o.MaxConcurrent = cmp.Or(o.MaxConcurrent, 2*runtime.GOMAXPROCS(0))
	o.MaxQueued = cmp.Or(o.MaxQueued, 64)
	o.MaxStreams = cmp.Or(o.MaxStreams, 100)
	o.PollInterval = cmp.Or(o.PollInterval, time.Second)
	o.PredictTimeout = cmp.Or(o.PredictTimeout, 30*time.Second)
	if o.MetricsHandler == nil {
		o.MetricsHandler = http.NotFoundHandler()
	}
	if o.Observer == nil {
		o.Observer = ignore{}
	}
	if o.TracerProvider == nil {
		o.TracerProvider = nooptrace.NewTracerProvider()
	}
	if o.Propagator == nil {
		o.Propagator = propagation.TraceContext{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// newCrossOriginProtection refuses what a browser sends from a foreign page,
// other than reads. Without it any page could cancel a run on a laptop.
func newCrossOriginProtection(origins []string) (*http.CrossOriginProtection, error) {
	p := http.NewCrossOriginProtection()
	for _, origin := range origins {
		if origin == "*" {
			return nil, nil
		}
		if err := p.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("allow the origin %q: %w", origin, err)
		}
	}
	return p, nil
}

// route sets up gin: the middleware from the outside in, then the endpoints.
func (s *Server) route() error {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.HandleMethodNotAllowed = true
	r.RedirectTrailingSlash = false
	// A run ID may hold an escaped slash: it may be any workflow ID.
	r.UseRawPath = true
	r.UnescapePathValues = true
	if err := r.SetTrustedProxies(nil); err != nil {
		return fmt.Errorf("trust no proxy: %w", err)
	}

	r.Use(s.trace, s.observe, s.recover, s.cors, s.limitBody)
	r.NoRoute(handle(s.notFound))
	r.NoMethod(handle(s.methodNotAllowed))

	get := func(path string, h gin.HandlerFunc) { // net/http leaves out the body for HEAD
		r.GET(path, h)
		r.HEAD(path, h)
	}
	get("/", handle(s.index))
	get("/health", handle(s.health))
	get("/ready", handle(s.ready))
	get("/metrics", gin.WrapH(s.opts.MetricsHandler))
	get("/openapi.json", handle(s.openAPI))
	get("/docs", handle(s.docs))
	get(ui.Prefix+"*path", gin.WrapH(s.page))
	get("/model/info", handle(s.modelInfo))
	get("/config", handle(s.showConfig))
	get("/config/schema", handle(s.configSchema))
	get("/models", handle(s.listModels))
	get("/models/:version", handle(s.showModel))
	r.POST("/models/rollback", handle(s.rollBackModel))
	r.POST("/models/:version/promote", handle(s.promoteModel))
	r.POST("/models/:version/pin", handle(s.pinModel(true)))
	r.POST("/models/:version/unpin", handle(s.pinModel(false)))
	get("/deployments", handle(s.listDeployments))
	get("/runs", handle(s.listRuns))
	get("/runs/:id", handle(s.showRun))
	get("/runs/:id/config", handle(s.runConfig))
	get("/runs/:id/data", handle(s.runData))
	get("/runs/:id/samples/:image", handle(s.samplePicture))
	r.GET("/runs/:id/events", handle(s.runEvents)) // a stream has no HEAD
	r.POST("/predict", handle(s.predict))
	r.POST("/runs", handle(s.startRun))
	r.POST("/runs/:id/cancel", handle(s.cancelRun))
	get("/schedules", handle(s.listSchedules))
	get("/schedules/:name", handle(s.showSchedule))
	r.POST("/schedules", handle(s.createSchedule))
	r.POST("/schedules/:name/pause", handle(s.pauseSchedule))
	r.POST("/schedules/:name/resume", handle(s.resumeSchedule))
	r.POST("/schedules/:name/trigger", handle(s.triggerSchedule))
	r.DELETE("/schedules/:name", handle(s.deleteSchedule))
	s.engine = r
	return nil
}

// isProbe tells the endpoints that machines ask every few seconds: they are not
// traced and only logged for debugging.
func isProbe(path string) bool {
	return slices.Contains([]string{"/health", "/ready", "/metrics"}, strings.TrimSuffix(path, "/"))
}

// Handler answers requests without a listener.
func (s *Server) Handler() http.Handler { return s.engine }

// Start serves on the listener, which it closes in the end, until Shutdown. An
// error says why it could not go on.
func (s *Server) Start(ln net.Listener) error {
	if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
	}
	return nil
}

// Shutdown says on /ready that the server goes away, ends the event streams,
// whose clients go on at another replica, waits for the drain delay,
// closes the listener and lets the requests in flight finish. When ctx ends
// first, their connections are closed and ctx's error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopping.Store(true)
	s.drain()
	delay := time.NewTimer(s.opts.DrainDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-ctx.Done():
	}
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("drain HTTP requests: %w", err), s.http.Close())
	}
	return nil
}

// ignore is the observer of a server that has none.
type ignore struct{}

func (ignore) RequestStarted()                                    {}
func (ignore) RequestFinished(string, string, int, time.Duration) {}
func (ignore) Waiting(int)                                        {}
func (ignore) Waited(time.Duration)                               {}
func (ignore) Captioned(captioner.CaptionReply)                   {}
func (ignore) Predicted(string, time.Duration)                    {}
