package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/captioner/captioner"
)

const moveColumns = `name, generation, version, previous, kind, moved_at, actor, reason, record`

// Alias returns where a name points; NotFound for one that was never set.
func (s *Store) Alias(ctx context.Context, name string) (captioner.Alias, error) {
	a := captioner.Alias{Name: name}
	err := s.queryRow(ctx, "read an alias", scanInto(&a.Version, &a.Generation),
		`SELECT version, generation FROM aliases WHERE name = $1`, name)
	if err != nil {
		return captioner.Alias{}, err
	}
	return a, nil
}

// MoveAlias points name at version if its generation is still the given one
// (0: never set), else Conflict, code "alias_moved"; the log gets its row in
// the same transaction. NotFound for a version that is not registered; Conflict,
// code "version_deleted", for one whose files are deleted.
func (s *Store) MoveAlias(ctx context.Context, name string, version captioner.Digest, generation int64, actor, reason string) (captioner.Alias, error) {
	return s.moveAlias(ctx, captioner.Promotion, name, version, generation, actor, reason, "")
}

// RollBackAlias is MoveAlias for a move that undoes one: the log says so.
func (s *Store) RollBackAlias(ctx context.Context, name string, version captioner.Digest, generation int64, actor, reason string) (captioner.Alias, error) {
	return s.moveAlias(ctx, captioner.Rollback, name, version, generation, actor, reason, "")
}

// MoveAliasFor makes the move for a request, which can do so once: then Conflict,
// as when the alias has moved. It is from the generation before the move's.
func (s *Store) MoveAliasFor(ctx context.Context, request captioner.Digest, m captioner.AliasMove) (captioner.Alias, error) {
	return s.moveAlias(ctx, m.Kind, m.Name, m.Version, m.Generation-1, m.Actor, m.Reason, request)
}

func (s *Store) moveAlias(ctx context.Context, kind captioner.MoveKind, name string, version captioner.Digest, generation int64, actor, reason string, request captioner.Digest) (captioner.Alias, error) {
	moved := captioner.Alias{Name: name, Version: version, Generation: generation + 1}
	err := s.change(ctx, "move an alias", func(tx *sql.Tx) error {
		if err := filesThere(ctx, tx, version); err != nil {
			return err
		}
		if request != "" {
			if err := markMoved(ctx, tx, request, moved.Generation); err != nil {
				return err
			}
		}
		previous, err := compareAndSet(ctx, tx, moved)
		if err != nil {
			return err
		}
		before, err := lastRecord(ctx, tx, name)
		if err != nil {
			return err
		}
		return insertMove(ctx, tx, captioner.MoveRecord{Before: before, Move: captioner.AliasMove{
			Alias: moved, Previous: previous, Kind: kind, MovedAt: fromMicros(micros(s.now())), Actor: text(actor), Reason: text(reason),
		}})
	})
	if err != nil {
		return captioner.Alias{}, err
	}
	return moved, nil
}

// insertMove adds a row to the log.
func insertMove(ctx context.Context, tx *sql.Tx, r captioner.MoveRecord) error {
	data, err := r.Encode()
	if err != nil {
		return err
	}
	m := r.Move
	_, err = tx.ExecContext(ctx,
		`INSERT INTO alias_moves (`+moveColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		m.Name, m.Generation, string(m.Version), string(m.Previous), string(m.Kind), micros(m.MovedAt), m.Actor, m.Reason,
		string(captioner.DigestOf(data)))
	return err
}

// lastRecord returns the digest of the newest row of a log; empty for none. Rows of
// before there were records get theirs here, so that the next one covers them.
func lastRecord(ctx context.Context, tx *sql.Tx, name string) (captioner.Digest, error) {
	var last captioner.Digest
	err := tx.QueryRowContext(ctx, `SELECT record FROM alias_moves WHERE name = $1 ORDER BY generation DESC LIMIT 1`, name).Scan(&last)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil || last != "" {
		return last, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT `+moveColumns+` FROM alias_moves WHERE name = $1 ORDER BY generation`, name)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var moves []captioner.AliasMove
	for rows.Next() {
		m, err := scanMove(rows)
		if err != nil {
			return "", err
		}
		moves = append(moves, m)
	}
	if err := rows.Err(); err != nil {
		return "", err
	}
	_, digests, err := captioner.ChainMoves(moves)
	if err != nil {
		return "", err
	}
	return digests[len(digests)-1], nil
}

// compareAndSet writes the alias if the one in the database is of the
// generation before, and returns the version that it replaced.
func compareAndSet(ctx context.Context, tx *sql.Tx, a captioner.Alias) (previous captioner.Digest, err error) {
	before := a.Generation - 1
	var done sql.Result
	if before == 0 {
		done, err = tx.ExecContext(ctx,
			`INSERT INTO aliases (name, version, generation) VALUES ($1, $2, 1) ON CONFLICT (name) DO NOTHING`,
			a.Name, string(a.Version))
	} else {
		err = tx.QueryRowContext(ctx,
			`SELECT version FROM aliases WHERE name = $1 AND generation = $2`, a.Name, before).Scan(&previous)
		if errors.Is(err, sql.ErrNoRows) {
			return "", aliasMoved()
		}
		if err != nil {
			return "", err
		}
		done, err = tx.ExecContext(ctx,
			`UPDATE aliases SET version = $1, generation = $2 WHERE name = $3 AND generation = $4`,
			string(a.Version), a.Generation, a.Name, before)
	}
	if err != nil {
		return "", err
	}
	if n, err := done.RowsAffected(); err != nil || n == 1 {
		return previous, err
	}
	return "", aliasMoved()
}

func aliasMoved() error {
	return &captioner.Error{Kind: captioner.Conflict, Code: "alias_moved", Message: "the alias has moved in the meantime"}
}

// AliasMoves lists the log of a name, newest first.
func (s *Store) AliasMoves(ctx context.Context, name string, limit int) ([]captioner.AliasMove, error) {
	return list(ctx, s, "read the log of an alias", scanMove,
		`SELECT `+moveColumns+` FROM alias_moves WHERE name = $1 ORDER BY generation DESC LIMIT $2`, name, atMost(limit))
}

// AliasMoveAt returns the move of a name that was in effect at a time;
// NotFound before the first. The generation decides, not the clock, which may
// have gone back between two moves.
func (s *Store) AliasMoveAt(ctx context.Context, name string, at time.Time) (captioner.AliasMove, error) {
	var m captioner.AliasMove
	err := s.queryRow(ctx, "read the log of an alias", func(r rowScanner) (err error) {
		m, err = scanMove(r)
		return err
	}, `SELECT `+moveColumns+` FROM alias_moves WHERE name = $1 AND moved_at <= $2 ORDER BY generation DESC LIMIT 1`, name, micros(at))
	if err != nil {
		return captioner.AliasMove{}, err
	}
	return m, nil
}

// scanMove reads the moveColumns.
func scanMove(r rowScanner) (captioner.AliasMove, error) {
	var m captioner.AliasMove
	var at int64
	err := r.Scan(&m.Name, &m.Generation, &m.Version, &m.Previous, &m.Kind, &at, &m.Actor, &m.Reason, &m.Record)
	m.MovedAt = fromMicros(at)
	return m, err
}
