package api

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/captioner/captioner"
)

// describeTimeout bounds one look at a run.
const describeTimeout = 10 * time.Second

// recentRuns tells where runs stand to everybody who follows them: however many
// streams a run has, the workflow service is asked about it once an interval.
type recentRuns struct {
	runs     RunClient
	interval time.Duration
	asking   singleflight.Group

	mu   sync.Mutex
	seen map[string]recentRun
}

type recentRun struct {
	run captioner.Run
	at  time.Time
}

func newRecentRuns(runs RunClient, interval time.Duration) *recentRuns {
	return &recentRuns{runs: runs, interval: interval, seen: map[string]recentRun{}}
}

// describe returns the run as it stands, or stood less than an interval ago.
func (r *recentRuns) describe(ctx context.Context, id string) (captioner.Run, error) {
	if r.runs == nil {
		return captioner.Run{}, errNoRuns
	}
	if run, ok := r.recent(id); ok {
		return run, nil
	}
	answer := r.asking.DoChan(id, func() (any, error) {
		// Whoever asked first may leave; the others still want to know.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), describeTimeout)
		defer cancel()
		run, err := r.runs.Describe(ctx, id)
		if err == nil {
			r.remember(run)
		}
		return run, err
	})
	select {
	case a := <-answer:
		if a.Err != nil {
			return captioner.Run{}, a.Err
		}
		return a.Val.(captioner.Run), nil
	case <-ctx.Done():
		return captioner.Run{}, ctx.Err()
	}
}

func (r *recentRuns) recent(id string) (captioner.Run, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen, ok := r.seen[id]
	return seen.run, ok && time.Since(seen.at) < r.interval
}

// remember keeps the run and forgets those that nobody follows any more.
func (r *recentRuns) remember(run captioner.Run) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, seen := range r.seen {
		if now.Sub(seen.at) >= r.interval {
			delete(r.seen, id)
		}
	}
	r.seen[run.ID] = recentRun{run, now}
}
