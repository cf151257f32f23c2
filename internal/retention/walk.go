package retention

import (
	"context"
	"encoding/json"

	"github.com/captioner/captioner"
)

// walk goes through what can be reached. Everything has a digest: blobs and
// versions their own, kept results and trainings their keys.
type walk struct {
	c *collector
	s *state
	// kept are the versions that are not deleted. The others may be named, as what
	// was live before, and are not reached by that.
	kept  map[captioner.Digest]bool
	seen  map[string]bool
	runs  map[string]bool
	queue []string
	// keys are the trainings whose samples are to be followed.
	keys []string
}

func (c *collector) walk(s *state) *walk {
	return &walk{c: c, s: s, kept: s.undeleted(), seen: map[string]bool{}, runs: map[string]bool{}}
}

// reachVersions reaches every version that is not deleted.
func (w *walk) reachVersions() {
	for version := range w.kept {
		w.reach(string(version))
	}
}

// reach adds digests to what is reached.
func (w *walk) reach(digests ...string) {
	for _, digest := range digests {
		version := captioner.Digest(digest)
		if digest == "" || w.seen[digest] || w.s.registered[version] && !w.kept[version] {
			continue
		}
		w.seen[digest] = true
		w.queue = append(w.queue, digest)
	}
}

// reachRun reaches what a run uses and has made: results, data set, captions,
// training with its samples, deployment.
func (w *walk) reachRun(id string) {
	if id == "" || w.runs[id] {
		return
	}
	w.runs[id] = true
	for _, u := range w.s.uses[id] {
		w.reach(u.Digest)
	}
	r := w.s.runs[id]
	if p := r.Progress; p != nil {
		w.reach(p.RunKey, string(p.Dataset))
		for _, captions := range p.Captions {
			w.reach(string(captions))
		}
		if p.RunKey != "" {
			w.keys = append(w.keys, p.RunKey)
		}
	}
	if r.Result != nil {
		w.reach(string(r.Result.Deployment))
	}
}

// finish follows everything that was reached, to the end.
func (w *walk) finish(ctx context.Context) error {
	byVersion := map[captioner.Digest]captioner.ModelVersion{}
	for _, v := range w.s.versions {
		byVersion[v.Version] = v
	}
	for len(w.queue) > 0 || len(w.keys) > 0 {
		if len(w.queue) == 0 {
			if err := w.samples(ctx); err != nil {
				return err
			}
			continue
		}
		next := w.queue[len(w.queue)-1]
		w.queue = w.queue[:len(w.queue)-1]
		if v, ok := byVersion[captioner.Digest(next)]; ok {
			lineage, err := json.Marshal(v.Lineage)
			if err != nil {
				return captioner.Wrap(captioner.Internal, err, "read the lineage of version %s", v.Version.Short())
			}
			w.reach(digestsIn(lineage)...)
			w.reachRun(v.RunID)
		}
		w.reach(w.s.named(next)...)
		checkpoint := w.s.checkpoints[next]
		w.reach(string(checkpoint.Blob), string(checkpoint.PreviousBlob))
		names, err := w.c.namedBy(ctx, w.s, captioner.Digest(next))
		if err != nil {
			return err
		}
		w.reach(names...)
	}
	return nil
}

// samples reaches the pictures of the samples of the trainings so far.
func (w *walk) samples(ctx context.Context) error {
	keys := w.keys
	w.keys = nil
	for _, key := range keys {
		samples, _, err := w.c.records.Samples(ctx, key, 0, 0)
		if err != nil {
			return err
		}
		for _, s := range samples {
			w.reach(string(s.Picture))
		}
	}
	return nil
}

// namedBy returns what a blob names, if it is JSON: manifests, data sets, captions.
// A blob is read once in a collection.
func (c *collector) namedBy(ctx context.Context, s *state, digest captioner.Digest) ([]string, error) {
	if _, there := s.blobs[digest]; !there {
		return nil, nil
	}
	if names, read := c.names[digest]; read {
		return names, nil
	}
	names, err := c.read(ctx, digest)
	switch captioner.KindOf(err) {
	case "":
	case captioner.NotFound:
		return nil, nil // a checkpoint that a newer one has replaced
	case captioner.Corrupt:
		return nil, captioner.Wrap(captioner.Corrupt, err,
			"blob %s is needed and damaged, and what it names is not known: nothing more is deleted", digest.Short())
	default:
		return nil, err
	}
	// A data set names every picture by its digest; those that are no blobs are
	// of no concern.
	known := names[:0]
	for _, name := range names {
		_, isBlob := s.blobs[captioner.Digest(name)]
		if isBlob {
			known = append(known, name)
		}
	}
	c.names[digest] = known
	return known, nil
}

func (c *collector) read(ctx context.Context, digest captioner.Digest) (names []string, err error) {
	r, err := c.blobs.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := r.Close(); err == nil {
			err = closeErr
		}
	}()
	return digestsInJSON(r)
}
