package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/golang-migrate/migrate/v4"
	migratedb "github.com/golang-migrate/migrate/v4/database"
	"github.com/golang-migrate/migrate/v4/source"
	"github.com/golang-migrate/migrate/v4/source/iofs"

	"github.com/captioner/captioner"
)

//go:embed migrations
var embedded embed.FS

// Status says where the schema of a database stands.
type Status struct {
	// Version is the number of the last migration applied, 0 for none.
	Version int `json:"version"`
	// Latest is the last one that this program knows.
	Latest int `json:"latest"`
}

// Pending is how many migrations MigrateUp would apply.
func (s Status) Pending() int { return max(0, s.Latest-s.Version) }

// MigrationStatus reads where the schema stands and changes nothing: a
// database that does not exist yet is at version 0. A schema that is newer than
// this program is refused with kind Invalid, code "schema_newer", and the
// database of another application with code "database_foreign".
func MigrationStatus(ctx context.Context, address string) (Status, error) {
	db, files, err := migrationsOf(address)
	if err != nil {
		return Status{}, err
	}
	return db.status(ctx, files)
}

// MigrateUp applies all migrations that are missing, in one transaction: when
// it fails or the machine dies, the schema is the old one. It refuses what
// MigrationStatus refuses.
func MigrateUp(ctx context.Context, address string) (Status, error) {
	db, files, err := migrationsOf(address)
	if err != nil {
		return Status{}, err
	}
	status, err := db.status(ctx, files)
	if err != nil || status.Pending() == 0 {
		return status, err
	}
	return db.migrate(ctx, files, up)
}

// MigrateDown takes back the last steps migrations, in one transaction. The
// records in the tables that they made are lost.
func MigrateDown(ctx context.Context, address string, steps int) (Status, error) {
	if steps < 1 {
		return Status{}, captioner.Errorf(captioner.Invalid, "number of migrations to take back must be at least 1")
	}
	db, files, err := migrationsOf(address)
	if err != nil {
		return Status{}, err
	}
	if status, err := db.status(ctx, files); err != nil {
		return status, err
	}
	return db.migrate(ctx, files, func(m *migrate.Migrate, s Status) error {
		if steps > s.Version {
			return captioner.Errorf(captioner.Invalid, "cannot take back %d migrations, the schema is at version %d", steps, s.Version)
		}
		return m.Steps(-steps)
	})
}

// up applies what is missing; another process may have been faster.
func up(m *migrate.Migrate, s Status) error {
	if s.Pending() == 0 {
		return nil
	}
	return m.Up()
}

// migrationsOf returns the database at an address and its migrations.
func migrationsOf(address string) (database, fs.FS, error) {
	db, err := at(address)
	if err != nil {
		return database{}, nil, err
	}
	files, err := fs.Sub(embedded, db.migrations)
	if err != nil {
		return database{}, nil, captioner.Wrap(captioner.Internal, err, "read the migrations")
	}
	return db, files, nil
}

// status is MigrationStatus for given migrations. It comes before every change,
// since opening a file for that changes how it keeps its journal.
func (d database) status(ctx context.Context, files fs.FS) (Status, error) {
	latest, err := latestVersion(files)
	if err != nil {
		return Status{}, captioner.Wrap(captioner.Internal, err, "read the migrations")
	}
	if d.missing != nil && d.missing() { // opening would make it
		return Status{Latest: latest}, nil
	}
	var status Status
	err = d.withConn(ctx, true, func(conn *sql.Conn) error {
		status, err = d.read(ctx, conn, latest)
		return err
	})
	return status, err
}

