package app

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"

	"github.com/captioner/captioner/internal/doctor"
	"github.com/captioner/captioner/internal/engine"
	"github.com/captioner/captioner/internal/store"
	"github.com/captioner/captioner/workflows"
)

// Checks are those of everything that a process with these options needs.
func Checks(o Options) ([]doctor.Check, error) {
	var err error
	if o.DataDir, err = filepath.Abs(o.DataDir); err != nil {
		return nil, err
	}
	checks := o.checksBeforeStart()
	if o.Local {
		running := func(context.Context) bool { return o.isRunning() }
		checks = append(checks, doctor.Check{Name: "Temporal program", Run: func(context.Context) doctor.Result {
			path, err := findTemporal(o.TemporalBinary)
			if err != nil {
				return doctor.Fail(err)
			}
			return doctor.Fine("%s", path)
		}},
			doctor.Listen("Temporal port", net.JoinHostPort(o.TemporalIP, strconv.Itoa(o.TemporalPort)), "--temporal-port", running),
			doctor.Listen("Temporal Web UI port", net.JoinHostPort(o.TemporalIP, strconv.Itoa(o.TemporalUIPort)), "--temporal-ui-port", running))
	}
	if o.needsEngine() {
		checks = append(checks, checkEngine(o.EngineBinary))
	}
	if o.API {
		checks = append(checks, doctor.Listen("API port", o.Listen, "--listen", doctor.ServesAt("http://"+reachable(o.Listen))))
	}
	if o.MetricsListen != "" {
		checks = append(checks, doctor.Listen("metrics port", o.MetricsListen, "--metrics-listen", func(context.Context) bool { return false }))
	}
	return append(checks, doctor.Collector(os.Getenv)), nil
}

// checksBeforeStart are those that a start makes before it changes anything. What
// it does not ask here, such as for its ports, it takes at once.
func (o Options) checksBeforeStart() []doctor.Check {
	if o.Bundle != "" {
		return nil
	}
	checks := []doctor.Check{doctor.DataFolder(o.DataDir), checkDatabase(o.storage(nil))}
	if o.Blobs != "" {
		checks = append(checks, checkBucket(o.storage(nil)))
	}
	if !o.Local {
		checks = append(checks, doctor.Temporal(o.TemporalAddress, o.TemporalNamespace))
	}
	if o.Worker && o.serves(workflows.TaskQueue) {
		server, err := mlflowClient(o.MLflowURI)
		switch {
		case err != nil:
			checks = append(checks, doctor.Check{Name: "MLflow", Run: func(context.Context) doctor.Result { return doctor.Fail(err) }})
		case server != nil:
			checks = append(checks, checkMLflow(server, o.mlflowExperiment()))
		}
	}
	return checks
}

// check makes the checks before the start, and tells of all that fail at once.
func (a *App) check(ctx context.Context) error {
	findings := doctor.Run(ctx, a.opts.checksBeforeStart())
	for _, f := range findings {
		switch f.State {
		case doctor.Warning:
			a.log.Warn("check before the start", "check", f.Name, "finding", f.Detail)
		case doctor.OK:
			a.log.Info("check before the start", "check", f.Name, "finding", f.Detail)
		}
	}
	return doctor.Err(findings)
}

// checkDatabase also has a look at each page of an SQLite file.
func checkDatabase(o StorageOptions) doctor.Check {
	check := doctor.Database(o.address())
	look := check.Run
	check.Run = func(ctx context.Context) doctor.Result {
		if err := store.QuickCheck(ctx, o.address()); err != nil {
			return doctor.Fail(damaged(err, o))
		}
		return look(ctx)
	}
	return check
}

// checkBucket tries what is done with an object store.
func checkBucket(o StorageOptions) doctor.Check {
	return doctor.Check{Name: "object store", Run: func(ctx context.Context) doctor.Result {
		bucket, err := openBucket(ctx, o)
		if err != nil {
			return doctor.Fail(err)
		}
		if err := bucket.Close(); err != nil {
			return doctor.Fail(err)
		}
		return doctor.Fine("%s can be listed, written, read and deleted from", bucket)
	}}
}

// checkEngine starts the engine's program and asks it for its TensorFlow.
func checkEngine(given string) doctor.Check {
	return doctor.Check{Name: "engine", Run: func(ctx context.Context) doctor.Result {
		binary, err := findEngine(given)
		if err != nil {
			return doctor.Fail(err)
		}
		jobs := engine.NewJobs(engine.Options{Binary: binary, Nice: jobNiceness, Logger: slog.New(slog.DiscardHandler)})
		version, devices, err := jobs.Check(ctx)
		if closeErr := jobs.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return doctor.Fail(err)
		}
		return doctor.Fine("TensorFlow %s on %s", version, strings.Join(devices, ", "))
	}}
}

// isRunning reports whether a local mode works in the data folder.
func (o Options) isRunning() bool {
	path := filepath.Join(o.DataDir, "lock")
	if _, err := os.Stat(path); err != nil { // trying the lock would make it
		return false
	}
	lock := flock.New(path)
	locked, err := lock.TryLock()
	if locked {
		_ = lock.Unlock()
	}
	return err == nil && !locked
}
