package store

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/store/postgrestest"
	"github.com/captioner/captioner/internal/store/storetest"
)

func TestSQLite(t *testing.T) {
	testDatabase(t, address)
}

func TestPostgres(t *testing.T) {
	server := postgrestest.Start(t)
	testDatabase(t, server.Database)
	t.Run("SameSchema", func(t *testing.T) { testSameSchema(t, server.Database(t)) })
	t.Run("LockHeldTooLong", func(t *testing.T) { testLockHeldTooLong(t, server.Database(t)) })
	t.Run("Away", func(t *testing.T) { testPostgresAway(t, server) })
}

// testDatabase is what every database has to pass; address makes an empty one.
func testDatabase(t *testing.T, address func(testing.TB) string) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) captioner.Store {
		s, err := Open(t.Context(), address(t), WithClock(now))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
	for _, tt := range []struct {
		name string
		test func(t *testing.T, where string)
	}{
		{"Reopened", testReopened},
		{"OpenedTogether", testOpenedTogether},
		{"LogIsAppendOnly", testLogIsAppendOnly},
		{"LogIsRewritten", testLogIsRewritten},
		{"ReaderCannotWrite", testReaderCannotWrite},
		{"ReadWhileWriting", testReadWhileWriting},
		{"ChangesWaitForEachOther", testChangesWaitForEachOther},
		{"Migrations", testMigrations},
		{"NewerSchemaIsRefused", testNewerSchemaIsRefused},
		{"NewerSchemaInBetween", testNewerSchemaInBetween},
		{"ForeignIsRefused", testForeignIsRefused},
		{"FailedMigrationLeavesTheOldSchema", testFailedMigrationLeavesTheOldSchema},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, address(t)) })
	}
}

// testReopened writes, closes and reads again.
func testReopened(t *testing.T, where string) {
	for i := range 2 {
		s, err := Open(t.Context(), where)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.PutStepResult(t.Context(), "k", "Train", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if attempt, err := s.ClaimAttempt(t.Context(), "run"); err != nil || attempt != int64(i+1) {
			t.Fatalf("attempt %d, %v after %d openings", attempt, err, i+1)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOddNames keeps files in folders whose names mean something in a URL.
func TestOddNames(t *testing.T) {
	for _, name := range []string{"new folder", "100%25?a=b#c", "ä;PRAGMA"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name, "captioner.db")
			testReopened(t, "sqlite:"+path)
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		})
	}
}

// testOpenedTogether opens one new database many times at once, as several
// processes do that start together, and moves one alias through all of them.
func testOpenedTogether(t *testing.T, where string) {
	const stores = 8
	var wg sync.WaitGroup
	var mu sync.Mutex
	winners := 0
	for range stores {
		wg.Go(func() {
			s, err := Open(t.Context(), where)
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			defer s.Close()
			v := captioner.DigestOf(nil)
			if err := s.PutModelVersion(t.Context(), captioner.ModelVersion{Version: v}); err != nil {
				t.Errorf("put: %v", err)
			}
			_, err = s.MoveAlias(t.Context(), captioner.Production, v, 0, "test", "")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners++
			} else if captioner.KindOf(err) != captioner.Conflict {
				t.Errorf("move: %v", err)
			}
		})
	}
	wg.Wait()
	if winners != 1 {
		t.Errorf("%d winners, want 1", winners)
	}
}

