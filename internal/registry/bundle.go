package registry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
	"github.com/captioner/captioner/internal/failpoint"
)

const (
	// buildPrefix begins the names of folders that are being built, and the
	// digest of the bundle follows; they belong to who holds its lock.
	buildPrefix = ".build-"
	// lockPoll is how often a lock held by another process is tried again.
	lockPoll = 20 * time.Millisecond
)

// StoreTree stores every file below dir, and the manifest that names them, as
// blobs. It returns the manifest and its digest, which is the bundle's. A
// manifest.json in dir itself is left out, so that a folder that Materialise
// has made gives its own digest again; empty folders are not part of a bundle.
//
// A link, a device or a folder without files is Invalid.
func StoreTree(ctx context.Context, blobs captioner.BlobStore, dir string) (Manifest, captioner.Digest, error) {
	root, err := openFolder(dir)
	if err != nil {
		return Manifest{}, "", err
	}
	defer root.Close()
	paths, irregular, err := listFiles(root)
	if err != nil {
		return Manifest{}, "", err
	}
	if len(irregular) > 0 {
		return Manifest{}, "", &captioner.Error{Kind: captioner.Invalid, Code: "bad_bundle",
			Message: "a bundle holds ordinary files only", Problems: irregular}
	}
	if len(paths) == 0 {
		return Manifest{}, "", &captioner.Error{Kind: captioner.Invalid, Code: "bad_bundle", Message: "the folder holds no file"}
	}
	var m Manifest
	for _, name := range paths {
		f, err := storeFile(ctx, blobs, root, name)
		if err != nil {
			return Manifest{}, "", err
		}
		if why := f.refused(); why != "" {
			return Manifest{}, "", &captioner.Error{Kind: captioner.Invalid, Code: "bad_bundle",
				Message: fmt.Sprintf("file %q %s", name, why)}
		}
		m.Files = append(m.Files, f)
	}
	data, err := m.Encode()
	if err != nil {
		return Manifest{}, "", err
	}
	failpoint.Reached(failpoint.BundleHashed)
	digest, _, err := blobs.Put(ctx, bytes.NewReader(data))
	if err != nil {
		return Manifest{}, "", fmt.Errorf("manifest: %w", err)
	}
	return m, digest, nil
}

// storeFile stores one file of a folder.
func storeFile(ctx context.Context, blobs captioner.BlobStore, root *os.Root, name string) (File, error) {
	f, err := root.Open(name)
	if err != nil {
		return File{}, classify(err, "store %s", name)
	}
	defer f.Close()
	digest, size, err := blobs.Put(ctx, f)
	if err != nil {
		return File{}, fmt.Errorf("store %s: %w", name, err)
	}
	return File{Path: name, Size: size, SHA256: digest}, nil
}

// Materialise returns a folder with the files of the bundle and its
// manifest.json: cacheDir/<digest>. All of it is verified, also where an
// earlier call has made it; a folder that was damaged is made again. The files
// are copies, read-only, and appear all at once. Several goroutines and
// processes may materialise the same bundle.
//
// NotFound or Corrupt when a blob is gone or damaged.
func Materialise(ctx context.Context, blobs captioner.BlobStore, digest captioner.Digest, cacheDir string) (string, error) {
	return materialise(ctx, atomicfile.OS{}, blobs, digest, cacheDir)
}

func materialise(ctx context.Context, files atomicfile.FileSystem, blobs captioner.BlobStore, digest captioner.Digest, cacheDir string) (string, error) {
	if !digest.Valid() {
		return "", captioner.Errorf(captioner.Invalid, "a bundle is named by its digest")
	}
	dir := filepath.Join(cacheDir, string(digest))
	if VerifyDir(dir, digest) == nil {
		return dir, nil
	}
	data, m, err := loadManifest(ctx, blobs, digest)
	if err != nil {
		return "", err
	}
	needed := int64(len(data))
	for _, f := range m.Files {
		needed += f.Size
	}
	failed := func(err error) error {
		return atomicfile.Classify(err, "unpack bundle "+digest.Short(), cacheDir, needed)
	}
	if err := files.MkdirAll(cacheDir); err != nil {
		return "", failed(err)
	}
	lock := lockOf(cacheDir, string(digest))
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("wait for bundle %s: %w", digest.Short(), ctx.Err())
		}
		return "", failed(err)
	}
	defer lock.Close()

	// Whoever held the lock may have made it.
	if VerifyDir(dir, digest) == nil {
		return dir, nil
	}
	if err := removeAbandoned(cacheDir, digest); err != nil {
		return "", failed(err)
	}
	temp := filepath.Join(cacheDir, buildPrefix+string(digest))
	defer func() { _ = files.RemoveAll(temp) }()
	built := filepath.Join(temp, "new")
	if err := build(ctx, files, blobs, data, m, built); err != nil {
		return "", failed(err)
	}
	if err := files.Rename(dir, filepath.Join(temp, "old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", failed(err)
	}
	if err := files.Rename(built, dir); err != nil {
		return "", failed(err)
	}
	return dir, nil
}

