package app

import (
	"os"
	"os/exec"
	"path/filepath"

	"github.com/captioner/captioner"
)

// findProgram returns the path of a program: the given one, that of the
// variable, the one beside this program, or the one on the PATH.
func findProgram(given, name, variable, advice string) (string, error) {
	if given == "" {
		given = os.Getenv(variable)
	}
	if given != "" {
		path, err := exec.LookPath(given)
		if err != nil {
			return "", captioner.Wrap(captioner.Invalid, err, "%s cannot be run: %s", name, advice)
		}
		return filepath.Abs(path)
	}
	if self, err := os.Executable(); err == nil {
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), name)); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", captioner.Wrap(captioner.Invalid, err, "%s was not found: %s", name, advice)
	}
	return filepath.Abs(path)
}
