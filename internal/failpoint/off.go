//go:build !failpoints

package failpoint

// Reached does nothing in this build.
func Reached(string) {}

// ReachedBy does nothing in this build.
func ReachedBy(string, string) {}
