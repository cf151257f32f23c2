// Package deployment makes a version live and sees to it that it is: it moves
// the alias "production", waits until every server that is running serves what
// it names, and moves it back when one of them cannot.
//
// A run's last step and a person at the API or the command line go through the
// same [Deployer]. What servers do when the alias moves is package serving's
// affair; what a version consists of, package registry's.
package deployment

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/captioner/captioner"
)

const (
	// replicaSeenWithin is how old the heartbeat of a server may be that a
	// deployment waits for; servers send one a second.
	replicaSeenWithin = 10 * time.Second
	// replicaSettles is how long after the move a server's complaint may still
	// be about the version before: two of its looks at the alias.
	replicaSettles = 3 * time.Second
	// poll is how often the servers are looked at.
	poll = 200 * time.Millisecond
	// defaultTimeout is long enough to fetch a bundle over a network and to
	// start an engine on it.
	defaultTimeout = 2 * time.Minute
)

// CodeFailed marks a version that a server did not take over: the alias is back
// where it was.
const CodeFailed = "deployment_failed"

// codeMoved marks a deployment that lost against another.
const codeMoved = "alias_moved"

// NoServer is the note of a deployment that nobody could confirm.
const NoServer = "no server was running; the version is served as soon as one is"

// Store is the part of captioner.Store that deployments need.
type Store interface {
	ModelVersion(ctx context.Context, version string) (captioner.ModelVersion, error)
	Alias(ctx context.Context, name string) (captioner.Alias, error)
	MoveAlias(ctx context.Context, name string, version captioner.Digest, generation int64, actor, reason string) (captioner.Alias, error)
	RollBackAlias(ctx context.Context, name string, version captioner.Digest, generation int64, actor, reason string) (captioner.Alias, error)
	MoveAliasFor(ctx context.Context, request captioner.Digest, m captioner.AliasMove) (captioner.Alias, error)
	AliasMoves(ctx context.Context, name string, limit int) ([]captioner.AliasMove, error)
	ClaimRequest(ctx context.Context, key, asked captioner.Digest) (kept captioner.Request, first bool, err error)
	AnswerRequest(ctx context.Context, key captioner.Digest, answer []byte) (kept []byte, err error)
	Replicas(ctx context.Context, since time.Time) ([]captioner.Replica, error)
}

// Deployer moves the alias captioner.Production. Its methods may be called from
// several goroutines and processes at once: the alias moves by compare-and-set.
type Deployer struct {
	Store Store
	// Verify reads every byte of a version before it goes live; NotFound or
	// Corrupt when some are gone or changed. Required by Promote and Rollback.
	Verify func(ctx context.Context, version captioner.Digest) error
	// Timeout bounds the wait for the servers; 0 means 2 minutes.
	Timeout time.Duration
	// Waiting is told how many of the servers have taken the version over.
	// Optional.
	Waiting func(done, total int)
	// Now tells the time; nil means time.Now.
	Now func() time.Time
}

// Confirm returns once every server seen of late serves what the move made
// live, with their number. If one cannot, or does not in time, the alias is
// moved back in the name of the same actor, and the error is Unavailable with
// code [CodeFailed]. An alias that somebody else has moved on in the meantime
// stays where it is: Conflict, code "alias_moved". When ctx ends first the
// alias stays too, and servers go on to follow it.
func (d *Deployer) Confirm(ctx context.Context, move captioner.AliasMove) (servers int, err error) {
	servers, err = d.awaitServers(ctx, move)
	if captioner.CodeOf(err) == CodeFailed {
		err = d.moveBack(ctx, move, err)
	}
	return servers, err
}

// moveBack undoes the move and returns the reason as the deployment's error.
func (d *Deployer) moveBack(ctx context.Context, move captioner.AliasMove, cause error) error {
	if move.Previous == "" {
		return failed("%v; there is no earlier version to go back to", cause)
	}
	if move.Previous == move.Version {
		return cause
	}
	reason := fmt.Sprintf("%v; back to version %s", cause, move.Previous.Short())
	_, err := d.Store.RollBackAlias(ctx, move.Name, move.Previous, move.Generation, move.Actor, reason)
	if err != nil {
		return err // Conflict: somebody else has moved it on already
	}
	return failed("%s", reason)
}

// awaitServers waits for every server seen of late.
func (d *Deployer) awaitServers(ctx context.Context, move captioner.AliasMove) (int, error) {
	timeout := cmp.Or(d.Timeout, defaultTimeout)
	deadline := d.now().Add(timeout)
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		replicas, err := d.replicas(ctx)
		if err != nil {
			return 0, err
		}
		waiting, err := lagging(replicas, move)
		if err != nil || len(waiting) == 0 {
			return len(replicas), err
		}
		if err := d.stillThere(ctx, move.Alias); err != nil {
			return 0, err
		}
		if d.now().After(deadline) {
			return 0, failed("server %s did not serve version %s within %v", waiting[0].ID, move.Version.Short(), timeout)
		}
		if d.Waiting != nil {
			d.Waiting(len(replicas)-len(waiting), len(replicas))
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-ticker.C:
		}
	}
}

func (d *Deployer) replicas(ctx context.Context) ([]captioner.Replica, error) {
	return d.Store.Replicas(ctx, d.now().Add(-replicaSeenWithin))
}

// stillThere reports an alias that has moved on since.
func (d *Deployer) stillThere(ctx context.Context, moved captioner.Alias) error {
	current, err := d.Store.Alias(ctx, moved.Name)
	if err != nil || current == moved {
		return err
	}
	return &captioner.Error{Kind: captioner.Conflict, Code: codeMoved, Message: fmt.Sprintf(
		"version %s went live while servers were still taking version %s over", current.Version.Short(), moved.Version.Short())}
}

// lagging returns the servers that have not followed the move yet, or an error
// when one says that it cannot. A server that still serves the version from an
// earlier time has not: it may be about to leave it.
func lagging(replicas []captioner.Replica, move captioner.AliasMove) ([]captioner.Replica, error) {
	var waiting []captioner.Replica
	for _, r := range replicas {
		if r.Version == move.Version && r.Generation >= move.Generation {
			continue
		}
		if r.Error != "" && r.SeenAt.After(move.MovedAt.Add(replicaSettles)) {
			return nil, failed("server %s cannot serve version %s: %s", r.ID, move.Version.Short(), r.Error)
		}
		waiting = append(waiting, r)
	}
	return waiting, nil
}

func failed(format string, args ...any) error {
	return &captioner.Error{Kind: captioner.Unavailable, Code: CodeFailed, Message: fmt.Sprintf(format, args...)}
}

func (d *Deployer) now() time.Time {
	if d.Now != nil {
		return d.Now().UTC()
	}
	return time.Now().UTC()
}
