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
	// Records go first. What is left of them then decides about the blobs.
	before, err := c.load(ctx)
	if err != nil {
		return c.report, err
	}
	unneeded, err := c.unneeded(ctx, before)
	if err != nil {
		return c.report, err
	}
	left := before.without(unneeded)
	if o.Delete {
		if err := c.deleteRecords(ctx, unneeded); err != nil {
			return c.report, err
		}
		if left, err = c.load(ctx); err != nil {
			return c.report, err
		}
	} else {
		c.reportRecords(unneeded)
	}
	if err := c.collectBlobs(ctx, left); err != nil {
		return c.report, err
	}
	if o.DataDir != "" {
		if err := c.collectFiles(left); err != nil {
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

// unneeded are the records that go.
type unneeded struct {
	versions    []captioner.Digest
	results     []string
	checkpoints []string // run keys
	uses        []string // runs that have ended, whose notes go
}

// unneeded decides which records go: those that are old and cannot be reached
// from the versions that are kept and the runs that go on.
func (c *collector) unneeded(ctx context.Context, s *state) (unneeded, error) {
	var out unneeded
	kept := c.keptVersions(s)
	w := c.walk(s, kept)
	for version := range kept {
		w.reach(string(version))
	}
	for _, id := range s.active {
		w.reachRun(id)
	}
	if err := w.finish(ctx); err != nil {
		return out, err
	}
	for _, v := range s.versions {
		if v.DeletedAt == nil && !kept[v.Version] {
			out.versions = append(out.versions, v.Version)
		}
	}
	for id, uses := range s.uses {
		if !w.runs[id] && slices.ContainsFunc(uses, func(u captioner.Use) bool { return u.NotedAt.Before(c.cutoff) }) {
			out.uses = append(out.uses, id)
		}
	}
	if s.unnoted {
		return out, nil // a run goes on of which nobody knows what it uses
	}
	for key, r := range s.results {
		if !w.seen[key] && r.CreatedAt.Before(c.cutoff) {
			out.results = append(out.results, key)
		}
	}
	for key, checkpoint := range s.checkpoints {
		if !w.seen[key] && !w.seen[string(checkpoint.Blob)] && checkpoint.CreatedAt.Before(c.cutoff) {
			out.checkpoints = append(out.checkpoints, key)
		}
	}
	slices.Sort(out.results)
	slices.Sort(out.checkpoints)
	return out, nil
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

// deleteRecords deletes what is still not needed at this moment.
func (c *collector) deleteRecords(ctx context.Context, u unneeded) error {
	for _, version := range u.versions {
		retired, err := c.records.RetireVersion(ctx, version, c.cutoff)
		if err != nil {
			return err
		}
		if retired {
			c.report.add(Version, string(version), 0)
		}
	}
	for _, key := range u.results {
		deleted, err := c.records.ForgetStepResult(ctx, key, c.cutoff)
		if err != nil {
			return err
		}
		if deleted {
			c.report.add(Result, key, 0)
		}
	}
	for _, key := range u.checkpoints {
		deleted, err := c.records.ForgetCheckpoint(ctx, key, c.cutoff)
		if err != nil {
			return err
		}
		if deleted {
			c.report.add(Checkpoint, key, 0)
		}
	}
	for _, id := range u.uses {
		if err := c.records.ForgetUses(ctx, id, c.cutoff); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) reportRecords(u unneeded) {
	for _, version := range u.versions {
		c.report.add(Version, string(version), 0)
	}
	for _, key := range u.results {
		c.report.add(Result, key, 0)
	}
	for _, key := range u.checkpoints {
		c.report.add(Checkpoint, key, 0)
	}
}

// collectBlobs deletes the blobs that no record names any more.
func (c *collector) collectBlobs(ctx context.Context, s *state) error {
	kept := map[captioner.Digest]bool{}
	for _, v := range s.versions {
		if v.DeletedAt == nil {
			kept[v.Version] = true
		}
	}
	w := c.walk(s, kept)
	for version := range kept {
		w.reach(string(version))
	}
	for key := range s.results {
		w.reach(key)
	}
	for key := range s.checkpoints {
		w.reach(key)
	}
	for _, id := range s.active {
		w.reachRun(id)
	}
	if err := w.finish(ctx); err != nil {
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
