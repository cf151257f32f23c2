package store

import (
	"database/sql"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/captioner/captioner"
)

const (
	// sqliteReaders is how many queries run at once; each holds a connection.
	sqliteReaders = 4
	// sqliteBusyTimeout is how long a statement waits for another process'
	// transaction. Ours last milliseconds; a disk that is flushing can take
	// seconds.
	sqliteBusyTimeout = 10 * time.Second
)

// openSQLite opens a pool of connections to the file at path.
//
// The journal is a write-ahead log: readers never wait for the writer. A
// commit is flushed to the disk before it returns, since an alias that has
// moved must not move back by itself when the power goes. There is one writing
// connection in a process, so that its transactions queue in Go and not in
// SQLite's busy loop; other processes are waited for.
func openSQLite(path string, connections int, readOnly bool) (*sql.DB, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "open the database")
	}
	query := url.Values{
		"_busy_timeout": {strconv.FormatInt(sqliteBusyTimeout.Milliseconds(), 10)},
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
	name := url.URL{Scheme: "file", Path: absolute, RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "open the database")
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}
