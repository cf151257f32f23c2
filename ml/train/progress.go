package train

import (
	"sync"
	"time"

	"github.com/captioner/captioner"
)

// reportInterval is the shortest time between two reports within an epoch.
const reportInterval = time.Second

// meter measures what progress reports say. Nothing in it reaches the result.
type meter struct {
	// start and startStep are where the estimate of the time left begins: behind
	// the first step, which takes as long as many others.
	start     time.Time
	startStep int
	warm      bool

	last  time.Time
	loss  float64
	steps int
}

func newMeter(now time.Time, step int) meter { return meter{start: now, startStep: step, last: now} }

func (m *meter) add(loss float64) {
	m.loss += loss
	m.steps++
}

// report sends a TrainStep event if one is due.
func (r *run) report(epochEnds bool) {
	m, now := &r.meter, time.Now()
	if !m.warm && !epochEnds {
		m.warm, m.start, m.startStep = true, now, r.state.Step
		return
	}
	since := now.Sub(m.last)
	if m.steps == 0 || (!epochEnds && since < reportInterval) {
		return
	}
	step := r.state.Step
	perStep := now.Sub(m.start).Seconds() / float64(step-m.startStep)
	r.emit(captioner.TrainEvent{Step: &captioner.TrainStep{
		Step: step, Steps: r.steps,
		Epoch: (step-1)/r.stepsPerEpoch + 1, Epochs: r.epochs,
		Loss: m.loss / float64(m.steps), LearningRate: r.rate(step),
		ImagesPerSecond: float64(m.steps*r.batch) / max(since.Seconds(), 1e-9),
		SecondsLeft:     perStep * float64(r.steps-step),
	}})
	m.last, m.loss, m.steps = now, 0, 0
}

// enter tells that a phase begins that is none of steps.
func (r *run) enter(phase string) {
	r.emit(captioner.TrainEvent{Phase: &captioner.TrainPhase{Name: phase}})
}

// counter returns a function to call, from any goroutine, whenever a part of a
// phase is done. It tells so at most once an interval.
func (r *run) counter(phase string) func() {
	var mu sync.Mutex
	done, told := 0, time.Now()
	return func() {
		mu.Lock()
		defer mu.Unlock()
		done++
		if now := time.Now(); now.Sub(told) >= reportInterval {
			told = now
			r.emit(captioner.TrainEvent{Phase: &captioner.TrainPhase{Name: phase, Done: done}})
		}
	}
}
