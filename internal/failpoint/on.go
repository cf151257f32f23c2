//go:build failpoints

package failpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Reached kills the process if the point is armed.
func Reached(point string) {
	dir := os.Getenv(Variable)
	if dir == "" || os.Remove(filepath.Join(dir, point)) != nil {
		return
	}
	fmt.Fprintf(os.Stderr, "failpoint: killed at %q\n", point)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until the signal has come
}

// ReachedBy is Reached for a point that several pass.
func ReachedBy(point, who string) { Reached(point + who) }
