// Package memory sets how often Go collects garbage in the project's programs.
package memory

import (
	"os"
	"runtime/debug"
)

// gcPercent is how much a program may allocate before the next collection, as a
// share of what it keeps. Both programs keep a few MiB (TensorFlow's memory is
// not Go's) and allocate some ten KiB a request: with Go's own 100 they collected
// every few dozen requests, which took a fifth of the control plane's time for
// each; see docs/results.md.
const gcPercent = 400

// CollectSeldom lets the program allocate more between two collections. Where
// GOGC is set, it holds.
func CollectSeldom() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