func TestAddressRefused(t *testing.T) {
	for _, bad := range []string{"", "captioner.db", "sqlite:", "sqlite::memory:", "mysql://localhost/x",
		"postgres", "postgres://a:secret%@h/x", "postgres://a:secret@h:port/x", "postgres://a:secret@h/x?sslmode=perhaps"} {
		if _, err := Open(t.Context(), bad); captioner.KindOf(err) != captioner.Invalid {
			t.Errorf("%q: %v, want an invalid address", bad, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the password stands in the error: %v", bad, err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	for where, want := range map[string]captioner.Kind{
		dir:                         captioner.Unavailable, // a folder
		filepath.Join(text, "x.db"): captioner.Unavailable, // below a file
		text:                        captioner.Corrupt,
	} {
		_, err := Open(t.Context(), "sqlite:"+where)
		if captioner.KindOf(err) != want {
			t.Errorf("%s: kind %s (%v), want %s", where, captioner.KindOf(err), err, want)
		}
	}
}

// TestPostgresSettings checks what holds unless the address says otherwise.
func TestPostgresSettings(t *testing.T) {
	given := map[string]string{"application_name": "x", "lock_timeout": "1", "idle_in_transaction_session_timeout": "2"}
	query := "?connect_timeout=3"
	for name, value := range given {
		query += "&" + name + "=" + value
	}
	for where, want := range map[string]struct {
		timeout time.Duration
		params  map[string]string
	}{
		"postgres://a@h/x": {10 * time.Second, map[string]string{
			"application_name": "captioner", "lock_timeout": "10000", "idle_in_transaction_session_timeout": "30000"}},
		"postgresql://a@h/x" + query: {3 * time.Second, given},
	} {
		config, err := postgresConfig(where)
		must(t, err)
		if diff := cmp.Diff(want.params, config.RuntimeParams); diff != "" || config.ConnectTimeout != want.timeout {
			t.Errorf("%s: timeout %v, want %v (-want +got):\n%s", where, config.ConnectTimeout, want.timeout, diff)
		}
	}
}

// testSameSchema compares PostgreSQL's migrations and columns with SQLite's.
func testSameSchema(t *testing.T, where string) {
	files := func(folder string) []string {
		names, err := fs.Glob(embedded, "migrations/"+folder+"/*.sql")
		must(t, err)
		for i := range names {
			names[i] = path.Base(names[i])
		}
		return names
	}
	if diff := cmp.Diff(files("sqlite"), files("postgres")); diff != "" {
		t.Errorf("migrations (-SQLite +PostgreSQL):\n%s", diff)
	}
	columns := func(where, query string) (names []string) {
		must(t, open(t, where).queryAll(t.Context(), "test", func(r rowScanner) error {
			names = append(names, "")
			return r.Scan(&names[len(names)-1])
		}, query))
		slices.Sort(names)
		return names
	}
	sqlite := columns(address(t), `SELECT t.name || '.' || c.name || CASE WHEN c."notnull" = 1 THEN ' NOT NULL' ELSE '' END
		FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'`)
	postgres := columns(where, `SELECT table_name || '.' || column_name || CASE WHEN is_nullable = 'NO' THEN ' NOT NULL' ELSE '' END
		FROM information_schema.columns WHERE table_schema = 'public'`)
	if diff := cmp.Diff(sqlite, postgres); diff != "" || len(sqlite) < 30 {
		t.Errorf("%d columns (-SQLite +PostgreSQL):\n%s", len(sqlite), diff)
	}
}

// testLockHeldTooLong has a process fall silent in a transaction: others give up
// waiting for it, and the server ends it in time.
func testLockHeldTooLong(t *testing.T, where string) {
	silent := open(t, where+"&idle_in_transaction_session_timeout=1000")
	hasty := open(t, where+"&lock_timeout=50")
	patient := open(t, where)
	claim := func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), `INSERT INTO trainings (run_key, attempt) VALUES ('silent', 1)`)
		return err
	}
	err := silent.change(t.Context(), "test", func(tx *sql.Tx) error {
		must(t, claim(tx))
		if _, err := hasty.ClaimAttempt(t.Context(), "run"); captioner.KindOf(err) != captioner.Unavailable {
			t.Errorf("waited too long: %v, want unavailable", err)
		}
		if _, err := patient.ClaimAttempt(t.Context(), "run"); err != nil {
			t.Errorf("after the silent one has ended: %v", err)
		}
		return claim(tx)
	})
	if captioner.KindOf(err) != captioner.Unavailable {
		t.Errorf("the silent one got %v, want unavailable", err)
	}
	if attempt, err := silent.ClaimAttempt(t.Context(), "silent"); err != nil || attempt != 1 {
		t.Errorf("attempt %d, %v: want nothing of the silent transaction", attempt, err)
	}
}

