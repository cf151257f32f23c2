package store

import (
	"context"
	"database/sql"
)

// StepResult returns the output kept under a pure step's key; NotFound when
// there is none.
func (s *Store) StepResult(ctx context.Context, key string) ([]byte, error) {
	var output []byte
	err := s.queryRow(ctx, "read a step's result", scanInto(&output),
		`SELECT output FROM step_results WHERE key = $1`, key)
	if err != nil {
		return nil, err
	}
	return notNil(output), nil
}

// PutStepResult keeps the first output of a key and returns the one that is kept.
func (s *Store) PutStepResult(ctx context.Context, key, step string, output []byte) ([]byte, error) {
	var kept []byte
	err := s.change(ctx, "keep a step's result", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx,
			`INSERT INTO step_results (key, step, output, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO NOTHING`,
			key, step, notNil(output), micros(s.now()))
		if err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT output FROM step_results WHERE key = $1`, key).Scan(&kept)
	})
	if err != nil {
		return nil, err
	}
	return notNil(kept), nil
}

// DeleteStepResult forgets a result whose blobs are gone. One that is not
// there is forgotten already.
func (s *Store) DeleteStepResult(ctx context.Context, key string) error {
	return s.change(ctx, "forget a step's result", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM step_results WHERE key = $1`, key)
		return err
	})
}
