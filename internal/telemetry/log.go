package telemetry

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"

	"github.com/captioner/captioner/internal/telemetry/span"
)

// NewLogger returns a logger of at least the level: readable text when w is a
// terminal, one JSON object a line otherwise. A record that is written under a
// request or an activity carries its trace_id.
func NewLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return slog.New(span.LogHandler{Handler: slog.NewTextHandler(w, options)})
	}
	return slog.New(span.LogHandler{Handler: slog.NewJSONHandler(w, options)})
}
