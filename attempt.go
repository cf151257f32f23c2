package captioner

import (
	"context"
	"time"
)

// Attempt is one try at a piece of work of which at most one counts: when a
// worker falls silent the work is tried again elsewhere, and the first worker may
// come back. Started is the fencing token: of two attempts at the same work the
// later one counts, and what the other still wants to write is refused.
type Attempt struct {
	// Work names what is tried, such as an activity of a run.
	Work    string
	Started time.Time
}

type attemptKey struct{}

// WithAttempt returns a context in which everything is done for the attempt. A
// Store refuses its changes with Conflict, code "stale_attempt", from when a
// newer attempt at the same work has begun.
func WithAttempt(ctx context.Context, a Attempt) context.Context {
	return context.WithValue(ctx, attemptKey{}, a)
}

// AttemptOf returns the attempt that ctx belongs to, if it belongs to any.
func AttemptOf(ctx context.Context) (Attempt, bool) {
	a, ok := ctx.Value(attemptKey{}).(Attempt)
	return a, ok
}
