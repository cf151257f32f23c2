package app

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/captioner/captioner"
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
func (a *App) checkMLflow(ctx context.Context) error {
	if a.mlflow == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, mlflowTimeout)
	defer cancel()
	err := a.mlflow.Check(ctx, a.mlflowExperiment())
	switch captioner.KindOf(err) {
	case "":
		a.log.Info("runs are delivered to MLflow", "server", a.mlflow.Address(), "experiment", a.mlflowExperiment())
	case captioner.Unavailable:
		a.log.Warn("MLflow is away: runs go on, and are delivered once it is back", "server", a.mlflow.Address(), "error", err)
	default:
		return captioner.Wrap(captioner.KindOf(err), err, "runs cannot be delivered to MLflow at %s", a.mlflow.Address())
	}
	return nil
}

func (a *App) mlflowExperiment() string {
	return cmp.Or(a.opts.MLflowExperiment, os.Getenv("MLFLOW_EXPERIMENT_NAME"), outbox.DefaultName)
}

// startOutbox delivers runs to MLflow. It stops after the worker, and delivers
// the end of its last run.
func (a *App) startOutbox() {
	if a.mlflow == nil {
		return
	}
	o := outbox.New(outbox.Options{
		Store: a.storage.Store, Blobs: a.storage.Blobs, Server: a.mlflow,
		Experiment: a.mlflowExperiment(), Model: a.opts.MLflowModel,
		PageURL: strings.TrimSuffix(cmp.Or(a.opts.PublicURL, a.apiURL), "/"), Build: a.build(), Logger: a.log,
	})
	o.Start()
	a.onStop("delivery to MLflow", o.Stop)
}
