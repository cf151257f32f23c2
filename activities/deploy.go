package activities

import (
	"context"
	"fmt"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/deployment"
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
// that is running serves it, as deployment.Deployer does. If one cannot, or does
// not in time, the alias goes back to where it was, and the deployment has
// failed; so it has when somebody else moves the alias in the meantime, whose
// word counts. A repeated Deploy goes on where the one before was interrupted.
func (a *Activities) Deploy(ctx context.Context, in DeployInput) (DeployResult, error) {
	move, err := a.moveForward(ctx, in)
	if err != nil {
		return DeployResult{}, err
	}
	deployer := deployment.Deployer{
		Store: a.Store, Timeout: a.DeployTimeout, Now: a.Now,
		Waiting: func(done, total int) { report(ctx, ShardProgress{Done: done, Total: total}) },
	}
	servers, err := deployer.Confirm(ctx, move)
	switch {
	case captioner.CodeOf(err) == deployment.CodeFailed:
		return DeployResult{}, final{err}
	case captioner.KindOf(err) == captioner.Conflict:
		return DeployResult{}, notTaken("%v", err)
	case err != nil:
		return DeployResult{}, err // tried again: the alias must not stay
	}
	out := DeployResult{Alias: move.Alias, Servers: servers}
	if servers == 0 {
		out.Note = deployment.NoServer
	}
	return out, nil
}

// moveForward moves the alias, unless an earlier attempt has done so, and
// returns the move.
func (a *Activities) moveForward(ctx context.Context, in DeployInput) (captioner.AliasMove, error) {
	move := captioner.AliasMove{Previous: in.Decision.Live, Kind: captioner.Promotion, Actor: in.RunID}
	var err error
	move.Alias, err = a.Store.Alias(ctx, captioner.Production)
	if err != nil && captioner.KindOf(err) != captioner.NotFound {
		return move, err
	}
	if move.Generation == in.Decision.Generation {
		if move.Version == in.Version {
			return move, nil // live before this run
		}
		move.Alias, err = a.Store.MoveAlias(ctx, captioner.Production, in.Version, move.Generation, in.RunID, reasonOf(in.Decision))
		move.MovedAt = a.now()
		return move, err
	}
	moves, err := a.Store.AliasMoves(ctx, captioner.Production, 2)
	if err != nil {
		return move, err
	}
	switch ownMoves(moves, in) {
	case 1:
		return moves[0], nil
	case 2: // moved back by an attempt that could not report it
		return move, notTaken("%s", moves[0].Reason)
	default:
		return move, &captioner.Error{
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

// notTaken is a deployment that has failed for good.
func notTaken(format string, args ...any) error {
	return final{&captioner.Error{Kind: captioner.Unavailable, Code: deployment.CodeFailed, Message: fmt.Sprintf(format, args...)}}
}

// reasonOf is what the deployment log says about the move.
func reasonOf(d captioner.Decision) string {
	if len(d.Reasons) == 0 {
		return string(d.Outcome)
	}
	return d.Reasons[0]
}
