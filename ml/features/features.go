// Package features keeps prepared pictures in shard files: their pixels, or what
// a frozen encoder makes of them. A file per shard is written once, then mapped
// into memory by training and by evaluation, so that a data set larger than the
// memory is still read at the speed of the page cache. The engine makes the
// records; this package only stores them.
//
// A shard is a header of 64 bytes, the records one after the other, and an
// index of the records' names and checksums. All integers are little endian.
//
//	header   magic [8]byte, version, type, height, width, channels uint32,
//	         records uint32, index offset, index length uint64,
//	         index CRC, 4 zero bytes, header CRC, 4 zero bytes
//	records  height × width × channels numbers of the type each
//	index    in version 2, length uint32 and text of the source;
//	         per record: CRC uint32, name length uint32, name
//
// Version 1 holds pixels: type 1, bytes in the order RGB. Version 2 holds the
// output of an encoder, type 2 (float16) or 3 (float32), whose source names the
// encoder and its weights.
//
// The checksums are CRC-32C. They find damage, not malice: what protects a
// shard against exchange is the digest under which the blob store keeps it.
// The file holds no time and no path: the same pictures give the same bytes.
package features

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/captioner/captioner"
)

const (
	magic           = "CAPSHARD"
	pixelsVersion   = 1
	featuresVersion = 2
	headerSize      = 64
	// entrySize is the fixed part of an index entry: CRC and name length.
	entrySize = 8
	// maxSide, maxRecord and maxName bound what a damaged header can make a
	// reader believe.
	maxSide   = 1 << 14
	maxRecord = 1 << 30
	maxName   = 1 << 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Type is the type of the numbers of a record.
type Type uint32

const (
	Uint8   Type = 1
	Float16 Type = 2 // IEEE 754 binary16
	Float32 Type = 3
)

// size returns the bytes of a number, 0 for an unknown type.
func (t Type) size() int {
	switch t {
	case Uint8:
		return 1
	case Float16:
		return 2
	case Float32:
		return 4
	}
	return 0
}

// Layout says what the records of a shard are.
type Layout struct {
	Type Type
	// Height, Width and Channels are the axes of a record, row by row.
	Height, Width, Channels int
	// Source names the encoder and the weights that have made the records; empty
	// for pixels.
	Source string
}

// Pixels is the layout of square pictures of the side in pixels, RGB.
func Pixels(side int) Layout { return Layout{Type: Uint8, Height: side, Width: side, Channels: 3} }

// String says what the records are: "pixels of 72 × 72", or "features of" and the
// source.
func (l Layout) String() string {
	switch l.Type {
	case Uint8:
		return fmt.Sprintf("pixels of %d × %d", l.Height, l.Width)
	case Float16:
		return "float16 features of " + l.Source
	case Float32:
		return "float32 features of " + l.Source
	}
	return fmt.Sprintf("records of the unknown type %d", l.Type)
}

// Size returns the bytes of a record.
func (l Layout) Size() int { return l.Height * l.Width * l.Channels * l.Type.size() }

// CodeOtherFeatures is the code of the Invalid error of a shard that holds what a
// model does not take: the features of another encoder or of other weights.
const CodeOtherFeatures = "other_features"

// Other returns that error; want says what the model takes.
func (l Layout) Other(want string) error {
	return &captioner.Error{
		Kind: captioner.Invalid, Code: CodeOtherFeatures,
		Message: fmt.Sprintf("a shard holds %v, and the model takes %s", l, want),
	}
}

// version is that of the format which has the layout.
func (l Layout) version() uint32 {
	if l.Type == Uint8 {
		return pixelsVersion
	}
	return featuresVersion
}

// check returns an error, without a kind, unless a shard can have the layout.
func (l Layout) check() error {
	axes := []int{l.Height, l.Width, l.Channels}
	size := l.Type.size()
	for _, axis := range axes {
		if axis < 1 || axis > maxSide {
			return fmt.Errorf("an axis of %d is not between 1 and %d", axis, maxSide)
		}
		size *= axis
	}
	switch {
	case size < 1 || size > maxRecord:
		return fmt.Errorf("a record of %d bytes is not between 1 and %d", size, maxRecord)
	case l.Type == Uint8 && (l.Height != l.Width || l.Channels != 3):
		return errors.New("pixels are those of square RGB pictures")
	case (l.Type == Uint8) != (l.Source == "") || len(l.Source) >= maxName:
		return errors.New("the records need a source, and pixels have none")
	}
	return nil
}

// header is the fixed part at the start of a shard.
type header struct {
	Layout
	records     uint32
	indexOffset uint64
	indexLength uint64
	indexCRC    uint32
}

func (h header) marshal() []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], h.version())
	le.PutUint32(b[12:], uint32(h.Type))
	le.PutUint32(b[16:], uint32(h.Height))
	le.PutUint32(b[20:], uint32(h.Width))
	le.PutUint32(b[24:], uint32(h.Channels))
	le.PutUint32(b[28:], h.records)
	le.PutUint64(b[32:], h.indexOffset)
	le.PutUint64(b[40:], h.indexLength)
	le.PutUint32(b[48:], h.indexCRC)
	le.PutUint32(b[56:], crc32.Checksum(b[:56], castagnoli))
	return b
}

// parseHeader reads and checks the header of a file of the given size. The
// source is in the index.
func parseHeader(b []byte, size int64) (header, error) {
	if len(b) < headerSize {
		return header{}, corrupt("%d bytes are too few for a shard", len(b))
	}
	le := binary.LittleEndian
	switch {
	case string(b[:8]) != magic:
		return header{}, corrupt("not a shard file")
	case le.Uint32(b[56:]) != crc32.Checksum(b[:56], castagnoli) || le.Uint32(b[60:]) != 0:
		return header{}, corrupt("the header of the shard is damaged")
	}
	h := header{
		Layout: Layout{
			Type:   Type(le.Uint32(b[12:])),
			Height: int(le.Uint32(b[16:])), Width: int(le.Uint32(b[20:])), Channels: int(le.Uint32(b[24:])),
		},
		records:     le.Uint32(b[28:]),
		indexOffset: le.Uint64(b[32:]),
		indexLength: le.Uint64(b[40:]),
		indexCRC:    le.Uint32(b[48:]),
	}
	if version := le.Uint32(b[8:]); version != h.version() {
		return header{}, corrupt("shard format %d is not %d, the one this program reads", version, h.version())
	}
	described := h.Layout
	if h.Type != Uint8 {
		described.Source = "in the index"
	}
	if err := described.check(); err != nil {
		return header{}, corrupt("the header of the shard is damaged: %v", err)
	}
	// records < 2^32 and the record size <= 2^30: the product cannot overflow.
	if h.indexOffset != headerSize+uint64(h.records)*uint64(h.Size()) {
		return header{}, corrupt("the header of the shard contradicts itself")
	}
	if h.indexLength > uint64(size) || h.indexOffset+h.indexLength != uint64(size) {
		return header{}, corrupt("the shard has %d bytes, its header says %d", size, h.indexOffset+h.indexLength)
	}
	return h, nil
}

func corrupt(format string, args ...any) error {
	return captioner.Errorf(captioner.Corrupt, format, args...)
}