// testPostgresAway stops the server below an open store: everything is
// unavailable, and works again, with the same store, once the server is back.
func testPostgresAway(t *testing.T, server *postgrestest.Server) {
	where := server.Database(t)
	s := open(t, where)
	attempt := func() []error {
		_, readErr := s.Replicas(t.Context(), time.Time{})
		_, writeErr := s.ClaimAttempt(t.Context(), "run")
		_, openErr := Open(t.Context(), where)
		_, statusErr := MigrationStatus(t.Context(), where)
		return []error{readErr, writeErr, openErr, statusErr, s.Ping(t.Context())}
	}
	server.Stop(t)
	for range 2 {
		for i, err := range attempt() {
			if captioner.KindOf(err) != captioner.Unavailable {
				t.Errorf("call %d with the server away: %v, want unavailable", i, err)
			}
		}
	}
	server.Restart(t)
	for i, err := range attempt() {
		if err != nil {
			t.Errorf("call %d with the server back: %v", i, err)
		}
	}

	// A restart that nobody has noticed costs nobody an error.
	server.Stop(t)
	server.Restart(t)
	for i, err := range attempt() {
		if err != nil {
			t.Errorf("call %d after a restart: %v", i, err)
		}
	}

	// The server answers and refuses.
	for _, refused := range []string{
		strings.Replace(where, "/test_", "/nothing_", 1),
		strings.Replace(where, "user=postgres", "user=nobody", 1),
		"postgres://captioner:secret@127.0.0.1:1/captioner", // nobody listens there
	} {
		_, err := Open(t.Context(), refused)
		if captioner.KindOf(err) != captioner.Unavailable || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want unavailable", refused, err)
		}
	}
}

// testLogIsAppendOnly tries to rewrite history with the database in hand.
func testLogIsAppendOnly(t *testing.T, where string) {
	s := open(t, where)
	for i := range 2 {
		v := captioner.DigestOf([]byte{byte(i)})
		must(t, s.PutModelVersion(t.Context(), captioner.ModelVersion{Version: v}))
		_, err := s.MoveAlias(t.Context(), captioner.Production, v, int64(i), "test", "")
		must(t, err)
	}
	statements := []string{
		`UPDATE alias_moves SET reason = 'because'`,
		`UPDATE alias_moves SET actor = 'somebody' WHERE generation = 1`,
		`DELETE FROM alias_moves`,
		`DELETE FROM alias_moves WHERE generation = 2`,
		`INSERT INTO alias_moves SELECT * FROM alias_moves WHERE true ON CONFLICT (name, generation) DO UPDATE SET actor = 'somebody'`,
	}
	if strings.HasPrefix(where, "sqlite:") {
		statements = append(statements,
			`INSERT OR REPLACE INTO alias_moves SELECT * FROM alias_moves`, `REPLACE INTO alias_moves SELECT * FROM alias_moves`)
	} else {
		statements = append(statements, `TRUNCATE alias_moves`)
	}
	for _, statement := range statements {
		if _, err := s.writer.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v, want a refusal", statement, err)
		}
	}
	if _, err := s.writer.ExecContext(t.Context(), `DELETE FROM model_versions`); err == nil {
		t.Error("a version that was deployed could be deleted")
	}
	log, err := s.AliasMoves(t.Context(), captioner.Production, 0)
	must(t, err)
	if len(log) != 2 || log[0].Actor != "test" {
		t.Errorf("the log is now %v", log)
	}
}

// testReaderCannotWrite guards the single writer.
// testLogIsRewritten: a repair replaces the log and the alias of one name, with a row
// for a version that is lost, and the log is protected again afterwards.
func testLogIsRewritten(t *testing.T, where string) {
	s := open(t, where)
	v, lost := captioner.DigestOf([]byte("v")), captioner.DigestOf([]byte("lost"))
	must(t, s.PutModelVersion(t.Context(), captioner.ModelVersion{Version: v}))
	for _, name := range []string{captioner.Production, "staging"} {
		_, err := s.MoveAlias(t.Context(), name, v, 0, "test", "")
		must(t, err)
	}
	staging, err := s.AliasMoves(t.Context(), "staging", 0)
	must(t, err)
	move := func(generation int64, version captioner.Digest) captioner.AliasMove {
		return captioner.AliasMove{
			Alias: captioner.Alias{Name: captioner.Production, Version: version, Generation: generation},
			Kind:  captioner.Promotion, MovedAt: time.UnixMicro(1e15).UTC(), Actor: "test", Reason: "because",
		}
	}
	records, digests, err := captioner.ChainMoves([]captioner.AliasMove{move(1, v), move(2, lost)})
	must(t, err)
	must(t, s.RewriteLog(t.Context(), captioner.Production, records))

	log, err := s.AliasMoves(t.Context(), captioner.Production, 0)
	must(t, err)
	want := []captioner.AliasMove{records[1].Move, records[0].Move}
	want[0].Record, want[1].Record = digests[1], digests[0]
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if alias, err := s.Alias(t.Context(), captioner.Production); err != nil || alias != want[0].Alias {
		t.Errorf("the alias is %+v, %v", alias, err)
	}
	if v, err := s.ModelVersion(t.Context(), string(lost)); err != nil || v.DeletedAt == nil {
		t.Errorf("the lost version is %+v, %v; want one whose files are deleted", v, err)
	}
	if after, err := s.AliasMoves(t.Context(), "staging", 0); err != nil || !cmp.Equal(staging, after) {
		t.Errorf("the log of another name is %+v, %v", after, err)
	}
	if _, err := s.writer.ExecContext(t.Context(), `DELETE FROM alias_moves`); err == nil {
		t.Error("the log is no longer append-only")
	}
	_, err = s.MoveAlias(t.Context(), captioner.Production, v, 2, "test", "goes on")
	must(t, err)
}

