package train

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/captioner/captioner"
)

// residentBytes returns the resident set size of this process, without what Go
// could give back.
func residentBytes(t *testing.T) int {
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("needs /proc")
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// longTests is the variable that asks for 10,000 steps, which take a minute or
// two, instead of enough to see a leak of 10 KB a step.
const longTests = "CAPTIONER_LONG_TESTS"

// Training steps, with validation and checkpoints in between, leave memory
// where it was after the first few hundred.
func TestMemoryStaysFlat(t *testing.T) {
	steps, warm := 1500, 500
	if os.Getenv(longTests) != "" {
		steps = 10_000
	}
	req := testRequest(t)
	req.Config.Training.Steps, req.Config.Training.BatchSize, req.Config.Training.CaptionsPerImage = steps, 1, 1
	req.Config.Training.LearningRate = 1e-4
	before, after := 0, 0
	_, err := Run(t.Context(), req, nil, func(e captioner.TrainEvent) {
		if e.Epoch == nil {
			return
		}
		if before == 0 && e.Epoch.Step >= warm {
			before = residentBytes(t)
		}
		if e.Epoch.Step >= steps-warm/2 {
			after = residentBytes(t)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if grown := after - before; grown > 10<<20+(steps-warm)*1<<10 {
		t.Errorf("memory grew by %d MB over %d steps", grown>>20, steps-warm)
	}
}
