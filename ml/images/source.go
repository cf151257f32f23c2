package images

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/captioner/captioner"
)

// errShort says that the data ends before what was asked for.
var errShort = errors.New("the data ends too early")

// windowSize is how much of a file is read at once: headers are short, and
// what lies between them is skipped.
const windowSize = 4096

// source reads a picture at any place through a small window.
type source struct {
	r         io.ReaderAt
	size      int64
	maxPixels int64
	window    []byte
	at        int64 // where the window begins
}

// bytes returns n bytes from off on, errShort if there are fewer. They are
// valid until the next call.
func (s *source) bytes(off int64, n int) ([]byte, error) {
	if off < 0 || off > s.size || int64(n) > s.size-off {
		return nil, errShort
	}
	if off < s.at || off+int64(n) > s.at+int64(len(s.window)) {
		if err := s.fill(off, n); err != nil {
			return nil, err
		}
	}
	start := off - s.at
	return s.window[start : start+int64(n)], nil
}

func (s *source) fill(off int64, n int) error {
	length := min(max(int64(n), windowSize), s.size-off)
	if int64(cap(s.window)) < length {
		s.window = make([]byte, length)
	}
	s.window, s.at = s.window[:length], off
	got, err := s.r.ReadAt(s.window, off)
	if int64(got) == length {
		return nil
	}
	s.window = s.window[:0]
	if errors.Is(err, io.EOF) || err == nil { // the file has shrunk
		return errShort
	}
	return captioner.Wrap(captioner.Internal, err, "read the picture")
}

// head returns the first bytes, at most n.
func (s *source) head(n int) ([]byte, error) {
	return s.bytes(0, int(min(int64(n), s.size)))
}

func (s *source) byteAt(off int64) (byte, error) {
	b, err := s.bytes(off, 1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// contains reports whether the two bytes occur anywhere from off on. It
// searches from the end, where they are expected.
func (s *source) contains(a, b byte, off int64) (bool, error) {
	for end := s.size; end-off >= 2; {
		begin := max(off, end-windowSize)
		data, err := s.bytes(begin, int(end-begin))
		if err != nil {
			return false, err
		}
		for i := len(data) - 2; i >= 0; i-- {
			if data[i] == a && data[i+1] == b {
				return true, nil
			}
		}
		if begin == off {
			return false, nil
		}
		end = begin + 1 // the two may lie across the border
	}
	return false, nil
}

// The entries and tags of TIFF that EXIF's orientation needs.
const (
	tagOrientation = 0x0112
	typeShort      = 3
	typeLong       = 4
	ifdEntrySize   = 12
)

// orientation returns the orientation in a block of EXIF data, 1 where there
// is none or the block is damaged: a picture is not refused for its metadata.
func orientation(tiff []byte) int {
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder
	switch string(tiff[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 1
	}
	ifd := int64(order.Uint32(tiff[4:]))
	if ifd+2 > int64(len(tiff)) {
		return 1
	}
	entries := tiff[ifd+2:]
	for range order.Uint16(tiff[ifd:]) {
		if len(entries) < ifdEntrySize {
			return 1
		}
		if order.Uint16(entries) == tagOrientation {
			return orientationValue(order, entries)
		}
		entries = entries[ifdEntrySize:]
	}
	return 1
}

func orientationValue(order binary.ByteOrder, entry []byte) int {
	var v uint32
	switch order.Uint16(entry[2:]) {
	case typeShort:
		v = uint32(order.Uint16(entry[8:]))
	case typeLong:
		v = order.Uint32(entry[8:])
	}
	if v < 1 || v > 8 {
		return 1
	}
	return int(v)
}
