package retention

import (
	"context"
	"slices"

	"github.com/captioner/captioner"
)

// state is what the records and the blob store hold.
type state struct {
	versions   []captioner.ModelVersion // the newest first
	registered map[captioner.Digest]bool
	live       map[captioner.Digest]bool // live, about to be, or served
	runs       map[string]captioner.RunRecord
	uses       map[string][]captioner.Use // by run
	// active are the runs that go on. unnoted says that one of them has not noted
	// anything: it has just begun, or began with a program that noted nothing.
	active      []string
	unnoted     bool
	results     map[string]captioner.StepResult // by key
	checkpoints map[string]captioner.Checkpoint // by run key
	blobs       map[captioner.Digest]captioner.BlobInfo
	// log is the newest record of the deployment log.
	log captioner.Digest
}

// load reads the state. Records come before the blobs, see the package's comment.
func (c *collector) load(ctx context.Context) (*state, error) {
	s := &state{
		registered: map[captioner.Digest]bool{}, live: map[captioner.Digest]bool{},
		runs: map[string]captioner.RunRecord{}, uses: map[string][]captioner.Use{},
		results: map[string]captioner.StepResult{}, checkpoints: map[string]captioner.Checkpoint{},
		blobs: map[captioner.Digest]captioner.BlobInfo{},
	}
	for _, load := range []func(context.Context, *state) error{c.loadRuns, c.loadVersions, c.loadResults} {
		if err := load(ctx, s); err != nil {
			return nil, err
		}
	}
	return s, c.blobs.List(ctx, func(info captioner.BlobInfo) error {
		s.blobs[info.Digest] = info
		return nil
	})
}

func (c *collector) loadRuns(ctx context.Context, s *state) error {
	runs, err := c.records.RunRecords(ctx, 0)
	if err != nil {
		return err
	}
	uses, err := c.records.Uses(ctx)
	if err != nil {
		return err
	}
	active := map[string]bool{}
	for _, r := range runs {
		s.runs[r.ID] = r
		if r.FinishedAt == nil {
			active[r.ID] = true
		}
	}
	for _, u := range uses {
		s.uses[u.RunID] = append(s.uses[u.RunID], u)
		// A run that was started again keeps the record of its first end.
		if !u.NotedAt.Before(c.cutoff) {
			active[u.RunID] = true
		}
	}
	for id := range active {
		s.active = append(s.active, id)
		s.unnoted = s.unnoted || len(s.uses[id]) == 0 && s.runs[id].CreatedAt.After(c.opts.Now().Add(-longestRun))
	}
	slices.Sort(s.active)
	return nil
}

func (c *collector) loadVersions(ctx context.Context, s *state) error {
	var err error
	if s.versions, err = c.records.ModelVersions(ctx, 0); err != nil {
		return err
	}
	for _, v := range s.versions {
		s.registered[v.Version] = true
	}
	alias, err := c.records.Alias(ctx, captioner.Production)
	if err != nil && captioner.KindOf(err) != captioner.NotFound {
		return err
	}
	replicas, err := c.records.Replicas(ctx, c.opts.Now().Add(-replicaSeenWithin))
	if err != nil {
		return err
	}
	moves, err := c.records.AliasMoves(ctx, captioner.Production, 1)
	if err != nil {
		return err
	}
	for _, newest := range moves {
		s.log = newest.Record
	}
	s.live[alias.Version], s.live[c.opts.RollbackTarget] = true, true
	for _, r := range replicas {
		s.live[r.Version] = true
	}
	return nil
}

func (c *collector) loadResults(ctx context.Context, s *state) error {
	results, err := c.records.StepResults(ctx)
	if err != nil {
		return err
	}
	for _, r := range results {
		s.results[r.Key] = r
	}
	checkpoints, err := c.records.Checkpoints(ctx)
	if err != nil {
		return err
	}
	for _, checkpoint := range checkpoints {
		s.checkpoints[checkpoint.RunKey] = checkpoint
	}
	return nil
}

// named returns what the kept result of a key names.
func (s *state) named(key string) []string { return digestsIn(s.results[key].Output) }

// undeleted are the versions whose files are there.
func (s *state) undeleted() map[captioner.Digest]bool {
	versions := map[captioner.Digest]bool{}
	for _, v := range s.versions {
		if v.DeletedAt == nil {
			versions[v.Version] = true
		}
	}
	return versions
}

// removed are records that are gone, sorted.
type removed struct {
	versions    []captioner.Digest
	results     []string
	checkpoints []string // run keys
}

// without returns the state as it would be without those records.
func (s *state) without(gone removed) *state {
	left := *s
	left.versions = slices.DeleteFunc(slices.Clone(s.versions), func(v captioner.ModelVersion) bool {
		return slices.Contains(gone.versions, v.Version)
	})
	left.results, left.checkpoints = map[string]captioner.StepResult{}, map[string]captioner.Checkpoint{}
	for key, r := range s.results {
		if _, gone := slices.BinarySearch(gone.results, key); !gone {
			left.results[key] = r
		}
	}
	for key, checkpoint := range s.checkpoints {
		if _, gone := slices.BinarySearch(gone.checkpoints, key); !gone {
			left.checkpoints[key] = checkpoint
		}
	}
	return &left
}
