package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/captioner/captioner"
)

const (
	// sqliteBusyTimeout is how long a statement waits for another process'
	// transaction. Ours last milliseconds; a disk that is flushing can take
	// seconds.
	sqliteBusyTimeout = 10 * time.Second
	// sqliteOwner reads the mark in the file's header, which is "capt" in ASCII
	// and stands in the migrations as well, and looks for our first tables.
	sqliteOwner = `SELECT CASE
		WHEN application_id = 1667330164 THEN 'captioner'
		WHEN application_id <> 0 THEN 'other'
		WHEN (SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'
			AND name IN ('step_results', 'model_versions', 'alias_moves')) = 3 THEN 'captioner'
		WHEN EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table'
			AND name <> 'schema_migrations' AND name NOT LIKE 'sqlite\_%' ESCAPE '\') THEN 'other'
		ELSE 'nobody' END
		FROM pragma_application_id`
)

// sqliteAt returns the SQLite database in the file at path.
func sqliteAt(path string) (database, error) {
	if path == "" || path == ":memory:" {
		return database{}, captioner.Errorf(captioner.Invalid, "database address sqlite: needs the path of a file")
	}
	return database{
		migrations: "migrations/sqlite",
		open: func(connections int, readOnly bool) (*sql.DB, error) {
			return openSQLite(path, connections, readOnly)
		},
		missing: func() bool {
			_, err := os.Stat(path)
			return errors.Is(err, fs.ErrNotExist)
		},
		create: func() error {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return captioner.Wrap(captioner.Unavailable, err, "make the database's folder")
			}
			return nil
		},
		begin:         `BEGIN IMMEDIATE`,
		unguard:       `DROP TRIGGER alias_moves_no_delete`,
		guard:         sqliteNoDelete,
		hasMigrations: `SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'`,
		owner:         sqliteOwner,
	}, nil
}

// sqliteNoDelete is the trigger of the first migration.
const sqliteNoDelete = `CREATE TRIGGER alias_moves_no_delete BEFORE DELETE ON alias_moves
BEGIN
    SELECT RAISE(ABORT, 'alias_moves is append-only');
END`

// openSQLite opens a pool of connections to the file at path.
//
// The journal is a write-ahead log: readers never wait for the writer. A
// commit is flushed to the disk before it returns, since an alias that has
// moved must not move back by itself when the power goes. There is one writing
// connection in a process, so that its transactions queue in Go and not in
// SQLite's busy loop; other processes are waited for.
func openSQLite(path string, connections int, readOnly bool) (*sql.DB, error) {
	query := url.Values{
		"_busy_timeout": {sqliteBusyMilliseconds},
		"_foreign_keys": {"1"},
		"_dqs":          {"0"},
		"_error_rc":     {"1"},
	}
	if readOnly {
		query.Set("_query_only", "1")
	} else {
		query.Set("_journal_mode", "WAL") // stays with the file
		query.Set("_synchronous", "FULL")
		query.Set("_txlock", "immediate")
	}
	name, err := sqliteName(path, query)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(sqliteConnector{name})
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

var sqliteBusyMilliseconds = strconv.FormatInt(sqliteBusyTimeout.Milliseconds(), 10)

// sqliteName is how the driver calls a file with settings.
func sqliteName(path string, query url.Values) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", captioner.Wrap(captioner.Internal, err, "open the database")
	}
	name := url.URL{Scheme: "file", Path: absolute, RawQuery: query.Encode()}
	return name.String(), nil
}

// sqliteConnector opens connections to a file, and waits where SQLite does not:
// its busy timeout does not cover the change to a write-ahead log, which fails
// while another process opens or closes the same file.
type sqliteConnector struct{ name string }

// sqliteDriver opens single connections.
var sqliteDriver = &sqlite.Driver{}

// Driver implements driver.Connector.
func (c sqliteConnector) Driver() driver.Driver { return sqliteDriver }

// Connect implements driver.Connector.
func (c sqliteConnector) Connect(ctx context.Context) (driver.Conn, error) {
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for deadline := time.Now().Add(sqliteBusyTimeout); ; {
		conn, err := sqliteDriver.Open(c.name)
		if !isBusy(err) || time.Now().After(deadline) {
			return conn, err
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// isBusy reports whether another connection stands in the way.
func isBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

// sqliteKind maps what SQLite says to a kind and code.
func sqliteKind(e *sqlite.Error) (captioner.Kind, string) {
	switch e.Code() & 0xff { // the primary code, without its extension
	case sqlite3.SQLITE_FULL:
		return captioner.Unavailable, captioner.CodeOutOfSpace
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM:
		return captioner.Unavailable, ""
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return captioner.Corrupt, ""
	}
	return captioner.Internal, ""
}
