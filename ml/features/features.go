// Package features keeps prepared pictures in shard files: one file per shard,
// written once, then mapped into memory by training and by evaluation, so that
// a data set larger than the memory is still read at the speed of the page
// cache. Package images and the engine make the pixels; this package only
// stores them.
//
// A shard is a header of 64 bytes, the records one after the other, and an
// index of the records' names and checksums. All integers are little endian.
//
//	header   magic [8]byte, version, type, height, width, channels uint32,
//	         records uint32, index offset, index length uint64,
//	         index CRC, 4 zero bytes, header CRC, 4 zero bytes
//	records  height × width × channels bytes each, RGB, uint8
//	index    per record: CRC uint32, name length uint32, name
//
// The checksums are CRC-32C. They find damage, not malice: what protects a
// shard against exchange is the digest under which the blob store keeps it.
// The file holds no time and no path: the same pictures give the same bytes.
package features

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/captioner/captioner"
)

const (
	magic         = "CAPSHARD"
	formatVersion = 1
	typeUint8     = 1
	channels      = 3
	headerSize    = 64
	// entrySize is the fixed part of an index entry: CRC and name length.
	entrySize = 8
	// maxSide and maxName bound what a damaged header can make a reader believe.
	maxSide = 1 << 14
	maxName = 1 << 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the fixed part at the start of a shard.
type header struct {
	side        uint32
	records     uint32
	indexOffset uint64
	indexLength uint64
	indexCRC    uint32
}

// recordSize returns the bytes of a picture of side × side pixels.
func recordSize(side int) int { return side * side * channels }

func (h header) marshal() []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], formatVersion)
	le.PutUint32(b[12:], typeUint8)
	le.PutUint32(b[16:], h.side)
	le.PutUint32(b[20:], h.side)
	le.PutUint32(b[24:], channels)
	le.PutUint32(b[28:], h.records)
	le.PutUint64(b[32:], h.indexOffset)
	le.PutUint64(b[40:], h.indexLength)
	le.PutUint32(b[48:], h.indexCRC)
	le.PutUint32(b[56:], crc32.Checksum(b[:56], castagnoli))
	return b
}

// parseHeader reads and checks the header of a file of the given size.
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
	case le.Uint32(b[8:]) != formatVersion:
		return header{}, corrupt("shard format %d is not %d, the one this program reads", le.Uint32(b[8:]), formatVersion)
	case le.Uint32(b[12:]) != typeUint8 || le.Uint32(b[24:]) != channels || le.Uint32(b[16:]) != le.Uint32(b[20:]):
		return header{}, corrupt("the shard does not hold square RGB pictures")
	}
	h := header{
		side:        le.Uint32(b[16:]),
		records:     le.Uint32(b[28:]),
		indexOffset: le.Uint64(b[32:]),
		indexLength: le.Uint64(b[40:]),
		indexCRC:    le.Uint32(b[48:]),
	}
	if h.side == 0 || h.side > maxSide {
		return header{}, corrupt("a side of %d pixels is out of range", h.side)
	}
	// records < 2^32 and the record size < 2^30: the product cannot overflow.
	if h.indexOffset != headerSize+uint64(h.records)*uint64(recordSize(int(h.side))) {
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
