package activities

import (
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
	// deployPoll is how often the servers are looked at.
	deployPoll = 200 * time.Millisecond
	// deployTimeout is long enough to fetch a bundle over a network and to
	// start an engine on it.
	deployTimeout = 2 * time.Minute
)

// DeployInput is a version and the decision to promote it.
type DeployInput struct {
	Version  captioner.Digest   `json:"version"`
	Decision captioner.Decision `json:"decision"`
	// RunID stands in the deployment log.
	RunID string `json:"run_id"`
}

// DeployResult says what has become of it.
type DeployResult struct {
	Alias captioner.Alias `json:"alias"`
	// Servers is how many were seen to serve the version.
	Servers int `json:"servers"`
	// Note says what is worth knowing.
	Note string `json:"note,omitempty"`
}

// Deploy points the alias "production" at the version, if it has not moved
// since the decision was made (else Conflict), and waits until every server
// that is running serves it. If one cannot, or does not in time, the alias goes
// back to where it was, and the deployment has failed. A repeated Deploy goes
// on where the one before was interrupted.
func (a *Activities) Deploy(ctx context.Context, in DeployInput) (DeployResult, error) {
	alias, movedAt, err := a.moveForward(ctx, in)
	if err != nil {
		return DeployResult{}, err
	}
	servers, err := a.awaitServers(ctx, alias, movedAt)
	if err == nil {
		out := DeployResult{Alias: alias, Servers: servers}
		if servers == 0 {
			out.Note = "no server was running; the version is served as soon as one is"
		}
		return out, nil
	}
	if captioner.CodeOf(err) != codeNotTaken {
		return DeployResult{}, err
	}
	return DeployResult{}, a.moveBack(ctx, in, alias, err)
}

// codeNotTaken marks a version that a server did not take over.
const codeNotTaken = "deployment_failed"

// moveForward moves the alias, unless an earlier attempt has done so, and
// returns it with the time of the move.
func (a *Activities) moveForward(ctx context.Context, in DeployInput) (captioner.Alias, time.Time, error) {
	current, err := a.Store.Alias(ctx, captioner.Production)
	if err != nil && captioner.KindOf(err) != captioner.NotFound {
		return captioner.Alias{}, time.Time{}, err
	}
	if current.Generation == in.Decision.Generation {
		if current.Version == in.Version {
			return current, time.Time{}, nil // live before this run
		}
		moved, err := a.Store.MoveAlias(ctx, captioner.Production, in.Version, current.Generation, in.RunID, reasonOf(in.Decision))
		return moved, a.now(), err
	}
	moves, err := a.Store.AliasMoves(ctx, captioner.Production, 2)
	if err != nil {
		return captioner.Alias{}, time.Time{}, err
	}
	switch ownMoves(moves, in) {
	case 1:
		return moves[0].Alias, moves[0].MovedAt, nil
	case 2: // moved back by an attempt that could not report it
		return captioner.Alias{}, time.Time{}, notTaken("%s", moves[0].Reason)
	default:
		return captioner.Alias{}, time.Time{}, &captioner.Error{
			Kind: captioner.Conflict, Code: "alias_moved", Message: "another version went live since the decision was made",
		}
	}
}

// ownMoves counts the newest moves that earlier attempts at this deployment
// have made: 1 forward, 2 forward and back, 0 none.
func ownMoves(moves []captioner.AliasMove, in DeployInput) int {
	isForward := func(m captioner.AliasMove) bool {
		return m.Actor == in.RunID && m.Version == in.Version && m.Generation == in.Decision.Generation+1
	}
	switch {
	case len(moves) >= 1 && isForward(moves[0]):
		return 1
	case len(moves) >= 2 && isForward(moves[1]) && moves[0].Actor == in.RunID && moves[0].Version == moves[1].Previous:
		return 2
	}
	return 0
}

// moveBack undoes the move and returns the reason as the deployment's error.
func (a *Activities) moveBack(ctx context.Context, in DeployInput, alias captioner.Alias, cause error) error {
	previous := in.Decision.Live
	if previous == "" {
		return notTaken("%v; there is no earlier version to go back to", cause)
	}
	if previous == in.Version {
		return cause
	}
	reason := fmt.Sprintf("%v; back to version %s", cause, previous.Short())
	_, err := a.Store.MoveAlias(ctx, captioner.Production, previous, alias.Generation, in.RunID, reason)
	if captioner.KindOf(err) == captioner.Conflict {
		return cause // someone else has moved it on already
	}
	if err != nil {
		return err // tried again: the alias must not stay
	}
	return notTaken("%s", reason)
}

// awaitServers returns once every server seen of late serves the alias'
// version, with their number.
func (a *Activities) awaitServers(ctx context.Context, alias captioner.Alias, movedAt time.Time) (int, error) {
	timeout := a.DeployTimeout
	if timeout == 0 {
		timeout = deployTimeout
	}
	deadline := a.now().Add(timeout)
	ticker := time.NewTicker(deployPoll)
	defer ticker.Stop()
	for {
		now := a.now()
		replicas, err := a.Store.Replicas(ctx, now.Add(-replicaSeenWithin))
		if err != nil {
			return 0, err
		}
		waiting, err := lagging(replicas, alias, movedAt)
		if err != nil || len(waiting) == 0 {
			return len(replicas), err
		}
		if now.After(deadline) {
			return 0, notTaken("server %s did not serve version %s within %v", waiting[0].ID, alias.Version.Short(), timeout)
		}
		report(ctx, ShardProgress{Done: len(replicas) - len(waiting), Total: len(replicas)})
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-ticker.C:
		}
	}
}

// lagging returns the servers that do not serve the version yet, or an error
// when one says that it cannot.
func lagging(replicas []captioner.Replica, alias captioner.Alias, movedAt time.Time) ([]captioner.Replica, error) {
	var waiting []captioner.Replica
	for _, r := range replicas {
		if r.Version == alias.Version {
			continue
		}
		if r.Error != "" && r.SeenAt.After(movedAt.Add(replicaSettles)) {
			return nil, notTaken("server %s cannot serve version %s: %s", r.ID, alias.Version.Short(), r.Error)
		}
		waiting = append(waiting, r)
	}
	return waiting, nil
}

func notTaken(format string, args ...any) error {
	return final{&captioner.Error{Kind: captioner.Unavailable, Code: codeNotTaken, Message: fmt.Sprintf(format, args...)}}
}

// reasonOf is what the deployment log says about the move.
func reasonOf(d captioner.Decision) string {
	if len(d.Reasons) == 0 {
		return string(d.Outcome)
	}
	return d.Reasons[0]
}
