package store

import (
	"context"
	"database/sql"
	"time"
)

// TakeLease gives the holder the lease of that name for a time, or prolongs it;
// false while another holds it.
func (s *Store) TakeLease(ctx context.Context, name, holder string, length time.Duration) (held bool, err error) {
	err = s.change(ctx, "take a lease", func(tx *sql.Tx) error {
		now := s.now()
		done, err := tx.ExecContext(ctx,
			`INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, $3)
			 ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
			   WHERE leases.holder = excluded.holder OR leases.expires_at <= $4`,
			name, holder, micros(now.Add(length)), micros(now))
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		held = n == 1
		return err
	})
	return held, err
}

// GiveBackLease ends a lease before its time; one that another holds stays.
func (s *Store) GiveBackLease(ctx context.Context, name, holder string) error {
	return s.change(ctx, "give back a lease", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM leases WHERE name = $1 AND holder = $2`, name, holder)
		return err
	})
}
