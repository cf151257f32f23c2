// Package retention finds what nobody needs any more, and deletes it: records of
// results and checkpoints, blobs, unpacked bundles, files of old runs, and what
// processes that died have left behind.
//
// What is needed is what can be reached from the versions that are kept (live or
// next to be rolled back to, served by a replica, pinned, and the last few), and
// from the runs that go on. References are not listed type by type: a record or a
// blob of JSON reaches whatever it names by a digest, so that a kind of record
// that is added later is covered.
//
// It is safe beside trainings. A run notes that it uses a kept result before it
// looks for it, so that a result is deleted before it was noted, and then not
// found, or not at all. A blob that a new record names was put just before: a blob
// goes only if no record names it once the others are gone, and if it was last put
// before the grace time began, which its store decides at that moment.
package retention

import (
	"context"
	"slices"
	"time"

	"github.com/captioner/captioner"
)

// Defaults of [Options].
const (
	DefaultKeepVersions = 5
	// DefaultGrace is far longer than any step takes from putting a blob to
	// recording it, which is minutes, and leaves a day to resume a failed run.
	DefaultGrace = 24 * time.Hour
)

// replicaSeenWithin is how old the heartbeat of a server may be whose version
// stays; servers send one a second.
const replicaSeenWithin = time.Minute

// longestRun is when a run that has noted nothing, and whose end nobody has
// recorded, is taken for one that is no more: a training may take 30 days.
const longestRun = 31 * 24 * time.Hour

// Options say what is kept.
type Options struct {
	// KeepVersions is how many of the newest versions are.
	KeepVersions int
	// Grace is how long everything is kept after it was last written or used.
	Grace time.Duration
	// RollbackTarget is the version that a rollback would make live now.
	RollbackTarget captioner.Digest
	// DataDir has the folders cache/ and runs/; empty leaves files alone.
	DataDir string
	// Delete deletes; without it the report says what would be.
	Delete bool
	// Now tells the time; nil means time.Now.
	Now func() time.Time
}

// Kind says what an item is.
type Kind string

const (
	Version    Kind = "version"    // its files are deleted, its record stays
	Result     Kind = "result"     // of a step, which is done again when a run needs it
	Checkpoint Kind = "checkpoint" // of a training that no kept version comes from
	Blob       Kind = "blob"       // the bytes behind all of these
	Cache      Kind = "cache"      // a bundle unpacked for engines
	RunFiles   Kind = "run files"  // all but the summary of a run that has ended
	LeftOver   Kind = "left over"  // what a process that died has left behind
)

// Kinds are all of them, in the order in which they are reported.
var Kinds = []Kind{Version, Result, Checkpoint, Blob, Cache, RunFiles, LeftOver}

// Item is something that is not needed.
type Item struct {
	Kind Kind `json:"kind"`
	// Name is a digest, a key, or a path below the data folder.
	Name string `json:"name"`
	// Bytes is its size on the disk, 0 for a record.
	Bytes int64 `json:"bytes"`
}

// Report says what was deleted, or would be.
type Report struct {
	Deleted bool   `json:"deleted"`
	Items   []Item `json:"items"`
	// Bytes is the sum over the items. KeptBlobs and KeptBytes are what is left of
	// the blobs.
	Bytes     int64 `json:"bytes"`
	KeptBlobs int   `json:"kept_blobs"`
	KeptBytes int64 `json:"kept_bytes"`
}

// Of counts the items of a kind.
func (r Report) Of(kind Kind) (count int, bytes int64) {
	for _, item := range r.Items {
		if item.Kind == kind {
			count++
			bytes += item.Bytes
		}
	}
	return count, bytes
}

func (r *Report) add(kind Kind, name string, bytes int64) {
	r.Items = append(r.Items, Item{kind, name, bytes})
	r.Bytes += bytes
}

// Collect finds what is not needed and, where the options say so, deletes it.
// Several processes may do so at once, beside runs and servers. A damaged blob
// that is still needed is Corrupt: what it names is not known, and nothing is
// deleted.
func Collect(ctx context.Context, records captioner.Store, blobs captioner.BlobStore, o Options) (Report, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &collector{
		records: records, blobs: blobs, opts: o, cutoff: o.Now().Add(-o.Grace),
		report: Report{Deleted: o.Delete, Items: []Item{}}, names: map[captioner.Digest][]string{},
	}
	// Versions go first, then the records that none of those left needs, then the
	// blobs that no record left names: what is pinned or used at this moment either
	// stops the one, or comes in time for the next.
	s, err := c.load(ctx)
	if err != nil {
		return c.report, err
	}
	for _, collect := range []func(context.Context, *state) (*state, error){c.collectVersions, c.collectRecords} {
		if s, err = collect(ctx, s); err != nil {
			return c.report, err
		}
	}
	if err := c.collectBlobs(ctx, s); err != nil {
		return c.report, err
	}
	if o.DataDir != "" {
		if err := c.collectFiles(s); err != nil {
			return c.report, err
		}
	}
	return c.report, nil
}

// collector is one collection.
type collector struct {
	records captioner.Store
	blobs   captioner.BlobStore
	opts    Options
	// cutoff is when the grace time began: what is younger stays.
	cutoff time.Time
	report Report
	// names has what each blob that was read names.
	names map[captioner.Digest][]string
}

