package store

import (
	"context"
	"database/sql"

	"github.com/captioner/captioner"
)

// AliasNames lists the names that have an alias or a log.
func (s *Store) AliasNames(ctx context.Context) ([]string, error) {
	return list(ctx, s, "list the aliases", only[string], `SELECT name FROM aliases UNION SELECT name FROM alias_moves ORDER BY 1`)
}

// VersionDigests lists the registered versions, of rows that cannot be read too.
func (s *Store) VersionDigests(ctx context.Context) ([]captioner.Digest, error) {
	return list(ctx, s, "list the versions", only[captioner.Digest], `SELECT version FROM model_versions ORDER BY version`)
}

// only reads a row of one column.
func only[T any](row rowScanner) (one T, err error) {
	err = row.Scan(&one)
	return one, err
}

// RewriteLog replaces the log of a name, oldest first, and points the alias where
// its end says, whatever was there: nothing but a repair may do so. A version that
// is not registered any more gets a row as of one whose files are deleted.
func (s *Store) RewriteLog(ctx context.Context, name string, records []captioner.MoveRecord) error {
	return s.change(ctx, "rewrite the log of an alias", func(tx *sql.Tx) error {
		for _, statement := range []string{s.unguard, `DELETE FROM alias_moves WHERE name = $1`, s.guard, `DELETE FROM aliases WHERE name = $1`} {
			args := []any{name}
			if statement == s.guard || statement == s.unguard {
				args = nil
			}
			if _, err := tx.ExecContext(ctx, statement, args...); err != nil {
				return err
			}
		}
		for _, r := range records {
			if err := s.ensureVersion(ctx, tx, r.Move.Version); err != nil {
				return err
			}
			if err := insertMove(ctx, tx, r); err != nil {
				return err
			}
		}
		if len(records) == 0 {
			return nil
		}
		last := records[len(records)-1].Move
		_, err := tx.ExecContext(ctx, `INSERT INTO aliases (name, version, generation) VALUES ($1, $2, $3)`,
			name, string(last.Version), last.Generation)
		return err
	})
}

// ensureVersion adds a row of nothing but the digest where there is none.
func (s *Store) ensureVersion(ctx context.Context, tx *sql.Tx, version captioner.Digest) error {
	now := micros(s.now())
	_, err := tx.ExecContext(ctx,
		`INSERT INTO model_versions (`+versionColumns+`) VALUES ($1, '', $2, $3, $3, $3, NULL, $2, $2) ON CONFLICT (version) DO NOTHING`,
		string(version), now, []byte("{}"))
	return err
}

// ReplaceModelVersion makes a version's row say what its bundle does: scores,
// lineage and training. What only the row knows stays. A row that is missing is
// added.
func (s *Store) ReplaceModelVersion(ctx context.Context, v captioner.ModelVersion) error {
	if err := s.PutModelVersion(ctx, v); err != nil {
		return err
	}
	var columns [3][]byte
	for i, value := range []any{v.Evaluation, v.Lineage, v.Training} {
		var err error
		if columns[i], err = marshal(value); err != nil {
			return err
		}
	}
	return s.change(ctx, "repair a model version", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx,
			`UPDATE model_versions SET evaluation = $2, lineage = $3, training = $4,
			   run_id = CASE WHEN run_id = '' THEN $5 ELSE run_id END WHERE version = $1`,
			string(v.Version), columns[0], columns[1], columns[2], v.RunID)
		return err
	})
}

// ReplaceCheckpoint makes the row of a training's checkpoints say something else,
// or deletes it where no blob is left.
func (s *Store) ReplaceCheckpoint(ctx context.Context, c captioner.Checkpoint) error {
	return s.change(ctx, "repair a checkpoint", func(tx *sql.Tx) error {
		if c.Blob == "" {
			_, err := tx.ExecContext(ctx, `DELETE FROM checkpoints WHERE run_key = $1`, c.RunKey)
			return err
		}
		_, err := tx.ExecContext(ctx,
			`UPDATE checkpoints SET blob = $2, step = $3, previous_blob = $4, previous_step = $5 WHERE run_key = $1`,
			c.RunKey, string(c.Blob), c.Step, string(c.PreviousBlob), c.PreviousStep)
		return err
	})
}
