package deployment_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob"
	"github.com/captioner/captioner/internal/deployment"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/store"
)

// fixture is a deployer over a real store with versions "a", "b", "c", whose
// bundles are whatever verify says.
type fixture struct {
	deployment.Deployer
	store  captioner.Store
	verify map[captioner.Digest]error
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	records, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "captioner.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { records.Close() })
	for _, name := range []string{"a", "b", "c"} {
		if err := records.PutModelVersion(t.Context(), captioner.ModelVersion{Version: digest(name)}); err != nil {
			t.Fatal(err)
		}
	}
	f := &fixture{store: records, verify: map[captioner.Digest]error{}}
	f.Deployer = deployment.Deployer{
		Store: records, Timeout: 300 * time.Millisecond,
		Verify: func(_ context.Context, v captioner.Digest) error { return f.verify[v] },
	}
	return f
}

func digest(name string) captioner.Digest { return captioner.DigestOf([]byte(name)) }

// live returns the name of the version that is live, "" for none.
func (f *fixture) live(t *testing.T) string {
	t.Helper()
	alias, err := f.store.Alias(t.Context(), captioner.Production)
	if err != nil && captioner.KindOf(err) != captioner.NotFound {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		if alias.Version == digest(name) {
			return name
		}
	}
	return ""
}

func (f *fixture) promote(t *testing.T, name string) captioner.Deployment {
	t.Helper()
	out, err := f.Promote(t.Context(), string(digest(name)), "api", "because", "")
	if err != nil {
		t.Fatalf("promote %s: %v", name, err)
	}
	return out
}

func (f *fixture) see(t *testing.T, r captioner.Replica) {
	t.Helper()
	if err := f.store.SeeReplica(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func TestPromote(t *testing.T) {
	f := newFixture(t)
	first, err := f.Promote(t.Context(), string(digest("a"))[:8], "api", "the first", "")
	if err != nil {
		t.Fatal(err)
	}
	want := captioner.Deployment{Version: digest("a"), Generation: 1, Moved: true, Note: deployment.NoServer}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("first promotion (-want +got):\n%s", diff)
	}
	if _, err := f.Promote(t.Context(), "ffffffffffff", "api", "", ""); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("an unknown version: %v, want not found", err)
	}

	// Both servers have followed; one that was last seen long ago does not count.
	now := time.Now()
	for _, r := range []captioner.Replica{
		{ID: "one", Version: digest("b"), Generation: 2, SeenAt: now},
		{ID: "two", Version: digest("b"), Generation: 2, SeenAt: now},
		{ID: "old", Version: digest("a"), Generation: 1, SeenAt: now.Add(-11 * time.Second)},
	} {
		f.see(t, r)
	}
	second, err := f.Promote(t.Context(), string(digest("b")), "cli:ada", "better", "")
	if err != nil {
		t.Fatal(err)
	}
	want = captioner.Deployment{Version: digest("b"), Previous: digest("a"), Generation: 2, Moved: true, Servers: 2, Confirmed: true}
	if diff := cmp.Diff(want, second); diff != "" {
		t.Errorf("second promotion (-want +got):\n%s", diff)
	}

	// What is live stays, without a row in the log.
	again := f.promote(t, "b")
	want = captioner.Deployment{Version: digest("b"), Generation: 2, Servers: 2, Confirmed: true}
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("promoting what is live (-want +got):\n%s", diff)
	}
	log, err := f.store.AliasMoves(t.Context(), captioner.Production, 0)
	if err != nil {
		t.Fatal(err)
	}
	row := func(version, previous captioner.Digest, generation int64, actor, reason string) captioner.AliasMove {
		return captioner.AliasMove{Alias: captioner.Alias{Name: captioner.Production, Version: version, Generation: generation},
			Previous: previous, Kind: captioner.Promotion, Actor: actor, Reason: reason}
	}
	wantLog := []captioner.AliasMove{row(digest("b"), digest("a"), 2, "cli:ada", "better"), row(digest("a"), "", 1, "api", "the first")}
	if diff := cmp.Diff(wantLog, log, cmpopts.IgnoreFields(captioner.AliasMove{}, "MovedAt", "Record")); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestServersThatDoNotFollow(t *testing.T) {
	for _, test := range []struct {
		name    string
		replica captioner.Replica
		reason  string
	}{
		{"lags", captioner.Replica{Version: digest("a"), Generation: 1}, "did not serve version"},
		{"served it once", captioner.Replica{Version: digest("b"), Generation: 1}, "did not serve version"},
		{"complains", captioner.Replica{Version: digest("a"), Generation: 1, SeenAt: time.Now().Add(8 * time.Second), Error: "out of memory"}, "out of memory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.promote(t, "a")
			test.replica.ID = "server-1"
			f.see(t, test.replica)
			_, err := f.Promote(t.Context(), string(digest("b")), "api", "better", "")
			if captioner.CodeOf(err) != deployment.CodeFailed || captioner.KindOf(err) != captioner.Unavailable || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("Promote() = %v, want %s because it %s", err, deployment.CodeFailed, test.reason)
			}
			if got := f.live(t); got != "a" {
				t.Errorf("%q is live, want the version before", got)
			}
			log, err := f.store.AliasMoves(t.Context(), captioner.Production, 1)
			if err != nil || log[0].Kind != captioner.Rollback || log[0].Actor != "api" || !strings.Contains(log[0].Reason, "server-1") {
				t.Errorf("log = %+v, %v; want a rollback that names server-1", log, err)
			}
		})
	}
}

