package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/captioner/captioner"
)

const (
	// postgresConnectTimeout bounds the wait for a server that does not answer.
	postgresConnectTimeout = 10 * time.Second
	// postgresLockTimeout is how long a transaction waits for those before it.
	postgresLockTimeout = 10 * time.Second
	// postgresIdleTimeout ends a transaction whose process says nothing any
	// more, as after a cut network, so that the others get the lock.
	postgresIdleTimeout = 30 * time.Second
	// postgresLock keeps one process' transactions out of another's until they
	// end. The number is "captione" in ASCII; it counts within one database.
	postgresLock = `SELECT pg_advisory_xact_lock(7161128527783226981)`
	// postgresOwner reads the comment that marks our database, and looks for our
	// first tables. Those of extensions are nobody's.
	postgresOwner = `SELECT CASE
		WHEN obj_description(to_regclass('schema_migrations'), 'pg_class') = 'captioner' THEN 'captioner'
		WHEN COUNT(*) FILTER (WHERE relname IN ('step_results', 'model_versions', 'alias_moves')) = 3 THEN 'captioner'
		WHEN COUNT(*) FILTER (WHERE relname <> 'schema_migrations') > 0 THEN 'other'
		ELSE 'nobody' END
		FROM pg_class
		WHERE relkind IN ('r', 'p')
		AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
		AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')`
)

// postgresAt returns the PostgreSQL database at an address.
func postgresAt(address string) (database, error) {
	config, err := postgresConfig(address)
	if err != nil {
		return database{}, err
	}
	return database{
		migrations: "migrations/postgres",
		open: func(connections int, readOnly bool) (*sql.DB, error) {
			return openPostgres(config, connections, readOnly), nil
		},
		begin:         `BEGIN; ` + postgresLock,
		writeLock:     postgresLock,
		unguard:       `ALTER TABLE alias_moves DISABLE TRIGGER alias_moves_append_only`,
		guard:         `ALTER TABLE alias_moves ENABLE TRIGGER alias_moves_append_only`,
		hasMigrations: `SELECT COUNT(to_regclass('schema_migrations'))`,
		owner:         postgresOwner,
	}, nil
}

// postgresConfig reads an address; the variables PGPASSWORD, PGSSLMODE and so
// on stand in for what it leaves out. No error quotes it: it holds a password.
func postgresConfig(address string) (*pgx.ConnConfig, error) {
	if _, err := url.Parse(address); err != nil {
		return nil, captioner.Errorf(captioner.Invalid,
			"database address is not a URL: special characters in the password must be percent-encoded")
	}
	config, err := pgx.ParseConfig(address)
	if err != nil {
		if cause := errors.Unwrap(err); cause != nil { // without the address around it
			err = cause
		}
		return nil, captioner.Wrap(captioner.Invalid, err, "database address must be postgres://USER:PASSWORD@HOST:PORT/NAME")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = postgresConnectTimeout
	}
	set := func(name, value string) {
		if _, given := config.RuntimeParams[name]; !given {
			config.RuntimeParams[name] = value
		}
	}
	set("application_name", "captioner")
	set("lock_timeout", fmt.Sprint(postgresLockTimeout.Milliseconds()))
	set("idle_in_transaction_session_timeout", fmt.Sprint(postgresIdleTimeout.Milliseconds()))
	return config, nil
}

// openPostgres returns a pool of connections, which are made as they are
// needed. Transactions wait for each other as those of SQLite do, in a process
// for its one writing connection and between processes for the advisory lock.
func openPostgres(base *pgx.ConnConfig, connections int, readOnly bool) *sql.DB {
	config := base.Copy()
	if readOnly {
		config.RuntimeParams["default_transaction_read_only"] = "on"
	}
	// A connection is tried each time before it is used: a server that was
	// restarted since then costs a new connection, and nobody an error.
	db := stdlib.OpenDB(*config, stdlib.OptionShouldPing(
		func(context.Context, stdlib.ShouldPingParams) bool { return true }))
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db
}

// postgresKind maps what the server says, by its SQLSTATE, to a kind and code.
func postgresKind(e *pgconn.PgError) (captioner.Kind, string) {
	switch e.Code {
	case "53100": // disk_full
		return captioner.Unavailable, captioner.CodeOutOfSpace
	case "25006", "25P03", "55P03", "40001", "40P01": // a standby, the two timeouts, two ways to lose a race
		return captioner.Unavailable, ""
	case "22021", "22P05": // text that no column can hold
		return captioner.Invalid, ""
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "08", "28", "3D", "53", "57", "58": // connection, login, database, resources, operator, system
		return captioner.Unavailable, ""
	case "XX": // data_corrupted, index_corrupted, internal_error
		if e.Code != "XX000" {
			return captioner.Corrupt, ""
		}
	}
	return captioner.Internal, ""
}
