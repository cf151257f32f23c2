package app

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/api"
	"github.com/captioner/captioner/internal/config"
	"github.com/captioner/captioner/internal/demodata"
	"github.com/captioner/captioner/internal/engine"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/serving"
	"github.com/captioner/captioner/internal/temporaldev"
	"github.com/captioner/captioner/internal/temporaltrace"
	"github.com/captioner/captioner/worker"
	"github.com/captioner/captioner/workflows"
)

// jobNiceness lowers the priority of job engines below serving ones.
const jobNiceness = 10

// drainTimeout bounds the wait for requests in flight when the process stops. It
// leaves most of the 30 s that a process has for a training to save its state.
const drainTimeout = 8 * time.Second

// metricsTimeout bounds reading a request for metrics and answering it.
const metricsTimeout = 10 * time.Second

func (a *App) startTemporal(ctx context.Context) error {
	server, err := temporaldev.Start(ctx, temporaldev.Options{
		Binary: a.opts.TemporalBinary, DBFile: filepath.Join(a.opts.DataDir, "temporal.db"),
		IP: a.opts.TemporalIP, Port: a.opts.TemporalPort, UIPort: a.opts.TemporalUIPort,
		PortFlag: "--temporal-port", UIPortFlag: "--temporal-ui-port",
		Logger: a.log.With("process", "temporal"),
	})
	if err != nil {
		return err
	}
	a.temporal = server
	a.onStop("Temporal server", func(context.Context) error { return server.Stop() })
	go func() {
		<-server.Done()
		if err := server.Err(); err != nil {
			a.fail(err)
		}
	}()
	return nil
}

func (a *App) dialTemporal(ctx context.Context) error {
	namespace := a.opts.TemporalNamespace
	if a.temporal != nil {
		namespace = temporaldev.Namespace
	}
	c, err := client.DialContext(ctx, client.Options{
		HostPort: a.TemporalAddress(), Namespace: namespace, Logger: log.NewStructuredLogger(a.log),
		Interceptors:      []interceptor.ClientInterceptor{temporaltrace.New(a.telemetry.TracerProvider)}, // covers the worker
		ConnectionOptions: connectionOptions(),
	})
	if err != nil {
		return captioner.Wrap(captioner.Unavailable, err, "no Temporal server answers at %s (--temporal-address)", a.TemporalAddress())
	}
	a.client = c
	a.onStop("Temporal client", func(context.Context) error { c.Close(); return nil })
	return nil
}

// connectionOptions find out soon that Temporal cannot be reached, which a network
// that swallows packets tells nobody, and soon that it can be again.
func connectionOptions() client.ConnectionOptions {
	retry := backoff.DefaultConfig
	retry.BaseDelay, retry.MaxDelay = 200*time.Millisecond, 3*time.Second // the SDK waits up to 10 s
	return client.ConnectionOptions{
		KeepAliveTime:    10 * time.Second, // the shortest that Temporal's server accepts
		KeepAliveTimeout: 5 * time.Second,
		DialOptions:      []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 5 * time.Second})},
	}
}

func (a *App) startWorker(ctx context.Context) error {
	steps := &activities.Activities{
		Store: a.storage.Store, Blobs: a.storage.Blobs,
		DataDir: a.opts.DataDir, DataRoot: a.opts.DataRoot,
		Demonstration: a.Demonstration, ScoreDemonstration: scoreDemonstration,
		Observer: a.telemetry.Metrics, StallAfter: a.opts.StallAfter,
	}
	if a.opts.serves(workflows.EngineTaskQueue) {
		jobs, err := a.startJobs(ctx)
		if err != nil {
			return err
		}
		steps.Extractor, steps.Trainer, steps.OpenModel = jobs, jobs, jobs.OpenModel
	}
	if a.opts.serves(workflows.TaskQueue) {
		a.startTracking()
		a.startOutbox()
	}
	if err := steps.RemoveAbandoned(); err != nil {
		return err
	}
	w, err := worker.New(a.client, steps, worker.Options{TaskQueues: a.opts.TaskQueues, HeartbeatTimeout: a.opts.HeartbeatTimeout, Logger: a.log})
	if err != nil {
		return err
	}
	if err := w.Start(); err != nil {
		return err
	}
	a.onStop("worker", w.Stop)
	a.watch(w.Failed())
	return nil
}

// startJobs makes the engine of the worker's jobs. A library that does not fit is
// told now, not when the first run needs it.
func (a *App) startJobs(ctx context.Context) (*engine.Jobs, error) {
	jobs := engine.NewJobs(engine.Options{
		Binary: a.opts.EngineBinary, Nice: jobNiceness, Logger: a.log.With("process", "job engine"),
		Relay:     a.telemetry.Relay(),
		Restarted: a.telemetry.Metrics.JobEngineRestarted,
	})
	a.onStop("job engine", func(context.Context) error { return jobs.Close() })
	var err error
	if a.tensorFlow, a.devices, err = jobs.Check(ctx); err != nil {
		return nil, err
	}
	a.log.Info("engine", "tensorflow", a.tensorFlow, "devices", a.devices)
	return jobs, nil
}

