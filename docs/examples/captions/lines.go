// Package captions is a worked example of docs/extending.md: a layout of captions
// files.
package captions

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/captioner/captioner/ml/dataset"
)

func init() {
	dataset.RegisterFormat(dataset.Format{Name: "lines", Title: "JSON with a caption a line", Matches: matches, Read: read})
}

// line is a line of the file.
type line struct {
	Image   *string
	Caption string
}

// matches wants a whole line of the kind: other formats in JSON do not begin so.
func matches(head []byte) bool {
	first, _, _ := bytes.Cut(bytes.TrimSpace(head), []byte("\n"))
	var l line
	return json.Unmarshal(first, &l) == nil && l.Image != nil
}

func read(r io.Reader, c *dataset.Captions) error {
	return c.ReadLines(r, func(number int, text string) {
		var l line
		if json.Unmarshal([]byte(text), &l) != nil || l.Image == nil {
			c.LeaveOut(number, "", "no_image", "the line is not an object with an image")
			return
		}
		c.Add(number, *l.Image, l.Caption)
	})
}
