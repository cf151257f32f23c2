package dataset

import (
	"bufio"
	"bytes"
	"errors"
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

// CaptionLine is a line of a captions file.
type CaptionLine struct {
	// Line counts from 1, the header included.
	Line int
	// Image is the picture's name; it stays below the images folder.
	Image string
	// Caption is as it stands in the file, unquoted, in valid UTF-8, with at
	// least one word.
	Caption string
}

// ReadCaptions reads a file in the Kaggle Flickr8k layout: image,caption, one
// a line, in UTF-8. It is split at the first comma; a caption that is one
// whole quoted CSV field is unquoted, any other kept as it is. A header, a
// byte order mark, carriage returns and empty lines are passed over. Lines
// that cannot be used come back with their number and the reason. The error is
// Internal when r fails, Invalid when the text is UTF-16.
func ReadCaptions(r io.Reader) ([]CaptionLine, []captioner.Quarantined, error) {
	var captions []CaptionLine
	var quarantine []captioner.Quarantined
	lines := newLineReader(r)
	first := true
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return captions, quarantine, nil
		}
		if err != nil {
			return nil, nil, readError(err, "read the captions file")
		}
		if lines.tooLong {
			quarantine = append(quarantine, captioner.Quarantined{Line: lines.number, Reason: ReasonLineTooLong, Detail: "the line is longer than 1 MiB"})
			first = false
			continue
		}
		if line == "" {
			continue
		}
		if first && isHeader(line) {
			first = false
			continue
		}
		first = false
		c, problem := parseLine(line)
		if problem != nil {
			problem.Line = lines.number
			quarantine = append(quarantine, *problem)
			continue
		}
		c.Line = lines.number
		captions = append(captions, c)
	}
}

// parseLine splits a line; the second result says why it cannot be used.
func parseLine(line string) (CaptionLine, *captioner.Quarantined) {
	name, caption, found := strings.Cut(line, ",")
	if !found {
		return CaptionLine{}, &captioner.Quarantined{Reason: ReasonNoComma, Detail: "the line has no comma between picture and caption"}
	}
	name = strings.TrimPrefix(unquote(strings.TrimSpace(name)), "./")
	if !validName(name) {
		return CaptionLine{}, &captioner.Quarantined{Reason: ReasonInvalidName, Detail: "the line does not begin with the name of a file below the images folder"}
	}
	caption = strings.ToValidUTF8(unquote(strings.TrimSpace(caption)), string(utf8.RuneError))
	switch {
	case text.HasWords(caption):
		return CaptionLine{Image: name, Caption: caption}, nil
	case len(text.Fields(caption)) == 0:
		return CaptionLine{}, &captioner.Quarantined{Image: shownName(name), Reason: ReasonEmptyCaption, Detail: "the caption is empty"}
	}
	return CaptionLine{}, &captioner.Quarantined{Image: shownName(name), Reason: ReasonNoWords, Detail: "the caption holds punctuation only"}
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
