package store

import (
	"context"
	"database/sql"

	"github.com/captioner/captioner"
)

// PutDelivery records how much of a run a tracking server has. NotFound for a
// run that was never recorded.
func (s *Store) PutDelivery(ctx context.Context, d captioner.Delivery) error {
	var finished sql.NullInt64
	if d.FinishedAt != nil {
		finished = sql.NullInt64{Int64: micros(*d.FinishedAt), Valid: true}
	}
	return s.change(ctx, "record a delivery", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx,
			`INSERT INTO deliveries (server, run_id, tracked_run, url, run_key, sequence, finished_at, refused, updated_at)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			 ON CONFLICT (server, run_id) DO UPDATE
			   SET tracked_run = excluded.tracked_run, url = excluded.url, run_key = excluded.run_key, sequence = excluded.sequence,
			       finished_at = excluded.finished_at, refused = excluded.refused, updated_at = excluded.updated_at`,
			d.Server, d.RunID, d.TrackedRun, d.URL, d.RunKey, d.Sequence, finished, text(d.Refused), micros(s.now()))
		if isForeignKey(err) {
			return sql.ErrNoRows
		}
		return err
	})
}

// Delivery returns the latest delivery of a run, to whichever server; NotFound.
func (s *Store) Delivery(ctx context.Context, runID string) (captioner.Delivery, error) {
	var d captioner.Delivery
	err := s.queryRow(ctx, "read a delivery", scanDelivery(&d),
		`SELECT run_id, server, tracked_run, url, run_key, sequence, finished_at, refused FROM deliveries
		 WHERE run_id = $1 ORDER BY updated_at DESC LIMIT 1`, runID)
	if err != nil {
		return captioner.Delivery{}, err
	}
	return d, nil
}

// Undelivered lists the deliveries to a server that are not complete among
// those of the newest runs, the newest first: that of a run that goes on never
// is. A run without one has an empty one.
func (s *Store) Undelivered(ctx context.Context, server string, newest int) ([]captioner.Delivery, error) {
	return list(ctx, s, "list what is to be delivered", func(row rowScanner) (d captioner.Delivery, err error) {
		err = scanDelivery(&d)(row)
		return d, err
	}, `SELECT r.id, CAST($1 AS TEXT), COALESCE(d.tracked_run, ''), COALESCE(d.url, ''), COALESCE(d.run_key, ''), COALESCE(d.sequence, 0),
	           d.finished_at, COALESCE(d.refused, '')
	    FROM (SELECT id, created_at, finished_at FROM runs ORDER BY created_at DESC, id DESC LIMIT $2) r
	    LEFT JOIN deliveries d ON d.server = $1 AND d.run_id = r.id
	    WHERE d.run_id IS NULL
	       OR d.refused = '' AND (d.finished_at IS NULL OR r.finished_at IS NULL OR d.finished_at <> r.finished_at)
	    ORDER BY r.created_at DESC, r.id DESC`, server, atMost(newest))
}

func scanDelivery(d *captioner.Delivery) func(rowScanner) error {
	return func(row rowScanner) error {
		var finished sql.NullInt64
		if err := row.Scan(&d.RunID, &d.Server, &d.TrackedRun, &d.URL, &d.RunKey, &d.Sequence, &finished, &d.Refused); err != nil {
			return err
		}
		if finished.Valid {
			t := fromMicros(finished.Int64)
			d.FinishedAt = &t
		}
		return nil
	}
}
