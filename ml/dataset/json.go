package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
)

// isJSON reports whether a file begins as an object or a list does.
func isJSON(head []byte) bool {
	head = bytes.TrimSpace(head)
	return len(head) > 0 && (head[0] == '{' || head[0] == '[')
}

// hasKeys reports whether a file is JSON that begins with all these keys.
func hasKeys(head []byte, keys ...string) bool {
	for _, key := range keys {
		if !bytes.Contains(head, []byte(`"`+key+`"`)) {
			return false
		}
	}
	return isJSON(head)
}

// readLists walks through an object and gives each element of the named lists
// to its function, which decodes it. Everything else is passed over. No more
// than an element is held in memory. A file without one of the lists, and one
// that is cut short, is Invalid.
func readLists(r io.Reader, title string, lists map[string]func(*json.Decoder) error) error {
	lines := newLineReader(r)
	if err := lines.skipMark(); err != nil {
		return readError(err, "read the captions file")
	}
	d := json.NewDecoder(lines.r)
	found, err := walkLists(d, lists)
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return invalidCaptions("the file ends in the middle, after %d bytes", d.InputOffset())
	case errors.As(err, &syntax):
		return invalidCaptions("this is not JSON: something does not fit near byte %d", d.InputOffset())
	case errors.As(err, &mismatch):
		return invalidCaptions("this is not %s: %q is not a %s near byte %d", title, mismatch.Field, mismatch.Type.Kind(), d.InputOffset())
	case err != nil:
		return readError(err, "read the captions file")
	}
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		if !found[name] {
			return invalidCaptions("this is not %s: there is no list %q", title, name)
		}
	}
	return nil
}

// walkLists returns the names of the lists that it found.
func walkLists(d *json.Decoder, lists map[string]func(*json.Decoder) error) (map[string]bool, error) {
	found := map[string]bool{}
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return found, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return found, err
		}
		name, _ := key.(string)
		open, err := d.Token()
		if err != nil {
			return found, err
		}
		each := lists[name]
		if open != json.Delim('[') || each == nil {
			if err := passOver(d, open); err != nil {
				return found, err
			}
			continue
		}
		found[name] = true
		for d.More() {
			if err := each(d); err != nil {
				return found, err
			}
		}
		if _, err := d.Token(); err != nil {
			return found, err
		}
	}
	_, err := d.Token()
	return found, err
}

// passOver reads to the end of a value whose first token was open.
func passOver(d *json.Decoder, open json.Token) error {
	depth := 0
	for token := open; ; {
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
		var err error
		if token, err = d.Token(); err != nil {
			return err
		}
	}
}
