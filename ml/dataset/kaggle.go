package dataset

import (
	"io"
	"slices"
	"strings"
)

func init() {
	RegisterFormat(Format{Name: "kaggle", Title: "Kaggle's CSV of Flickr8k", Matches: isKaggle, Read: readKaggle})
}

// isKaggle wants a header, or a picture before the first comma.
func isKaggle(head []byte) bool {
	line := firstLine(head)
	name, _, found := cutName(line, ',')
	return isHeader(line) || found && shownName(unquote(strings.TrimSpace(name))) != ""
}

// readKaggle reads image,caption, one a line, in UTF-8. A line is split at the
// first comma; a caption that is one whole quoted CSV field is unquoted, any
// other kept as it is. The header may be missing.
func readKaggle(r io.Reader, c *Captions) error {
	first := true
	return c.ReadLines(r, func(number int, line string) {
		header := first && isHeader(line)
		first = false
		if header {
			return
		}
		name, caption, found := strings.Cut(line, ",")
		if !found {
			c.LeaveOut(number, "", ReasonNoComma, "the line has no comma between picture and caption")
			return
		}
		c.Add(number, unquote(strings.TrimSpace(name)), unquote(strings.TrimSpace(caption)))
	})
}

// unquote returns the content of one whole quoted CSV field, in which quotes
// are doubled; anything else comes back as it is.
func unquote(field string) string {
	if len(field) < 2 || field[0] != '"' || field[len(field)-1] != '"' {
		return field
	}
	inner := field[1 : len(field)-1]
	if strings.Contains(strings.ReplaceAll(inner, `""`, ""), `"`) {
		return field
	}
	return strings.ReplaceAll(inner, `""`, `"`)
}

var (
	imageHeaders   = []string{"image", "images", "image name", "image id", "image path", "image file", "imageid", "imagename", "file", "file name", "filename", "img", "name"}
	captionHeaders = []string{"caption", "captions", "caption text", "text", "comment", "comments", "description", "descriptions", "sentence"}
)

// isHeader reports whether the first line names the columns, in one of the
// spellings in use.
func isHeader(line string) bool {
	plain := func(s string) string {
		return strings.NewReplacer("_", " ", "-", " ").Replace(strings.ToLower(strings.TrimSpace(unquote(strings.TrimSpace(s)))))
	}
	image, caption, found := strings.Cut(line, ",")
	return found && slices.Contains(imageHeaders, plain(image)) && slices.Contains(captionHeaders, plain(caption))
}
