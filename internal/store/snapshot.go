package store

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/captioner/captioner"
)

// SQLiteFile returns the path of the database at an address, if it is SQLite's.
func SQLiteFile(address string) (path string, ok bool) {
	return strings.CutPrefix(address, "sqlite:")
}

// SnapshotSQLite writes the database in a file of SQLite's, at one moment between
// two transactions, to a new file. Whoever reads and writes it goes on meanwhile,
// also in other processes.
func SnapshotSQLite(ctx context.Context, path, to string) error {
	if _, err := os.Stat(path); err != nil { // opening would make it
		return captioner.Wrap(captioner.NotFound, err, "there is no database to copy")
	}
	// The file may be another program's: nothing of how it is kept is changed.
	name, err := sqliteName(path, url.Values{"_busy_timeout": {sqliteBusyMilliseconds}})
	if err != nil {
		return err
	}
	db := sql.OpenDB(sqliteConnector{name})
	defer db.Close()
	if _, err := db.ExecContext(ctx, `VACUUM INTO $1`, to); err != nil {
		return classify(ctx, err, "copy the database")
	}
	f, err := os.Open(to)
	if err != nil {
		return captioner.Wrap(captioner.Unavailable, err, "copy the database")
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return captioner.Wrap(captioner.Unavailable, err, "copy the database")
	}
	return nil
}

// CheckSQLite reads a whole database file of SQLite's; Corrupt when pages, indexes
// or references do not fit together.
func CheckSQLite(ctx context.Context, path string) error {
	return checkSQLite(ctx, path, `PRAGMA integrity_check(1)`, foreignKeyCheck)
}

// QuickCheck is CheckSQLite for a program that starts: it leaves indexes and
// references out. A file that is missing, and a database of another kind, which
// looks after its own pages, are not looked at.
func QuickCheck(ctx context.Context, address string) error {
	path, ok := SQLiteFile(address)
	if !ok {
		return nil
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return checkSQLite(ctx, path, `PRAGMA quick_check(1)`)
}

const foreignKeyCheck = `PRAGMA foreign_key_check`

func checkSQLite(ctx context.Context, path string, checks ...string) error {
	db, err := openSQLite(path, 1, true)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, check := range checks {
		if err := runCheck(ctx, db, check); err != nil {
			return err
		}
	}
	return nil
}

// runCheck runs a statement that returns what is wrong.
func runCheck(ctx context.Context, db *sql.DB, check string) error {
	rows, err := db.QueryContext(ctx, check)
	if err != nil {
		return classify(ctx, err, "check the database")
	}
	defer rows.Close()
	for rows.Next() {
		says := "a row refers to one that is missing"
		if check != foreignKeyCheck {
			if err := rows.Scan(&says); err != nil {
				return classify(ctx, err, "check the database")
			}
		}
		if says != "ok" {
			return captioner.Errorf(captioner.Corrupt, "the database is damaged: %s", says)
		}
	}
	return classify(ctx, rows.Err(), "check the database")
}
