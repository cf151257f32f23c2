package activities

import (
	"testing"
	"time"

	"github.com/captioner/captioner"
)

// TestPace plays what engines report, at injected times, and asks whether the
// training has stalled.
func TestPace(t *testing.T) {
	step := func(n int) captioner.TrainEvent { return captioner.TrainEvent{Step: &captioner.TrainStep{Step: n}} }
	phase := func(name string, done int) captioner.TrainEvent {
		return captioner.TrainEvent{Phase: &captioner.TrainPhase{Name: name, Done: done}}
	}
	epoch := func(n int) captioner.TrainEvent { return captioner.TrainEvent{Epoch: &captioner.TrainEpoch{Step: n}} }
	saved := captioner.TrainEvent{Checkpoint: &captioner.CheckpointSaved{}}
	// every gives steps, of which each takes a time.
	type at struct {
		after time.Duration
		event captioner.TrainEvent
	}
	every := func(d time.Duration, steps ...int) (list []at) {
		for _, n := range steps {
			list = append(list, at{d, step(n)})
		}
		return list
	}
	join := func(lists ...[]at) (all []at) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	const second, minute, hour = time.Second, time.Minute, time.Hour

	for _, tt := range []struct {
		name     string
		events   []at
		patience time.Duration
	}{
		{"nothing yet: the data are read", nil, 30 * minute},
		{"the first step says nothing of the pace", every(2*minute, 1), 30 * minute},
		{"fast steps", every(second, 40, 80, 120), minute},
		{"steps of 3 s", every(3*second, 1, 2, 3, 4), minute},
		{"steps of 7 s", every(7*second, 1, 2, 3, 4), 70 * second},
		{"steps of 5 minutes", every(5*minute, 1, 2), 50 * minute},
		{"several steps between two reports", every(30*second, 3, 6, 9), 100 * second},
		{"one slow step among fast ones", join(every(second, 1, 2, 3), every(hour, 4), every(second, 5, 6)), minute},
		{"a checkpoint is no step", append(every(8*second, 1, 2, 3), at{8 * second, saved}), 80 * second},
		{"a validation that begins", join(every(second, 1, 2), []at{{0, phase("validation", 0)}}), 30 * minute},
		{"slow batches of validation", join(every(second, 1, 2), []at{{0, phase("validation", 0)}, {20 * second, phase("validation", 1)}, {40 * second, phase("validation", 3)}}), 200 * second},
		{"steps again after a validation", join(every(7*second, 1, 2), []at{{0, phase("validation", 0)}, {minute, phase("samples", 0)}, {minute, epoch(2)}}), 70 * second},
		{"a validation of a known length", join(every(second, 1, 2), []at{{0, phase("validation", 0)}, {8 * second, phase("samples", 0)}, {second, epoch(2)}},
			every(second, 3), []at{{0, phase("validation", 0)}}), 80 * second},
		{"samples of a known length", join(every(second, 1, 2), []at{{0, phase("validation", 0)}, {8 * second, phase("samples", 0)}, {9 * second, epoch(2)}},
			every(second, 3), []at{{0, phase("validation", 0)}, {8 * second, phase("samples", 0)}}), 90 * second},
		{"one step in each epoch", join(every(9*second, 1), []at{{0, phase("validation", 0)}, {second, phase("samples", 0)}, {0, epoch(1)}},
			every(9*second, 2), []at{{0, phase("validation", 0)}, {second, phase("samples", 0)}, {0, epoch(2)}}), 90 * second},
		{"the export", join(every(second, 1, 2), []at{{0, phase("export", 0)}}), 30 * minute},
		{"resumed at a later step", every(9*second, 1001, 1002), 90 * second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
			p := newPace(0, func() time.Time { return now })
			last := now
			for _, e := range tt.events {
				now = now.Add(e.after)
				p.event(e.event)
				if e.event.Checkpoint == nil {
					last = now
				}
			}
			for _, later := range []time.Duration{0, tt.patience, tt.patience + second} {
				now = last.Add(later)
				idle, patience := p.standing()
				if idle != later || patience != tt.patience {
					t.Errorf("%v after the last sign: idle %v, patience %v; want %v", later, idle, patience, tt.patience)
				}
				stuck := TrainProgress{Idle: idle.Seconds(), Patience: patience.Seconds()}.Stuck()
				if want := later > tt.patience; stuck != want {
					t.Errorf("%v after the last sign: stalled %v, want %v", later, stuck, want)
				}
			}
		})
	}
}

// TestSlowIsNotStalled: a training whose steps take as long as they like, each up
// to nine times the median, is never said to have stalled.
func TestSlowIsNotStalled(t *testing.T) {
	for _, median := range []time.Duration{time.Second, 20 * time.Second, 10 * time.Minute} {
		now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
		p := newPace(0, func() time.Time { return now })
		for n := 1; n <= 500; n++ {
			took := median
			if n%3 == 0 {
				took = time.Duration(n%10) * median // a third of them, up to nine times as long
			}
			now = now.Add(took)
			if idle, patience := p.standing(); idle > patience {
				t.Fatalf("steps of %v: stalled at step %d, %v after the one before (patience %v)", median, n, idle, patience)
			}
			p.event(captioner.TrainEvent{Step: &captioner.TrainStep{Step: n}})
		}
	}
}

// TestStallsSoonerByConfiguration: the shortest stall is configuration, the pace is
// not.
func TestStallsSoonerByConfiguration(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	p := newPace(2*time.Second, func() time.Time { return now })
	for n := 1; n <= 3; n++ {
		now = now.Add(time.Second)
		p.event(captioner.TrainEvent{Step: &captioner.TrainStep{Step: 100 * n}})
	}
	if _, patience := p.standing(); patience != 2*time.Second {
		t.Errorf("patience %v, want 2 s", patience)
	}
}
