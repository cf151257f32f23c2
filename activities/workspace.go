package activities

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
)

const lockFile = ".lock"

// workspace makes an empty folder for one attempt at the step with the key,
// runs/<key>/attempt-*, and removes what attempts that were killed have left
// there: a folder whose lock no living process holds. release removes it.
func (a *Activities) workspace(key string) (dir string, release func(), err error) {
	parent := filepath.Join(a.runsDir(), captioner.Digest(key).Short())
	dir, lock, err := makeWorkspace(a.runsDir(), parent)
	if err != nil {
		return "", nil, atomicfile.Classify(err, "make a work folder", parent, 0)
	}
	release = func() {
		_ = os.RemoveAll(dir)
		_ = lock.Close()
		_ = os.Remove(parent) // succeeds when no other attempt works there
	}
	return dir, release, nil
}

func makeWorkspace(root, parent string) (string, *flock.Flock, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", nil, err
	}
	// Held while folders are made and removed, so that none is removed between
	// its making and its locking.
	gate := flock.New(filepath.Join(root, lockFile))
	if err := gate.Lock(); err != nil {
		return "", nil, err
	}
	defer gate.Close()

	left, err := filepath.Glob(filepath.Join(parent, "attempt-*"))
	if err != nil {
		return "", nil, err
	}
	for _, dir := range left {
		if err := removeAbandoned(dir); err != nil {
			return "", nil, err
		}
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(parent, "attempt-")
	if err != nil {
		return "", nil, err
	}
	lock := flock.New(filepath.Join(dir, lockFile))
	if held, err := lock.TryLock(); err != nil || !held {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, lock, nil
}

// RemoveAbandoned removes what attempts that were killed have left below runs/,
// also those at steps that nobody will try again.
func (a *Activities) RemoveAbandoned() error {
	if err := removeAllAbandoned(a.runsDir()); err != nil {
		return captioner.Wrap(captioner.Unavailable, err, "remove the work folders of processes that have died")
	}
	return nil
}

func removeAllAbandoned(root string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	gate := flock.New(filepath.Join(root, lockFile))
	if err := gate.Lock(); err != nil {
		return err
	}
	defer gate.Close()
	left, err := filepath.Glob(filepath.Join(root, "*", "attempt-*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := removeAbandoned(dir); err != nil {
			return err
		}
		_ = os.Remove(filepath.Dir(dir)) // succeeds when nobody works there
	}
	return nil
}

// removeAbandoned removes the folder unless a living process holds its lock.
func removeAbandoned(dir string) error {
	lock := flock.New(filepath.Join(dir, lockFile))
	held, err := lock.TryLock()
	if err != nil || !held {
		return err
	}
	defer lock.Close()
	return os.RemoveAll(dir)
}

// makeFolder makes a folder below a workspace.
func makeFolder(parent, name string) (string, error) {
	dir := filepath.Join(parent, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", atomicfile.Classify(err, "make a work folder", parent, 0)
	}
	return dir, nil
}

// writeFile writes one file, and the folder that it lies in.
func writeFile(path string, data []byte) error {
	return atomicfile.Classify(atomicfile.Write(atomicfile.OS{}, path, data),
		"write "+filepath.Base(path), filepath.Dir(path), int64(len(data)))
}

// closing closes c and keeps the first error.
func closing(c io.Closer, err *error) {
	if closeErr := c.Close(); *err == nil {
		*err = closeErr
	}
}
