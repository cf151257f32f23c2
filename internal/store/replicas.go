package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/captioner/captioner"
)

// SeeReplica records a heartbeat of a serving process; the latest one counts.
// A heartbeat without a time is of now.
func (s *Store) SeeReplica(ctx context.Context, r captioner.Replica) error {
	return s.change(ctx, "record a replica", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx,
			`INSERT INTO replicas (id, version, generation, seen_at, error) VALUES ($1, $2, $3, $4, $5)
			 ON CONFLICT (id) DO UPDATE
			   SET version = excluded.version, generation = excluded.generation, seen_at = excluded.seen_at, error = excluded.error`,
			r.ID, string(r.Version), r.Generation, micros(s.orNow(r.SeenAt)), text(r.Error))
		return err
	})
}

// Replicas lists the replicas seen at since or later, by ID.
func (s *Store) Replicas(ctx context.Context, since time.Time) ([]captioner.Replica, error) {
	return list(ctx, s, "list replicas", func(row rowScanner) (r captioner.Replica, err error) {
		var seen int64
		err = row.Scan(&r.ID, &r.Version, &r.Generation, &seen, &r.Error)
		r.SeenAt = fromMicros(seen)
		return r, err
	}, `SELECT id, version, generation, seen_at, error FROM replicas WHERE seen_at >= $1 ORDER BY id`, micros(since))
}

// ForgetReplica removes one that has ended.
func (s *Store) ForgetReplica(ctx context.Context, id string) error {
	return s.change(ctx, "forget a replica", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM replicas WHERE id = $1`, id)
		return err
	})
}