// TestMovedOnMeanwhile: a deployment that somebody overrules leaves the alias.
func TestMovedOnMeanwhile(t *testing.T) {
	f := newFixture(t)
	f.promote(t, "a")
	f.see(t, captioner.Replica{ID: "server-1", Version: digest("a"), Generation: 1, SeenAt: time.Now()})
	f.Timeout = time.Minute
	f.Waiting = func(done, total int) {
		if done != 0 || total != 1 {
			t.Errorf("%d of %d servers have followed, want 0 of 1", done, total)
		}
		if _, err := f.store.MoveAlias(t.Context(), captioner.Production, digest("c"), 2, "train-7", "better still"); err != nil {
			t.Error(err)
		}
	}
	_, err := f.Promote(t.Context(), string(digest("b")), "api", "better", "")
	if captioner.CodeOf(err) != "alias_moved" || captioner.KindOf(err) != captioner.Conflict {
		t.Errorf("Promote() = %v, want the conflict alias_moved", err)
	}
	if got := f.live(t); got != "c" {
		t.Errorf("%q is live, want c", got)
	}
}

func TestContextEndsWhileWaiting(t *testing.T) {
	f := newFixture(t)
	f.promote(t, "a")
	f.see(t, captioner.Replica{ID: "server-1", Version: digest("a"), Generation: 1, SeenAt: time.Now()})
	ctx, cancel := context.WithCancel(t.Context())
	f.Waiting = func(int, int) { cancel() }
	f.Timeout = time.Minute
	if _, err := f.Promote(ctx, string(digest("b")), "api", "better", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("Promote() = %v, want the context's error", err)
	}
	if got := f.live(t); got != "b" {
		t.Errorf("%q is live, want b: servers go on to follow it", got)
	}
}

// TestRollback plays promotions (a name) and rollbacks ("<") and compares what
// is live after each.
func TestRollback(t *testing.T) {
	const nothing = "409"
	for _, test := range []struct{ name, steps, live string }{
		{"takes back a promotion", "a b <", "a b a"},
		{"twice goes two back", "a b c < <", "a b c b a"},
		{"never to and fro", "a b < <", "a b a " + nothing},
		{"at the first", "a <", "a " + nothing},
		{"takes back a promotion of an older version", "a b a <", "a b a b"},
		{"that one twice", "a b a < < <", "a b a b a " + nothing},
		{"leaves behind what it left", "a b < c <", "a b a c a"},
		{"what was left behind is promoted by name", "a b < b <", "a b a b a"},
		{"a no-op is no promotion", "a b b <", "a b b a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			want := strings.Fields(test.live)
			for i, step := range strings.Fields(test.steps) {
				got := ""
				if step == "<" {
					target, err := f.RollbackTarget(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					offered := target != ""
					if offered && target != digest(want[i]) || !offered && want[i] != nothing {
						t.Errorf("%s: step %d is said to go to %q, want %s", test.steps, i+1, target, want[i])
					}
					if _, err := f.Rollback(t.Context(), "api", "worse", ""); err == nil {
						got = f.live(t)
					} else if captioner.KindOf(err) == captioner.Conflict && captioner.CodeOf(err) == "nothing_to_roll_back_to" {
						got = nothing
					} else {
						t.Fatal(err)
					}
				} else {
					f.promote(t, step)
					got = f.live(t)
				}
				if got != want[i] {
					t.Fatalf("%s: step %d gives %q, want %q", test.steps, i+1, got, want[i])
				}
			}
		})
	}
}

