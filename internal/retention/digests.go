package retention

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// digestLength is the number of hexadecimal digits of a digest.
const digestLength = 64

// digestsIn returns what stands in a text and looks like a digest.
func digestsIn(text []byte) []string {
	found, _ := digestsInText(bytes.NewReader(text)) // reading from memory cannot fail
	return found
}

// digestsInJSON does the same with a stream of JSON; anything else is not read to
// its end and names nothing.
func digestsInJSON(r io.Reader) ([]string, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	first, err := buffered.Peek(1)
	if errors.Is(err, io.EOF) || err == nil && first[0] != '{' && first[0] != '[' {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return digestsInText(buffered)
}

func digestsInText(r io.Reader) ([]string, error) {
	var found []string
	var run []byte // of hexadecimal digits
	buffer := make([]byte, 64<<10)
	for {
		n, err := r.Read(buffer)
		for _, c := range buffer[:n] {
			if c >= '0' && c <= '9' || c >= 'a' && c <= 'f' {
				if len(run) <= digestLength { // longer ones are none
					run = append(run, c)
				}
				continue
			}
			if len(run) == digestLength {
				found = append(found, string(run))
			}
			run = run[:0]
		}
		if errors.Is(err, io.EOF) {
			if len(run) == digestLength {
				found = append(found, string(run))
			}
			return found, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
