package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/captioner/captioner"
)

// Salvage makes a new database of what can still be read of a damaged one in a
// file of SQLite's, and returns where the damaged file lies now. Each table is read
// from its beginning and from its end, up to what cannot be read. Nobody else may
// use the file meanwhile.
func Salvage(ctx context.Context, path string) (kept string, rows int, err error) {
	fresh := path + ".new"
	if err := removeSQLite(fresh); err != nil {
		return "", 0, captioner.Wrap(captioner.Unavailable, err, "make a new database")
	}
	if _, err := MigrateUp(ctx, "sqlite:"+fresh); err != nil {
		return "", 0, err
	}
	if rows, err = salvageInto(ctx, path, fresh); err != nil {
		return "", 0, err
	}
	kept, err = exchange(path, fresh)
	if err != nil {
		return "", 0, captioner.Wrap(captioner.Unavailable, err, "exchange the damaged database")
	}
	return kept, rows, nil
}

func salvageInto(ctx context.Context, path, fresh string) (rows int, err error) {
	from, err := openSQLite(path, 1, true)
	if err != nil {
		return 0, err
	}
	defer from.Close()
	to, err := openSQLite(fresh, 1, false)
	if err != nil {
		return 0, err
	}
	defer to.Close()
	// References are looked after at the end; one connection keeps the setting.
	if _, err := to.ExecContext(ctx, `PRAGMA foreign_keys = OFF`); err != nil {
		return 0, classify(ctx, err, "make a new database")
	}
	tables, err := names(ctx, to, `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'schema_migrations' ORDER BY name`)
	if err != nil {
		return 0, err
	}
	for _, table := range tables {
		n, err := salvageTable(ctx, from, to, table)
		if err != nil {
			return rows, err
		}
		rows += n
	}
	return rows, mend(ctx, to)
}

// salvageTable copies the rows that can be read.
func salvageTable(ctx context.Context, from, to *sql.DB, table string) (int, error) {
	columnsOf := `SELECT name FROM pragma_table_info('` + table + `')`
	columns, err := names(ctx, to, columnsOf)
	if err != nil {
		return 0, err
	}
	had, err := names(ctx, from, columnsOf)
	if err != nil {
		return 0, nil // nothing of it can be read
	}
	columns = slices.DeleteFunc(columns, func(c string) bool { return !slices.Contains(had, c) })
	if len(columns) == 0 {
		return 0, nil
	}
	tx, err := to.BeginTx(ctx, nil)
	if err != nil {
		return 0, classify(ctx, err, "make a new database")
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to take back
	list := strings.Join(columns, ", ")
	insert := fmt.Sprintf(`INSERT INTO %s (rowid, %s) VALUES (?%s)`, table, list, strings.Repeat(", ?", len(columns)))
	seen := map[int64]bool{}
	for _, order := range []string{"ASC", "DESC"} {
		whole := copyRows(ctx, from, fmt.Sprintf(`SELECT rowid, %s FROM %s NOT INDEXED ORDER BY rowid %s`, list, table, order), len(columns)+1,
			func(values []any) {
				id, ok := values[0].(int64)
				if !ok || seen[id] {
					return
				}
				// A row that breaks a rule of its table is damaged.
				if _, err := tx.ExecContext(ctx, insert, values...); err == nil {
					seen[id] = true
				}
			})
		if whole {
			break
		}
	}
	if err := tx.Commit(); err != nil {
		return 0, classify(ctx, err, "make a new database")
	}
	return len(seen), ctx.Err()
}

// copyRows gives every row of a query, and reports whether all could be read.
func copyRows(ctx context.Context, from *sql.DB, query string, columns int, give func([]any)) bool {
	rows, err := from.QueryContext(ctx, query)
	if err != nil {
		return false
	}
	defer rows.Close()
	values, pointers := make([]any, columns), make([]any, columns)
	for i := range values {
		pointers[i] = &values[i]
	}
	for rows.Next() {
		if rows.Scan(pointers...) == nil {
			give(values)
		}
	}
	return rows.Err() == nil
}

// mend gives the versions that are named and lost a row, as of one whose files are
// deleted, and removes other rows that refer to lost ones.
func mend(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx,
		`INSERT INTO model_versions (`+versionColumns+`)
		 SELECT version, '', 0, CAST('{}' AS BLOB), CAST('{}' AS BLOB), CAST('{}' AS BLOB), NULL, 0, 1
		 FROM (SELECT version FROM alias_moves UNION SELECT version FROM aliases) AS named
		 WHERE version NOT IN (SELECT version FROM model_versions)`)
	if err != nil {
		return classify(ctx, err, "mend the new database")
	}
	type row struct {
		table string
		id    int64
	}
	var lost []row
	rows, err := db.QueryContext(ctx, `SELECT "table", rowid FROM pragma_foreign_key_check`)
	if err != nil {
		return classify(ctx, err, "mend the new database")
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.table, &r.id); err != nil {
			return classify(ctx, err, "mend the new database")
		}
		lost = append(lost, r)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return classify(ctx, err, "mend the new database")
	}
	for _, r := range lost {
		if _, err := db.ExecContext(ctx, `DELETE FROM `+r.table+` WHERE rowid = ?`, r.id); err != nil {
			return classify(ctx, err, "mend the new database")
		}
	}
	return nil
}

// names returns the one column of a query.
func names(ctx context.Context, db *sql.DB, query string) ([]string, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, classify(ctx, err, "read the tables of the database")
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, classify(ctx, err, "read the tables of the database")
		}
		list = append(list, name)
	}
	return list, classify(ctx, rows.Err(), "read the tables of the database")
}

// sqliteParts are the endings of the files of a database.
var sqliteParts = []string{"", "-wal", "-shm"}

// exchange puts the new database in place of the damaged one, which is kept.
func exchange(path, fresh string) (kept string, err error) {
	kept = path + ".damaged"
	for n := 2; ; n++ {
		if _, err := os.Stat(kept); errors.Is(err, fs.ErrNotExist) {
			break
		}
		kept = fmt.Sprintf("%s.damaged-%d", path, n)
	}
	for _, part := range sqliteParts {
		if err := os.Rename(path+part, kept+part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	for _, part := range sqliteParts {
		if err := os.Rename(fresh+part, path+part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return kept, nil
}

func removeSQLite(path string) error {
	for _, part := range sqliteParts {
		if err := os.Remove(path + part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
