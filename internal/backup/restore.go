package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob"
	"github.com/captioner/captioner/internal/store"
)

// Verify reads a whole backup: every blob has the bytes of its name, the databases
// those of the manifest and SQLite's own checks, and what the records name is
// there. Corrupt, with all problems, where that is not so.
func Verify(ctx context.Context, path string) (Manifest, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".verify-")
	if err != nil {
		return Manifest{}, failed(err)
	}
	defer os.RemoveAll(dir)
	return read(ctx, path, dir, discard{})
}

// Restore makes a data folder of a backup. The folder must be empty or missing; one
// that a restore has left unfinished is emptied by hand. The databases come last:
// without them the folder is of no use, and with them it is whole.
func Restore(ctx context.Context, path, dataDir string) (Manifest, error) {
	entries, err := os.ReadDir(dataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, captioner.Wrap(captioner.Invalid, err, "look into the data folder (--data-dir)")
	}
	if len(entries) > 0 {
		return Manifest{}, captioner.Errorf(captioner.Invalid, "the data folder is not empty: a backup is restored into a new one (--data-dir)")
	}
	work := filepath.Join(dataDir, ".restore")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return Manifest{}, captioner.Wrap(captioner.Unavailable, err, "make the data folder")
	}
	blobs, err := blob.NewDisk(filepath.Join(dataDir, blobsDir))
	if err != nil {
		return Manifest{}, err
	}
	m, err := read(ctx, path, work, blobs)
	if err != nil {
		return m, err
	}
	for name := range m.Databases {
		if err := os.Rename(filepath.Join(work, name), filepath.Join(dataDir, name)); err != nil {
			return m, captioner.Wrap(captioner.Unavailable, err, "restore %s", name)
		}
	}
	if err := os.RemoveAll(work); err != nil {
		return m, captioner.Wrap(captioner.Unavailable, err, "restore the data folder")
	}
	return m, syncDir(dataDir)
}

// putter takes the blobs of a backup.
type putter interface {
	Put(ctx context.Context, r io.Reader) (captioner.Digest, int64, error)
}

// discard takes blobs and keeps none.
type discard struct{}

func (discard) Put(_ context.Context, r io.Reader) (captioner.Digest, int64, error) {
	return captioner.DigestReader(r)
}

// read reads a backup: databases are written to dir, blobs put. It returns the
// manifest once everything is as that says.
func read(ctx context.Context, path, dir string, blobs putter) (Manifest, error) {
	in := &reader{dir: dir, blobs: blobs, present: map[captioner.Digest]bool{}, databases: map[string]captioner.Digest{}}
	if err := each(path, func(name string, r io.Reader) error { return in.file(ctx, name, r) }); err != nil {
		return in.manifest, err
	}
	if in.manifest.Format == 0 {
		return in.manifest, captioner.Errorf(captioner.Invalid, "this is no backup, or one that was not finished: it has no %s", manifestFile)
	}
	if in.manifest.Format > formatVersion {
		return in.manifest, captioner.Errorf(captioner.Invalid, "the backup was made by a newer captioner, %s: restore it with that one", in.manifest.Program)
	}
	if err := in.check(ctx); err != nil {
		return in.manifest, err
	}
	if len(in.problems) > 0 {
		return in.manifest, &captioner.Error{Kind: captioner.Corrupt, Message: "the backup is damaged", Problems: in.problems}
	}
	return in.manifest, nil
}

// reader is a backup that is being read.
type reader struct {
	dir       string
	blobs     putter
	manifest  Manifest
	present   map[captioner.Digest]bool
	databases map[string]captioner.Digest
	problems  []captioner.Problem
}

func (in *reader) problem(name, format string, args ...any) {
	in.problems = append(in.problems, captioner.Problem{Field: name, Message: fmt.Sprintf(format, args...)})
}

func (in *reader) file(ctx context.Context, name string, r io.Reader) error {
	if digest, ok := strings.CutPrefix(name, blobsDir+"/"); ok {
		got, _, err := in.blobs.Put(ctx, r)
		if err != nil {
			return err
		}
		in.present[got] = true
		if string(got) != digest {
			in.problem(name, "has changed")
		}
		return nil
	}
	switch name {
	case recordsFile, temporalFile:
		digest, err := writeDatabase(filepath.Join(in.dir, name), r)
		in.databases[name] = digest
		return err
	case manifestFile:
		if err := json.NewDecoder(r).Decode(&in.manifest); err != nil {
			return captioner.Wrap(captioner.Corrupt, err, "%s is damaged", manifestFile)
		}
		return nil
	}
	return captioner.Errorf(captioner.Invalid, "this is no backup: it holds %q", name)
}

// check compares what was read with what the manifest says.
func (in *reader) check(ctx context.Context) error {
	for name, want := range in.manifest.Databases {
		got, there := in.databases[name]
		if !there {
			in.problem(name, "is missing")
			continue
		}
		if got != want {
			in.problem(name, "has changed")
			continue
		}
		err := store.CheckSQLite(ctx, filepath.Join(in.dir, name))
		if captioner.KindOf(err) == captioner.Corrupt {
			in.problem(name, "%v", err)
		} else if err != nil {
			return err
		}
	}
	if len(in.present) != in.manifest.Blobs {
		in.problem(blobsDir, "there are %d of %d blobs", len(in.present), in.manifest.Blobs)
	}
	for _, digest := range in.manifest.Named {
		if !in.present[digest] {
			in.problem(blobsDir+"/"+string(digest), "is missing, and the records name it")
		}
	}
	return nil
}

// writeDatabase writes a database file and returns its digest.
func writeDatabase(path string, r io.Reader) (captioner.Digest, error) {
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", captioner.Wrap(captioner.Unavailable, err, "restore a database")
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(w, sum), r)
	if err == nil {
		err = w.Sync()
	}
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return "", captioner.Wrap(captioner.Unavailable, err, "restore a database")
	}
	return captioner.Digest(hex.EncodeToString(sum.Sum(nil))), nil
}
