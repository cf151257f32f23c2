package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

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
	db := sql.OpenDB(sqliteConnector{name.String()})
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
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
