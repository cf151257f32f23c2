package e2e_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/temporaldev"
)

// The measure of BenchmarkTwoWorkers: pairs of runs over as many pictures, as
// large as Flickr8k's, of which some are captioned.
const (
	workersPairs    = 3
	workersImages   = 8_000
	workersTest     = 4_000
	workersContents = 40 // the others are links to these
)

// BenchmarkTwoWorkers measures extraction and evaluation of a run that one worker
// process does, pinned to a core, and of one that two such share, pinned to a core
// each; the steps of the control plane are another worker's. The runs take turns.
// It reports the two stages' time on two workers in percent of that on one, the
// median over the pairs, and what remains of that where other work disturbs less:
// the processor's time of the busier one of the two in percent of that of the
// one.
func BenchmarkTwoWorkers(b *testing.B) {
	p := needPrograms(b)
	temporal, err := temporaldev.Start(b.Context(), temporaldev.Options{Binary: p.temporal})
	if err != nil {
		b.Fatal(err)
	}
	defer temporal.Stop()
	dataDir := filepath.Join(b.TempDir(), "data")
	cluster := []string{"--temporal-address", temporal.Address()}
	api := process(b, p, dataDir, append([]string{"serve"}, cluster...)...)
	api.start(b)
	worker := func(queue, cpu string) *local {
		w := process(b, p, dataDir, append([]string{"worker", "--task-queues", queue}, cluster...)...)
		w.cpu = cpu
		w.launch(b)
		eventually(b, time.Minute, "the worker starts", func() bool { return strings.Contains(w.logText(), "worker started") })
		return w
	}
	control := worker("captioner", "")
	defer control.stop(b)

	cfg := captioner.DefaultConfig()
	cfg.Data = photographs(b)
	cfg.Training.Steps, cfg.Training.WarmupSteps = 100, 10
	cfg.Evaluation.BeamWidth = 8                // so that captioning takes longer than an engine's start with the model
	cfg.Promotion.CollapseMinImages = 1_000_000 // it need not be good
	measure := func(cpus ...string) (m stagesMeasure) {
		// Neither is part of what is trained, so that only the two stages are done again.
		cfg.Data.MaxPixels++
		cfg.Evaluation.LengthPenalty += 1e-6
		var workers []*local
		for _, cpu := range cpus {
			workers = append(workers, worker("captioner-engine", cpu))
		}
		before := make([]float64, len(workers))
		for i, w := range workers {
			before[i] = w.cpuWithEngines(b)
		}
		run := api.awaitEnd(b, api.startRun(b, cfg), 10*time.Minute)
		if run.State != captioner.RunCompleted {
			b.Fatalf("the run ended as %s: %s", run.State, run.Error)
		}
		for _, s := range run.Stages {
			switch s.Name {
			case "ExtractFeatures":
				m.extraction = s.FinishedAt.Sub(*s.StartedAt).Seconds()
			case "CaptionShard":
				m.evaluation = s.FinishedAt.Sub(*s.StartedAt).Seconds()
			}
		}
		for i, w := range workers {
			m.cpu = max(m.cpu, w.cpuWithEngines(b)-before[i])
			w.stop(b)
		}
		b.Logf("cores %v: %+v", cpus, m)
		return m
	}

	for b.Loop() {
		measure("0") // trains
		var extraction, evaluation, both, cpu []float64
		for range workersPairs {
			one, two := measure("0"), measure("0", "1")
			extraction = append(extraction, 100*two.extraction/one.extraction)
			evaluation = append(evaluation, 100*two.evaluation/one.evaluation)
			both = append(both, 100*(two.extraction+two.evaluation)/(one.extraction+one.evaluation))
			cpu = append(cpu, 100*two.cpu/one.cpu)
		}
		b.ReportMetric(median(extraction), "extraction-%")
		b.ReportMetric(median(evaluation), "evaluation-%")
		b.ReportMetric(median(both), "both-%")
		b.ReportMetric(median(cpu), "cpu-%")
		b.ReportMetric(0, "ns/op") // of no meaning here
	}
}

// cpuWithEngines is what a worker and its engines, also those that have ended,
// have used of the processor so far, in seconds.
func (l *local) cpuWithEngines(b *testing.B) float64 {
	own, ended := cpuSeconds(b, l.cmd.Process.Pid)
	total := own + ended
	for _, pid := range l.children(b, "captioner-engine") {
		engine, _ := cpuSeconds(b, pid)
		total += engine
	}
	return total
}

// stagesMeasure is what a run took, in seconds.
type stagesMeasure struct {
	extraction, evaluation float64 // from the stage's beginning to its end
	cpu                    float64 // the processor's time of the busiest worker, its engine included
}

// photographs writes pictures of 500×375, with captions and split files.
func photographs(b *testing.B) captioner.DataConfig {
	b.Helper()
	dir := b.TempDir()
	data := captioner.DefaultConfig().Data
	data.Images, data.Captions = filepath.Join(dir, "images"), filepath.Join(dir, "captions.csv")
	data.SplitFiles = captioner.SplitFiles{
		Train: filepath.Join(dir, "train.txt"), Validation: filepath.Join(dir, "validation.txt"), Test: filepath.Join(dir, "test.txt"),
	}
	if err := os.Mkdir(data.Images, 0o755); err != nil {
		b.Fatal(err)
	}
	var captions bytes.Buffer
	lines := csv.NewWriter(&captions)
	lines.Write([]string{"image", "caption"})
	colours := []string{"red", "green", "blue", "grey", "white"}
	splits := map[string]*strings.Builder{data.SplitFiles.Train: {}, data.SplitFiles.Validation: {}, data.SplitFiles.Test: {}}
	for i := range workersImages {
		name := fmt.Sprintf("%05d.jpg", i)
		path := filepath.Join(data.Images, name)
		if i < workersContents {
			if err := os.WriteFile(path, photograph(b, i), 0o644); err != nil {
				b.Fatal(err)
			}
		} else if err := os.Link(filepath.Join(data.Images, fmt.Sprintf("%05d.jpg", i%workersContents)), path); err != nil {
			b.Fatal(err)
		}
		content := i % workersContents
		lines.Write([]string{name, fmt.Sprintf("a %s field beside a %s field", colours[content%5], colours[content/5%5])})
		// The test pictures lie as evenly among the others as a split by ratios puts
		// them, as many as take some ten seconds to caption.
		split := data.SplitFiles.Train
		switch {
		case i%(workersImages/workersTest) == 0:
			split = data.SplitFiles.Test
		case i%10 == 1:
			split = data.SplitFiles.Validation
		}
		fmt.Fprintln(splits[split], name)
	}
	lines.Flush()
	files := map[string][]byte{data.Captions: captions.Bytes()}
	for path, names := range splits {
		files[path] = []byte(names.String())
	}
	for path, content := range files {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return data
}

// photograph draws two fields whose colours change smoothly and with some noise,
// as a sensor's do.
func photograph(b *testing.B, seed int) []byte {
	b.Helper()
	m := image.NewRGBA(image.Rect(0, 0, 500, 375))
	noise := uint32(seed + 1)
	for y := range 375 {
		for x := range 500 {
			noise = noise*1664525 + 1013904223 // Knuth's
			grain := uint8(noise >> 28)
			m.Set(x, y, color.RGBA{uint8(x/2+17*seed) + grain, uint8(y/2+31*seed) + grain, uint8((x+y)/4*(1+seed%3)) + grain, 255})
		}
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, m, &jpeg.Options{Quality: 85}); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}
