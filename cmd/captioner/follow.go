package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/captioner/captioner"
)

// runClient starts, follows and stops runs: the API's client.
type runClient interface {
	Start(ctx context.Context, cfg captioner.Config) (captioner.Run, error)
	Describe(ctx context.Context, id string) (captioner.Run, error)
	Cancel(ctx context.Context, id string) error
}

// followEvery is how often a followed run is asked where it stands.
const followEvery = 500 * time.Millisecond

// follow prints the progress of a run until it ends, and returns its last
// state. It outlives a server that is away for a moment.
func follow(ctx context.Context, w io.Writer, client runClient, id string) (captioner.Run, error) {
	view := followView{w: w, states: map[string]string{}}
	defer view.close()
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		run, err := client.Describe(ctx, id)
		switch {
		case err == nil:
			view.show(run)
			if run.State != captioner.RunRunning {
				return run, nil
			}
		case captioner.KindOf(err) != captioner.Unavailable:
			return captioner.Run{}, err
		default:
			view.away(err)
		}
		select {
		case <-ctx.Done():
			return captioner.Run{}, ctx.Err()
		case <-ticker.C:
		}
	}
}

// followView draws a run's progress.
type followView struct {
	w        io.Writer
	states   map[string]string
	training *bar
	lastStep int
	lastLine time.Time
	wasAway  bool
}

func (v *followView) show(run captioner.Run) {
	v.wasAway = false
	for _, s := range run.Stages {
		text := stageText(s)
		if s.State == "pending" || s.State == v.states[s.Name] {
			continue
		}
		v.states[s.Name] = s.State
		if s.Name == "Train" && s.State != "running" {
			v.close()
		}
		fmt.Fprintf(v.w, "  %-24s %s\n", s.Name, text)
	}
	if v.states["Train"] == "running" {
		v.showTraining(run.Metrics)
	}
}

// showTraining draws the step, the losses, the speed and the time left.
func (v *followView) showTraining(m map[string]float64) {
	step, steps := int(m["step"]), int(m["steps"])
	if steps == 0 || step == v.lastStep {
		return
	}
	v.lastStep = step
	text := fmt.Sprintf("epoch %d/%d  loss %.3f", int(m["epoch"]), int(m["epochs"]), m["loss"])
	if loss, ok := m["validation_loss"]; ok {
		text += fmt.Sprintf("  validation %.3f", loss)
	}
	text += fmt.Sprintf("  %.0f pictures/s", m["images_per_second"])
	left := (time.Duration(m["seconds_left"]) * time.Second).Round(time.Second)
	if !isTerminal(v.w) {
		if time.Since(v.lastLine) >= linesEvery {
			v.lastLine = time.Now()
			fmt.Fprintf(v.w, "    step %d/%d  %s  %s left\n", step, steps, text, left)
		}
		return
	}
	if v.training == nil {
		v.training = newBar(v.w, "")
	}
	v.training.title = "    " + text
	v.training.update(step, steps)
	if v.training.terminal != nil {
		v.training.terminal.Describe("    " + text)
	}
}

func (v *followView) away(err error) {
	if !v.wasAway {
		v.wasAway = true
		fmt.Fprintf(v.w, "  waiting for the server: %v\n", err)
	}
}

func (v *followView) close() {
	if v.training != nil {
		v.training.done()
		v.training = nil
	}
}

// outcome turns the last state of a run into an error where it did not complete.
func outcome(run captioner.Run) error {
	switch run.State {
	case captioner.RunCompleted:
		return nil
	case captioner.RunCancelled:
		return captioner.Errorf(captioner.Conflict, "run %s was cancelled", run.ID)
	default:
		kind := captioner.Internal
		if len(run.Problems) > 0 {
			kind = captioner.Invalid
		}
		return &captioner.Error{Kind: kind, Message: fmt.Sprintf("run %s failed: %s", run.ID, run.Error), Problems: run.Problems}
	}
}
