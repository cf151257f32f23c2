package dataset

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/captioner/captioner"
)

// Auto is the format of a configuration that leaves it to the file.
const Auto = "auto"

// Format is a layout of captions files.
type Format struct {
	// Name is what data.format calls it, Title what a person does.
	Name, Title string
	// Matches reports whether a file that begins with head has the layout; no
	// file may match two formats.
	Matches func(head []byte) bool
	// Read adds what a file says to c. Only a file that cannot be read at all,
	// or as this format, is an error, of kind Invalid where the file is to
	// blame. It holds no more of the file in memory than its captions.
	Read func(r io.Reader, c *Captions) error
}

var formats = struct {
	sync.RWMutex
	byName map[string]Format
}{byName: map[string]Format{}}

// RegisterFormat adds a format under its name, which must be new: it panics
// otherwise. Call it from an init function.
func RegisterFormat(f Format) {
	formats.Lock()
	defer formats.Unlock()
	if _, known := formats.byName[f.Name]; known || f.Name == "" || f.Name == Auto || f.Matches == nil || f.Read == nil {
		panic("dataset: format " + f.Name + " is incomplete or registered twice")
	}
	formats.byName[f.Name] = f
}

// Formats returns the names that data.format may have: "auto", then those of
// the registered formats, sorted.
func Formats() []string {
	formats.RLock()
	defer formats.RUnlock()
	return append([]string{Auto}, slices.Sorted(maps.Keys(formats.byName))...)
}

func formatNamed(name string) (Format, bool) {
	formats.RLock()
	defer formats.RUnlock()
	f, ok := formats.byName[name]
	return f, ok
}

// detect returns the format of a file that begins with head.
func detect(head []byte) (Format, bool) {
	for _, name := range Formats()[1:] {
		if f, ok := formatNamed(name); ok && f.Matches(head) {
			return f, true
		}
	}
	return Format{}, false
}

// headBytes is how much of a file its format is recognised by.
const headBytes = 64 << 10

// ReadCaptions reads a captions file in the format of that name; "auto" finds
// it out. A byte order mark, carriage returns and empty lines are passed over.
// The error is Internal when r fails, and Invalid with code "invalid_captions"
// when the file has another format, or is none of captions at all.
func ReadCaptions(r io.Reader, format string) (*Captions, error) {
	buffered := bufio.NewReaderSize(r, headBytes)
	head, err := buffered.Peek(headBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, readError(err, "read the captions file")
	}
	f, err := choose(bytes.TrimPrefix(head, []byte("\ufeff")), format)
	if err != nil {
		return nil, err
	}
	c := &Captions{}
	if err := f.Read(buffered, c); err != nil {
		return nil, err
	}
	return c, c.err()
}

// choose returns the format to read a file in.
func choose(head []byte, name string) (Format, error) {
	found, ok := detect(head)
	if name != Auto {
		f, known := formatNamed(name)
		switch {
		case !known:
			return f, captioner.Errorf(captioner.Invalid, "there is no captions format %q, only %s", name, strings.Join(Formats(), ", "))
		case ok && found.Name != name:
			return f, invalidCaptions("this looks like %s, but data.format is %s, which is %s: write %s or %s", found.Title, name, f.Title, found.Name, Auto)
		}
		return f, nil
	}
	switch {
	case ok:
		return found, nil
	case isJSON(head):
		return found, invalidCaptions("this is JSON, but neither Karpathy's, whose pictures have sentences, nor COCO's, which has annotations")
	}
	f, _ := formatNamed("kaggle") // whose reader says of each line what is wrong
	return f, nil
}

func invalidCaptions(format string, args ...any) error {
	message := fmt.Sprintf(format, args...)
	return &captioner.Error{Kind: captioner.Invalid, Code: "invalid_captions", Message: "the captions file cannot be used: " + message,
		Problems: []captioner.Problem{{Field: "data.captions", Message: message}}}
}

// err returns the problems of the file as a whole.
func (c *Captions) err() error {
	return contradictions("the captions file contradicts itself", "data.captions", c.problems, c.left)
}

// firstLine returns the first line that is not empty, without the white space
// around it.
func firstLine(head []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(head), []byte("\n"))
	return string(bytes.TrimSpace(line))
}

// cutName splits a line at sep if that is its first separator of any format.
func cutName(line string, sep byte) (before, after string, found bool) {
	at := strings.IndexAny(line, ",|\t")
	if at < 0 || line[at] != sep {
		return "", "", false
	}
	return line[:at], line[at+1:], true
}

// captionsAt reads a captions file, or COCO's folder of two. It returns the
// files that it read.
func captionsAt(path, format string) (*Captions, []string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fileError(err, "open the captions file")
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return readCOCOFolder(path, format)
	}
	c, err := ReadCaptions(f, format)
	return c, []string{path}, err
}
