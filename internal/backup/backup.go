// Package backup copies a data folder while it is in use, and makes a data folder
// of such a copy.
//
// A backup is a folder, or one tar file of the same layout:
//
//	blobs/<digest>   every blob
//	captioner.db     the records; missing where they lie in PostgreSQL
//	temporal.db      runs under way, of the local mode
//	backup.json      what the backup has to hold; written last
//
// The order is what makes it whole. Temporal's state is copied first, then the
// records, and then the blobs: a run may be older than the records of its steps,
// which are then found done, and records may be older than the blobs, of which some
// are not named yet; never the other way round. The one thing that is deleted at
// once in normal work is a checkpoint that a newer one has replaced. Most blobs,
// and the checkpoints of the moment, are therefore copied before the databases as
// well, and where the checkpoint that the copied records name is gone by its turn,
// they are made to name that one: the training resumes a little earlier.
//
// What is named must be there: the files of every version that retention has not
// deleted, and the last checkpoint of every training.
package backup

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/store"
)

// The names in a backup.
const (
	blobsDir     = "blobs"
	recordsFile  = "captioner.db"
	temporalFile = "temporal.db"
	manifestFile = "backup.json"
)

// formatVersion is raised when an older program could not restore the backup.
const formatVersion = 1

// maxSnapshots bounds how often the databases are copied anew.
const maxSnapshots = 10

// Manifest is the content of backup.json.
type Manifest struct {
	Format    int       `json:"format"`
	CreatedAt time.Time `json:"created_at"`
	// Program is the version of the captioner that made it.
	Program string `json:"program"`
	// Databases are the digests of the database files, by name.
	Databases map[string]captioner.Digest `json:"databases"`
	// Records is "sqlite", or "postgres" where pg_dump has to save them.
	Records string `json:"records"`
	// Blobs counts the blobs, Bytes is their size. Named are those that the
	// records cannot do without.
	Blobs int                `json:"blobs"`
	Bytes int64              `json:"bytes"`
	Named []captioner.Digest `json:"named"`
}

// Options say what is copied.
type Options struct {
	// DataDir has temporal.db, where there is one.
	DataDir string
	// Database is the address of the records.
	Database string
	// Store has the records open, Blobs the blobs.
	Store captioner.Store
	Blobs captioner.BlobStore
	// Program is the version of this program.
	Program string
	// Now tells the time; nil means time.Now.
	Now func() time.Time
}

// Write makes a backup at a path that does not exist yet: a tar file where the
// path ends in .tar, else a folder. It is read again afterwards: Corrupt when what
// was written is not what was meant.
func Write(ctx context.Context, o Options, path string) (Manifest, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if _, err := os.Lstat(path); err == nil {
		return Manifest{}, captioner.Errorf(captioner.Invalid, "there is something at the place of the backup already: name a new folder or file")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return Manifest{}, failed(err)
	}
	// Beside the target, so that it appears as a whole.
	work, err := os.MkdirTemp(filepath.Dir(path), ".backup-")
	if err != nil {
		return Manifest{}, failed(err)
	}
	defer os.RemoveAll(work)
	unfinished := filepath.Join(work, filepath.Base(path))
	m, err := write(ctx, o, work, unfinished)
	if err != nil {
		return m, err
	}
	if _, err := Verify(ctx, unfinished); err != nil {
		return m, err
	}
	if err := os.Rename(unfinished, path); err != nil {
		return m, failed(err)
	}
	return m, syncDir(filepath.Dir(path))
}

func write(ctx context.Context, o Options, work, path string) (m Manifest, err error) {
	out, err := create(path)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := &writer{o: o, out: out, copied: map[captioner.Digest]bool{}, checkpoints: map[string]captioner.Checkpoint{}}
	w.manifest = Manifest{Format: formatVersion, Program: o.Program, Databases: map[string]captioner.Digest{}, Records: "postgres"}
	_, isSQLite := store.SQLiteFile(o.Database)
	if isSQLite {
		w.manifest.Records = "sqlite"
	}
	if err := w.blobs(ctx); err != nil {
		return m, err
	}
	databases, err := w.databases(ctx, work)
	if err != nil {
		return m, err
	}
	for name, file := range databases {
		if w.manifest.Databases[name], err = w.addFile(name, file); err != nil {
			return m, err
		}
	}
	w.manifest.CreatedAt = o.Now().UTC().Truncate(time.Second)
	data, err := json.MarshalIndent(w.manifest, "", "  ")
	if err != nil {
		return m, captioner.Wrap(captioner.Internal, err, "write the backup's manifest")
	}
	return w.manifest, w.addBytes(manifestFile, data)
}

// writer is one backup.
type writer struct {
	o        Options
	out      archive
	manifest Manifest
	copied   map[captioner.Digest]bool
	// checkpoints are the newest that were copied, by run key.
	checkpoints map[string]captioner.Checkpoint
}

