package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
)

func testDeliveries(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	record := func(id string, age time.Duration) {
		t.Helper()
		_, _, err := s.PutRun(ctx, captioner.RunRecord{ID: id, Config: []byte("{}"), CreatedAt: now.Add(-age)})
		must(t, err)
	}
	undelivered := func(server string, want ...captioner.Delivery) {
		t.Helper()
		got, err := s.Undelivered(ctx, server, 0)
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("undelivered to %s (-want +got):\n%s", server, diff)
		}
	}
	wantKind(t, s.PutDelivery(ctx, captioner.Delivery{Server: "a", RunID: "never"}), captioner.NotFound)
	_, err := s.Delivery(ctx, "never")
	wantKind(t, err, captioner.NotFound)
	undelivered("a")

	record("old", time.Hour)
	record("new", 0)
	undelivered("a", captioner.Delivery{Server: "a", RunID: "new"}, captioner.Delivery{Server: "a", RunID: "old"})

	// A run that goes on stays open, whatever the server has of it.
	half := captioner.Delivery{Server: "a", RunID: "old", TrackedRun: "0123", URL: "http://a/0123", RunKey: "key", Sequence: 7}
	must(t, s.PutDelivery(ctx, half))
	undelivered("a", captioner.Delivery{Server: "a", RunID: "new"}, half)
	got, err := s.Delivery(ctx, "old")
	must(t, err)
	if diff := cmp.Diff(half, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// One that has ended is closed once the server knows of that very end.
	must(t, s.FinishRun(ctx, "old", captioner.RunFailed, nil, "no"))
	undelivered("a", captioner.Delivery{Server: "a", RunID: "new"}, half)
	whole := half
	whole.FinishedAt = &storedNow
	must(t, s.PutDelivery(ctx, whole))
	undelivered("a", captioner.Delivery{Server: "a", RunID: "new"})
	earlier := storedNow.Add(-time.Minute)
	whole.FinishedAt = &earlier // it was started again since
	must(t, s.PutDelivery(ctx, whole))
	undelivered("a", captioner.Delivery{Server: "a", RunID: "new"}, whole)

	// What is refused is not offered again; another server has nothing yet.
	whole.Refused = "deleted"
	must(t, s.PutDelivery(ctx, whole))
	undelivered("a", captioner.Delivery{Server: "a", RunID: "new"})
	undelivered("b", captioner.Delivery{Server: "b", RunID: "new"}, captioner.Delivery{Server: "b", RunID: "old"})
	must(t, s.FinishRun(ctx, "new", captioner.RunFailed, nil, "no"))
	must(t, s.PutDelivery(ctx, captioner.Delivery{Server: "b", RunID: "new", FinishedAt: &storedNow}))
	if newest, err := s.Undelivered(ctx, "b", 1); err != nil || len(newest) != 0 {
		t.Errorf("undelivered among the newest one: %v, %v, want none", newest, err)
	}
}

func testLeases(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	take := func(name, holder string, length time.Duration, want bool) {
		t.Helper()
		held, err := s.TakeLease(ctx, name, holder, length)
		must(t, err)
		if held != want {
			t.Fatalf("%s takes %q: %v, want %v", holder, name, held, want)
		}
	}
	take("work", "one", time.Minute, true)
	take("work", "two", time.Minute, false)
	take("work", "one", time.Minute, true)
	take("other", "two", time.Minute, true)

	must(t, s.GiveBackLease(ctx, "work", "two")) // is not its to give
	take("work", "two", time.Minute, false)
	must(t, s.GiveBackLease(ctx, "work", "one"))
	take("work", "two", 0, true)
	take("work", "one", time.Minute, true) // the other's has expired
	take("work", "two", time.Minute, false)
}