// left returns the state once those records are gone: as it is by now, or as it
// would be where nothing is deleted.
func (c *collector) left(ctx context.Context, s *state, gone removed) (*state, error) {
	if c.opts.Delete {
		return c.load(ctx)
	}
	return s.without(gone), nil
}

// collectVersions retires the versions that are not kept.
func (c *collector) collectVersions(ctx context.Context, s *state) (*state, error) {
	var gone removed
	kept := c.keptVersions(s)
	// What is damaged shows before anything is deleted.
	w := c.walk(s)
	w.kept = kept
	if err := c.reachNeeded(ctx, w); err != nil {
		return nil, err
	}
	for version := range s.undeleted() {
		if kept[version] {
			continue
		}
		if c.opts.Delete {
			retired, err := c.records.RetireVersion(ctx, version, c.cutoff)
			if err != nil {
				return nil, err
			}
			if !retired {
				continue
			}
		}
		gone.versions = append(gone.versions, version)
		c.report.add(Version, string(version), 0)
	}
	return c.left(ctx, s, gone)
}

// collectRecords deletes results and checkpoints that are old and cannot be reached
// from a version or a run that goes on, and what ended runs have noted.
func (c *collector) collectRecords(ctx context.Context, s *state) (*state, error) {
	w := c.walk(s)
	if err := c.reachNeeded(ctx, w); err != nil {
		return nil, err
	}
	var gone removed
	if !s.unnoted { // else a run goes on of which nobody knows what it uses
		for key, r := range s.results {
			if !w.seen[key] && r.CreatedAt.Before(c.cutoff) {
				gone.results = append(gone.results, key)
			}
		}
		for key, checkpoint := range s.checkpoints {
			if !w.seen[key] && !w.seen[string(checkpoint.Blob)] && checkpoint.CreatedAt.Before(c.cutoff) {
				gone.checkpoints = append(gone.checkpoints, key)
			}
		}
	}
	slices.Sort(gone.results)
	slices.Sort(gone.checkpoints)
	if err := c.forget(ctx, Result, gone.results, c.records.ForgetStepResult); err != nil {
		return nil, err
	}
	if err := c.forget(ctx, Checkpoint, gone.checkpoints, c.records.ForgetCheckpoint); err != nil {
		return nil, err
	}
	for id := range s.uses {
		if c.opts.Delete && !w.runs[id] {
			if err := c.records.ForgetUses(ctx, id, c.cutoff); err != nil {
				return nil, err
			}
		}
	}
	return c.left(ctx, s, gone)
}

// reachNeeded goes through what can be reached from the versions that are left and
// the runs that go on.
func (c *collector) reachNeeded(ctx context.Context, w *walk) error {
	w.reachVersions()
	w.reach(string(w.s.log)) // each record names the one before
	for _, id := range w.s.active {
		w.reachRun(id)
	}
	return w.finish(ctx)
}

// forget deletes records that are still not needed at this moment.
func (c *collector) forget(ctx context.Context, kind Kind, keys []string, forget func(context.Context, string, time.Time) (bool, error)) error {
	for _, key := range keys {
		if c.opts.Delete {
			deleted, err := forget(ctx, key, c.cutoff)
			if err != nil {
				return err
			}
			if !deleted {
				continue
			}
		}
		c.report.add(kind, key, 0)
	}
	return nil
}

// keptVersions are the versions whose files stay.
func (c *collector) keptVersions(s *state) map[captioner.Digest]bool {
	kept := map[captioner.Digest]bool{}
	newest := 0
	for _, v := range s.versions { // the newest first
		if v.DeletedAt != nil {
			continue
		}
		newest++
		if newest <= c.opts.KeepVersions || v.PinnedAt != nil || s.live[v.Version] || !v.RegisteredAt.Before(c.cutoff) {
			kept[v.Version] = true
		}
	}
	// A run that found its version made already is about to decide about it.
	for _, id := range s.active {
		for _, u := range s.uses[id] {
			for _, name := range s.named(u.Digest) {
				if version := captioner.Digest(name); s.registered[version] {
					kept[version] = true
				}
			}
		}
	}
	return kept
}

// collectBlobs deletes the blobs that no record names any more.
func (c *collector) collectBlobs(ctx context.Context, s *state) error {
	w := c.walk(s)
	for key := range s.results {
		w.reach(key)
	}
	for key := range s.checkpoints {
		w.reach(key)
	}
	if err := c.reachNeeded(ctx, w); err != nil {
		return err
	}
	for _, info := range s.blobs {
		if w.seen[string(info.Digest)] || !info.PutAt.Before(c.cutoff) {
			c.keep(info)
			continue
		}
		if c.opts.Delete {
			deleted, err := c.blobs.DeleteOlder(ctx, info.Digest, c.cutoff)
			if err != nil {
				return err
			}
			if !deleted {
				c.keep(info)
				continue
			}
		}
		c.report.add(Blob, string(info.Digest), info.Size)
	}
	return nil
}

func (c *collector) keep(info captioner.BlobInfo) {
	c.report.KeptBlobs++
	c.report.KeptBytes += info.Size
}
