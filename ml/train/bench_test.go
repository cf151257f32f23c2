package train

import (
	"errors"
	"testing"
	"time"

	"github.com/captioner/captioner/ml/tf"
)

// BenchmarkCheckpoint compares what training waits for a checkpoint, which is
// written behind its back, with a step, on the decoder of the defaults.
func BenchmarkCheckpoint(b *testing.B) {
	req := testRequest(b)
	m := &req.Config.Model
	m.Width, m.Layers, m.Heads, m.FeedForward = 128, 2, 4, 256
	req.Config.Training.Steps, req.Config.Training.BatchSize = 1_000_000, 16
	r := &run{req: req, write: tf.WriteTensors}
	defer r.close()
	if err := r.open(); err != nil {
		b.Fatal(err)
	}
	var steps, saves time.Duration
	for range 10 { // the first ones prepare what later ones find
		if err := errors.Join(r.step(), r.save()); err != nil {
			b.Fatal(err)
		}
	}
	if err := r.finishSave(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		start := time.Now()
		if err := r.step(); err != nil {
			b.Fatal(err)
		}
		steps += time.Since(start)
		start = time.Now()
		if err := r.save(); err != nil {
			b.Fatal(err)
		}
		saves += time.Since(start)
		if err := r.finishSave(); err != nil {
			b.Fatal(err)
		}
	}
	each := func(d time.Duration) float64 { return d.Seconds() * 1e3 / float64(b.N) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(each(steps), "step-ms")
	b.ReportMetric(each(saves), "save-ms")
}
