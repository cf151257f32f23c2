package mlflow

import (
	"context"
	"strings"
	"unicode/utf8"
)

// The server's limits, in version 3.17: what one request may hold, and how long
// texts may be, in characters.
const (
	maxBatch       = 1000
	maxBatchParams = 100
	maxBatchTags   = 100
	maxBatchBytes  = 1_000_000

	maxKey        = 250
	maxParamValue = 6000
	maxTagValue   = 8000
)

// cutMark ends a value that is longer than the server keeps.
const cutMark = " …"

// Batch is what is logged of a run at once.
type Batch struct {
	Metrics []Metric `json:"metrics,omitempty"`
	Params  []Param  `json:"params,omitempty"`
	Tags    []Tag    `json:"tags,omitempty"`
}

// LogBatch logs to a run, in as many requests as the server's limits ask for,
// in order: after an error the first ones may have arrived. Values that are too
// long are cut and end with an ellipsis.
//
// A point that is logged again with the same time and value is kept once, but
// one with another time is a second point of its step.
func (c *Client) LogBatch(ctx context.Context, runID string, b Batch) error {
	b.Params, b.Tags = cutParams(b.Params), cutTags(b.Tags)
	for _, part := range b.split() {
		request := struct {
			RunID string `json:"run_id"`
			Batch
		}{runID, part}
		if err := c.post(ctx, "runs/log-batch", request, nil); err != nil {
			return err
		}
	}
	return nil
}

// split cuts a batch into those that the server takes.
func (b Batch) split() []Batch {
	var parts []Batch
	for len(b.Metrics)+len(b.Params)+len(b.Tags) > 0 {
		room := maxBatchBytes / 2 // for quotes and escapes
		part := Batch{
			Params: take(&b.Params, maxBatchParams, &room, func(p Param) int { return len(p.Key) + len(p.Value) }),
			Tags:   take(&b.Tags, maxBatchTags, &room, func(t Tag) int { return len(t.Key) + len(t.Value) }),
		}
		left := maxBatch - len(part.Params) - len(part.Tags)
		part.Metrics = take(&b.Metrics, left, &room, func(m Metric) int { return len(m.Key) + 64 })
		parts = append(parts, part)
	}
	return parts
}

// take removes the first elements of a list, at most count, as long as there is
// room for them.
func take[T any](list *[]T, count int, room *int, size func(T) int) []T {
	n := 0
	for n < min(count, len(*list)) && size((*list)[n]) <= *room {
		*room -= size((*list)[n])
		n++
	}
	first := (*list)[:n]
	*list = (*list)[n:]
	return first
}

func cutParams(params []Param) []Param {
	short := make([]Param, len(params))
	for i, p := range params {
		short[i] = Param{Key(p.Key), cut(p.Value, maxParamValue)}
	}
	return short
}

func cutTags(tags []Tag) []Tag {
	short := make([]Tag, len(tags))
	for i, t := range tags {
		short[i] = Tag{Key(t.Key), cut(t.Value, maxTagValue)}
	}
	return short
}

// cut bounds a text to a number of characters.
func cut(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-utf8.RuneCountInString(cutMark)]) + cutMark
}

// Key is a name as the server takes it for a metric, parameter or tag:
// letters, digits and some signs.
func Key(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("_-. :/", r):
			return r
		}
		return '_'
	}, name)
	return name[:min(len(name), maxKey)]
}
