// Package workspace makes the folders that attempts at a step work in, and finds
// those whose process has died: a folder belongs to whoever holds the lock in it,
// and nobody holds that of a dead process.
package workspace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

const lockFile = ".lock"

// Make makes an empty folder for one attempt at a step, root/step/attempt-*, and
// removes those of its dead attempts. release removes the folder, and root/step
// when no other attempt works there.
func Make(root, step string) (dir string, release func(), err error) {
	parent := filepath.Join(root, step)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", nil, err
	}
	gate, err := enter(root)
	if err != nil {
		return "", nil, err
	}
	defer gate.Close()

	if err := visit(filepath.Join(parent, "attempt-*"), os.RemoveAll); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", nil, err
	}
	if dir, err = os.MkdirTemp(parent, "attempt-"); err != nil {
		return "", nil, err
	}
	lock := flock.New(filepath.Join(dir, lockFile))
	if held, err := lock.TryLock(); err != nil || !held {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, func() {
		_ = os.RemoveAll(dir)
		_ = lock.Close()
		_ = os.Remove(parent) // succeeds when it is empty
	}, nil
}

// Abandoned calls handle, such as os.RemoveAll, for the folder of each dead attempt
// at any step. No attempt begins meanwhile.
func Abandoned(root string, handle func(dir string) error) error {
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	gate, err := enter(root)
	if err != nil {
		return err
	}
	defer gate.Close()
	return visit(filepath.Join(root, "*", "attempt-*"), handle)
}

// enter takes the lock that is held while folders are made and removed, so that
// each has its own lock, or never will.
func enter(root string) (*flock.Flock, error) {
	gate := flock.New(filepath.Join(root, lockFile))
	return gate, gate.Lock()
}

// visit calls handle for those of the folders that nobody works in.
func visit(pattern string, handle func(dir string) error) error {
	folders, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, dir := range folders {
		lock := flock.New(filepath.Join(dir, lockFile))
		if _, err := os.Stat(lock.Path()); err == nil { // to lock what is not there would make it
			held, err := lock.TryLock()
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if !held {
				continue // somebody works there, or it is gone since
			}
		}
		err := handle(dir)
		_ = lock.Close()
		if err != nil {
			return err
		}
		_ = os.Remove(filepath.Dir(dir)) // succeeds when it is empty
	}
	return nil
}
