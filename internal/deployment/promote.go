package deployment

import (
	"context"
	"fmt"
	"slices"

	"github.com/captioner/captioner"
)

// Promote makes a version live, named by its digest or the beginning of one,
// and waits for the servers as [Deployer.Confirm] does. NotFound for a version
// that is not registered; Conflict, code "bundle_damaged", for one whose files
// are missing or changed, before anything moves; Conflict, code "alias_moved",
// when another deployment came first. Promoting what is live is no move.
//
// A key that is not empty is the client's, and stands for good for what it was
// first used for: sent again it is told what came of that, and anything else is
// Conflict, code "idempotency_key_reused".
func (d *Deployer) Promote(ctx context.Context, version, actor, reason, key string) (captioner.Deployment, error) {
	return d.deploy(ctx, key, asked{captioner.Promotion, version, actor, reason}, func() (captioner.AliasMove, error) {
		v, err := d.Store.ModelVersion(ctx, version)
		if err != nil {
			return captioner.AliasMove{}, err
		}
		live, err := d.live(ctx)
		if err != nil || live.Version == v.Version {
			return captioner.AliasMove{Alias: live}, err
		}
		return captioner.AliasMove{
			Alias:    captioner.Alias{Name: captioner.Production, Version: v.Version, Generation: live.Generation + 1},
			Previous: live.Version, Kind: captioner.Promotion, Actor: actor, Reason: reason,
		}, nil
	})
}

// Rollback makes the version live that was before the one that is, and waits
// for the servers; nothing is trained again. NotFound while no version is live,
// Conflict with code "nothing_to_roll_back_to" when none was before. A damaged
// bundle and a concurrent deployment are refused as by [Deployer.Promote].
//
// Each rollback takes back one promotion, of a run or by hand, and leaves it
// behind: rolling back twice goes two versions back, never to and fro. What was
// left behind is reached by promoting it by name, which is a promotion like any
// other and can be taken back in turn. The key is as Promote's.
func (d *Deployer) Rollback(ctx context.Context, actor, reason, key string) (captioner.Deployment, error) {
	return d.deploy(ctx, key, asked{Kind: captioner.Rollback, Actor: actor, Reason: reason}, func() (captioner.AliasMove, error) {
		live, err := d.live(ctx)
		if err != nil {
			return captioner.AliasMove{}, err
		}
		if live.Version == "" {
			return captioner.AliasMove{}, captioner.Errorf(captioner.NotFound, "no version is live, so there is nothing to roll back")
		}
		target, err := d.RollbackTarget(ctx)
		if err != nil {
			return captioner.AliasMove{}, err
		}
		if target == "" {
			return captioner.AliasMove{}, &captioner.Error{Kind: captioner.Conflict, Code: "nothing_to_roll_back_to",
				Message: fmt.Sprintf("no version was live before version %s", live.Version.Short())}
		}
		return captioner.AliasMove{
			Alias:    captioner.Alias{Name: captioner.Production, Version: target, Generation: live.Generation + 1},
			Previous: live.Version, Kind: captioner.Rollback, Actor: actor, Reason: reason,
		}, nil
	})
}

// RollbackTarget returns the version that [Deployer.Rollback] would make live
// now, empty for none.
func (d *Deployer) RollbackTarget(ctx context.Context) (captioner.Digest, error) {
	moves, err := d.Store.AliasMoves(ctx, captioner.Production, 0)
	if err != nil {
		return "", err
	}
	return before(moves), nil
}

// before returns the version that a rollback goes to, empty for none, from the
// log, newest first. Replayed, the log is a stack: a promotion puts a version
// on it, a rollback takes off what is above the version that it went to. A
// rollback that a server could not follow was undone by a move to a version
// that is no longer on it: that one goes back on top.
func before(moves []captioner.AliasMove) captioner.Digest {
	var stack []captioner.Digest
	for _, m := range slices.Backward(moves) {
		last := len(stack) - 1
		if m.Kind == captioner.Rollback {
			for last >= 0 && stack[last] != m.Version {
				last--
			}
		}
		if last >= 0 && stack[last] == m.Version {
			stack = stack[:last+1]
		} else {
			stack = append(stack, m.Version)
		}
	}
	if len(stack) < 2 {
		return ""
	}
	return stack[len(stack)-2]
}

// live returns the zero alias while no version is.
func (d *Deployer) live(ctx context.Context) (captioner.Alias, error) {
	live, err := d.Store.Alias(ctx, captioner.Production)
	if captioner.KindOf(err) == captioner.NotFound {
		return captioner.Alias{}, nil
	}
	return live, err
}

// carryOut verifies the version, moves the alias for the request if it is still of
// the generation before the move's, and waits for the servers. A move of no kind
// is to what is live already.
func (d *Deployer) carryOut(ctx context.Context, request captioner.Digest, m captioner.AliasMove) (captioner.Deployment, error) {
	if m.Kind == "" {
		return d.unmoved(ctx, m.Alias)
	}
	if err := d.verify(ctx, m.Version); err != nil {
		return captioner.Deployment{}, err
	}
	var err error
	if m.Alias, err = d.Store.MoveAliasFor(ctx, request, m); err != nil {
		return captioner.Deployment{}, err
	}
	m.MovedAt = d.now()
	return d.confirmed(ctx, m)
}

// confirmed waits for the servers to follow the move.
func (d *Deployer) confirmed(ctx context.Context, m captioner.AliasMove) (captioner.Deployment, error) {
	servers, err := d.Confirm(ctx, m)
	if err != nil {
		return captioner.Deployment{}, err
	}
	return report(m, true, servers, servers), nil
}

// verify turns what is wrong with a bundle into a refusal.
func (d *Deployer) verify(ctx context.Context, version captioner.Digest) error {
	err := d.Verify(ctx, version)
	switch captioner.KindOf(err) {
	case captioner.NotFound, captioner.Corrupt:
		return &captioner.Error{Kind: captioner.Conflict, Code: "bundle_damaged",
			Message:  fmt.Sprintf("version %s cannot go live: its bundle is missing or damaged", version.Short()),
			Problems: captioner.ProblemsOf(err), Err: err}
	}
	return err
}

// unmoved says how many servers serve what is live already.
func (d *Deployer) unmoved(ctx context.Context, live captioner.Alias) (captioner.Deployment, error) {
	replicas, err := d.replicas(ctx)
	if err != nil {
		return captioner.Deployment{}, err
	}
	m := captioner.AliasMove{Alias: live}
	serving := 0
	for _, r := range replicas {
		if r.Version == live.Version {
			serving++
		}
	}
	return report(m, false, serving, len(replicas)), nil
}

func report(m captioner.AliasMove, moved bool, serving, running int) captioner.Deployment {
	out := captioner.Deployment{
		Version: m.Version, Previous: m.Previous, Generation: m.Generation, Moved: moved,
		Servers: serving, Confirmed: running > 0 && serving == running,
	}
	if running == 0 {
		out.Note = NoServer
	}
	return out
}
