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
// database that does not exist yet is at version 0.
func MigrationStatus(ctx context.Context, address string) (Status, error) {
	return migrateWith(ctx, address, nil)
}

// MigrateUp applies all migrations that are missing, in one transaction: when
// it fails or the machine dies, the schema is the old one. A schema that is
// newer than this program is refused with kind Invalid, code "schema_newer".
func MigrateUp(ctx context.Context, address string) (Status, error) {
	return migrateWith(ctx, address, func(m *migrate.Migrate, s Status) error {
		if s.Pending() == 0 {
			return nil
		}
		return m.Up()
	})
}

// MigrateDown takes back the last steps migrations, in one transaction. The
// records in the tables that they made are lost.
func MigrateDown(ctx context.Context, address string, steps int) (Status, error) {
	if steps < 1 {
		return Status{}, captioner.Errorf(captioner.Invalid, "number of migrations to take back must be at least 1")
	}
	return migrateWith(ctx, address, func(m *migrate.Migrate, s Status) error {
		if steps > s.Version {
			return captioner.Errorf(captioner.Invalid, "cannot take back %d migrations, the schema is at version %d", steps, s.Version)
		}
		return m.Steps(-steps)
	})
}

// migrateWith opens the database, checks its version against this program's
// and lets fn change it; nil only looks.
func migrateWith(ctx context.Context, address string, fn func(*migrate.Migrate, Status) error) (Status, error) {
	db, err := at(address)
	if err != nil {
		return Status{}, err
	}
	files, err := fs.Sub(embedded, db.migrations)
	if err != nil {
		return Status{}, captioner.Wrap(captioner.Internal, err, "read the migrations")
	}
	return db.migrate(ctx, files, fn)
}

// migrate is migrateWith for given migrations.
func (d database) migrate(ctx context.Context, files fs.FS, fn func(*migrate.Migrate, Status) error) (Status, error) {
	latest, err := latestVersion(files)
	if err != nil {
		return Status{}, captioner.Wrap(captioner.Internal, err, "read the migrations")
	}
	status := Status{Latest: latest}

	// Opening a database may make it: looking must not.
	if fn == nil && d.missing != nil && d.missing() {
		return status, nil
	}
	if fn != nil && d.create != nil {
		if err := d.create(); err != nil {
			return status, err
		}
	}
	db, err := d.open(1, fn == nil)
	if err != nil {
		return status, err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return status, classify(ctx, err, "open the database")
	}
	defer conn.Close()

	// Compare, then change.
	driver := &migrationDriver{ctx: ctx, conn: conn, database: d}
	if status.Version, err = driver.version(); err != nil {
		return status, classify(ctx, err, "read the schema version")
	}
	if status.Version > latest {
		return status, &captioner.Error{Kind: captioner.Invalid, Code: "schema_newer", Message: fmt.Sprintf(
			"the database has schema version %d and this program knows versions up to %d: use a newer captioner",
			status.Version, latest)}
	}
	if fn == nil {
		return status, nil
	}
	m, err := newMigrate(files, driver)
	if err != nil {
		return status, captioner.Wrap(captioner.Internal, err, "read the migrations")
	}
	if err := fn(m, status); err != nil && !errors.Is(err, migrate.ErrNoChange) && !errors.Is(err, fs.ErrNotExist) {
		return status, classify(ctx, err, "migrate the database")
	}
	if status.Version, err = driver.version(); err != nil {
		return status, classify(ctx, err, "read the schema version")
	}
	return status, nil
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

// migrationDriver lets golang-migrate work inside one transaction. The drivers
// that come with it commit version and tables apart, which leaves a "dirty"
// schema when the process dies between them, and SQLite's has a lock that ends
// at the process. Here Lock begins the transaction, which locks out every other
// process too, and Unlock commits it, or rolls it back when something failed.
type migrationDriver struct {
	ctx      context.Context
	conn     *sql.Conn
	database database
	failed   bool
}

var _ migratedb.Driver = (*migrationDriver)(nil)

// Open is not used: the driver is made with its connection.
func (d *migrationDriver) Open(string) (migratedb.Driver, error) {
	return nil, errors.New("the migration driver is opened with a connection")
}

// Close leaves the connection to its owner.
func (d *migrationDriver) Close() error { return nil }

// Lock begins the transaction.
func (d *migrationDriver) Lock() error {
	d.failed = false
	if _, err := d.conn.ExecContext(d.ctx, d.database.begin); err != nil {
		return err
	}
	return d.exec(`CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT NOT NULL, dirty BOOLEAN NOT NULL)`)
}

// Unlock ends the transaction: with a rollback when a statement failed, also
// when the context has ended since.
func (d *migrationDriver) Unlock() error {
	end := `COMMIT`
	if d.failed {
		end = `ROLLBACK`
	}
	_, err := d.conn.ExecContext(context.WithoutCancel(d.ctx), end)
	return err
}

// Run executes the statements of one migration.
func (d *migrationDriver) Run(migration io.Reader) error {
	script, err := io.ReadAll(migration)
	if err != nil {
		d.failed = true
		return err
	}
	return d.exec(string(script))
}

// SetVersion records the version.
func (d *migrationDriver) SetVersion(version int, dirty bool) error {
	if err := d.exec(`DELETE FROM schema_migrations`); err != nil {
		return err
	}
	if version < 0 {
		return nil
	}
	return d.exec(`INSERT INTO schema_migrations (version, dirty) VALUES ($1, $2)`, version, dirty)
}

// Version returns the recorded version, migratedb.NilVersion for none.
func (d *migrationDriver) Version() (int, bool, error) {
	version, err := d.version()
	if err != nil {
		d.failed = true
		return 0, false, err
	}
	if version == 0 {
		return migratedb.NilVersion, false, nil
	}
	return version, false, nil
}

// Drop is not offered: nothing here needs it.
func (d *migrationDriver) Drop() error { return errors.New("dropping the database is not offered") }

// version reads the version, 0 where no migration was ever applied.
func (d *migrationDriver) version() (int, error) {
	var tables int
	err := d.conn.QueryRowContext(d.ctx, d.database.hasMigrations).Scan(&tables)
	if err != nil || tables == 0 {
		return 0, err
	}
	var version int
	err = d.conn.QueryRowContext(d.ctx, `SELECT COALESCE(MAX(version), 0) FROM schema_migrations`).Scan(&version)
	return version, err
}

// exec runs a statement and remembers a failure for Unlock.
func (d *migrationDriver) exec(query string, args ...any) error {
	_, err := d.conn.ExecContext(d.ctx, query, args...)
	if err != nil {
		d.failed = true
	}
	return err
}
