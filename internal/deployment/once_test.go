package deployment_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/deployment"
)

// moves counts the rows of the deployment log.
func (f *fixture) moves(t *testing.T) int {
	t.Helper()
	log, err := f.store.AliasMoves(t.Context(), captioner.Production, 0)
	if err != nil {
		t.Fatal(err)
	}
	return len(log)
}

// TestSentAgain: a request that is sent again is told what came of it, whatever
// has happened since, and does nothing.
func TestSentAgain(t *testing.T) {
	f := newFixture(t)
	f.promote(t, "a")
	promote := func() (captioner.Deployment, error) {
		return f.Promote(t.Context(), string(digest("b")), "api", "better", "key 1")
	}
	rollBack := func() (captioner.Deployment, error) { return f.Rollback(t.Context(), "api", "worse", "key 2") }
	again := func() (captioner.Deployment, error) {
		return f.Promote(t.Context(), string(digest("a")), "api", "is it live?", "key 3")
	}
	var first [3]captioner.Deployment
	for i, do := range []func() (captioner.Deployment, error){promote, rollBack, again} {
		var err error
		if first[i], err = do(); err != nil || first[i].Moved != (i < 2) {
			t.Fatalf("request %d: %+v, %v", i+1, first[i], err)
		}
	}
	f.promote(t, "c")
	for i, do := range []func() (captioner.Deployment, error){promote, rollBack, again} {
		out, err := do()
		if diff := cmp.Diff(first[i], out); err != nil || diff != "" {
			t.Errorf("request %d sent again: %v (-first +again):\n%s", i+1, err, diff)
		}
	}
	if got := f.live(t); got != "c" || f.moves(t) != 4 {
		t.Errorf("%q is live after %d moves, want c after 4", got, f.moves(t))
	}
}

func TestKeyOfAnotherRequest(t *testing.T) {
	f := newFixture(t)
	f.promote(t, "a")
	if _, err := f.Promote(t.Context(), string(digest("b")), "api", "better", "key"); err != nil {
		t.Fatal(err)
	}
	_, version := f.Promote(t.Context(), string(digest("c")), "api", "better", "key")
	_, reason := f.Promote(t.Context(), string(digest("b")), "api", "other", "key")
	_, rollback := f.Rollback(t.Context(), "api", "better", "key")
	for name, err := range map[string]error{"version": version, "reason": reason, "rollback": rollback} {
		if captioner.KindOf(err) != captioner.Conflict || captioner.CodeOf(err) != "idempotency_key_reused" {
			t.Errorf("the key with another %s: %v, want the conflict idempotency_key_reused", name, err)
		}
	}
	if f.moves(t) != 2 {
		t.Errorf("%d moves, want 2", f.moves(t))
	}
}

// TestKeyAfterNothingHappened: what was refused before anything moved can be asked
// for again with its key.
func TestKeyAfterNothingHappened(t *testing.T) {
	f := newFixture(t)
	f.promote(t, "a")
	f.verify[digest("b")] = captioner.Errorf(captioner.Corrupt, "damaged")
	if _, err := f.Promote(t.Context(), string(digest("b")), "api", "better", "key"); captioner.CodeOf(err) != "bundle_damaged" {
		t.Fatalf("Promote() = %v, want bundle_damaged", err)
	}
	delete(f.verify, digest("b"))
	out, err := f.Promote(t.Context(), string(digest("b")), "api", "better", "key")
	if err != nil || !out.Moved || f.live(t) != "b" {
		t.Errorf("once the bundle is whole: %+v, %v", out, err)
	}
}

// TestFailureSentAgain: a deployment that servers could not follow has moved the
// alias and moved it back. Sent again it does not try once more.
func TestFailureSentAgain(t *testing.T) {
	f := newFixture(t)
	f.promote(t, "a")
	f.see(t, captioner.Replica{ID: "server-1", Version: digest("a"), Generation: 1, SeenAt: time.Now()})
	_, first := f.Promote(t.Context(), string(digest("b")), "api", "better", "key")
	f.see(t, captioner.Replica{ID: "server-1", Version: digest("b"), Generation: 9, SeenAt: time.Now()})
	_, again := f.Promote(t.Context(), string(digest("b")), "api", "better", "key")
	for i, err := range []error{first, again} {
		if captioner.CodeOf(err) != deployment.CodeFailed || captioner.KindOf(err) != captioner.Unavailable || err.Error() != first.Error() {
			t.Errorf("request %d: %v, want %s", i+1, err, deployment.CodeFailed)
		}
	}
	if f.live(t) != "a" || f.moves(t) != 3 {
		t.Errorf("%q is live after %d moves, want a after forward and back", f.live(t), f.moves(t))
	}
}

