package activities

import (
	"io"
	"os"
	"path/filepath"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
	"github.com/captioner/captioner/internal/workspace"
)

// workspace makes an empty folder for one attempt at the step with the key. release
// removes it.
func (a *Activities) workspace(key string) (dir string, release func(), err error) {
	dir, release, err = workspace.Make(a.runsDir(), captioner.Digest(key).Short())
	return dir, release, atomicfile.Classify(err, "make a work folder", a.runsDir(), 0)
}

// RemoveAbandoned removes what attempts that were killed have left below runs/,
// also those at steps that nobody will try again.
func (a *Activities) RemoveAbandoned() error {
	if err := workspace.Abandoned(a.runsDir(), os.RemoveAll); err != nil {
		return captioner.Wrap(captioner.Unavailable, err, "remove the work folders of processes that have died")
	}
	return nil
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
