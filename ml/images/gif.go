package images

import "encoding/binary"

// The blocks of a GIF file.
const (
	gifExtension = 0x21
	gifImage     = 0x2c
	gifTrailer   = 0x3b
)

// inspectGIF walks the blocks to the end of the first frame. TensorFlow
// decodes all frames of an animation before it drops all but one, and shows
// transparent pixels black: Decode does it better.
func inspectGIF(s *source) (details, error) {
	d := details{Info: Info{Format: GIF, Orientation: 1, UseDecode: true}}
	b, err := s.bytes(6, 7)
	if err != nil {
		return d, err
	}
	width, height := int64(binary.LittleEndian.Uint16(b)), int64(binary.LittleEndian.Uint16(b[2:]))
	for pos := 13 + colourTable(b[4]); ; {
		kind, err := s.byteAt(pos)
		if err != nil {
			return d, err
		}
		switch kind {
		case gifExtension:
			if pos, err = skipBlocks(s, pos+2); err != nil {
				return d, err
			}
		case gifImage:
			b, err := s.bytes(pos+1, 9)
			if err != nil {
				return d, err
			}
			// A frame that sticks out enlarges the screen, as browsers do it.
			left, top := int64(binary.LittleEndian.Uint16(b)), int64(binary.LittleEndian.Uint16(b[2:]))
			w, h := int64(binary.LittleEndian.Uint16(b[4:])), int64(binary.LittleEndian.Uint16(b[6:]))
			if w == 0 || h == 0 {
				return d, problem(CodeCorrupt, "the first frame of the GIF file has no pixels")
			}
			width, height = max(width, left+w), max(height, top+h)
			if err := s.checkSize(width, height); err != nil {
				return d, err
			}
			d.Width, d.Height = int(width), int(height)
			_, err = skipBlocks(s, pos+10+colourTable(b[8])+1)
			return d, err
		case gifTrailer:
			return d, problem(CodeCorrupt, "the GIF file holds no picture")
		default:
			return d, problem(CodeCorrupt, "the GIF file has an unknown block")
		}
	}
}

// colourTable returns the size in bytes of the table that flags announce.
func colourTable(flags byte) int64 {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (flags&7 + 1)
}

// skipBlocks returns the position after the sub-blocks that begin at pos.
func skipBlocks(s *source, pos int64) (int64, error) {
	for {
		n, err := s.byteAt(pos)
		if err != nil {
			return 0, err
		}
		pos += 1 + int64(n)
		if n == 0 {
			return pos, nil
		}
	}
}