// TestInterrupted: a process that dies at any point of a deployment leaves a key
// with which another goes on, and the alias moves once.
func TestInterrupted(t *testing.T) {
	died := errors.New("the process died")
	for _, at := range []string{"ClaimRequest", "MoveAliasFor", "Replicas", "AnswerRequest"} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, done %v", at, after), func(t *testing.T) {
				f := newFixture(t)
				f.promote(t, "a")
				f.promote(t, "b")
				whole := f.Deployer.Store
				f.Deployer.Store = &mortal{Store: whole, at: at, after: after, err: died}
				if _, err := f.Rollback(t.Context(), "api", "worse", "key"); !errors.Is(err, died) {
					t.Fatalf("Rollback() = %v, want it to die", err)
				}
				f.Deployer.Store = whole
				for range 2 {
					out, err := f.Rollback(t.Context(), "api", "worse", "key")
					if err != nil || out.Version != digest("a") || !out.Moved || out.Generation != 3 {
						t.Errorf("sent again: %+v, %v; want a, of generation 3", out, err)
					}
				}
				if f.live(t) != "a" || f.moves(t) != 3 {
					t.Errorf("%q is live after %d moves, want a after 3", f.live(t), f.moves(t))
				}
			})
		}
	}
}

// mortal is a store of a process that dies at one call, before or after it.
type mortal struct {
	deployment.Store
	at    string
	after bool
	err   error
}

// die calls do unless it dies before.
func (m *mortal) die(at string, do func() error) error {
	if m.at == at && !m.after {
		return m.err
	}
	err := do()
	if m.at == at && err == nil {
		err = m.err
	}
	return err
}

func (m *mortal) ClaimRequest(ctx context.Context, key, asked captioner.Digest) (kept captioner.Request, first bool, err error) {
	err = m.die("ClaimRequest", func() error { kept, first, err = m.Store.ClaimRequest(ctx, key, asked); return err })
	return kept, first, err
}

func (m *mortal) MoveAliasFor(ctx context.Context, request captioner.Digest, move captioner.AliasMove) (a captioner.Alias, err error) {
	err = m.die("MoveAliasFor", func() error { a, err = m.Store.MoveAliasFor(ctx, request, move); return err })
	return a, err
}

func (m *mortal) Replicas(ctx context.Context, since time.Time) (list []captioner.Replica, err error) {
	err = m.die("Replicas", func() error { list, err = m.Store.Replicas(ctx, since); return err })
	return list, err
}

func (m *mortal) AnswerRequest(ctx context.Context, key captioner.Digest, answer []byte) (kept []byte, err error) {
	err = m.die("AnswerRequest", func() error { kept, err = m.Store.AnswerRequest(ctx, key, answer); return err })
	return kept, err
}

// TestSentAtOnce: 200 rollbacks at a time over 20 keys, by two processes, of a
// store with 40 promotions: each key takes back one.
func TestSentAtOnce(t *testing.T) {
	f := newFixture(t)
	const promotions, keys, copies = 40, 20, 10
	for i := range promotions {
		f.promote(t, []string{"a", "b", "c"}[i%3])
	}
	other := f.Deployer // shares the store alone
	var all sync.WaitGroup
	for i := range keys * copies {
		d := []*deployment.Deployer{&f.Deployer, &other}[i%2]
		all.Go(func() {
			for { // who loses against another key tries again, as a client does
				_, err := d.Rollback(t.Context(), "api", "worse", fmt.Sprintf("key %d", i%keys))
				if captioner.CodeOf(err) == "alias_moved" {
					continue
				}
				if err != nil {
					t.Errorf("request %d: %v", i, err)
				}
				return
			}
		})
	}
	all.Wait()
	if got := f.moves(t); got != promotions+keys {
		t.Errorf("%d moves, want %d: one for each key", got, promotions+keys)
	}
}
