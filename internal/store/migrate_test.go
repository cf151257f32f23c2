package store

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/golang-migrate/migrate/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner/internal/store/postgrestest"
)

// The variables that make the test's program a process that migrates: the
// address, and the number of the statement before which it dies, 0 for none.
const (
	migrateVariable = "CAPTIONER_TEST_MIGRATE"
	dieVariable     = "CAPTIONER_TEST_DIE_AT"
)

func TestMain(m *testing.M) {
	where := os.Getenv(migrateVariable)
	if where == "" {
		os.Exit(m.Run())
	}
	dieAt, err := strconv.Atoi(os.Getenv(dieVariable))
	if err == nil {
		err = migrateAndDie(context.Background(), where, dieAt)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// migrateAndDie brings the schema up to date on a connection that ends the
// process before a statement.
func migrateAndDie(ctx context.Context, where string, dieAt int) error {
	db, files, err := migrationsOf(where)
	if err != nil {
		return err
	}
	return db.withConn(ctx, false, func(conn *sql.Conn) error {
		return conn.Raw(func(raw any) error {
			db.open = func(int, bool) (*sql.DB, error) {
				return sql.OpenDB(&dyingConn{Conn: raw.(driver.Conn), statements: dieAt}), nil
			}
			_, err := db.migrate(ctx, files, up)
			return err
		})
	})
}

// dyingConn executes the statements of a script one by one, and kills the process
// before the one whose number it was given. It is its own connector.
type dyingConn struct {
	driver.Conn
	statements int // until the last
}

func (c *dyingConn) Connect(context.Context) (driver.Conn, error) { return c, nil }
func (c *dyingConn) Driver() driver.Driver                        { return nil }
func (c *dyingConn) Close() error                                 { return nil } // it is another's

func (c *dyingConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *dyingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *dyingConn) ExecContext(ctx context.Context, script string, args []driver.NamedValue) (result driver.Result, err error) {
	for _, statement := range statements(script) {
		if c.statements--; c.statements == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		if result, err = c.Conn.(driver.ExecerContext).ExecContext(ctx, statement, args); err != nil {
			return nil, fmt.Errorf("%s: %w", statement, err)
		}
	}
	return result, nil
}

// statements splits a script at the lines that end in a semicolon, but for those
// in a trigger of SQLite's and in a function of PostgreSQL's.
func statements(script string) (all []string) {
	var one strings.Builder
	for line := range strings.Lines(script) {
		one.WriteString(line)
		text := one.String()
		inTrigger := strings.Contains(text, "\nBEGIN\n") && !strings.Contains(text, "END;")
		inFunction := strings.Count(text, "$$")%2 == 1
		if strings.HasSuffix(strings.TrimSpace(line), ";") && !inTrigger && !inFunction {
			all = append(all, text)
			one.Reset()
		}
	}
	if strings.TrimSpace(one.String()) != "" {
		all = append(all, one.String())
	}
	return all
}

func TestKilledMigrationsOnSQLite(t *testing.T) {
	testKilledMigrations(t, address)
}

func TestKilledMigrationsOnPostgres(t *testing.T) {
	testKilledMigrations(t, postgrestest.Start(t).Database)
}

// testKilledMigrations kills migrations before each of their statements, and
// migrates again: the schema and the rows are those of one that nothing has
// disturbed, and in between those of before.
func testKilledMigrations(t *testing.T, address func(testing.TB) string) {
	for _, tt := range []struct {
		name    string
		prepare func(*testing.T, string)
		least   int // statements that there are to die before
	}{
		{"FromNothing", func(*testing.T, string) {}, 60},
		{"WithRows", firstRows, 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			undisturbed := address(t)
			tt.prepare(t, undisturbed)
			before := dump(t, undisturbed)
			must(t, inProcess(t, undisturbed, 0))
			after := dump(t, undisturbed)
			if before == after {
				t.Fatal("there is nothing to migrate")
			}
			for k := 1; ; k++ {
				where := address(t)
				tt.prepare(t, where)
				err := inProcess(t, where, k)
				if err == nil && k > tt.least { // there is no such statement any more
					t.Logf("killed before each of %d statements", k-1)
					break
				}
				if !errors.Is(err, errKilled) {
					t.Fatalf("statement %d: %v, want the process killed", k, err)
				}
				if diff := cmp.Diff(before, dump(t, where)); diff != "" {
					t.Fatalf("killed before statement %d (-before +after):\n%s", k, diff)
				}
				must(t, inProcess(t, where, 0))
				if diff := cmp.Diff(after, dump(t, where)); diff != "" {
					t.Fatalf("killed before statement %d and migrated again (-undisturbed +got):\n%s", k, diff)
				}
			}
		})
	}
	t.Run("TwoProcesses", func(t *testing.T) { testTwoProcesses(t, address(t)) })
	t.Run("DownAndUp", func(t *testing.T) { testDownAndUp(t, address(t)) })
}

// testTwoProcesses has two processes migrate one database at once.
func testTwoProcesses(t *testing.T, where string) {
	firstRows(t, where)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := inProcess(t, where, 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	status, err := MigrationStatus(t.Context(), where)
	must(t, err)
	if status.Pending() != 0 {
		t.Errorf("%+v", status)
	}
}

// testDownAndUp goes down version by version, with rows in every table, and up
// again: the rows of the first version are still there.
func testDownAndUp(t *testing.T, where string) {
	firstRows(t, where)
	status, err := MigrateUp(t.Context(), where)
	must(t, err)
	before := dump(t, where)
	execute(t, where, `
INSERT INTO samples VALUES ('k', 1, 'i', 1, 'a', 'b', 'p', 8, 2);
INSERT INTO deliveries VALUES ('s', 'r', 't', 'u', 'k', 1, NULL, '', 9);
INSERT INTO leases VALUES ('l', 'h', 1);
INSERT INTO attempts VALUES ('w', 1);
INSERT INTO run_uses VALUES ('r', 'd', 1);
INSERT INTO requests VALUES ('k', 'a', 0, NULL, 1);
UPDATE model_versions SET pinned_at = 1, deleted_at = 2;
UPDATE runs SET progress = '{}';`)
	for version := status.Version - 1; version >= 1; version-- {
		if _, err := MigrateDown(t.Context(), where, 1); err != nil {
			t.Fatalf("down to %d: %v", version, err)
		}
		want(t, where, version)
	}
	_, err = MigrateUp(t.Context(), where)
	must(t, err)
	if diff := cmp.Diff(before, dump(t, where)); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

var errKilled = errors.New("killed")

// inProcess migrates in a process of its own; it gives errKilled when that was
// killed before a statement.
func inProcess(t *testing.T, where string, dieAt int) error {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), migrateVariable+"="+where, dieVariable+"="+strconv.Itoa(dieAt))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return errKilled
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, stderr.String())
	}
	return nil
}

