package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/captioner/captioner"
)

// NoteUse records that a run uses kept results, by their keys, or blobs.
func (s *Store) NoteUse(ctx context.Context, runID string, digests ...string) error {
	return s.change(ctx, "note what a run uses", func(tx *sql.Tx) error {
		for _, digest := range digests {
			_, err := tx.ExecContext(ctx,
				`INSERT INTO run_uses (run_id, digest, noted_at) VALUES ($1, $2, $3)
				 ON CONFLICT (run_id, digest) DO UPDATE SET noted_at = excluded.noted_at`,
				runID, digest, micros(s.now()))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Uses lists what was noted, by run and digest.
func (s *Store) Uses(ctx context.Context) ([]captioner.Use, error) {
	return list(ctx, s, "list what runs use", func(row rowScanner) (u captioner.Use, err error) {
		var noted int64
		err = row.Scan(&u.RunID, &u.Digest, &noted)
		u.NotedAt = fromMicros(noted)
		return u, err
	}, `SELECT run_id, digest, noted_at FROM run_uses ORDER BY run_id, digest`)
}

// ForgetUses deletes what a run noted before that time.
func (s *Store) ForgetUses(ctx context.Context, runID string, before time.Time) error {
	return s.change(ctx, "forget what a run used", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM run_uses WHERE run_id = $1 AND noted_at < $2`, runID, micros(before))
		return err
	})
}

// StepResults lists all kept results, by key.
func (s *Store) StepResults(ctx context.Context) ([]captioner.StepResult, error) {
	return list(ctx, s, "list the steps' results", func(row rowScanner) (r captioner.StepResult, err error) {
		var created int64
		err = row.Scan(&r.Key, &r.Output, &created)
		r.CreatedAt = fromMicros(created)
		return r, err
	}, `SELECT key, output, created_at FROM step_results ORDER BY key`)
}

// Checkpoints lists the latest checkpoint of each training, by run key.
func (s *Store) Checkpoints(ctx context.Context) ([]captioner.Checkpoint, error) {
	return list(ctx, s, "list the checkpoints", func(row rowScanner) (c captioner.Checkpoint, err error) {
		var created int64
		err = row.Scan(&c.RunKey, &c.Attempt, &c.Blob, &c.Step, &c.PreviousBlob, &c.PreviousStep, &created)
		c.CreatedAt = fromMicros(created)
		return c, err
	}, `SELECT run_key, attempt, blob, step, previous_blob, previous_step, created_at FROM checkpoints ORDER BY run_key`)
}

// ForgetStepResult deletes a kept result that is older than that time, unless a
// run has noted its use since.
func (s *Store) ForgetStepResult(ctx context.Context, key string, before time.Time) (bool, error) {
	return s.forget(ctx, "forget a step's result",
		`DELETE FROM step_results WHERE key = $1 AND created_at < $2
		   AND NOT EXISTS (SELECT 1 FROM run_uses WHERE digest = $1 AND noted_at >= $2)`, key, micros(before))
}

// ForgetCheckpoint does the same with the checkpoint of a training: its use is
// noted by the training's key or by the blob's digest.
func (s *Store) ForgetCheckpoint(ctx context.Context, runKey string, before time.Time) (bool, error) {
	return s.forget(ctx, "forget a checkpoint",
		`DELETE FROM checkpoints WHERE run_key = $1 AND created_at < $2
		   AND NOT EXISTS (SELECT 1 FROM run_uses
		     WHERE (digest = checkpoints.run_key OR digest = checkpoints.blob) AND noted_at >= $2)`, runKey, micros(before))
}

// RetireVersion marks a version as one whose files are deleted, unless it is
// pinned, an alias names it, or it was registered at that time or later.
func (s *Store) RetireVersion(ctx context.Context, version captioner.Digest, before time.Time) (bool, error) {
	return s.forget(ctx, "retire a model version",
		`UPDATE model_versions SET deleted_at = $3
		 WHERE version = $1 AND registered_at < $2 AND pinned_at IS NULL AND deleted_at IS NULL
		   AND NOT EXISTS (SELECT 1 FROM aliases WHERE aliases.version = model_versions.version)`,
		string(version), micros(before), micros(s.now()))
}

// forget runs a statement that changes one row or none, and reports which.
func (s *Store) forget(ctx context.Context, what, query string, args ...any) (changed bool, err error) {
	err = s.change(ctx, what, func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		changed = n == 1
		return err
	})
	return changed, err
}