func testReaderCannotWrite(t *testing.T, where string) {
	s := open(t, where)
	if _, err := s.reader.ExecContext(t.Context(), `DELETE FROM runs`); err == nil {
		t.Error("a connection for reading could write")
	}
}

// TestSQLiteSettings checks that what the file is opened with is in effect.
func TestSQLiteSettings(t *testing.T) {
	s := open(t, address(t))
	var mode, sync, keys string
	must(t, s.writer.QueryRow(`PRAGMA journal_mode`).Scan(&mode))
	must(t, s.writer.QueryRow(`PRAGMA synchronous`).Scan(&sync))
	must(t, s.writer.QueryRow(`PRAGMA foreign_keys`).Scan(&keys))
	if mode != "wal" || sync != "2" || keys != "1" {
		t.Errorf("journal %s, synchronous %s, foreign keys %s", mode, sync, keys)
	}
}

// testReadWhileWriting reads while a transaction of another connection is open.
func testReadWhileWriting(t *testing.T, where string) {
	s := open(t, where)
	must(t, s.change(t.Context(), "test", func(tx *sql.Tx) error {
		if _, err := tx.Exec(`INSERT INTO step_results VALUES ('k', 's', $1, 0)`, []byte{0}); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := s.StepResult(ctx, "k")
		if captioner.KindOf(err) != captioner.NotFound {
			t.Errorf("a reader got %v, want nothing before the commit", err)
		}
		return nil
	}))
	_, err := s.StepResult(t.Context(), "k")
	must(t, err)
}

