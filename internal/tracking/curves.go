package tracking

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/captioner/captioner"
)

// page is how many points one query reads.
const page = 10_000

// Reader reads what trainings leave as they go, as captioner.Store.
type Reader interface {
	Metrics(ctx context.Context, runKey string, after int64, limit int) ([]captioner.Metric, int64, error)
	Samples(ctx context.Context, runKey string, after int64, limit int) ([]captioner.Sample, int64, error)
}

// row is the metrics of one step.
type row struct {
	step   int
	time   time.Time // of the last one
	values map[string]float64
}

// curves are a training's points and samples so far, by step: a row a second at
// most, some 10 MB for a day.
type curves struct {
	runKey  string
	rows    []row
	samples []captioner.Sample

	metricsRead, samplesRead int64
	// settled is how many of the rows and samples are in the files already.
	settledRows, settledSamples int
	// disturbed says that something came before what is settled: a training
	// that resumes repeats what it had done after its checkpoint.
	disturbed bool
}

// Housekeeping reports whether a metric says how far training has come, not how
// well it goes.
func Housekeeping(name string) bool {
	switch name {
	case "step", "steps", "epochs", "seconds_left":
		return true
	}
	return false
}

// read adds what is new in the database.
func (c *curves) read(ctx context.Context, store Reader) error {
	for {
		metrics, sequence, err := store.Metrics(ctx, c.runKey, c.metricsRead, page)
		if err != nil {
			return err
		}
		for _, m := range metrics {
			c.add(m)
		}
		c.metricsRead = sequence
		if len(metrics) < page {
			break
		}
	}
	samples, sequence, err := store.Samples(ctx, c.runKey, c.samplesRead, 0)
	if err != nil {
		return err
	}
	for _, s := range samples {
		c.addSample(s)
	}
	c.samplesRead = sequence
	return nil
}

func (c *curves) add(m captioner.Metric) {
	if Housekeeping(m.Name) {
		return
	}
	at, found := slices.BinarySearchFunc(c.rows, m.Step, func(r row, step int) int { return r.step - step })
	if !found {
		c.rows = slices.Insert(c.rows, at, row{step: m.Step, values: map[string]float64{}})
	}
	c.disturbed = c.disturbed || at < c.settledRows
	c.rows[at].values[m.Name] = m.Value
	if m.Time.After(c.rows[at].time) {
		c.rows[at].time = m.Time
	}
}

func (c *curves) addSample(s captioner.Sample) {
	at := len(c.samples)
	for at > 0 && c.samples[at-1].Step > s.Step {
		at--
	}
	for i := at - 1; i >= 0 && c.samples[i].Step == s.Step; i-- {
		if c.samples[i].Image == s.Image {
			c.samples[i] = s
			c.disturbed = c.disturbed || i < c.settledSamples
			return
		}
	}
	c.samples = slices.Insert(c.samples, at, s)
	c.disturbed = c.disturbed || at < c.settledSamples
}

// fresh returns the rows and samples that are not in the files. The last row
// waits until another step has come, since its last metrics may be on their
// way; not when the run has ended.
func (c *curves) fresh(ended bool) (rows []row, samples []captioner.Sample) {
	last := len(c.rows)
	if !ended {
		last = max(c.settledRows, last-1)
	}
	return c.rows[c.settledRows:last], c.samples[c.settledSamples:]
}

// settle notes that these rows and samples are in the files.
func (c *curves) settle(rows, samples int) {
	c.settledRows += rows
	c.settledSamples += samples
}

// unsettle has everything written again.
func (c *curves) unsettle() { c.settledRows, c.settledSamples, c.disturbed = 0, 0, false }

// names lists the metrics that a table of the rows has as columns: the usual
// ones in their usual order, then the others.
func names(rows []row) []string {
	usual := []string{"epoch", "loss", "learning_rate", "images_per_second", "train_loss", "validation_loss"}
	var others []string
	for _, r := range rows {
		for name := range r.values {
			if !slices.Contains(usual, name) && !slices.Contains(others, name) {
				others = append(others, name)
			}
		}
	}
	slices.Sort(others)
	return append(usual, others...)
}

// final returns each metric's last value.
func (c *curves) final() map[string]float64 {
	last := map[string]float64{}
	for _, r := range c.rows {
		for name, value := range r.values {
			if finite(value) {
				last[name] = value
			}
		}
	}
	return last
}

// best is the lowest value of a loss and where it was.
type best struct {
	Value float64 `json:"value"`
	Step  int     `json:"step"`
}

// lowest returns the best value of each loss.
func (c *curves) lowest() map[string]best {
	lowest := map[string]best{}
	for _, r := range c.rows {
		for _, name := range []string{"loss", "train_loss", "validation_loss"} {
			value, ok := r.values[name]
			if before, known := lowest[name]; ok && finite(value) && (!known || value < before.Value) {
				lowest[name] = best{value, r.step}
			}
		}
	}
	return lowest
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
