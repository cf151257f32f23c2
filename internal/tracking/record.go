package tracking

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends data in the framing of TFRecord files: its length and
// itself, each followed by a masked CRC-32C.
func appendRecord(file, data []byte) []byte {
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], uint64(len(data)))
	file = append(file, length[:]...)
	file = binary.LittleEndian.AppendUint32(file, maskedCRC(length[:]))
	file = append(file, data...)
	return binary.LittleEndian.AppendUint32(file, maskedCRC(data))
}

// maskedCRC is the checksum, turned and shifted so that the checksum of data
// that holds checksums is no special case (tensorflow/core/lib/hash/crc32c.h).
func maskedCRC(data []byte) uint32 {
	crc := crc32.Checksum(data, castagnoli)
	return (crc>>15 | crc<<17) + 0xa282ead8
}
