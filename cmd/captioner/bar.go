package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// bar shows how far a long piece of work has come: a progress bar with the
// time left on a terminal, a plain line every few seconds elsewhere.
type bar struct {
	w     io.Writer
	title string
	drawn string // the title that the bar has now
	// ownEstimate says that the title has the time left and a count already.
	ownEstimate bool
	terminal    *progressbar.ProgressBar
	started     time.Time
	lastLine    time.Time
}

// linesEvery is the time between two plain lines.
const linesEvery = 5 * time.Second

func newBar(w io.Writer, title string) *bar {
	now := time.Now()
	return &bar{w: w, title: title, started: now, lastLine: now}
}

// update says that done of total are finished.
func (b *bar) update(done, total int) {
	if isTerminal(b.w) {
		if b.terminal == nil {
			b.terminal = progressbar.NewOptions(total,
				progressbar.OptionSetWriter(b.w), progressbar.OptionSetDescription(b.title),
				progressbar.OptionSetPredictTime(!b.ownEstimate), progressbar.OptionSetElapsedTime(!b.ownEstimate),
				progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
			if !b.ownEstimate {
				progressbar.OptionShowCount()(b.terminal)
			}
		}
		_ = b.terminal.Set(done) // a bar that cannot be drawn is no failure
		if b.title != b.drawn {
			b.drawn = b.title
			b.terminal.Describe(b.title) // draws at once
		}
		return
	}
	now := time.Now()
	if now.Sub(b.lastLine) < linesEvery || done == 0 {
		return
	}
	b.lastLine = now
	left := time.Duration(float64(now.Sub(b.started)) / float64(done) * float64(total-done))
	fmt.Fprintf(b.w, "%s: %d of %d, %s left\n", b.title, done, total, left.Round(time.Second))
}

// clear makes room for a line of text; the next update draws the bar again.
func (b *bar) clear() {
	if b.terminal != nil {
		_ = b.terminal.Clear()
	}
}

// done removes the bar from the terminal.
func (b *bar) done() {
	if b.terminal != nil {
		_ = b.terminal.Finish()
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// columns is the width of the terminal w, 80 where it does not say.
func columns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}
