package app

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/captioner/captioner"
)

// findEngine returns the path of captioner-engine.
func findEngine(given string) (string, error) {
	return findProgram(given, "captioner-engine", "CAPTIONER_ENGINE", "build it with `make engine`, or name it with --engine")
}

// findTemporal returns the path of the Temporal CLI.
func findTemporal(given string) (string, error) {
	return findProgram(given, "temporal", "CAPTIONER_TEMPORAL", "`tools/temporal` builds it, or name it with --temporal")
}

// findProgram returns the path of a program: the given one, that of the
// variable, the one beside this program, on the PATH, or in the cache folder,
// where tools/temporal puts what it builds.
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
		if path := cachedProgram(name); path != "" {
			return path, nil
		}
		return "", captioner.Wrap(captioner.Invalid, err, "%s was not found: %s", name, advice)
	}
	return filepath.Abs(path)
}

// cachedProgram returns the program of that name in the cache folder, in a
// folder of its own with its version; empty if there is none.
func cachedProgram(name string) string {
	cache := os.Getenv("CAPTIONER_CACHE")
	if cache == "" {
		base := os.Getenv("XDG_CACHE_HOME")
		if home, err := os.UserHomeDir(); base == "" && err == nil {
			base = filepath.Join(home, ".cache")
		}
		cache = filepath.Join(base, "captioner")
	}
	found, _ := filepath.Glob(filepath.Join(cache, name+"-*", name)) // the pattern is well formed
	for _, path := range slices.Backward(found) {
		if path, err := exec.LookPath(path); err == nil {
			return path
		}
	}
	return ""
}
