package store

import (
	"context"
	"database/sql"

	"github.com/captioner/captioner"
)

// ClaimRequest records what a client asks for under an idempotency key. The first
// record of a key wins, and first reports whether this was it.
func (s *Store) ClaimRequest(ctx context.Context, key, asked captioner.Digest) (kept captioner.Request, first bool, err error) {
	kept.Key = key
	err = s.change(ctx, "record a request", func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx,
			`INSERT INTO requests (key, asked, created_at) VALUES ($1, $2, $3) ON CONFLICT (key) DO NOTHING`,
			string(key), string(asked), micros(s.now()))
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		if err != nil {
			return err
		}
		first = n == 1
		var answer sql.NullString
		err = tx.QueryRowContext(ctx, `SELECT asked, moved, answer FROM requests WHERE key = $1`, string(key)).
			Scan(&kept.Asked, &kept.Moved, &answer)
		if answer.Valid {
			kept.Answer = []byte(answer.String)
		}
		return err
	})
	return kept, first, err
}

// AnswerRequest keeps what the client was told. The first answer stays, and is
// returned; NotFound for a key that nobody has claimed.
func (s *Store) AnswerRequest(ctx context.Context, key captioner.Digest, answer []byte) (kept []byte, err error) {
	err = s.change(ctx, "record the answer to a request", func(tx *sql.Tx) error {
		var text string
		err := tx.QueryRowContext(ctx,
			`UPDATE requests SET answer = COALESCE(answer, $2) WHERE key = $1 RETURNING answer`, string(key), string(answer)).Scan(&text)
		kept = []byte(text)
		return err
	})
	if err != nil {
		return nil, err
	}
	return kept, nil
}

// markMoved notes that a request moves an alias. One that has done so already may
// not again: Conflict.
func markMoved(ctx context.Context, tx *sql.Tx, request captioner.Digest, generation int64) error {
	done, err := tx.ExecContext(ctx, `UPDATE requests SET moved = $2 WHERE key = $1 AND moved = 0`, string(request), generation)
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return aliasMoved()
}
