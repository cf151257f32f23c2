package images

import (
	"encoding/binary"
	"errors"
	"io"

	"golang.org/x/image/bmp"
)

// inspectBMP reads the header with the decoder that will decode it: TensorFlow
// takes a palette for grey values and the fourth byte for transparency.
func inspectBMP(s *source) (details, error) {
	d := details{Info: Info{Format: BMP, Orientation: 1, UseDecode: true}}
	b, err := s.bytes(0, 30)
	if err != nil {
		return d, err
	}
	offset, bits := int64(binary.LittleEndian.Uint32(b[10:])), int64(binary.LittleEndian.Uint16(b[28:]))
	width, height := int64(int32(binary.LittleEndian.Uint32(b[18:]))), int64(int32(binary.LittleEndian.Uint32(b[22:])))
	if binary.LittleEndian.Uint32(b[14:]) >= 40 { // an older header has the size elsewhere
		if err := s.checkSize(width, max(height, -height)); err != nil { // negative: top down
			return d, err
		}
	}
	config, err := bmp.DecodeConfig(io.NewSectionReader(s.r, 0, s.size))
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return d, errShort
	case err != nil:
		return d, problem(CodeUnsupported, "the BMP file is of a kind that cannot be decoded")
	}
	d.Width, d.Height = config.Width, config.Height
	row := (int64(d.Width)*bits + 31) / 32 * 4
	if offset+row*int64(d.Height) > s.size {
		return d, errShort
	}
	return d, nil
}
