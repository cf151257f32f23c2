package dataset

import (
	"io"
	"regexp"
	"strings"
)

func init() {
	RegisterFormat(Format{Name: "results", Title: "results.csv of Flickr30k", Matches: isResults, Read: readResults})
}

const resultsHeader = "image_name|"

func isResults(head []byte) bool {
	line := strings.ReplaceAll(firstLine(head), " ", "")
	name, rest, found := cutName(line, '|')
	return found && (strings.HasPrefix(line, resultsHeader) || shownName(name) != "" && strings.Contains(rest, "|"))
}

// unseparated is a number and a caption with no bar between them, as in one
// line of the published file (of 2199200615.jpg).
var unseparated = regexp.MustCompile(`^(\d+)\s+(\S.*)$`)

// readResults reads image_name| comment_number| comment, one a line, below a
// header. A caption may hold bars.
func readResults(r io.Reader, c *Captions) error {
	first := true
	return c.ReadLines(r, func(number int, line string) {
		header := first && strings.HasPrefix(strings.ReplaceAll(line, " ", ""), resultsHeader)
		first = false
		if header {
			return
		}
		name, rest, found := strings.Cut(line, "|")
		rest = strings.TrimSpace(rest)
		_, caption, numbered := strings.Cut(rest, "|")
		if m := unseparated.FindStringSubmatch(rest); m != nil && !numbered {
			caption, numbered = m[2], true
		}
		if !found || !numbered {
			c.LeaveOut(number, "", ReasonNoBar, "the line has no bars between picture, number and caption")
			return
		}
		c.Add(number, strings.TrimSpace(name), strings.TrimSpace(caption))
	})
}
