package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/captioner/captioner"
)

// BeginAttempt makes the attempt that ctx belongs to the one that counts, unless
// a newer one at the same work has begun: then Conflict, code "stale_attempt".
// From then on the changes of older ones fail so.
func (s *Store) BeginAttempt(ctx context.Context) error {
	a, ok := captioner.AttemptOf(ctx)
	if !ok {
		return nil
	}
	return s.change(ctx, "begin an attempt", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx,
			`INSERT INTO attempts (work, started_at) VALUES ($1, $2)
			 ON CONFLICT (work) DO UPDATE SET started_at = excluded.started_at`, a.Work, a.Started.UnixNano())
		return err
	})
}

// CheckAttempt fails as a change would, for what is written elsewhere than in the
// database.
func (s *Store) CheckAttempt(ctx context.Context) error {
	if _, ok := captioner.AttemptOf(ctx); !ok {
		return nil
	}
	return s.change(ctx, "check an attempt", func(*sql.Tx) error { return nil })
}

// refuseLate refuses an attempt that a newer one has replaced. Since it holds the
// write lock, none can begin before the change is committed.
func refuseLate(ctx context.Context, tx *sql.Tx) error {
	a, ok := captioner.AttemptOf(ctx)
	if !ok {
		return nil
	}
	var newest int64
	err := tx.QueryRowContext(ctx, `SELECT started_at FROM attempts WHERE work = $1`, a.Work).Scan(&newest)
	if errors.Is(err, sql.ErrNoRows) || err == nil && newest <= a.Started.UnixNano() {
		return nil
	}
	if err != nil {
		return err
	}
	return &captioner.Error{Kind: captioner.Conflict, Code: "stale_attempt", Message: "a newer attempt at this step has begun"}
}
