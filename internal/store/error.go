package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
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
	if kind == captioner.Unavailable && code == "" {
		what += ": the database does not answer" // a client sees no more than this
	}
	return &captioner.Error{Kind: kind, Code: code, Message: what, Err: err}
}

// kindOf maps what the database and database/sql say to a kind and, where a
// person has to act, a code.
func kindOf(err error) (captioner.Kind, string) {
	if isAway(err) {
		return captioner.Unavailable, ""
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return sqliteKind(e)
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return postgresKind(e)
	}
	return captioner.Internal, ""
}

// isAway reports whether the connection, and not the statement, has failed.
func isAway(err error) bool {
	for _, end := range []error{sql.ErrConnDone, driver.ErrBadConn, pgconn.ErrConnClosed, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, end) {
			return true
		}
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || err.Error() == "sql: database is closed"
}

// isForeignKey reports whether err says that a row that is referred to is missing.
func isForeignKey(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23503"
}