// migrate lets fn change the schema in a transaction that locks out every other
// process. What fn is told, and what is refused, is read under that lock:
// another program may have migrated until then.
func (d database) migrate(ctx context.Context, files fs.FS, fn func(*migrate.Migrate, Status) error) (status Status, err error) {
	if status.Latest, err = latestVersion(files); err != nil {
		return status, captioner.Wrap(captioner.Internal, err, "read the migrations")
	}
	if d.create != nil {
		if err := d.create(); err != nil {
			return status, err
		}
	}
	err = d.withConn(ctx, false, func(conn *sql.Conn) (err error) {
		driver := &migrationDriver{ctx: ctx, conn: conn}
		m, err := newMigrate(files, driver)
		if err != nil {
			return captioner.Wrap(captioner.Internal, err, "read the migrations")
		}
		if _, err := conn.ExecContext(ctx, d.begin); err != nil {
			return classify(ctx, err, "migrate the database")
		}
		end := `ROLLBACK`
		defer func() { // also when the context has ended since
			_, endErr := conn.ExecContext(context.WithoutCancel(ctx), end)
			if err == nil {
				err = classify(ctx, endErr, "migrate the database")
			}
		}()
		if status, err = d.read(ctx, conn, status.Latest); err != nil {
			return err
		}
		if _, err = conn.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT NOT NULL, dirty BOOLEAN NOT NULL)`); err != nil {
			return classify(ctx, err, "migrate the database")
		}
		if err = fn(m, status); err != nil {
			return classify(ctx, err, "migrate the database")
		}
		if status.Version, err = schemaVersion(ctx, conn, d.hasMigrations); err != nil {
			return classify(ctx, err, "read the schema version")
		}
		end = `COMMIT`
		return nil
	})
	return status, err
}

// withConn opens a connection for fn.
func (d database) withConn(ctx context.Context, readOnly bool, fn func(*sql.Conn) error) error {
	db, err := d.open(1, readOnly)
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return classify(ctx, err, "open the database")
	}
	defer conn.Close()
	return fn(conn)
}

// read returns where the schema stands, and refuses one that is not this
// program's or newer than it.
func (d database) read(ctx context.Context, conn *sql.Conn, latest int) (Status, error) {
	status := Status{Latest: latest}
	var owner string
	if err := conn.QueryRowContext(ctx, d.owner).Scan(&owner); err != nil {
		return status, classify(ctx, err, "read the schema version")
	}
	if owner == ownerOther {
		return status, errForeign
	}
	var err error
	if status.Version, err = schemaVersion(ctx, conn, d.hasMigrations); err != nil {
		return status, classify(ctx, err, "read the schema version")
	}
	if owner == ownerNobody && status.Version > 0 { // migrations, and not of our tables
		return status, errForeign
	}
	if status.Version > latest {
		return status, &captioner.Error{Kind: captioner.Invalid, Code: "schema_newer", Message: fmt.Sprintf(
			"the database has schema version %d and this program knows versions up to %d: use a newer captioner",
			status.Version, latest)}
	}
	return status, nil
}

// What database.owner says: captioner's database bears a mark since version 8 of
// the schema and is known by its tables before that, and one without tables is
// nobody's yet.
const (
	ownerNobody = "nobody"
	ownerOther  = "other"
)

var errForeign = &captioner.Error{Kind: captioner.Invalid, Code: "database_foreign",
	Message: "the database belongs to another application: give captioner one of its own (--database)"}

// schemaVersion reads the version, 0 where no migration was ever applied;
// hasMigrations counts the tables named schema_migrations.
func schemaVersion(ctx context.Context, conn *sql.Conn, hasMigrations string) (version int, err error) {
	var tables int
	err = conn.QueryRowContext(ctx, hasMigrations).Scan(&tables)
	if err != nil || tables == 0 {
		return 0, err
	}
	err = conn.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM schema_migrations`).Scan(&version)
	return version, err
}

// newMigrate joins embedded files and a database.
func newMigrate(files fs.FS, driver migratedb.Driver) (*migrate.Migrate, error) {
	from, err := iofs.New(files, ".")
	if err != nil {
		return nil, err
	}
	return migrate.NewWithInstance("embedded", from, "connection", driver)
}

// latestVersion returns the highest version among the migration files.
func latestVersion(files fs.FS) (int, error) {
	from, err := iofs.New(files, ".")
	if err != nil {
		return 0, err
	}
	defer from.Close()
	return lastOf(from)
}

// lastOf walks a source to its last version.
func lastOf(from source.Driver) (int, error) {
	version, err := from.First()
	for err == nil {
		var next uint
		if next, err = from.Next(version); err == nil {
			version = next
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	return int(version), nil
}

// migrationDriver lets golang-migrate work inside one transaction, which
// database.migrate begins and ends. The drivers that come with it commit version
// and tables apart, which leaves a "dirty" schema when the process dies between
// them, and SQLite's has a lock that ends at the process.
type migrationDriver struct {
	ctx  context.Context
	conn *sql.Conn
}

var _ migratedb.Driver = (*migrationDriver)(nil)

// Open is not used: the driver is made with its connection.
func (d *migrationDriver) Open(string) (migratedb.Driver, error) {
	return nil, errors.New("the migration driver is opened with a connection")
}

// Close leaves the connection to its owner.
func (d *migrationDriver) Close() error { return nil }

// Lock and Unlock leave the lock to the transaction.
func (d *migrationDriver) Lock() error   { return nil }
func (d *migrationDriver) Unlock() error { return nil }

// Run executes the statements of one migration.
func (d *migrationDriver) Run(migration io.Reader) error {
	script, err := io.ReadAll(migration)
	if err != nil {
		return err
	}
	_, err = d.conn.ExecContext(d.ctx, string(script))
	return err
}

// SetVersion records the version.
func (d *migrationDriver) SetVersion(version int, dirty bool) error {
	_, err := d.conn.ExecContext(d.ctx, `DELETE FROM schema_migrations`)
	if err != nil || version < 0 {
		return err
	}
	_, err = d.conn.ExecContext(d.ctx, `INSERT INTO schema_migrations (version, dirty) VALUES ($1, $2)`, version, dirty)
	return err
}

// Version returns the recorded version, migratedb.NilVersion for none.
func (d *migrationDriver) Version() (version int, dirty bool, err error) {
	err = d.conn.QueryRowContext(d.ctx, `SELECT COALESCE(MAX(version), $1) FROM schema_migrations`, migratedb.NilVersion).Scan(&version)
	return version, false, err
}

// Drop is not offered: nothing here needs it.
func (d *migrationDriver) Drop() error { return errors.New("dropping the database is not offered") }
