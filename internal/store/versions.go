package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/captioner/captioner"
)

const versionColumns = `version, run_id, created_at, evaluation, lineage, training, pinned_at, registered_at, deleted_at`

// minPrefix is the shortest prefix that names a version.
const minPrefix = 4

// PutModelVersion adds a version; one that is there already stays as it is, but
// for its files, which are there again.
func (s *Store) PutModelVersion(ctx context.Context, v captioner.ModelVersion) error {
	if !v.Version.Valid() {
		return captioner.Errorf(captioner.Invalid, "a model version must be a digest")
	}
	evaluation, err := marshal(v.Evaluation)
	if err != nil {
		return err
	}
	lineage, err := marshal(v.Lineage)
	if err != nil {
		return err
	}
	training, err := marshal(v.Training)
	if err != nil {
		return err
	}
	return s.change(ctx, "record a model version", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx,
			`INSERT INTO model_versions (`+versionColumns+`) VALUES ($1, $2, $3, $4, $5, $6, NULL, $7, NULL)
			 ON CONFLICT (version) DO UPDATE SET registered_at = excluded.registered_at, deleted_at = NULL`,
			string(v.Version), v.RunID, micros(s.orNow(v.CreatedAt)), evaluation, lineage, training, micros(s.now()))
		return err
	})
}

// ModelVersion finds a version by its digest or a unique prefix of at least
// four characters. NotFound when none begins so; Invalid, code
// "ambiguous_version", when several do.
func (s *Store) ModelVersion(ctx context.Context, version string) (captioner.ModelVersion, error) {
	prefix := strings.ToLower(version)
	if len(prefix) < minPrefix {
		return captioner.ModelVersion{}, captioner.Errorf(captioner.Invalid, "a model version is named by at least %d characters", minPrefix)
	}
	if strings.Trim(prefix, "0123456789abcdef") != "" {
		return captioner.ModelVersion{}, versionNotFound()
	}
	// "g" sorts right after all continuations in hexadecimal.
	found, err := s.versions(ctx, "read a model version",
		`SELECT `+versionColumns+` FROM model_versions WHERE version >= $1 AND version < $2 ORDER BY version LIMIT 2`,
		prefix, prefix+"g")
	switch {
	case err != nil:
		return captioner.ModelVersion{}, err
	case len(found) == 0:
		return captioner.ModelVersion{}, versionNotFound()
	case len(found) > 1:
		return captioner.ModelVersion{}, &captioner.Error{Kind: captioner.Invalid, Code: "ambiguous_version",
			Message: "several model versions begin like this: give more characters"}
	}
	return found[0], nil
}

// ModelVersions lists the newest first.
func (s *Store) ModelVersions(ctx context.Context, limit int) ([]captioner.ModelVersion, error) {
	return s.versions(ctx, "list model versions",
		`SELECT `+versionColumns+` FROM model_versions ORDER BY created_at DESC, version DESC LIMIT $1`, atMost(limit))
}

// versions runs a query for the versionColumns.
func (s *Store) versions(ctx context.Context, what, query string, args ...any) ([]captioner.ModelVersion, error) {
	return list(ctx, s, what, scanVersion, query, args...)
}

// scanVersion reads the versionColumns.
func scanVersion(row rowScanner) (captioner.ModelVersion, error) {
	var v captioner.ModelVersion
	var created, registered int64
	var pinned, deleted sql.NullInt64
	var evaluation, lineage, training []byte
	if err := row.Scan(&v.Version, &v.RunID, &created, &evaluation, &lineage, &training, &pinned, &registered, &deleted); err != nil {
		return v, err
	}
	v.CreatedAt, v.RegisteredAt = fromMicros(created), fromMicros(registered)
	v.PinnedAt, v.DeletedAt = timeOrNil(pinned), timeOrNil(deleted)
	if err := unmarshal(evaluation, &v.Evaluation); err != nil {
		return v, err
	}
	if err := unmarshal(lineage, &v.Lineage); err != nil {
		return v, err
	}
	return v, unmarshal(training, &v.Training)
}

// timeOrNil returns the time in a column that may be NULL.
func timeOrNil(us sql.NullInt64) *time.Time {
	if !us.Valid {
		return nil
	}
	t := fromMicros(us.Int64)
	return &t
}

// PinVersion keeps a version's files for good, or leaves them to retention
// again. NotFound; Conflict, code "version_deleted", where they are deleted.
func (s *Store) PinVersion(ctx context.Context, version captioner.Digest, pinned bool) error {
	return s.change(ctx, "pin a model version", func(tx *sql.Tx) error {
		if err := filesThere(ctx, tx, version); err != nil {
			return err
		}
		query := `UPDATE model_versions SET pinned_at = COALESCE(pinned_at, $2) WHERE version = $1`
		args := []any{string(version), micros(s.now())}
		if !pinned {
			query, args = `UPDATE model_versions SET pinned_at = NULL WHERE version = $1`, args[:1]
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

// filesThere refuses a version that is not registered, or whose files retention
// has deleted.
func filesThere(ctx context.Context, tx *sql.Tx, version captioner.Digest) error {
	var deleted sql.NullInt64
	err := tx.QueryRowContext(ctx, `SELECT deleted_at FROM model_versions WHERE version = $1`, string(version)).Scan(&deleted)
	if errors.Is(err, sql.ErrNoRows) {
		return versionNotFound()
	}
	if err == nil && deleted.Valid {
		return &captioner.Error{Kind: captioner.Conflict, Code: "version_deleted",
			Message: "the files of version " + version.Short() + " were deleted, as it was neither live, recent nor pinned; a run with its configuration makes it again"}
	}
	return err
}

func versionNotFound() error {
	return captioner.Errorf(captioner.NotFound, "no such model version")
}
