package activities

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/captioner/captioner"
)

const (
	// StallAfter is the shortest time without a step that makes a training a
	// stalled one by default, and stallSteps how many of its own steps that has to
	// be.
	StallAfter = time.Minute
	stallSteps = 10
	// preparing is how long work of an unknown pace may take: reading the data, the
	// first step, which optimises the graph, the first batch of a validation, the
	// export.
	preparing = 30 * time.Minute
	// paceWindow is of how many signs of work the median is taken.
	paceWindow = 63
)

// pace tells a training that has stalled from one that is slow: by the time since
// it last finished a step, or a batch of validation, and the time that these take.
type pace struct {
	// least is the shortest time that counts as a stall.
	least time.Duration
	now   func() time.Time

	mu    sync.Mutex
	phase string                     // what is done now; "" before the first step
	done  map[string]int             // steps or batches, by phase
	at    time.Time                  // the last sign of work
	took  map[string][]time.Duration // a step or batch, between each two signs, by phase
}

func newPace(least time.Duration, now func() time.Time) *pace {
	return &pace{
		least: cmp.Or(least, StallAfter), now: now, at: now(),
		done: map[string]int{}, took: map[string][]time.Duration{},
	}
}

// phaseSteps is the phase of the training's steps.
const phaseSteps = "steps"

// event notes what the engine has reported.
func (p *pace) event(e captioner.TrainEvent) {
	switch {
	case e.Step != nil:
		p.sign(phaseSteps, e.Step.Step)
	case e.Phase != nil:
		p.sign(e.Phase.Name, e.Phase.Done)
	case e.Epoch != nil:
		p.sign(phaseSteps, e.Epoch.Step)
	} // a checkpoint is written beside the work
}

// sign notes how much of a phase is done. The time since the last sign was that of
// so many steps or batches or, where another phase ends, of what was left of it.
func (p *pace) sign(phase string, done int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	took := now.Sub(p.at)
	before, begun := p.done[phase]
	switch {
	case begun && done > before && (p.phase == phase || phase == phaseSteps):
		p.note(phase, took/time.Duration(done-before))
	case p.phase != phase && p.phase != phaseSteps && p.phase != "":
		p.note(p.phase, took)
	}
	p.phase, p.done[phase], p.at = phase, done, now
}

func (p *pace) note(phase string, took time.Duration) {
	all := append(p.took[phase], took)
	p.took[phase] = all[max(0, len(all)-paceWindow):]
}

// standing returns how long nothing has been finished, and how long that may take.
func (p *pace) standing() (idle, patience time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	idle = p.now().Sub(p.at)
	took := slices.Sorted(slices.Values(p.took[p.phase]))
	if len(took) == 0 {
		return idle, max(p.least, preparing)
	}
	return idle, max(p.least, stallSteps*took[len(took)/2])
}
