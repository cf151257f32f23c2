// Package outbox delivers to an MLflow server what runs record in the database:
// parameters, curves, scores, artifacts, versions and the alias of the one that
// is live.
//
// The database is the outbox. Nothing is written twice for the server's sake: a
// row for each run says how far it has got. So a run neither waits for the server
// nor fails with it, and what could not be delivered is delivered when it comes
// back, in the order of writing. Of all processes on a database the one that
// holds a lease delivers.
//
// Each point arrives once. Whenever it is not known whether something has
// arrived, after an error or in a process that has just begun, the server is
// asked what it has; see docs/decisions/0012-outbox.md.
package outbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/tracking"
	"github.com/captioner/captioner/internal/tracking/mlflow"
)

const (
	// leaseLength is how long after the death of the process that delivers
	// another one begins.
	leaseLength = 30 * time.Second
	// newest is how many runs are looked at each time, and allRuns how often all are.
	newest  = 100
	allRuns = time.Minute
	// atATime is how many ended runs are delivered before the newest are looked
	// at again.
	atATime = 20
	// maxWait bounds the time between two attempts while the server is away.
	maxWait = time.Minute
	// maxRefusals is how often in a row the server must refuse a run before it
	// is given up.
	maxRefusals = 3
	// lastRound bounds what a process that stops still delivers.
	lastRound = 15 * time.Second
)

// DefaultName is that of the experiment and of the registered model.
const DefaultName = "captioner"

// Options say what is delivered and where to.
type Options struct {
	Store  captioner.Store
	Blobs  captioner.BlobStore
	Server *mlflow.Client
	// Experiment takes the runs, Model the versions; empty means DefaultName.
	Experiment, Model string
	// PageURL is the address of the page, for links to it; empty makes none.
	PageURL string
	// Build is the program's.
	Build tracking.Build

	// Interval is the time between two looks; 0 means 5 s.
	Interval time.Duration
	Logger   *slog.Logger
}

// Outbox delivers to one server.
type Outbox struct {
	opts   Options
	lease  string // its name
	holder string // this process

	experiment string          // its ID, empty until it is known
	caughtUp   time.Time       // when all runs were looked at and delivered
	runs       map[string]*run // those that are being delivered
	live       int64           // the generation of the alias that the server has
	unknown    int64           // one whose version the server does not have yet
	failing    bool            // whether the last round has failed, and that was told

	cancel context.CancelFunc
	work   sync.WaitGroup
}

// New returns an outbox, which begins to deliver with Start.
func New(o Options) *Outbox {
	o.Interval = cmp.Or(o.Interval, 5*time.Second)
	o.Experiment, o.Model = cmp.Or(o.Experiment, DefaultName), cmp.Or(o.Model, DefaultName)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	host, _ := os.Hostname() // "" where it has none
	return &Outbox{
		opts: o, lease: "deliver to " + o.Server.Address(), holder: fmt.Sprintf("%s %d %s", host, os.Getpid(), rand.Text()),
		runs: map[string]*run{},
	}
}

// Start begins to deliver. It returns at once.
func (o *Outbox) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	o.cancel = cancel
	o.work.Go(func() {
		for ctx.Err() == nil {
			if err := o.whileHeld(ctx, o.rounds); err != nil {
				o.tell(ctx, err)
			}
			pause(ctx, o.opts.Interval)
		}
	})
}

// Stop looks once more, so that a run that has just ended is complete, and ends.
func (o *Outbox) Stop(ctx context.Context) error {
	o.cancel()
	o.work.Wait()
	if !o.failing {
		last, cancel := context.WithTimeout(ctx, lastRound)
		defer cancel()
		if err := o.whileHeld(last, o.round); err != nil {
			o.tell(ctx, err)
		}
	}
	if err := o.opts.Store.GiveBackLease(ctx, o.lease, o.holder); err != nil {
		o.opts.Logger.Debug("the lease to deliver to MLflow runs out by itself", "error", err)
	}
	return nil
}