func TestRollbackOfNothing(t *testing.T) {
	_, err := newFixture(t).Rollback(t.Context(), "api", "", "")
	if captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("Rollback() before the first version = %v, want not found", err)
	}
}

// TestRollbackThatFails: a server that cannot follow a rollback brings the
// version back, and the next rollback goes to the same place.
func TestRollbackThatFails(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"a", "b", "c"} {
		f.promote(t, name)
	}
	f.see(t, captioner.Replica{ID: "server-1", Version: digest("c"), Generation: 3, SeenAt: time.Now()})
	if _, err := f.Rollback(t.Context(), "api", "worse", ""); captioner.CodeOf(err) != deployment.CodeFailed {
		t.Errorf("Rollback() = %v, want %s", err, deployment.CodeFailed)
	}
	if got := f.live(t); got != "c" {
		t.Errorf("%q is live, want c again", got)
	}
	f.see(t, captioner.Replica{ID: "server-1", Version: digest("b"), Generation: 6, SeenAt: time.Now()})
	out, err := f.Rollback(t.Context(), "api", "worse", "")
	if err != nil || out.Version != digest("b") || out.Previous != digest("c") || !out.Confirmed {
		t.Errorf("Rollback() = %+v, %v; want b, confirmed", out, err)
	}
}

// TestFailedPromotionIsNoHistory: a version that servers could not take over is
// nothing to go back to.
func TestFailedPromotionIsNoHistory(t *testing.T) {
	f := newFixture(t)
	f.promote(t, "a")
	f.promote(t, "b")
	f.see(t, captioner.Replica{ID: "server-1", Version: digest("b"), Generation: 2, SeenAt: time.Now()})
	if _, err := f.Promote(t.Context(), string(digest("c")), "api", "new", ""); captioner.CodeOf(err) != deployment.CodeFailed {
		t.Fatalf("Promote() = %v, want %s", err, deployment.CodeFailed)
	}
	f.see(t, captioner.Replica{ID: "server-1", Version: digest("a"), Generation: 5, SeenAt: time.Now()})
	out, err := f.Rollback(t.Context(), "api", "worse", "")
	if err != nil || out.Version != digest("a") {
		t.Errorf("Rollback() = %+v, %v; want a", out, err)
	}
}

// TestDamagedBundleIsRefused promotes and rolls back to bundles that have
// rotted or vanished in a real blob store: the alias does not move.
func TestDamagedBundleIsRefused(t *testing.T) {
	f := newFixture(t)
	blobs, err := blob.NewDisk(filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	f.Verify = func(ctx context.Context, v captioner.Digest) error { return registry.VerifyBlobs(ctx, blobs, v) }
	var versions []captioner.Digest
	for i := range 2 {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "vocabulary.json"), fmt.Sprintf(`["word%d"]`, i))
		_, version, err := registry.StoreTree(t.Context(), blobs, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.store.PutModelVersion(t.Context(), captioner.ModelVersion{Version: version}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Promote(t.Context(), string(version), "api", "good", ""); err != nil {
			t.Fatal(err)
		}
		versions = append(versions, version)
	}
	flip(t, blobs, captioner.DigestOf([]byte(`["word0"]`)))

	_, promoteErr := f.Promote(t.Context(), string(versions[0]), "api", "again", "")
	_, rollbackErr := f.Rollback(t.Context(), "api", "worse", "")
	_, missingErr := f.Promote(t.Context(), string(digest("c")), "api", "it has no bundle", "")
	for name, err := range map[string]error{"promote": promoteErr, "roll back": rollbackErr, "promote without a bundle": missingErr} {
		if captioner.KindOf(err) != captioner.Conflict || captioner.CodeOf(err) != "bundle_damaged" {
			t.Errorf("%s: %v, want the conflict bundle_damaged", name, err)
		}
	}
	want := []captioner.Problem{{Field: "vocabulary.json", Message: "has changed"}}
	if diff := cmp.Diff(want, captioner.ProblemsOf(promoteErr)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	alias, err := f.store.Alias(t.Context(), captioner.Production)
	if err != nil || alias.Version != versions[1] || alias.Generation != 2 {
		t.Errorf("alias = %+v, %v; want it where it was", alias, err)
	}
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// flip changes one byte of a stored blob.
func flip(t *testing.T, blobs captioner.BlobStore, d captioner.Digest) {
	t.Helper()
	path, err := blobs.Local(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(data))
}
