package images

import (
	"encoding/binary"
	"hash/crc32"
)

// maxMetadata bounds how much of a metadata chunk is read: EXIF in JPEG, where
// it comes from, is no longer.
const maxMetadata = 1 << 16

// inspectPNG walks the chunks to the last. Their data is skipped; the decoder
// checks its sums.
func inspectPNG(s *source) (details, error) {
	d := details{Info: Info{Format: PNG, Orientation: 1}}
	if err := d.readIHDR(s); err != nil {
		return d, err
	}
	seenData := false
	for pos := int64(8 + 25); ; {
		b, err := s.bytes(pos, 8)
		if err != nil {
			return d, err
		}
		length, kind := int64(binary.BigEndian.Uint32(b)), string(b[4:8])
		if pos+8+length+4 > s.size {
			return d, truncated()
		}
		switch kind {
		case "IDAT":
			seenData = true
		case "tRNS":
			d.UseDecode = true
		case "eXIf":
			exif, err := s.bytes(pos+8, int(min(length, maxMetadata)))
			if err != nil {
				return d, err
			}
			d.Orientation = orientation(exif)
		case "IEND":
			if !seenData {
				return d, problem(CodeCorrupt, "the PNG file holds no picture data")
			}
			return d, nil
		}
		pos += 8 + length + 4
	}
}

// readIHDR reads the header chunk. A transparent picture is left to Decode:
// TensorFlow shows the colours that lie hidden beneath.
func (d *details) readIHDR(s *source) error {
	b, err := s.bytes(8, 25)
	if err != nil {
		return err
	}
	if binary.BigEndian.Uint32(b) != 13 || string(b[4:8]) != "IHDR" ||
		binary.BigEndian.Uint32(b[21:]) != crc32.ChecksumIEEE(b[4:21]) {
		return problem(CodeCorrupt, "the header of the PNG file is damaged")
	}
	width, height := int64(binary.BigEndian.Uint32(b[8:])), int64(binary.BigEndian.Uint32(b[12:]))
	depth, colour, compression, filter, interlace := b[16], b[17], b[18], b[19], b[20]
	if !validDepth(depth, colour) || compression != 0 || filter != 0 || interlace > 1 {
		return problem(CodeCorrupt, "the header of the PNG file names a kind that does not exist")
	}
	if err := s.checkSize(width, height); err != nil {
		return err
	}
	d.Width, d.Height = int(width), int(height)
	d.UseDecode = colour == 4 || colour == 6
	return nil
}

// validDepth reports whether the standard knows the bit depth for the colour
// type: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha.
func validDepth(depth, colour byte) bool {
	switch colour {
	case 0:
		return depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16
	case 3:
		return depth == 1 || depth == 2 || depth == 4 || depth == 8
	case 2, 4, 6:
		return depth == 8 || depth == 16
	}
	return false
}
