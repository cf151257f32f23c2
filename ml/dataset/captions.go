package dataset

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/text"
)

// MaxLineBytes bounds a line of a captions file. A longer one is passed over
// without being held in memory.
const MaxLineBytes = 1 << 20

// maxNameBytes bounds the name of a picture: longer ones are no file's.
const maxNameBytes = 4096

// Captions is what a captions file says.
type Captions struct {
	// Lines have one usable caption each, in the order of the file.
	Lines []CaptionLine
	// Images are the pictures that the file names, each once, in the order of
	// the file; also those without a usable caption.
	Images []string
	// Splits holds the pictures that the file itself puts into a split; nil for
	// a file that says nothing about splits.
	Splits map[string]captioner.Split
	// Quarantine lists what cannot be used, with places and reasons.
	Quarantine []captioner.Quarantined

	seen     map[string]bool // the names of Images
	problems []captioner.Problem
	left     int // problems that are not listed
}

// CaptionLine is a caption of a captions file.
type CaptionLine struct {
	// Line counts from 1, a header included. In JSON, which has no lines to
	// speak of, it is the caption's number.
	Line int
	// Image is the picture's name; it stays below the images folder.
	Image string
	// Caption is as it stands in the file, in valid UTF-8, with at least one
	// word.
	Caption string
}

// Add takes in the caption of a line, or notes why it cannot be used.
func (c *Captions) Add(line int, name, caption string) {
	name = strings.TrimPrefix(name, "./")
	if !validName(name) {
		c.LeaveOut(line, "", ReasonInvalidName, "this is not the name of a file below the images folder")
		return
	}
	if !c.seen[name] {
		if c.seen == nil {
			c.seen = map[string]bool{}
		}
		c.seen[name] = true
		c.Images = append(c.Images, name)
	}
	caption = strings.ToValidUTF8(caption, string(utf8.RuneError))
	switch {
	case text.HasWords(caption):
		c.Lines = append(c.Lines, CaptionLine{Line: line, Image: name, Caption: caption})
	case len(text.Fields(caption)) == 0:
		c.LeaveOut(line, name, ReasonEmptyCaption, "the caption is empty")
	default:
		c.LeaveOut(line, name, ReasonNoWords, "the caption holds punctuation only")
	}
}

// LeaveOut notes a line that cannot be used, and the picture that it names.
func (c *Captions) LeaveOut(line int, name, reason, detail string) {
	c.Quarantine = append(c.Quarantine, captioner.Quarantined{Image: shownName(name), Line: line, Reason: reason, Detail: detail})
}

// Put notes a picture's split; a picture in two is a problem of the file.
func (c *Captions) Put(name string, split captioner.Split) {
	name = strings.TrimPrefix(name, "./")
	if !validName(name) {
		return // Add says so
	}
	if c.Splits == nil {
		c.Splits = map[string]captioner.Split{}
	}
	other, known := c.Splits[name]
	switch {
	case !known:
		c.Splits[name] = split
	case other == split:
	case len(c.problems) >= maxListed:
		c.left++
	default:
		c.problems = append(c.problems, captioner.Problem{Field: "data.captions", Message: fmt.Sprintf(
			"the picture %q is in the %s split and in the %s split", shownName(name), other, split)})
	}
}

// ReadLines gives every line of r that is not empty to parse, with its number.
func (c *Captions) ReadLines(r io.Reader, parse func(number int, line string)) error {
	lines := newLineReader(r)
	for {
		line, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return readError(err, "read the captions file")
		case lines.tooLong:
			c.LeaveOut(lines.number, "", ReasonLineTooLong, "the line is longer than 1 MiB")
		case line != "":
			parse(lines.number, line)
		}
	}
}

// validName reports whether name can be a file below a folder: relative, with
// slashes, without "..".
func validName(name string) bool {
	return len(name) <= maxNameBytes && name != "." && fs.ValidPath(name) && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' })
}

// pictureSuffixes are the usual ends of a picture's name.
var pictureSuffixes = []string{".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".avif", ".svg"}

// shownName returns a name from the captions file that may be shown to a
// person, "" for one that does not look like a picture's: the line may have
// come from a file that is no captions file at all.
func shownName(name string) string {
	lower := strings.ToLower(name)
	if slices.ContainsFunc(pictureSuffixes, func(s string) bool { return strings.HasSuffix(lower, s) }) {
		return name
	}
	return ""
}

// lineReader gives the lines of a text without the white space around them.
type lineReader struct {
	r       *bufio.Reader
	number  int  // of the line given last, from 1
	tooLong bool // that line was longer than MaxLineBytes
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10)}
}

var errUTF16 = captioner.Errorf(captioner.Invalid, "the file is encoded in UTF-16; save it as UTF-8")

// next returns the next line, io.EOF after the last.
func (l *lineReader) next() (string, error) {
	if l.number == 0 {
		if err := l.skipMark(); err != nil {
			return "", err
		}
	}
	l.tooLong = false
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		if len(line)+len(part) > MaxLineBytes {
			l.tooLong, line = true, nil
		}
		if !l.tooLong {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(part) == 0 && len(line) == 0 && !l.tooLong:
			return "", io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return "", err
		}
		l.number++
		return string(bytes.TrimSpace(line)), nil
	}
}

// skipMark passes over a byte order mark, and refuses that of UTF-16.
func (l *lineReader) skipMark() error {
	head, err := l.r.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return errUTF16
	case bytes.Equal(head, []byte("\ufeff")):
		_, err = l.r.Discard(len(head))
		return err
	}
	return nil
}

func readError(err error, what string) error {
	if captioner.KindOf(err) == captioner.Invalid {
		return err
	}
	return captioner.Wrap(captioner.Internal, err, "%s", what)
}
