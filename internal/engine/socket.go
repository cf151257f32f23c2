package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/captioner/captioner"
)

const (
	// socketPrefix begins the names of the folders of engines' sockets.
	socketPrefix = "captioner-engine-"
	// socketLock is locked as long as the process lives that made the folder.
	socketLock = "lock"
	// maxSocketPath is the longest path of a Unix socket on Linux, with its
	// final zero byte.
	maxSocketPath = 108
)

// socketDir is a folder that only this user can enter, with a path short enough
// for a socket in it.
type socketDir struct {
	path string
	lock *flock.Flock
}

// newSocketDir makes one in the folder of temporary files, and removes those of
// processes that were killed.
func newSocketDir() (*socketDir, error) {
	parents := []string{os.TempDir(), "/tmp"}
	var failures []error
	for _, parent := range parents {
		removeAbandoned(parent)
		dir, err := makeSocketDir(parent)
		if err == nil {
			return dir, nil
		}
		failures = append(failures, err)
	}
	return nil, captioner.Wrap(captioner.Unavailable, errors.Join(failures...), "cannot make a folder for the engine's socket: set TMPDIR to a short path that can be written")
}

func makeSocketDir(parent string) (*socketDir, error) {
	for {
		path, err := os.MkdirTemp(parent, socketPrefix)
		if err != nil {
			return nil, err
		}
		if len(path)+len("/engine")+1 > maxSocketPath {
			_ = os.Remove(path)
			return nil, fmt.Errorf("%s is too long for the path of a socket", parent)
		}
		dir := &socketDir{path: path, lock: flock.New(filepath.Join(path, socketLock))}
		held, err := dir.lock.TryLock()
		if held {
			_, err = os.Stat(dir.lock.Path())
		}
		if held && err == nil {
			return dir, nil
		}
		dir.remove()
		// Another process may have taken the folder for abandoned before it was locked.
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
}

// remove removes the folder.
func (d *socketDir) remove() {
	_ = os.RemoveAll(d.path)
	_ = d.lock.Close()
}

// removeAbandoned removes the folders of sockets in parent whose lock no living
// process holds. Those of other users cannot be opened, and stay.
func removeAbandoned(parent string) {
	left, _ := filepath.Glob(filepath.Join(parent, socketPrefix+"*")) // the pattern is well formed
	for _, path := range left {
		lock := flock.New(filepath.Join(path, socketLock))
		if _, err := os.Stat(lock.Path()); err != nil {
			// About to be locked, or by a release that did not lock: after that time
			// nobody connects any more.
			if info, err := os.Stat(path); err != nil || time.Since(info.ModTime()) < startTimeout {
				continue
			}
		}
		if held, err := lock.TryLock(); err == nil && held {
			_ = os.RemoveAll(path)
		}
		_ = lock.Close()
	}
}
