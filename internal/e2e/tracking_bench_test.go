package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/tracking/mlflow/mlflowtest"
)

// trackingRounds is how many trainings each of the processes makes in turn.
const trackingRounds = 3

// BenchmarkTrainTracked measures what MLflow costs a training of 2,000 steps:
// three local modes, one that delivers to a server, one to a server that is
// away, one that delivers nothing, train in turn. It reports the processor's
// seconds of the control plane in each, and how much more of them the first two
// use, in percent of those that the whole training takes, engine included: the
// engine does not know of MLflow, and its seconds vary by more than that.
func BenchmarkTrainTracked(b *testing.B) {
	p := needPrograms(b)
	server, delivered := mlflowtest.Fake(b)
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	cfg := smallConfig(pictures(b, 200), 2000)
	start := func(uri string) *local {
		l := newLocal(b, p, filepath.Join(b.TempDir(), "data"), "up")
		l.env = []string{"MLFLOW_TRACKING_URI=" + uri}
		l.start(b)
		return l
	}
	modes := []*local{start(""), start(server), start(away.URL)}

	for b.Loop() {
		control, engine := make([][]float64, len(modes)), make([][]float64, len(modes))
		for round := range trackingRounds {
			cfg.Training.Seed++ // else nothing is trained
			for i := range modes {
				mode := (i + round) % len(modes)
				c, e := modes[mode].trainForBench(b, cfg, mode == 1, delivered)
				control[mode], engine[mode] = append(control[mode], c), append(engine[mode], e)
				b.Logf("mode %d: control plane %.2f s, engine %.2f s", mode, c, e)
			}
		}
		whole := median(control[0]) + median(engine[0])
		b.ReportMetric(whole, "training_cpu_s")
		for mode, name := range []string{"off", "on", "away"} {
			b.ReportMetric(median(control[mode]), name+"_control_cpu_s")
			if mode > 0 {
				b.ReportMetric(100*(median(control[mode])-median(control[0]))/whole, name+"_%more")
			}
		}
		b.ReportMetric(0, "ns/op") // of no meaning here
	}
}

// trainForBench trains once and returns the seconds of the processor's time that
// it took the control plane and the engines.
func (l *local) trainForBench(b *testing.B, cfg captioner.Config, deliver bool, delivered *atomic.Int64) (control, engine float64) {
	b.Helper()
	before := delivered.Load()
	used := func() (control, engine float64) {
		control, engine = cpuSeconds(b, l.cmd.Process.Pid)
		for _, pid := range l.children(b, "captioner-engine") {
			own, _ := cpuSeconds(b, pid)
			engine += own
		}
		return control, engine
	}
	control0, engine0 := used()
	id := l.startRun(b, cfg)
	run := l.describe(b, id)
	for ; !run.State.Ended(); run = l.describe(b, id) {
		time.Sleep(2 * time.Second) // each look costs the control plane something
	}
	if run.State != captioner.RunCompleted {
		b.Fatalf("the run ended as %s: %s", run.State, run.Error)
	}
	if deliver {
		eventually(b, time.Minute, "the run is delivered", func() bool { return delivered.Load() > before })
	}
	control1, engine1 := used()
	return control1 - control0, engine1 - engine0
}

// cpuSeconds is what a process has used of the processor so far, threads that
// have ended included, and what its children had that have ended.
func cpuSeconds(b *testing.B, pid int) (own, children float64) {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	// The fields after the name in parentheses: state is the third, and the times
	// are the 14th to 17th, in hundredths of a second.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var times [4]float64
	for i := range times {
		if times[i], err = strconv.ParseFloat(fields[11+i], 64); err != nil {
			b.Fatal(err)
		}
	}
	return (times[0] + times[1]) / 100, (times[2] + times[3]) / 100
}
