package text

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/safetensors"
)

const (
	// maxLine bounds a line of word vectors, in bytes: 4,096 numbers have room.
	maxLine = 1 << 20
	// maxBroken is how many broken lines are told one by one.
	maxBroken = 20
)

// Vectors are the vectors of a vocabulary's words.
type Vectors struct {
	// Width is the size of a vector, E.
	Width int
	// Values are [V, E]; the rows of words without a vector, and of the special
	// tokens, are zeros, as the original system has them.
	Values []float32
	// Words is the number of words in the vocabulary, Found that of those with a
	// vector.
	Words, Found int
}

// VectorWidth returns the size of the vectors in a text file of word vectors, by
// its first line.
func VectorWidth(r io.Reader) (int, error) {
	lines := newLines(r)
	if !lines.Scan() {
		if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
			return 0, err
		}
		return 0, captioner.Errorf(captioner.Invalid, "the first line holds no word vector")
	}
	fields := bytes.Fields(lines.Bytes())
	// A word may hold spaces: the numbers are what comes last.
	width := 0
	for width < len(fields)-1 {
		if _, ok := number(fields[len(fields)-1-width]); !ok {
			break
		}
		width++
	}
	if width < 2 { // "400000 300" is the header of another format
		return 0, captioner.Errorf(captioner.Invalid, "the first line holds no word vector: a word and at least two numbers are needed")
	}
	return width, nil
}

// ReadVectors reads a text file of word vectors (GloVe's: a word and its numbers
// a line, separated by spaces) line by line and keeps those of the vocabulary's
// words. A word that is there twice has its last vector.
//
// A line with another number of fields than the first, or with what is no number
// in the place of a wanted word's, is broken. A file with broken lines is
// Invalid, and they are among the problems by number; the text of a line is not.
func ReadVectors(r io.Reader, words *Vocabulary) (Vectors, error) {
	v := Vectors{Words: words.Words()}
	lines := newLines(r)
	var broken []captioner.Problem
	count, found := 0, map[int32]bool{}
	for line := 1; lines.Scan(); line++ {
		if line == 1 {
			var err error
			if v.Width, err = VectorWidth(bytes.NewReader(lines.Bytes())); err != nil {
				return Vectors{}, err
			}
			v.Values = make([]float32, words.Size()*v.Width)
		}
		word, numbers := cut(lines.Bytes(), v.Width)
		if word == nil || hasMore(word, words) {
			count++
			if len(broken) < maxBroken {
				broken = append(broken, captioner.Problem{Field: "data.glove", Line: line, Message: fmt.Sprintf(
					"has %d fields, and a word with %d numbers is needed", len(bytes.Fields(lines.Bytes())), v.Width)})
			}
			continue
		}
		id, ok := words.ID(string(word))
		if !ok || !words.IsWord(id) {
			continue
		}
		if !parse(v.Values[int(id)*v.Width:][:v.Width], numbers) {
			count++
			if len(broken) < maxBroken {
				broken = append(broken, captioner.Problem{Field: "data.glove", Line: line, Message: "holds a field that is no finite number"})
			}
			continue
		}
		found[id] = true
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return Vectors{}, captioner.Errorf(captioner.Invalid, "data.glove has a line of more than %d bytes: it is no text file of word vectors", maxLine)
	case err != nil:
		return Vectors{}, captioner.Wrap(captioner.Unavailable, err, "data.glove cannot be read")
	case count > 0:
		return Vectors{}, &captioner.Error{Kind: captioner.Invalid, Code: "broken_vectors", Problems: broken, Message: fmt.Sprintf(
			"data.glove has %d broken lines: it may be cut short, or not be text with a word and its numbers a line", count)}
	case v.Width == 0:
		return Vectors{}, captioner.Errorf(captioner.Invalid, "data.glove is empty")
	}
	v.Found = len(found)
	return v, nil
}

func newLines(r io.Reader) *bufio.Scanner {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	return lines
}

// cut splits a line into the word and what holds the numbers; a nil word where
// there are not that many of them.
func cut(line []byte, width int) (word, numbers []byte) {
	at := len(line)
	for range width {
		for at > 0 && isBlank(line[at-1]) {
			at--
		}
		for at > 0 && !isBlank(line[at-1]) {
			at--
		}
	}
	word = bytes.TrimRightFunc(line[:at], func(r rune) bool { return r < 0x80 && isBlank(byte(r)) })
	if len(word) == 0 {
		return nil, nil
	}
	return word, line[at:]
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' || b == '\r' }

// hasMore says whether what should be a word is one of the vocabulary's with a
// number behind it. Other words may hold spaces.
func hasMore(word []byte, words *Vocabulary) bool {
	fields := bytes.Fields(word)
	if len(fields) < 2 {
		return false
	}
	id, known := words.ID(string(fields[0]))
	_, isNumber := number(fields[1])
	return known && words.IsWord(id) && isNumber
}

// parse reads a vector.
func parse(into []float32, numbers []byte) bool {
	for i, field := range bytes.Fields(numbers) {
		v, ok := number(field)
		if !ok || i >= len(into) {
			return false
		}
		into[i] = v
	}
	return true
}

func number(field []byte) (float32, bool) {
	v, err := strconv.ParseFloat(string(field), 32)
	return float32(v), err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
}

// VectorsTensor is the name of the tensor in what Vectors.Write writes.
const VectorsTensor = "vectors"

// Write writes the vectors as a file of one tensor in the safetensors format.
func (v Vectors) Write(w io.Writer) error {
	data, err := binary.Append(nil, binary.LittleEndian, v.Values)
	if err != nil {
		return err
	}
	shape := []int64{int64(len(v.Values) / v.Width), int64(v.Width)}
	return safetensors.Encode(w, map[string]safetensors.Tensor{VectorsTensor: {DType: "F32", Shape: shape, Data: data}}, nil)
}
