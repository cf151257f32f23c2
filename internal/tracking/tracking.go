package tracking

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
)

const (
	// newest is how many runs are looked at each time, beside those that are
	// being tracked.
	newest = 20
	// maxFailures is how often the files of a run that has ended are tried
	// before they are left as they are, until the next start.
	maxFailures = 10
	// lockFile is held by the one process that writes below the folder.
	lockFile = ".tracking.lock"
)

// Options say what a [Tracker] reads and where it writes.
type Options struct {
	Store captioner.Store
	Blobs captioner.BlobStore
	// Dir is the folder of the runs' folders.
	Dir string

	// Build is the program's, for the summary; TensorFlow is the version that its
	// engines run, and Devices what they compute on.
	Build      Build
	TensorFlow string
	Devices    []string

	// Interval is the time between two looks; 0 means 2 s.
	Interval time.Duration
	Logger   *slog.Logger
	// Now tells the time; nil means time.Now.
	Now func() time.Time
	// Files are written through; nil means the operating system's.
	Files atomicfile.FileSystem
}

// Tracker writes the files of all runs that it finds in the database, while
// they go on, and those of runs that have ended since it last looked.
type Tracker struct {
	opts Options
	lock *flock.Flock

	runs   map[string]*runFiles // those that are not complete
	done   map[string]time.Time // when the runs ended that are
	caught bool                 // whether all runs were looked at once

	cancel context.CancelFunc
	work   sync.WaitGroup
}

// New returns a tracker, which begins with Start.
func New(o Options) *Tracker {
	o.Interval = cmp.Or(o.Interval, 2*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Files == nil {
		o.Files = atomicfile.OS{}
	}
	return &Tracker{opts: o, runs: map[string]*runFiles{}, done: map[string]time.Time{}}
}

// Start begins to look for runs. It returns at once.
func (t *Tracker) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	t.work.Go(func() {
		ticker := time.NewTicker(t.opts.Interval)
		defer ticker.Stop()
		for {
			t.sync(ctx)
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	})
}

// Stop looks once more, so that a run that has just ended is complete, and ends.
func (t *Tracker) Stop(ctx context.Context) error {
	t.cancel()
	t.work.Wait()
	t.sync(ctx)
	for _, files := range t.runs {
		files.close()
	}
	if t.lock != nil {
		return t.lock.Close()
	}
	return nil
}

// sync brings the files of all runs up to date. What fails is tried again.
func (t *Tracker) sync(ctx context.Context) {
	if !t.locked() {
		return
	}
	records, err := t.records(ctx)
	if err != nil {
		if ctx.Err() == nil {
			t.opts.Logger.Warn("the runs' files wait for the database", "error", err)
		}
		return
	}
	for _, r := range records {
		if ctx.Err() != nil {
			return
		}
		t.syncRun(ctx, r)
	}
	t.caught = true
}

// locked reports whether this process is the one that writes. Several can share
// a folder.
func (t *Tracker) locked() bool {
	if t.lock != nil {
		return true
	}
	if err := os.MkdirAll(t.opts.Dir, 0o755); err != nil {
		t.opts.Logger.Warn("the folder of the runs cannot be made", "error", err)
		return false
	}
	lock := flock.New(filepath.Join(t.opts.Dir, lockFile))
	held, err := lock.TryLock()
	if err != nil {
		t.opts.Logger.Warn("the folder of the runs cannot be locked", "error", err)
	}
	if !held {
		_ = lock.Close()
		return false
	}
	t.lock = lock
	return true
}

// records returns the runs to look at: at first all, then the newest and those
// that are being tracked.
func (t *Tracker) records(ctx context.Context) ([]captioner.RunRecord, error) {
	limit := newest
	if !t.caught {
		limit = 0
	}
	records, err := t.opts.Store.RunRecords(ctx, limit)
	if err != nil {
		return nil, err
	}
	listed := map[string]bool{}
	for _, r := range records {
		listed[r.ID] = true
	}
	for id := range t.runs {
		if listed[id] {
			continue
		}
		r, err := t.opts.Store.RunRecord(ctx, id)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

func (t *Tracker) syncRun(ctx context.Context, r captioner.RunRecord) {
	ended := r.State != captioner.RunRunning && r.FinishedAt != nil
	files := t.runs[r.ID]
	if files == nil {
		if ended && t.isDone(r) {
			return
		}
		files = t.newRunFiles(r.ID)
		t.runs[r.ID] = files
	}
	err := files.sync(ctx, r)
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		files.warn("the run", err)
		files.failures++
	} else {
		files.failures = 0
	}
	if ended && (err == nil || files.failures >= maxFailures) {
		files.close()
		delete(t.runs, r.ID)
		t.done[r.ID] = *r.FinishedAt
	}
}

// isDone reports whether the files of an ended run are complete.
func (t *Tracker) isDone(r captioner.RunRecord) bool {
	if at, ok := t.done[r.ID]; ok && at.Equal(*r.FinishedAt) {
		return true
	}
	s, ok := readSummary(filepath.Join(t.opts.Dir, Folder(r.ID), summaryFile))
	if !ok || !s.complete(r) {
		return false
	}
	t.done[r.ID] = *r.FinishedAt
	return true
}
