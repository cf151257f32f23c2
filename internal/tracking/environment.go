package tracking

import (
	"os"
	"runtime"

	"github.com/klauspost/cpuid/v2"
)

// Build says what the program was built from; empty where that was not told.
type Build struct {
	// Version is what `git describe` gives.
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Branch  string `json:"branch,omitempty"`
	// Dirty says that files differed from the commit.
	Dirty bool `json:"dirty"`
}

// Environment is what a run ran on.
type Environment struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Host         string `json:"host,omitempty"`
	CPU          string `json:"cpu,omitempty"`
	CPUs         int    `json:"cpus"`
	Go           string `json:"go"`
	TensorFlow   string `json:"tensorflow"`
	// Devices are TensorFlow's names of what it computes on; empty where another
	// machine's engines do.
	Devices []string `json:"devices,omitempty"`
}

// environment describes this machine and program.
func (t *Tracker) environment() Environment {
	e := Environment{
		OS: runtime.GOOS, Architecture: runtime.GOARCH, CPU: cpuid.CPU.BrandName, CPUs: runtime.NumCPU(),
		Go: runtime.Version(), TensorFlow: t.opts.TensorFlow, Devices: t.opts.Devices,
	}
	e.Host, _ = os.Hostname() // "" where it has none
	return e
}
