package store

import (
	"context"
	"database/sql"
	"errors"
	"math"

	"github.com/captioner/captioner"
)

// ClaimAttempt returns a number higher than that of any attempt at runKey
// before, from 1, and fences the older ones off.
func (s *Store) ClaimAttempt(ctx context.Context, runKey string) (int64, error) {
	var attempt int64
	err := s.change(ctx, "claim a training attempt", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx,
			`INSERT INTO trainings (run_key, attempt) VALUES ($1, 1)
			 ON CONFLICT (run_key) DO UPDATE SET attempt = trainings.attempt + 1
			 RETURNING attempt`, runKey).Scan(&attempt)
	})
	return attempt, err
}

// fence refuses an attempt that a newer one has replaced, with Conflict, and
// reserves count metric numbers for it: it returns the last of them. An
// attempt that was not claimed but is newer becomes the current one.
func fence(ctx context.Context, tx *sql.Tx, runKey string, attempt int64, count int) (sequence int64, err error) {
	err = tx.QueryRowContext(ctx,
		`INSERT INTO trainings (run_key, attempt, metric_sequence) VALUES ($1, $2, $3)
		 ON CONFLICT (run_key) DO UPDATE
		   SET attempt = excluded.attempt, metric_sequence = trainings.metric_sequence + excluded.metric_sequence
		   WHERE trainings.attempt <= excluded.attempt
		 RETURNING metric_sequence`, runKey, attempt, count).Scan(&sequence)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, &captioner.Error{Kind: captioner.Conflict, Code: "stale_attempt",
			Message: "a newer attempt at this training has started"}
	}
	return sequence, err
}

// reserve fences the attempt off at each training and reserves as many numbers
// as counts says; it returns the first ones.
func reserve(ctx context.Context, tx *sql.Tx, attempt int64, counts map[string]int) (map[string]int64, error) {
	next := make(map[string]int64, len(counts))
	for runKey, count := range counts {
		last, err := fence(ctx, tx, runKey, attempt, count)
		if err != nil {
			return nil, err
		}
		next[runKey] = last - int64(count) + 1
	}
	return next, nil
}

// PutCheckpoint records a checkpoint unless a newer attempt has started: then
// Conflict.
func (s *Store) PutCheckpoint(ctx context.Context, c captioner.Checkpoint) error {
	return s.change(ctx, "record a checkpoint", func(tx *sql.Tx) error {
		if _, err := fence(ctx, tx, c.RunKey, c.Attempt, 0); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx,
			`INSERT INTO checkpoints (run_key, attempt, blob, step, previous_blob, previous_step, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
			 ON CONFLICT (run_key) DO UPDATE
			   SET attempt = excluded.attempt, blob = excluded.blob, step = excluded.step,
			       previous_blob = excluded.previous_blob, previous_step = excluded.previous_step, created_at = excluded.created_at`,
			c.RunKey, c.Attempt, string(c.Blob), c.Step, string(c.PreviousBlob), c.PreviousStep, micros(s.now()))
		return err
	})
}

// Checkpoint returns the latest checkpoint of a training; NotFound.
func (s *Store) Checkpoint(ctx context.Context, runKey string) (captioner.Checkpoint, error) {
	c := captioner.Checkpoint{RunKey: runKey}
	err := s.queryRow(ctx, "read a checkpoint", scanInto(&c.Attempt, &c.Blob, &c.Step, &c.PreviousBlob, &c.PreviousStep),
		`SELECT attempt, blob, step, previous_blob, previous_step FROM checkpoints WHERE run_key = $1`, runKey)
	if err != nil {
		return captioner.Checkpoint{}, err
	}
	return c, nil
}

// AppendMetrics adds points, all or none. A point with the same run key, step
// and name replaces the old one and is new for readers who follow. A value that
// is not a number is kept as such.
func (s *Store) AppendMetrics(ctx context.Context, attempt int64, points []captioner.Metric) error {
	if len(points) == 0 {
		return nil
	}
	counts := map[string]int{}
	for _, p := range points {
		counts[p.RunKey]++
	}
	return s.change(ctx, "append metrics", func(tx *sql.Tx) error {
		next, err := reserve(ctx, tx, attempt, counts)
		if err != nil {
			return err
		}
		insert, err := tx.PrepareContext(ctx,
			`INSERT INTO metrics (run_key, name, step, value, time, sequence) VALUES ($1, $2, $3, $4, $5, $6)
			 ON CONFLICT (run_key, name, step) DO UPDATE
			   SET value = excluded.value, time = excluded.time, sequence = excluded.sequence`)
		if err != nil {
			return err
		}
		defer insert.Close()
		for _, p := range points {
			_, err := insert.ExecContext(ctx, p.RunKey, p.Name, p.Step, number(p.Value), micros(s.orNow(p.Time)), next[p.RunKey])
			if err != nil {
				return err
			}
			next[p.RunKey]++
		}
		return nil
	})
}

// Metrics returns the points of a training in the order of writing, from the
// sequence number after on; sequence is the last one returned, or after when
// there is nothing new.
func (s *Store) Metrics(ctx context.Context, runKey string, after int64, limit int) ([]captioner.Metric, int64, error) {
	var points []captioner.Metric
	sequence := after
	err := s.queryAll(ctx, "read metrics", func(r rowScanner) error {
		p := captioner.Metric{RunKey: runKey}
		var value sql.NullFloat64
		var time int64
		if err := r.Scan(&p.Step, &p.Name, &value, &time, &sequence); err != nil {
			return err
		}
		p.Value, p.Time = fromNumber(value), fromMicros(time)
		points = append(points, p)
		return nil
	}, `SELECT step, name, value, time, sequence FROM metrics
	    WHERE run_key = $1 AND sequence > $2 ORDER BY sequence LIMIT $3`, runKey, after, atMost(limit))
	if err != nil {
		return nil, after, err
	}
	return points, sequence, nil
}

// LatestMetrics returns each metric's value of the highest step; empty for a
// training that has none.
func (s *Store) LatestMetrics(ctx context.Context, runKey string) (map[string]float64, error) {
	latest := map[string]float64{}
	err := s.queryAll(ctx, "read metrics", func(r rowScanner) error {
		var name string
		var value sql.NullFloat64
		if err := r.Scan(&name, &value); err != nil {
			return err
		}
		latest[name] = fromNumber(value)
		return nil
	}, `SELECT m.name, m.value FROM metrics m
	    JOIN (SELECT name, MAX(step) AS step FROM metrics WHERE run_key = $1 GROUP BY name) l
	      ON l.name = m.name AND l.step = m.step
	    WHERE m.run_key = $1`, runKey)
	if err != nil {
		return nil, err
	}
	return latest, nil
}

// number is how a metric's value is stored: SQLite has no NaN.
func number(v float64) sql.NullFloat64 {
	return sql.NullFloat64{Float64: v, Valid: !math.IsNaN(v)}
}

// fromNumber is the inverse of number.
func fromNumber(v sql.NullFloat64) float64 {
	if !v.Valid {
		return math.NaN()
	}
	return v.Float64
}