// databases copies them until every blob that they name is there, and returns the
// files by name. It copies all blobs that have come since.
func (w *writer) databases(ctx context.Context, work string) (map[string]string, error) {
	for try := 1; ; try++ {
		dir, err := os.MkdirTemp(work, "databases-")
		if err != nil {
			return nil, failed(err)
		}
		if err := w.keepCheckpoints(ctx); err != nil {
			return nil, err
		}
		files, err := w.snapshot(ctx, dir)
		if err != nil {
			return nil, err
		}
		named, err := w.settle(ctx, files[recordsFile])
		if err != nil {
			return nil, err
		}
		if err := w.blobs(ctx); err != nil {
			return nil, err
		}
		missing := w.missing(named)
		if len(missing) == 0 {
			w.manifest.Named = named
			return files, nil
		}
		if try == maxSnapshots {
			return nil, captioner.Errorf(captioner.Corrupt, "the records name blob %s, which is not there: run captioner models verify", missing[0].Short())
		}
	}
}

// settle has copied records name only checkpoints that were copied, as far as there
// are any, and returns the blobs that the records cannot do without. Records in
// PostgreSQL are saved by others, with the checkpoints that they name then.
func (w *writer) settle(ctx context.Context, file string) (named []captioner.Digest, err error) {
	if file == "" {
		return w.named(ctx, w.o.Store)
	}
	records, err := store.Open(ctx, "sqlite:"+file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, records.Close()) }()
	if named, err = w.named(ctx, records); err != nil {
		return nil, err
	}
	rows, err := records.Checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		there, err := w.copyLocal(ctx, row.Blob)
		if err != nil {
			return nil, err
		}
		if earlier, ok := w.checkpoints[row.RunKey]; !there && ok {
			earlier.Attempt = row.Attempt // else it would be refused as a late one
			if err := records.PutCheckpoint(ctx, earlier); err != nil {
				return nil, err
			}
			row = earlier
		}
		named = append(named, row.Blob)
	}
	return named, nil
}

// keepCheckpoints copies the checkpoints of this moment.
func (w *writer) keepCheckpoints(ctx context.Context) error {
	rows, err := w.o.Store.Checkpoints(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		there, err := w.copyLocal(ctx, row.Blob)
		if err != nil {
			return err
		}
		if there {
			w.checkpoints[row.RunKey] = row
		}
	}
	return nil
}

// copyLocal copies one blob, if it is there and was not copied yet.
func (w *writer) copyLocal(ctx context.Context, digest captioner.Digest) (there bool, err error) {
	if w.copied[digest] {
		return true, nil
	}
	path, err := w.o.Blobs.Local(ctx, digest)
	if captioner.KindOf(err) == captioner.NotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := os.Stat(path)
	if err == nil {
		err = w.blob(ctx, captioner.BlobInfo{Digest: digest, Size: info.Size()})
	}
	if errors.Is(err, fs.ErrNotExist) || captioner.KindOf(err) == captioner.NotFound {
		return false, nil // replaced at this moment
	}
	return err == nil, err
}

// snapshot copies the databases, Temporal's first.
func (w *writer) snapshot(ctx context.Context, dir string) (map[string]string, error) {
	files := map[string]string{}
	copyOf := func(name, from string) error {
		files[name] = filepath.Join(dir, name)
		return store.SnapshotSQLite(ctx, from, files[name])
	}
	temporal := filepath.Join(w.o.DataDir, temporalFile)
	if _, err := os.Stat(temporal); err == nil {
		if err := copyOf(temporalFile, temporal); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, failed(err)
	}
	if path, ok := store.SQLiteFile(w.o.Database); ok {
		return files, copyOf(recordsFile, path)
	}
	return files, nil
}

// named lists the blobs of the versions that are not deleted.
func (w *writer) named(ctx context.Context, records captioner.Store) ([]captioner.Digest, error) {
	seen := map[captioner.Digest]bool{}
	var named []captioner.Digest
	add := func(d captioner.Digest) {
		if !seen[d] { // versions share files
			seen[d] = true
			named = append(named, d)
		}
	}
	versions, err := records.ModelVersions(ctx, 0)
	if err != nil {
		return nil, err
	}
	for _, v := range versions {
		if v.DeletedAt != nil {
			continue
		}
		manifest, err := registry.LoadManifest(ctx, w.o.Blobs, v.Version)
		if err != nil {
			return nil, err
		}
		add(v.Version)
		for _, f := range manifest.Files {
			add(f.SHA256)
		}
	}
	return named, nil
}

// missing are those of the named blobs that were not copied.
func (w *writer) missing(named []captioner.Digest) []captioner.Digest {
	var missing []captioner.Digest
	for _, d := range named {
		if !w.copied[d] {
			missing = append(missing, d)
		}
	}
	return missing
}

// blobs copies all that were not copied yet. One that is gone since it was listed
// is of no concern here. The store verifies what it gives.
func (w *writer) blobs(ctx context.Context) error {
	var list []captioner.BlobInfo
	err := w.o.Blobs.List(ctx, func(info captioner.BlobInfo) error {
		if !w.copied[info.Digest] {
			list = append(list, info)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, info := range list {
		if err := w.blob(ctx, info); err != nil && captioner.KindOf(err) != captioner.NotFound {
			return err
		}
	}
	return nil
}

func (w *writer) blob(ctx context.Context, info captioner.BlobInfo) error {
	r, err := w.o.Blobs.Open(ctx, info.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := w.out.Add(blobsDir+"/"+string(info.Digest), info.Size, r); err != nil {
		return err
	}
	w.copied[info.Digest] = true
	w.manifest.Blobs++
	w.manifest.Bytes += info.Size
	return nil
}

func failed(err error) error {
	return captioner.Wrap(captioner.Unavailable, err, "write the backup")
}
