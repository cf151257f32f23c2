package tracking

import (
	"os"
	"runtime"
	"runtime/debug"

	"github.com/klauspost/cpuid/v2"
)

// Git is the commit that a program was built from; empty where the build did
// not know.
type Git struct {
	Commit string `json:"commit,omitempty"`
	Branch string `json:"branch,omitempty"`
	// Dirty says that files differed from the commit.
	Dirty bool `json:"dirty"`
	// Time is the commit's.
	Time string `json:"time,omitempty"`
}

// Environment is what a run ran on.
type Environment struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Host         string `json:"host,omitempty"`
	CPU          string `json:"cpu,omitempty"`
	CPUs         int    `json:"cpus"`
	Go           string `json:"go"`
	Captioner    string `json:"captioner"`
	TensorFlow   string `json:"tensorflow"`
	// Devices are TensorFlow's names of what it computes on; empty before this
	// machine has started an engine.
	Devices []string `json:"devices,omitempty"`
}

// gitOf reads what the Go toolchain has noted in this program; branch is what
// only the build knows.
func gitOf(branch string) Git {
	g := Git{Branch: branch}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return g
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			g.Commit = s.Value
		case "vcs.modified":
			g.Dirty = s.Value == "true"
		case "vcs.time":
			g.Time = s.Value
		}
	}
	return g
}

// environment describes this machine and program.
func (t *Tracker) environment() Environment {
	e := Environment{
		OS: runtime.GOOS, Architecture: runtime.GOARCH, CPU: cpuid.CPU.BrandName, CPUs: runtime.NumCPU(),
		Go: runtime.Version(), Captioner: t.opts.Version, TensorFlow: t.opts.TensorFlow,
	}
	e.Host, _ = os.Hostname() // "" where it has none
	if t.opts.Devices != nil {
		e.Devices = t.opts.Devices()
	}
	return e
}
