package store

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/captioner/captioner"
)

const runColumns = `id, config, created_at, actor, state, finished_at, result, message, progress`

// PutRun records a run's configuration when it starts; the first record of an
// ID wins, and created reports whether this was it. A record without a state
// is of a running one, one without a time is of now.
func (s *Store) PutRun(ctx context.Context, r captioner.RunRecord) (kept captioner.RunRecord, created bool, err error) {
	if r.State == "" {
		r.State = captioner.RunRunning
	}
	result, err := marshalResult(r.Result)
	if err != nil {
		return captioner.RunRecord{}, false, err
	}
	progress, err := marshalProgress(r.Progress)
	if err != nil {
		return captioner.RunRecord{}, false, err
	}
	var finished sql.NullInt64
	if r.FinishedAt != nil {
		finished = sql.NullInt64{Int64: micros(*r.FinishedAt), Valid: true}
	}
	err = s.change(ctx, "record a run", func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx,
			`INSERT INTO runs (`+runColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING`,
			r.ID, notNil(r.Config), micros(s.orNow(r.CreatedAt)), text(r.Actor), string(r.State), finished, result, text(r.Message), progress)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		if err != nil {
			return err
		}
		created = n == 1
		return scanRun(&kept)(tx.QueryRowContext(ctx, `SELECT `+runColumns+` FROM runs WHERE id = $1`, r.ID))
	})
	if err != nil {
		return captioner.RunRecord{}, false, err
	}
	return kept, created, nil
}

// RunRecord returns the record of a run; NotFound.
func (s *Store) RunRecord(ctx context.Context, id string) (captioner.RunRecord, error) {
	var r captioner.RunRecord
	err := s.queryRow(ctx, "read a run", scanRun(&r), `SELECT `+runColumns+` FROM runs WHERE id = $1`, id)
	if err != nil {
		return captioner.RunRecord{}, err
	}
	return r, nil
}

// FinishRun records the outcome; NotFound for a run that was never recorded.
// Recording the same state again keeps the first time; another state replaces
// it, since a failed run's ID can be started again.
func (s *Store) FinishRun(ctx context.Context, id string, state captioner.RunState, result *captioner.RunResult, message string) error {
	encoded, err := marshalResult(result)
	if err != nil {
		return err
	}
	return s.change(ctx, "record the outcome of a run", func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx,
			`UPDATE runs SET
			   finished_at = CASE WHEN state = $2 AND finished_at IS NOT NULL THEN finished_at ELSE $3 END,
			   state = $2, result = $4, message = $5
			 WHERE id = $1`,
			id, string(state), micros(s.now()), encoded, text(message))
		if err != nil {
			return err
		}
		return oneRow(done)
	})
}

// PutProgress replaces what is known of a run's stages and training; NotFound
// for a run that was never recorded.
func (s *Store) PutProgress(ctx context.Context, id string, p captioner.Progress) error {
	encoded, err := marshalProgress(&p)
	if err != nil {
		return err
	}
	return s.change(ctx, "record the progress of a run", func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE runs SET progress = $2 WHERE id = $1`, id, encoded)
		if err != nil {
			return err
		}
		return oneRow(done)
	})
}

// oneRow turns a change of no row into sql.ErrNoRows.
func oneRow(done sql.Result) error {
	n, err := done.RowsAffected()
	if err == nil && n == 0 {
		err = sql.ErrNoRows
	}
	return err
}

// RunRecords lists the newest first.
func (s *Store) RunRecords(ctx context.Context, limit int) ([]captioner.RunRecord, error) {
	return list(ctx, s, "list runs", func(row rowScanner) (r captioner.RunRecord, err error) {
		err = scanRun(&r)(row)
		return r, err
	}, `SELECT `+runColumns+` FROM runs ORDER BY created_at DESC, id DESC LIMIT $1`, atMost(limit))
}

// scanRun reads the runColumns into r.
func scanRun(r *captioner.RunRecord) func(rowScanner) error {
	return func(row rowScanner) error {
		var created int64
		var finished sql.NullInt64
		var result []byte
		var progress sql.NullString
		if err := row.Scan(&r.ID, &r.Config, &created, &r.Actor, &r.State, &finished, &result, &r.Message, &progress); err != nil {
			return err
		}
		r.CreatedAt = fromMicros(created)
		if finished.Valid {
			t := fromMicros(finished.Int64)
			r.FinishedAt = &t
		}
		if progress.Valid {
			r.Progress = &captioner.Progress{}
			if err := unmarshal([]byte(progress.String), r.Progress); err != nil {
				return err
			}
		}
		if result == nil {
			return nil
		}
		r.Result = &captioner.RunResult{}
		return unmarshal(result, r.Result)
	}
}

// marshalResult encodes a result; nil stays nil, which is stored as NULL.
func marshalResult(result *captioner.RunResult) ([]byte, error) {
	if result == nil {
		return nil, nil
	}
	return marshal(result)
}

// marshalProgress encodes a progress as text; nil becomes NULL.
func marshalProgress(p *captioner.Progress) (sql.NullString, error) {
	if p == nil {
		return sql.NullString{}, nil
	}
	data, err := marshal(p)
	return sql.NullString{String: string(data), Valid: err == nil}, err
}

// marshal encodes a column that holds JSON.
func marshal(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "encode a record")
	}
	return data, nil
}

// unmarshal decodes a column that holds JSON.
func unmarshal(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return captioner.Wrap(captioner.Corrupt, err, "decode a record")
	}
	return nil
}