// testChangesWaitForEachOther holds what change promises: what a transaction
// has read stays true until it commits, also for another process' store.
func testChangesWaitForEachOther(t *testing.T, where string) {
	const stores, additions = 4, 8
	var wg sync.WaitGroup
	for range stores {
		s := open(t, where)
		wg.Go(func() {
			for range additions {
				err := s.change(t.Context(), "test", func(tx *sql.Tx) error {
					var n int
					if err := tx.QueryRow(`SELECT COUNT(*) FROM trainings`).Scan(&n); err != nil {
						return err
					}
					_, err := tx.Exec(`INSERT INTO trainings (run_key, attempt) VALUES ($1, 1)`, fmt.Sprint(n))
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var n int
	must(t, open(t, where).reader.QueryRow(`SELECT COUNT(*) FROM trainings`).Scan(&n))
	if n != stores*additions {
		t.Errorf("%d rows, want %d", n, stores*additions)
	}
}

// TestStatusMakesNoFile asks for the status of a database that is not there.
func TestStatusMakesNoFile(t *testing.T) {
	where := address(t)
	want(t, where, 0)
	if _, err := os.Stat(strings.TrimPrefix(where, "sqlite:")); err == nil {
		t.Error("asking for the status made the database")
	}
}

func testMigrations(t *testing.T, where string) {
	latest := want(t, where, 0).Latest
	if latest < 1 || want(t, where, 0).Pending() != latest {
		t.Errorf("%d migrations are known", latest)
	}
	for range 2 {
		status, err := MigrateUp(t.Context(), where)
		must(t, err)
		if status.Version != latest || status.Pending() != 0 {
			t.Errorf("after up: %+v", status)
		}
	}
	want(t, where, latest)

	// Down to nothing, with rows in the log, and up again.
	s := open(t, where)
	v := captioner.DigestOf(nil)
	must(t, s.PutModelVersion(t.Context(), captioner.ModelVersion{Version: v}))
	_, err := s.MoveAlias(t.Context(), captioner.Production, v, 0, "test", "")
	must(t, err)
	must(t, s.PutCheckpoint(t.Context(), captioner.Checkpoint{RunKey: "r", Attempt: 1}))
	must(t, s.Close())
	for _, steps := range []int{0, latest + 1} {
		if _, err := MigrateDown(t.Context(), where, steps); captioner.KindOf(err) != captioner.Invalid {
			t.Errorf("%d steps down: %v", steps, err)
		}
	}
	if _, err := MigrateDown(t.Context(), where, latest); err != nil {
		t.Fatal(err)
	}
	want(t, where, 0)
	s = open(t, where)
	if _, err := s.Alias(t.Context(), captioner.Production); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("after down and up: %v", err)
	}
}

func testNewerSchemaIsRefused(t *testing.T, where string) {
	s := open(t, where)
	if _, err := s.writer.Exec(`UPDATE schema_migrations SET version = 99`); err != nil {
		t.Fatal(err)
	}
	_, openErr := Open(t.Context(), where)
	_, upErr := MigrateUp(t.Context(), where)
	_, downErr := MigrateDown(t.Context(), where, 1)
	_, statusErr := MigrationStatus(t.Context(), where)
	for _, err := range []error{openErr, upErr, downErr, statusErr} {
		if captioner.CodeOf(err) != "schema_newer" || captioner.KindOf(err) != captioner.Invalid ||
			strings.ContainsAny(err.Error(), "\n/") || !strings.Contains(err.Error(), "99") {
			t.Errorf("%v", err)
		}
	}
}

// testNewerSchemaInBetween has a newer program migrate after this one has looked
// and before it has the lock.
func testNewerSchemaInBetween(t *testing.T, where string) {
	db, files, err := migrationsOf(where)
	must(t, err)
	status, err := db.status(t.Context(), files)
	must(t, err)
	if status.Pending() == 0 {
		t.Fatalf("%+v: there is nothing to migrate", status)
	}
	s := open(t, where)
	if _, err := s.writer.Exec(`UPDATE schema_migrations SET version = 99`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.migrate(t.Context(), files, up); captioner.CodeOf(err) != "schema_newer" {
		t.Errorf("%v, want the newer schema refused", err)
	}
	// Nor is a version that is missing among the migrations passed over.
	files = fstest.MapFS{"100_later.up.sql": &fstest.MapFile{Data: []byte(`SELECT 1`)}}
	if _, err := db.migrate(t.Context(), files, up); captioner.KindOf(err) != captioner.Internal {
		t.Errorf("%v, want the unknown version refused", err)
	}
}

// testForeignIsRefused gives captioner the database of another application, and
// one of its own from before databases were marked.
func testForeignIsRefused(t *testing.T, where string) {
	db, files, err := migrationsOf(where)
	must(t, err)
	exec := func(statement string) {
		t.Helper()
		must(t, db.withConn(t.Context(), false, func(conn *sql.Conn) error {
			_, err := conn.ExecContext(t.Context(), statement)
			return err
		}))
	}
	refused := func(what string) {
		t.Helper()
		_, openErr := Open(t.Context(), where)
		_, upErr := db.migrate(t.Context(), files, up)
		_, downErr := MigrateDown(t.Context(), where, 1)
		_, statusErr := MigrationStatus(t.Context(), where)
		for _, err := range []error{openErr, upErr, downErr, statusErr} {
			if captioner.CodeOf(err) != "database_foreign" || strings.ContainsAny(err.Error(), "\n/") {
				t.Errorf("%s: %v, want it refused", what, err)
			}
		}
	}
	exec(`CREATE TABLE schema_migrations (version BIGINT NOT NULL, dirty BOOLEAN NOT NULL);
		INSERT INTO schema_migrations VALUES (3, FALSE)`)
	refused("migrations of another")
	exec(`DELETE FROM schema_migrations; CREATE TABLE guests (name TEXT)`)
	refused("tables of another")
	exec(`DROP TABLE schema_migrations`)
	refused("tables of another alone")
	exec(`DROP TABLE guests`)

	// One of ours, marked and from before.
	for range 2 {
		status, err := MigrateUp(t.Context(), where)
		must(t, err)
		if _, err := MigrateDown(t.Context(), where, status.Version-7); err != nil {
			t.Fatal(err)
		}
		want(t, where, 7)
	}
	must(t, open(t, where).Close())
	exec(`CREATE TABLE guests (name TEXT)`) // whoever does that has a reason
	must(t, open(t, where).Close())
}

// TestSQLiteMark refuses a file that another application has marked, and finds
// captioner's mark in the file's header, where the command file looks for it.
func TestSQLiteMark(t *testing.T) {
	where := address(t)
	s := open(t, where)
	var mark int
	must(t, s.writer.QueryRow(`PRAGMA application_id`).Scan(&mark))
	if mark != 0x63617074 {
		t.Errorf("mark %#x", mark)
	}
	_, err := s.writer.Exec(`PRAGMA application_id = 1`)
	must(t, err)
	if _, err := MigrationStatus(t.Context(), where); captioner.CodeOf(err) != "database_foreign" {
		t.Errorf("%v, want it refused", err)
	}
}

// TestForeignFileStays compares every byte of another application's file.
func TestForeignFileStays(t *testing.T) {
	where := address(t)
	path, _ := SQLiteFile(where)
	db := sql.OpenDB(sqliteConnector{path})
	_, err := db.Exec(`CREATE TABLE guests (name TEXT)`)
	must(t, err)
	must(t, db.Close())
	before, err := os.ReadFile(path)
	must(t, err)
	_, openErr := Open(t.Context(), where)
	_, downErr := MigrateDown(t.Context(), where, 1)
	for _, err := range []error{openErr, downErr} {
		if captioner.CodeOf(err) != "database_foreign" {
			t.Errorf("%v, want it refused", err)
		}
	}
	after, err := os.ReadFile(path)
	must(t, err)
	left, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if !slices.Equal(before, after) || len(left) != 1 {
		t.Errorf("the file has changed, or others are beside it: %v", left)
	}
}

// testFailedMigrationLeavesTheOldSchema lets the second of two fail, and lets
// the context end in the middle.
func testFailedMigrationLeavesTheOldSchema(t *testing.T, where string) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	files := fstest.MapFS{
		"1_a.up.sql": file(`CREATE TABLE a (x BIGINT); INSERT INTO a VALUES (1);`),
		"2_b.up.sql": file(`CREATE TABLE b (x BIGINT); INSERT INTO nowhere VALUES (1);`),
	}
	db, err := at(where)
	must(t, err)
	for range 2 {
		status, err := db.migrate(t.Context(), files, up)
		if captioner.KindOf(err) != captioner.Internal || status.Version != 0 {
			t.Fatalf("%+v, %v", status, err)
		}
	}
	status, err := db.status(t.Context(), files)
	if err != nil || status != (Status{Version: 0, Latest: 2}) {
		t.Fatalf("%+v, %v: want nothing applied", status, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = db.migrate(ctx, files, func(m *migrate.Migrate, _ Status) error {
		cancel()
		return m.Up()
	})
	if err == nil {
		t.Error("migrated with a context that has ended")
	}
	files["2_b.up.sql"] = file(`CREATE TABLE b (x BIGINT)`)
	status, err = db.migrate(t.Context(), files, up)
	if err != nil || status != (Status{Version: 2, Latest: 2}) {
		t.Fatalf("repaired: %+v, %v", status, err)
	}
}

// BenchmarkAppendMetrics is what a training does once a second.
func BenchmarkAppendMetrics(b *testing.B) {
	b.Run("SQLite", func(b *testing.B) { benchmarkAppendMetrics(b, address(b)) })
	b.Run("Postgres", func(b *testing.B) { benchmarkAppendMetrics(b, postgrestest.Start(b).Database(b)) })
}

func benchmarkAppendMetrics(b *testing.B, where string) {
	s, err := Open(b.Context(), where)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := 0; b.Loop(); i++ {
		points := make([]captioner.Metric, 4)
		for j := range points {
			points[j] = captioner.Metric{RunKey: "run", Step: i, Name: fmt.Sprint(j), Value: 1}
		}
		if err := s.AppendMetrics(b.Context(), 1, points); err != nil {
			b.Fatal(err)
		}
	}
}

func address(tb testing.TB) string {
	return "sqlite:" + filepath.Join(tb.TempDir(), "captioner.db")
}

func open(t *testing.T, where string) *Store {
	t.Helper()
	s, err := Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// want checks the version of the schema.
func want(t *testing.T, where string, version int) Status {
	t.Helper()
	status, err := MigrationStatus(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	if status.Version != version {
		t.Errorf("schema version %d, want %d", status.Version, version)
	}
	return status
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
