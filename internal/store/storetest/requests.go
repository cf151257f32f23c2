package storetest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
)

func testRequests(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	_, err := s.AnswerRequest(ctx, digest(1), []byte("{}"))
	wantKind(t, err, captioner.NotFound)

	for i, asked := range []captioner.Digest{digest(2), digest(3), digest(2)} {
		kept, first, err := s.ClaimRequest(ctx, digest(1), asked)
		must(t, err)
		if diff := cmp.Diff(captioner.Request{Key: digest(1), Asked: digest(2)}, kept); diff != "" || first != (i == 0) {
			t.Errorf("claim %d: first %v (-want +got):\n%s", i+1, first, diff)
		}
	}
	for _, answer := range []string{`{"a": "ä"}`, `{"a": "b"}`} {
		kept, err := s.AnswerRequest(ctx, digest(1), []byte(answer))
		must(t, err)
		if string(kept) != `{"a": "ä"}` {
			t.Errorf("AnswerRequest(%s) keeps %s, want the first answer", answer, kept)
		}
	}
	kept, _, err := s.ClaimRequest(ctx, digest(1), digest(2))
	must(t, err)
	if string(kept.Answer) != `{"a": "ä"}` {
		t.Errorf("the claim of an answered request gives %q", kept.Answer)
	}
}

func testRequestRace(t *testing.T, s captioner.Store) {
	const claims, keys = 40, 4
	var firsts atomic.Int64
	inParallel(claims, func(i int) {
		kept, first, err := s.ClaimRequest(t.Context(), digest(i%keys), digest(100+i%keys))
		if err != nil || kept.Asked != digest(100+i%keys) {
			t.Errorf("claim %d: %+v, %v", i, kept, err)
		}
		if first {
			firsts.Add(1)
		}
	})
	if firsts.Load() != keys {
		t.Errorf("%d claims were the first, want %d", firsts.Load(), keys)
	}
}

// testRequestMovesOnce: however often a request is carried out, and by however
// many, the alias moves once.
func testRequestMovesOnce(t *testing.T, s captioner.Store) {
	ctx := t.Context()
	putVersions(t, s, 2)
	move := func(request captioner.Digest, kind captioner.MoveKind, version captioner.Digest, from int64) error {
		a, err := s.MoveAliasFor(ctx, request, captioner.AliasMove{
			Alias: captioner.Alias{Name: captioner.Production, Version: version, Generation: from + 1}, Kind: kind, Actor: "api", Reason: "r",
		})
		if err == nil && a != (captioner.Alias{Name: captioner.Production, Version: version, Generation: from + 1}) {
			return fmt.Errorf("moved to %+v", a)
		}
		return err
	}
	wantKind(t, move(digest(8), captioner.Promotion, digest(1), 0), captioner.Conflict) // never claimed
	for key := 8; key <= 9; key++ {
		_, _, err := s.ClaimRequest(ctx, digest(key), digest(0))
		must(t, err)
	}
	must(t, move(digest(8), captioner.Promotion, digest(1), 0))
	wantKind(t, move(digest(8), captioner.Promotion, digest(2), 1), captioner.Conflict)
	wantKind(t, move(digest(9), captioner.Promotion, digest(2), 0), captioner.Conflict) // another was faster

	var moved atomic.Int64
	inParallel(8, func(int) {
		if move(digest(9), captioner.Rollback, digest(2), 1) == nil {
			moved.Add(1)
		}
	})
	log, err := s.AliasMoves(ctx, captioner.Production, 0)
	must(t, err)
	if moved.Load() != 1 || len(log) != 2 || log[0].Kind != captioner.Rollback {
		t.Errorf("%d moves succeeded, log %+v; want one, and it in the log", moved.Load(), log)
	}
	kept, _, err := s.ClaimRequest(ctx, digest(9), digest(0))
	must(t, err)
	if kept.Moved != 2 {
		t.Errorf("the request has moved the alias to generation %d, want 2", kept.Moved)
	}
	must(t, func() error { _, err := s.MoveAlias(ctx, captioner.Production, digest(1), 2, "x", "y"); return err }())
}
