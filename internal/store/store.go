// Package store keeps the records of the project in a SQL database: results of
// pure steps, checkpoints, metrics, runs, model versions, aliases with their
// append-only log, and the replicas that serve. What is large lies in the blob
// store; the database holds its digest.
//
// SQLite is the database of one machine. The queries use no dialect, so that
// another database is another way to open a connection and its own migrations.
// Package storetest is the contract that every database has to pass.
package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/captioner/captioner"
)

// Option changes how a store is opened.
type Option func(*Store)

// WithClock replaces time.Now as the source of the times that the store sets
// itself: when a result was kept, an alias moved, a run finished.
func WithClock(now func() time.Time) Option {
	return func(s *Store) { s.now = now }
}

// Store implements captioner.Store over SQL. Its methods may be called from
// several goroutines and several processes at once.
//
// A limit of 0 or less lists everything. Times come back in UTC with
// microseconds.
type Store struct {
	// reader answers queries, writer runs transactions that change something.
	reader, writer *sql.DB
	now            func() time.Time
}

var _ captioner.Store = (*Store)(nil)

// Open opens the database at address, brings its schema up to date and returns
// it as a store. An address is "sqlite:PATH"; the file and its folder are made
// where they are missing.
//
// A schema that is newer than this program is refused with kind Invalid and
// code "schema_newer".
func Open(ctx context.Context, address string, options ...Option) (captioner.Store, error) {
	path, err := sqlitePath(address)
	if err != nil {
		return nil, err
	}
	if _, err := MigrateUp(ctx, address); err != nil {
		return nil, err
	}
	s := &Store{now: time.Now}
	for _, option := range options {
		option(s)
	}
	if s.writer, err = openSQLite(path, 1, false); err != nil {
		return nil, err
	}
	if s.reader, err = openSQLite(path, sqliteReaders, true); err != nil {
		_ = s.writer.Close()
		return nil, err
	}
	if err := s.Ping(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// sqlitePath returns the path of a SQLite address, or Invalid.
func sqlitePath(address string) (string, error) {
	scheme, path, found := strings.Cut(address, ":")
	switch {
	case !found || scheme != "sqlite":
		return "", captioner.Errorf(captioner.Invalid, "database address must be sqlite:PATH")
	case path == "" || path == ":memory:":
		return "", captioner.Errorf(captioner.Invalid, "database address sqlite: needs the path of a file")
	}
	return path, nil
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	return s.queryRow(ctx, "reach the database", scanInto(&one), `SELECT 1`)
}

// Close releases the database. Calls after it return Unavailable.
func (s *Store) Close() error {
	err := s.reader.Close()
	if werr := s.writer.Close(); err == nil {
		err = werr
	}
	if err != nil {
		return captioner.Wrap(captioner.Unavailable, err, "close the database")
	}
	return nil
}

// change runs fn in a transaction that holds the write lock from its start, so
// that what fn reads stays true until it commits. An error of fn rolls back.
func (s *Store) change(ctx context.Context, what string, fn func(tx *sql.Tx) error) error {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return classify(ctx, err, what)
	}
	if err := fn(tx); err != nil {
		_ = tx.Rollback()
		return classify(ctx, err, what)
	}
	if err := tx.Commit(); err != nil {
		return classify(ctx, err, what)
	}
	return nil
}

// rowScanner is what sql.Row and sql.Rows have in common.
type rowScanner interface{ Scan(dest ...any) error }

// scanInto returns a scan function for one row of plain columns.
func scanInto(dest ...any) func(rowScanner) error {
	return func(r rowScanner) error { return r.Scan(dest...) }
}

// queryRow scans the one row of a query; no row is kind NotFound.
func (s *Store) queryRow(ctx context.Context, what string, scan func(rowScanner) error, query string, args ...any) error {
	return classify(ctx, scan(s.reader.QueryRowContext(ctx, query, args...)), what)
}

// queryAll scans every row of a query.
func (s *Store) queryAll(ctx context.Context, what string, scan func(rowScanner) error, query string, args ...any) error {
	rows, err := s.reader.QueryContext(ctx, query, args...)
	if err != nil {
		return classify(ctx, err, what)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return classify(ctx, err, what)
		}
	}
	return classify(ctx, rows.Err(), what)
}

// atMost turns a limit into one that SQL understands.
func atMost(limit int) int64 {
	if limit <= 0 {
		return 1<<63 - 1
	}
	return int64(limit)
}

// micros is how a time is stored; fromMicros is its inverse.
func micros(t time.Time) int64      { return t.UnixMicro() }
func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// orNow returns t, or the store's time where t is not set.
func (s *Store) orNow(t time.Time) time.Time {
	if t.IsZero() {
		return s.now()
	}
	return t
}

// notNil keeps an empty value from being stored as NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