// watch passes on the error of a part that ends by itself.
func (a *App) watch(failed <-chan error) {
	stopped := make(chan struct{})
	a.onStop("watch", func(context.Context) error { close(stopped); return nil })
	go func() {
		select {
		case err := <-failed:
			a.fail(err)
		case <-stopped:
		}
	}()
}

// scoreDemonstration measures captions by the truth beside the pictures; it
// finds none for any other data set.
func scoreDemonstration(imagesDir string, hypotheses map[string]string, references map[string][]string) (map[string]float64, error) {
	truth, err := demodata.LoadTruth(filepath.Dir(imagesDir))
	if captioner.KindOf(err) == captioner.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	report, err := demodata.Score(hypotheses, references, truth)
	if captioner.KindOf(err) == captioner.NotFound { // pictures of another origin are among them
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return report.Map(), nil
}

// startEngine starts a serving engine on a model's folder.
func (a *App) startEngine(ctx context.Context, modelDir string) (serving.Engine, error) {
	return engine.OpenModel(ctx, engine.Options{
		Binary: a.opts.EngineBinary, Threads: a.opts.ServeThreads, Logger: a.log.With("process", "serving engine"),
		Relay: a.telemetry.Relay(),
	}, modelDir)
}

func (a *App) servingOptions() serving.Options {
	return serving.Options{
		Verify: registry.VerifyDir, Start: a.startEngine,
		Observer: a.telemetry.Metrics, TracerProvider: a.telemetry.TracerProvider, Logger: a.log,
	}
}

func (a *App) startServing() error {
	opts := a.servingOptions()
	opts.Store = a.storage.Store
	opts.Materialise = func(ctx context.Context, version captioner.Digest) (string, error) {
		return registry.Materialise(ctx, a.storage.Blobs, version, a.storage.ModelCache())
	}
	s, err := serving.New(opts)
	if err != nil {
		return err
	}
	s.Start()
	a.serving = s
	a.onStop("serving", s.Stop)
	return nil
}

// startMetrics offers the metrics of a process without API.
func (a *App) startMetrics() error {
	listener, err := net.Listen("tcp", a.opts.MetricsListen)
	if err != nil {
		return captioner.Wrap(captioner.Conflict, err, "metrics cannot be offered on %s: take another address with --metrics-listen", a.opts.MetricsListen)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", a.telemetry.Handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: metricsTimeout, WriteTimeout: metricsTimeout}
	a.onStop("metrics", server.Shutdown)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.fail(err)
		}
	}()
	a.log.Info("metrics are offered", "address", listener.Addr().String())
	return nil
}

// startBundle serves one bundle, without database and Temporal.
func (a *App) startBundle(ctx context.Context) error {
	listener, err := a.listen()
	if err != nil {
		return err
	}
	dir, err := bundleFolder(ctx, a.opts.Bundle, a.opts.DataDir)
	if err != nil {
		return err
	}
	s, err := serving.NewFixed(a.servingOptions(), dir)
	if err != nil {
		return err
	}
	s.Start()
	a.serving = s
	a.onStop("serving", s.Stop)
	return a.startAPI(listener)
}

func (a *App) startAPI(listener net.Listener) error {
	opts := api.Options{
		Captioner: a.serving, ParseConfig: config.ParseWith, DataRoot: a.apiDataRoot(),
		Version: a.opts.Version, Logger: a.log, CORSOrigins: a.opts.CORSOrigins,
		MetricsHandler: a.telemetry.Handler(), Observer: a.telemetry.Metrics,
		TracerProvider: a.telemetry.TracerProvider, Propagator: a.telemetry.Propagator,
		MaxUploadBytes: a.opts.MaxUploadBytes, MaxPixels: a.opts.MaxPixels, DrainDelay: a.opts.DrainDelay,
	}
	if a.storage != nil {
		var err error
		if opts.ConfigSchema, err = config.Schema(); err != nil {
			return err
		}
		opts.Models, opts.Progress, opts.Blobs = a.storage.Store, a.storage.Store, a.storage.Blobs
		runs := &workflows.Client{
			Temporal: a.client, Store: a.storage.Store, UIURL: a.TemporalUIURL(), Namespace: a.opts.TemporalNamespace,
		}
		opts.Runs, opts.Schedules = runs, runs
		opts.Deployer = a.storage.Deployer()
	}
	server, err := api.New(opts)
	if err != nil {
		return err
	}
	// Requests in flight still need the engine, which stops after the API.
	a.onStop("API", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, a.opts.DrainDelay+drainTimeout)
		defer cancel()
		return server.Shutdown(ctx)
	})
	go func() {
		if err := server.Start(listener); err != nil {
			a.fail(err)
		}
	}()
	return nil
}
