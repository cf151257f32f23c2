package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/captioner/captioner"
)

// classify gives an error of the database its kind. What is a captioner.Error
// already stays as it is, and so does the end of ctx.
func classify(ctx context.Context, err error, what string) error {
	var known *captioner.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, ctx.Err())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, sql.ErrNoRows):
		return captioner.Errorf(captioner.NotFound, "%s: not found", what)
	}
	kind, code := kindOf(err)
	return &captioner.Error{Kind: kind, Code: code, Message: what, Err: err}
}

// kindOf maps what SQLite and database/sql say to a kind and, where a person
// has to act, a code.
func kindOf(err error) (captioner.Kind, string) {
	if errors.Is(err, sql.ErrConnDone) || errors.Is(err, driver.ErrBadConn) || err.Error() == "sql: database is closed" {
		return captioner.Unavailable, ""
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return captioner.Internal, ""
	}
	switch e.Code() & 0xff { // the primary code, without its extension
	case sqlite3.SQLITE_FULL:
		return captioner.Unavailable, "out_of_space"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM:
		return captioner.Unavailable, ""
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return captioner.Corrupt, ""
	}
	return captioner.Internal, ""
}

// isForeignKey reports whether err says that a row that is referred to is missing.
func isForeignKey(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}
