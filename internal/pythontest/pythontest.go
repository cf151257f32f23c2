// Package pythontest finds the Python packages that tests compare with or run.
package pythontest

import (
	"os"
	"path/filepath"
	"testing"
)

// Interpreter returns the Python interpreter of packages that the script of that
// name in tools has installed, into a folder of the cache whose name begins with
// prefix. Where they are missing the test is skipped, and fails in continuous
// integration, which installs them.
func Interpreter(t testing.TB, script, prefix string) string {
	t.Helper()
	cache := os.Getenv("CAPTIONER_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(dir, "captioner")
	}
	found, err := filepath.Glob(filepath.Join(cache, prefix+"-*", "complete"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		const message = "a Python package that this test needs is not installed: run tools/"
		if os.Getenv("CI") != "" {
			t.Fatal(message + script)
		}
		t.Skip("SKIPPED: " + message + script)
	}
	return filepath.Join(filepath.Dir(found[len(found)-1]), "bin", "python")
}
