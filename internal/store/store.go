// Package store keeps the records of the project in a SQL database: results of
// pure steps, checkpoints, metrics, runs, model versions, aliases with their
// append-only log, and the replicas that serve. What is large lies in the blob
// store; the database holds its digest.
//
// SQLite is the database of one machine, PostgreSQL that of several. The
// queries are the same for both: what differs is in sqlite.go, postgres.go and
// the migrations. Package storetest is the contract that each has to pass.
package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/failpoint"
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
	// writeLock begins each transaction of writer; empty where it locks anyway.
	writeLock      string
	unguard, guard string // see database
	now            func() time.Time
}

var _ captioner.Store = (*Store)(nil)

// readers is how many queries run at once; each holds a connection.
const readers = 4

// Open opens the database at address, brings its schema up to date and returns
// it as a store. An address is "sqlite:PATH", where the file and its folder are
// made if they are missing, or "postgres://USER:PASSWORD@HOST:PORT/NAME", where
// the database has to exist.
//
// A schema that is newer than this program is refused with kind Invalid and
// code "schema_newer", another application's database with "database_foreign".
func Open(ctx context.Context, address string, options ...Option) (*Store, error) {
	db, err := at(address)
	if err != nil {
		return nil, err
	}
	if _, err := MigrateUp(ctx, address); err != nil {
		return nil, err
	}
	s := &Store{writeLock: db.writeLock, unguard: db.unguard, guard: db.guard, now: time.Now}
	for _, option := range options {
		option(s)
	}
	if s.writer, err = db.open(1, false); err != nil {
		return nil, err
	}
	if s.reader, err = db.open(readers, true); err != nil {
		_ = s.writer.Close()
		return nil, err
	}
	if err := s.Ping(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// database is what differs between one SQL database and another.
type database struct {
	// migrations is the folder of its migrations.
	migrations string
	// open returns a pool of connections; readOnly ones refuse to change anything.
	open func(connections int, readOnly bool) (*sql.DB, error)
	// missing reports that the database was not made yet, and create makes
	// room for it; both are nil where only an administrator makes databases.
	missing func() bool
	create  func() error
	// begin starts a transaction that no other writer's runs beside, in one
	// statement or several; writeLock is what it takes in a transaction that
	// has begun, empty for nothing.
	begin, writeLock string
	// unguard and guard take the protection of the deployment log away and put it
	// back, in one statement or several.
	unguard, guard string
	// hasMigrations counts the tables named schema_migrations.
	hasMigrations string
	// owner says whose database it is: "captioner", "other" or "nobody".
	owner string
}

// at returns the database at an address, without reaching for it.
func at(address string) (database, error) {
	scheme, rest, _ := strings.Cut(address, ":")
	switch scheme {
	case "sqlite":
		return sqliteAt(rest)
	case "postgres", "postgresql":
		return postgresAt(address)
	}
	return database{}, captioner.Errorf(captioner.Invalid,
		"database address must be sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/NAME")
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
// that what fn reads stays true until it commits. An error of fn rolls back, and
// an attempt that a newer one has replaced may change nothing: see attempts.go.
func (s *Store) change(ctx context.Context, what string, fn func(tx *sql.Tx) error) error {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return classify(ctx, err, what)
	}
	if s.writeLock != "" {
		_, err = tx.ExecContext(ctx, s.writeLock)
	}
	if err == nil {
		err = refuseLate(ctx, tx)
	}
	if err == nil {
		err = fn(tx)
	}
	if err != nil {
		_ = tx.Rollback()
		return classify(ctx, err, what)
	}
	failpoint.ReachedBy(failpoint.BeforeCommit, what)
	if err := tx.Commit(); err != nil {
		return classify(ctx, err, what)
	}
	failpoint.ReachedBy(failpoint.AfterCommit, what)
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

// list returns every row of a query, nothing when one cannot be read.
func list[T any](ctx context.Context, s *Store, what string, scan func(rowScanner) (T, error), query string, args ...any) ([]T, error) {
	var all []T
	err := s.queryAll(ctx, what, func(row rowScanner) error {
		one, err := scan(row)
		all = append(all, one)
		return err
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return all, nil
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

// text makes a sentence one that every database can keep: other programs'
// errors may quote bytes that are no UTF-8, and PostgreSQL keeps no zero byte.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// notNil keeps an empty value from being stored as NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
