package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/captioner/captioner"
)

// progressView shows what happens in a run.
type progressView interface {
	// started shows a run that has just been started.
	started(run captioner.Run)
	// event shows an event of the run's stream.
	event(e streamEvent) error
	// away says that the server cannot be reached now.
	away(err error)
	close()
}

// newProgressView returns the view for w: JSON lines, bars on a terminal, or
// plain lines.
func newProgressView(w io.Writer, asJSON bool) progressView {
	if asJSON {
		return &jsonView{json.NewEncoder(w)}
	}
	return &textView{w: w, terminal: isTerminal(w), states: map[string]string{}, texts: map[string]string{}, metrics: map[string]float64{}}
}

// jsonView prints each event on a line.
type jsonView struct{ lines *json.Encoder }

func (v *jsonView) started(run captioner.Run) {
	_ = v.lines.Encode(map[string]any{"event": "started", "data": run}) // the next line fails as well
}

func (v *jsonView) event(e streamEvent) error { return v.lines.Encode(e) }
func (v *jsonView) away(error)                {}
func (v *jsonView) close()                    {}

// textView draws for a person: a line for each stage, a bar for the training.
type textView struct {
	w        io.Writer
	terminal bool
	// states and texts are the stages' as they were shown last; on a terminal
	// lastStage's are the last lines, of which there are lastLines, and can be
	// drawn over.
	states     map[string]string
	texts      map[string]string
	lastStage  string
	lastLines  int
	metrics    map[string]float64
	training   *bar
	lastStep   int
	lastLine   time.Time
	lastSample time.Time
	wasAway    bool
	state      captioner.RunState
}

func (v *textView) started(run captioner.Run) { v.line("run %s", run.ID) }

func (v *textView) event(e streamEvent) error {
	v.wasAway = false
	var err error
	switch e.Name {
	case "state":
		var run captioner.Run
		if err = json.Unmarshal(e.Data, &run); err == nil {
			v.showState(run)
		}
	case "stages":
		var stages []captioner.Stage
		if err = json.Unmarshal(e.Data, &stages); err == nil {
			v.showStages(stages)
		}
	case "metrics":
		var points []struct {
			Name  string
			Value *float64
		}
		if err = json.Unmarshal(e.Data, &points); err == nil {
			for _, p := range points {
				if p.Value != nil {
					v.metrics[p.Name] = *p.Value
				}
			}
			v.showTraining()
		}
	case "sample":
		var epoch struct {
			Epoch   int
			Samples []captioner.Sample
		}
		if err = json.Unmarshal(e.Data, &epoch); err == nil {
			v.showSample(epoch.Epoch, epoch.Samples)
		}
	}
	if err != nil {
		return unreadable(e, err)
	}
	return nil
}

// showState says when a run does not get on, and when it does again.
func (v *textView) showState(run captioner.Run) {
	before := v.state
	if v.state = run.State; before == run.State || before == "" && run.State == captioner.RunRunning {
		return
	}
	if run.Note == "" {
		v.line("  %s again", run.State)
		return
	}
	v.line("  %s: %s", run.State, run.Note)
}

func (v *textView) showStages(stages []captioner.Stage) {
	for _, s := range stages {
		text := stageText(s)
		if s.State == "running" && !v.terminal {
			text = s.State + s.Note + s.Error // plain lines do not count shards
		}
		if s.State == "pending" || text == v.texts[s.Name] {
			continue
		}
		v.states[s.Name], v.texts[s.Name] = s.State, text
		if s.Name == "Train" && s.State != "running" {
			v.close()
		}
		v.showStage(s)
	}
}

// showStage prints a stage's line; on a terminal over the one before it, if
// nothing else has been printed since.
func (v *textView) showStage(s captioner.Stage) {
	over := ""
	if v.terminal && v.lastStage == s.Name && v.training == nil {
		over = fmt.Sprintf("\x1b[%dA\x1b[J", v.lastLines) // up, and clear what is below
	}
	text := fmt.Sprintf("  %-24s %s", s.Name, stageText(s))
	v.line("%s%s", over, text)
	v.lastStage, v.lastLines = s.Name, 1+(utf8.RuneCountInString(text)-1)/columns(v.w)
}

// isTraining says whether the run trains now.
func (v *textView) isTraining() bool { return v.states["Train"] == "running" }

// showTraining draws the step, the losses, the speed and the time left.
func (v *textView) showTraining() {
	m := v.metrics
	step, steps := int(m["step"]), int(m["steps"])
	if !v.isTraining() || steps == 0 || step == v.lastStep {
		return
	}
	v.lastStep = step
	epoch := fmt.Sprintf("epoch %d/%d  loss %.3f", int(m["epoch"]), int(m["epochs"]), m["loss"])
	validation := ""
	if loss, ok := m["validation_loss"]; ok {
		validation = fmt.Sprintf("  validation %.3f", loss)
	}
	speed := fmt.Sprintf("  %.0f pictures/s", m["images_per_second"])
	left := fmt.Sprintf("  %s left", (time.Duration(m["seconds_left"]) * time.Second).Round(time.Second))
	if !v.terminal {
		if time.Since(v.lastLine) >= linesEvery {
			v.lastLine = time.Now()
			v.line("    step %d/%d  %s%s%s%s", step, steps, epoch, validation, speed, left)
		}
		return
	}
	// A bar that does not fit on one line would leave a line behind each time.
	const barColumns = 20
	text := epoch + validation + speed + left
	for _, part := range []string{speed, validation} {
		if utf8.RuneCountInString("    "+text)+barColumns > columns(v.w) {
			text = strings.Replace(text, part, "", 1)
		}
	}
	if v.training == nil {
		v.training = newBar(v.w, "")
		v.training.ownEstimate = true
	}
	v.training.title = "    " + text
	v.training.update(step, steps)
}

// showSample shows what the model says about the first picture, unless that is
// long past: who begins to watch is told everything from the beginning.
func (v *textView) showSample(epoch int, samples []captioner.Sample) {
	old := epoch+1 < int(v.metrics["epoch"])
	if !v.isTraining() || old || len(samples) == 0 || time.Since(v.lastSample) < linesEvery {
		return
	}
	v.lastSample = time.Now()
	v.line("    epoch %d says of %s: %q", epoch, samples[0].Image, samples[0].Caption)
}

func (v *textView) away(err error) {
	if !v.wasAway {
		v.wasAway = true
		v.line("  waiting for the server: %v", err)
	}
}

// line prints a line above the bar.
func (v *textView) line(format string, args ...any) {
	if v.training != nil {
		v.training.clear()
	}
	v.lastStage = ""
	fmt.Fprintf(v.w, format+"\n", args...)
}

func (v *textView) close() {
	if v.training != nil {
		v.training.done()
		v.training = nil
	}
}
