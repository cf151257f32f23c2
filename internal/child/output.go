package child

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// maxLine is the longest line that is kept whole, in bytes; a longer one is
// cut into several.
const maxLine = 64 << 10

// lineWriter hands each line that is written to it to line, without its end.
type lineWriter struct {
	line func(string)

	mu     sync.Mutex
	buffer []byte
}

// Write never fails, so that a child is never stopped by its log.
func (w *lineWriter) Write(data []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buffer = append(w.buffer, data...)
	for {
		end := bytes.IndexByte(w.buffer, '\n')
		next := end + 1
		if end < 0 || end > maxLine {
			if len(w.buffer) < maxLine {
				return len(data), nil
			}
			end, next = maxLine, maxLine
		}
		w.emit(w.buffer[:end])
		w.buffer = append(w.buffer[:0], w.buffer[next:]...)
	}
}

// flush hands over what is left without an end of line.
func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.emit(w.buffer)
	w.buffer = nil
}

func (w *lineWriter) emit(line []byte) {
	if text := strings.TrimRight(string(line), "\r"); text != "" {
		w.line(text)
	}
}

// forward logs a line of a child. A line that is a JSON log record, as slog and
// zap write them, keeps its level, message and attributes; its time is the
// logger's own. Any other line is a message, whose level the function gives.
func forward(logger *slog.Logger, level func(line string) slog.Level, line string) {
	ctx := context.Background()
	if level, message, attrs, ok := parseRecord(line); ok {
		logger.LogAttrs(ctx, level, message, attrs...)
		return
	}
	logger.LogAttrs(ctx, level(line), line)
}

// recordTimes are the names under which slog and zap keep a record's time.
var recordTimes = []string{"time", "ts"}

// parseRecord reads a JSON log record; ok is false for anything else.
func parseRecord(line string) (level slog.Level, message string, attrs []slog.Attr, ok bool) {
	if !strings.HasPrefix(line, "{") {
		return 0, "", nil, false
	}
	var record map[string]any
	if json.Unmarshal([]byte(line), &record) != nil {
		return 0, "", nil, false
	}
	message, hasMessage := record["msg"].(string)
	name, hasLevel := record["level"].(string)
	if !hasMessage || !hasLevel || level.UnmarshalText([]byte(name)) != nil {
		return 0, "", nil, false
	}
	for key, value := range record {
		if key != "msg" && key != "level" && !slices.Contains(recordTimes, key) {
			attrs = append(attrs, slog.Any(key, value))
		}
	}
	slices.SortFunc(attrs, func(a, b slog.Attr) int { return strings.Compare(a.Key, b.Key) })
	return level, message, attrs, true
}
