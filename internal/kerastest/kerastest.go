// Package kerastest finds the Keras and h5py that tests compare with.
package kerastest

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/captioner/captioner/internal/pythontest"
)

// Python returns the interpreter that has them; see [pythontest.Interpreter].
func Python(t testing.TB) string {
	t.Helper()
	return pythontest.Interpreter(t, "keras", "keras")
}

// Run runs a script with the arguments and returns what it prints. What it has
// to say about a failure becomes the test's.
func Run(t testing.TB, script string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Python(t), append([]string{script}, args...)...)
	cmd.Env, cmd.Stderr = environment(), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return out
}

// environment is this process' without TensorFlow's settings: ours are not Keras'.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "TF_") })
}

// Folder returns a folder that the script has filled: the script is run with
// its path when it is asked for the first time, and again after a change.
func Folder(t testing.TB, script string) string {
	t.Helper()
	source, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(source)
	home := filepath.Dir(filepath.Dir(Python(t)))
	dir := filepath.Join(home, "made", hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), ".making-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(fresh)
	t.Logf("making what %s makes, once", script)
	Run(t, script, fresh)
	if err := os.Rename(fresh, dir); err != nil {
		if _, there := os.Stat(dir); there != nil { // else another process was faster
			t.Fatal(err)
		}
	}
	return dir
}
