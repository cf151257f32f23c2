package dataset

import (
	"io"
	"regexp"
	"strings"
)

func init() {
	RegisterFormat(Format{Name: "token", Title: "Flickr8k.token.txt", Matches: isToken, Read: readToken})
}

// tokenName is a picture and the number of its caption.
var tokenName = regexp.MustCompile(`^(.+)#\d+$`)

func isToken(head []byte) bool {
	name, _, found := cutName(firstLine(head), '\t')
	return found && tokenName.MatchString(strings.TrimSpace(name))
}

// readToken reads image#number<TAB>caption, one a line: Flickr8k.token.txt, and
// results_20130124.token of Flickr30k.
func readToken(r io.Reader, c *Captions) error {
	return c.ReadLines(r, func(number int, line string) {
		name, caption, found := strings.Cut(line, "\t")
		if !found && tokenName.MatchString(line) {
			found = true // the caption is empty, and its tab was trimmed
		}
		if !found {
			c.LeaveOut(number, "", ReasonNoTab, "the line has no tab between picture and caption")
			return
		}
		name = strings.TrimSpace(name)
		if m := tokenName.FindStringSubmatch(name); m != nil {
			name = m[1]
		}
		c.Add(number, name, strings.TrimSpace(caption))
	})
}