// build writes the files of a bundle and its manifest, whose bytes are data, to
// the new folder dir.
func build(ctx context.Context, files atomicfile.FileSystem, blobs captioner.BlobStore, data []byte, m Manifest, dir string) error {
	for _, f := range m.Files {
		// The manifest was parsed: no path in it leads out of the folder.
		if err := copyOut(ctx, files, blobs, f, filepath.Join(dir, filepath.FromSlash(f.Path))); err != nil {
			return fmt.Errorf("bundle file %s: %w", f.Path, err)
		}
	}
	if err := files.MkdirAll(dir); err != nil {
		return err
	}
	return writeNew(files, filepath.Join(dir, ManifestName), bytes.NewReader(data), int64(len(data)))
}

// copyOut copies a blob to its place; the blob store verifies what it gives.
func copyOut(ctx context.Context, files atomicfile.FileSystem, blobs captioner.BlobStore, f File, path string) error {
	r, err := blobs.Open(ctx, f.SHA256)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := files.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	return writeNew(files, path, r, f.Size)
}

// writeNew writes a read-only file of a known size. Nothing is flushed to the
// disk: whoever uses the folder verifies it first.
func writeNew(files atomicfile.FileSystem, path string, r io.Reader, size int64) error {
	w, err := files.Create(path)
	if err != nil {
		return err
	}
	n, err := io.Copy(w, r)
	if err == nil {
		err = w.Chmod(0o444)
	}
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	if err == nil && n != size {
		err = captioner.Errorf(captioner.Corrupt, "it has %d bytes where the manifest says %d", n, size)
	}
	return err
}

// lockOf returns the lock of who makes the folder of a bundle.
func lockOf(cacheDir, digest string) *flock.Flock {
	return flock.New(filepath.Join(cacheDir, "."+digest+".lock"))
}

// removeAbandoned deletes folders that a dead process has begun and not finished:
// that of the bundle whose lock is held, and those whose lock nobody holds.
func removeAbandoned(cacheDir string, held captioner.Digest) error {
	entries, err := os.ReadDir(cacheDir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		digest, found := strings.CutPrefix(entry.Name(), buildPrefix)
		if !found {
			continue
		}
		if digest != string(held) {
			lock := lockOf(cacheDir, digest)
			if free, err := lock.TryLock(); err != nil || !free {
				continue
			}
			defer lock.Close()
		}
		if err := os.RemoveAll(filepath.Join(cacheDir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// IsUnfinished reports whether the name of a folder in a cache is that of one that
// Materialise has begun and not finished.
func IsUnfinished(name string) bool { return strings.HasPrefix(name, buildPrefix) }

// Evict removes the folder of a bundle that Materialise has made, unless somebody
// makes it again at this moment.
func Evict(dir string) error {
	lock := flock.New(filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".lock"))
	held, err := lock.TryLock()
	if err != nil || !held {
		return err
	}
	defer lock.Close()
	return os.RemoveAll(dir)
}

// listFiles returns the files below root, sorted, without the manifest; and
// what is neither file nor folder.
func listFiles(root *os.Root) (paths []string, irregular []captioner.Problem, err error) {
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() || name == ManifestName && entry.Type().IsRegular():
		case entry.Type().IsRegular():
			paths = append(paths, name)
		default:
			irregular = append(irregular, captioner.Problem{Field: name, Message: "is a link or a device, not a file"})
		}
		return nil
	})
	if err != nil {
		return nil, nil, classify(err, "list the files of a bundle")
	}
	slices.Sort(paths) // by path as a whole: "a-b" before "a/b"
	slices.SortFunc(irregular, func(a, b captioner.Problem) int { return cmp.Compare(a.Field, b.Field) })
	return paths, irregular, nil
}

// openFolder opens a folder so that no path leads out of it.
func openFolder(dir string) (*os.Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, classify(err, "open a bundle's folder")
	}
	return root, nil
}
