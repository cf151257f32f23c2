package app

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/doctor"
	"github.com/captioner/captioner/internal/engine"
	"github.com/captioner/captioner/internal/tracking"
	"github.com/captioner/captioner/internal/tracking/mlflow"
	"github.com/captioner/captioner/internal/tracking/outbox"
)

// mlflowTimeout bounds the wait for MLflow at the start.
const mlflowTimeout = 10 * time.Second

// startTracking writes the files of runs. It stops after the worker, whose last
// run it completes.
func (a *App) startTracking() {
	t := tracking.New(tracking.Options{
		Store: a.storage.Store, Blobs: a.storage.Blobs, Dir: filepath.Join(a.opts.DataDir, "runs"), Build: a.build(),
		TensorFlow: engine.TensorFlowVersion, Devices: a.devices, Logger: a.log,
	})
	t.Start()
	a.onStop("tracking", t.Stop)
}

// build is what git tells of this program.
func (a *App) build() tracking.Build {
	return tracking.Build{
		Version: a.opts.Version, Commit: a.opts.Commit, Branch: a.opts.Branch,
		Dirty: strings.HasSuffix(a.opts.Version, "-dirty"), // as `git describe --dirty` says
	}
}

// mlflowClient returns a client of the server at an address, or at the one in
// MLflow's own variables, which have the credentials in either case; nil for none.
func mlflowClient(uri string) (*mlflow.Client, error) {
	options := mlflow.FromEnvironment(os.Getenv)
	options.URI = cmp.Or(uri, options.URI)
	if options.URI == "" {
		return nil, nil
	}
	return mlflow.New(options)
}

// checkMLflow refuses settings with which nothing can be delivered. A server
// that is away is none: it may come back.
func checkMLflow(server *mlflow.Client, experiment string) doctor.Check {
	return doctor.Check{Name: "MLflow", Run: func(ctx context.Context) doctor.Result {
		ctx, cancel := context.WithTimeout(ctx, mlflowTimeout)
		defer cancel()
		err := server.Check(ctx, experiment)
		switch captioner.KindOf(err) {
		case "":
			return doctor.Fine("runs are delivered to %s, experiment %q", server.Address(), experiment)
		case captioner.Unavailable:
			return doctor.Warn("MLflow is away: runs go on, and are delivered to %s once it is back: %v", server.Address(), err)
		}
		return doctor.Fail(captioner.Wrap(captioner.KindOf(err), err, "runs cannot be delivered to MLflow at %s", server.Address()))
	}}
}

func (o Options) mlflowExperiment() string {
	return cmp.Or(o.MLflowExperiment, os.Getenv("MLFLOW_EXPERIMENT_NAME"), outbox.DefaultName)
}

// startOutbox delivers runs to MLflow. It stops after the worker, and delivers
// the end of its last run.
func (a *App) startOutbox() {
	if a.mlflow == nil {
		return
	}
	o := outbox.New(outbox.Options{
		Store: a.storage.Store, Blobs: a.storage.Blobs, Server: a.mlflow,
		Experiment: a.opts.mlflowExperiment(), Model: a.opts.MLflowModel,
		PageURL: strings.TrimSuffix(cmp.Or(a.opts.PublicURL, a.apiURL), "/"), Build: a.build(), Logger: a.log,
	})
	o.Start()
	a.onStop("delivery to MLflow", o.Stop)
}