// firstRows makes the first version of the schema, with rows.
func firstRows(t *testing.T, where string) {
	t.Helper()
	db, files, err := migrationsOf(where)
	must(t, err)
	_, err = db.migrate(t.Context(), files, func(m *migrate.Migrate, _ Status) error { return m.Steps(1) })
	must(t, err)
	execute(t, where, `
INSERT INTO step_results VALUES ('k', 's', 'o', 1);
INSERT INTO trainings VALUES ('k', 1, 1);
INSERT INTO checkpoints VALUES ('k', 1, 'b', 10, 2);
INSERT INTO metrics VALUES ('k', 'loss', 1, 0.5, 3, 1);
INSERT INTO runs VALUES ('r', 'c', 4, 'me', 'running', NULL, NULL, '');
INSERT INTO model_versions VALUES ('v', 'r', 5, 'e', 'l', 't');
INSERT INTO aliases VALUES ('production', 'v', 1);
INSERT INTO alias_moves VALUES ('production', 1, 'v', '', 6, 'me', 'because');
INSERT INTO replicas VALUES ('i', 'v', 1, 7, '');`)
}

// execute runs a script in the database, whatever its schema is.
func execute(t *testing.T, where, script string) {
	t.Helper()
	db, err := at(where)
	must(t, err)
	must(t, db.withConn(t.Context(), false, func(conn *sql.Conn) error {
		_, err := conn.ExecContext(t.Context(), script)
		return err
	}))
}

// dump writes the schema and all rows, in an order that says nothing of how they
// came about.
func dump(t *testing.T, where string) string {
	t.Helper()
	columns := `SELECT t.name, c.name, c.type, c."notnull", c.dflt_value FROM sqlite_master t JOIN pragma_table_info(t.name) c
		WHERE t.type = 'table' AND t.name <> 'schema_migrations' ORDER BY t.name, c.name`
	others := []string{`SELECT type, name, tbl_name FROM sqlite_master WHERE type <> 'table'`,
		`PRAGMA application_id`, `PRAGMA integrity_check`, `PRAGMA foreign_key_check`}
	if !strings.HasPrefix(where, "sqlite:") {
		columns = `SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
			WHERE table_schema = 'public' AND table_name <> 'schema_migrations' ORDER BY table_name, column_name`
		others = []string{`SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'`,
			`SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal`,
			`SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace`,
			`SELECT obj_description(to_regclass('schema_migrations'), 'pg_class')`}
	}
	db, err := at(where)
	must(t, err)
	var all []string
	must(t, db.withConn(t.Context(), false, func(conn *sql.Conn) error {
		version, err := schemaVersion(t.Context(), conn, db.hasMigrations)
		must(t, err)
		all = append(all, fmt.Sprint("version ", version))
		names := map[string][]string{}
		for _, row := range rows(t, conn, columns) {
			all = append(all, fmt.Sprint("column ", row))
			table := fmt.Sprint(row[0])
			names[table] = append(names[table], fmt.Sprint(row[1]))
		}
		for _, query := range others {
			for _, row := range rows(t, conn, query) {
				all = append(all, fmt.Sprint("schema ", row))
			}
		}
		for table, columns := range names {
			for _, row := range rows(t, conn, `SELECT `+strings.Join(columns, ", ")+` FROM `+table) {
				all = append(all, fmt.Sprint("row of ", table, " ", row))
			}
		}
		return nil
	}))
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// rows reads all rows of a query, bytes as text.
func rows(t *testing.T, conn *sql.Conn, query string) (all [][]any) {
	t.Helper()
	result, err := conn.QueryContext(t.Context(), query)
	must(t, err)
	defer result.Close()
	names, err := result.Columns()
	must(t, err)
	for result.Next() {
		row, into := make([]any, len(names)), make([]any, len(names))
		for i := range row {
			into[i] = &row[i]
		}
		must(t, result.Scan(into...))
		for i, value := range row {
			if b, ok := value.([]byte); ok {
				row[i] = string(b)
			}
		}
		all = append(all, row)
	}
	must(t, result.Err())
	return all
}