// whileHeld calls f if this process can have the lease, with a context that
// ends when the lease does.
func (o *Outbox) whileHeld(ctx context.Context, f func(context.Context) error) error {
	held, err := o.opts.Store.TakeLease(ctx, o.lease, o.holder, leaseLength)
	if err != nil || !held {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var renewal sync.WaitGroup
	renewal.Go(func() {
		for pause(ctx, leaseLength/3) {
			held, err := o.opts.Store.TakeLease(ctx, o.lease, o.holder, leaseLength)
			if err != nil || !held {
				cancel(cmp.Or(err, errors.New("another process delivers")))
			}
		}
	})
	err = f(ctx)
	if lost := context.Cause(ctx); lost != nil && !errors.Is(lost, context.Canceled) {
		err = lost
	}
	cancel(nil)
	renewal.Wait()
	for _, r := range o.runs {
		r.doubt() // another process may deliver until the next time
	}
	return err
}

// rounds delivers until ctx ends, and waits longer after each failure.
func (o *Outbox) rounds(ctx context.Context) error {
	failures := 0
	for ctx.Err() == nil {
		if o.tell(ctx, o.round(ctx)) {
			failures++
		} else {
			failures = 0
		}
		pause(ctx, min(o.opts.Interval<<min(failures, 10), maxWait))
	}
	return nil
}

// pause waits; false if ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// tell logs the first failure of several, and their end, and reports whether
// this is one. The end of ctx is none.
func (o *Outbox) tell(ctx context.Context, err error) (failed bool) {
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil && !o.failing:
		o.opts.Logger.Warn("nothing can be delivered to MLflow; runs go on, and all is delivered later",
			"server", o.opts.Server.Address(), "error", err)
	case err == nil && o.failing:
		o.opts.Logger.Info("MLflow is back and has everything", "server", o.opts.Server.Address())
	}
	o.failing = err != nil
	return o.failing
}

// round delivers what is new.
func (o *Outbox) round(ctx context.Context) error {
	among, now := newest, time.Now()
	if now.Sub(o.caughtUp) > allRuns {
		among = 0
	}
	open, err := o.opts.Store.Undelivered(ctx, o.opts.Server.Address(), among)
	if err != nil {
		return err
	}
	ended := 0
	for _, d := range open {
		complete, err := o.deliver(ctx, d)
		if err != nil {
			return err
		}
		if complete {
			ended++
		}
		if ended == atATime {
			return nil // and so all runs are looked at again
		}
	}
	if among == 0 {
		o.caughtUp = now
	}
	return o.deliverAlias(ctx)
}

// deliver brings the server up to a run's record, and reports whether that has
// ended. That the server refuses the run is no error: the others may go well.
func (o *Outbox) deliver(ctx context.Context, d captioner.Delivery) (complete bool, err error) {
	record, err := o.opts.Store.RunRecord(ctx, d.RunID)
	if err != nil {
		return false, err
	}
	r := o.runs[d.RunID]
	if r == nil {
		r = &run{outbox: o}
		o.runs[d.RunID] = r
	}
	r.record, r.delivery = record, d
	if err = r.deliver(ctx); err == nil {
		r.refusals = 0
		if complete = r.complete(); complete {
			delete(o.runs, d.RunID)
		}
		return complete, nil
	}
	r.doubt()
	o.experiment = "" // it may be gone
	if !mlflow.Refused(err) {
		return false, err
	}
	if r.refusals++; r.refusals < maxRefusals {
		o.opts.Logger.Debug("MLflow refuses a run", "run", d.RunID, "error", err)
		return false, nil
	}
	o.opts.Logger.Warn("MLflow refuses a run, which is not delivered any further", "run", d.RunID, "error", err)
	delete(o.runs, d.RunID)
	r.delivery.Refused = err.Error()
	return false, o.opts.Store.PutDelivery(ctx, r.delivery)
}

// deliverAlias points the registry's alias at the version that is live.
func (o *Outbox) deliverAlias(ctx context.Context) error {
	alias, err := o.opts.Store.Alias(ctx, captioner.Production)
	if captioner.KindOf(err) == captioner.NotFound || err == nil && (alias.Generation == o.live || alias.Generation == o.unknown) {
		return nil
	}
	if err != nil {
		return err
	}
	version, err := o.opts.Server.ModelVersionTagged(ctx, o.opts.Model, tagVersion, string(alias.Version))
	if captioner.KindOf(err) == captioner.NotFound {
		o.unknown = alias.Generation // until another run has been delivered
		return nil
	}
	if err == nil {
		err = o.opts.Server.SetAlias(ctx, o.opts.Model, captioner.Production, version.Version)
	}
	if err == nil {
		o.live = alias.Generation
	}
	return err
}
