package images

import (
	"bytes"
	"encoding/binary"
)

const (
	webpAnimated = 1 << 1
	webpAlpha    = 1 << 4
	frameHeader  = 16 // of an ANMF chunk, before its own chunks
)

// webpFrame is where the still picture, or the first frame of an animation,
// lies in the file.
type webpFrame struct {
	x, y          int // on the canvas
	width, height int
	alpha, data   section
	lossless      bool
}

// section is a chunk's payload.
type section struct{ offset, length int64 }

// inspectWebP walks the chunks of a RIFF file. TensorFlow 2.18 does not know
// the format.
func inspectWebP(s *source) (details, error) {
	d := details{Info: Info{Format: WebP, Orientation: 1, UseDecode: true}}
	b, err := s.bytes(4, 4)
	if err != nil {
		return d, err
	}
	end := 8 + int64(binary.LittleEndian.Uint32(b))
	if end > s.size {
		return d, truncated()
	}
	animated := false
	err = eachChunk(s, 12, end, func(kind string, c section) error {
		switch kind {
		case "VP8X":
			b, err := s.bytes(c.offset, 10)
			if err != nil {
				return err
			}
			animated = b[0]&webpAnimated != 0
			d.Width, d.Height = uint24(b[4:])+1, uint24(b[7:])+1
			return s.checkSize(int64(d.Width), int64(d.Height))
		case "ANMF":
			if !animated || d.webp.width != 0 || c.length < frameHeader {
				return nil
			}
			b, err := s.bytes(c.offset, frameHeader)
			if err != nil {
				return err
			}
			d.webp.x, d.webp.y = 2*uint24(b), 2*uint24(b[3:])
			return eachChunk(s, c.offset+frameHeader, c.offset+c.length, d.frameChunk(s))
		case "EXIF":
			exif, err := s.bytes(c.offset, int(min(c.length, maxMetadata)))
			if err != nil {
				return err
			}
			// Some writers keep the prefix that JPEG wants.
			d.Orientation = orientation(bytes.TrimPrefix(exif, exifPrefix))
			return nil
		}
		if animated {
			return nil
		}
		return d.frameChunk(s)(kind, c)
	})
	if err != nil {
		return d, err
	}
	return d, d.finishWebP(s, animated)
}

func (d *details) finishWebP(s *source, animated bool) error {
	f := d.webp
	if f.width == 0 {
		return problem(CodeCorrupt, "the WebP file holds no picture")
	}
	if !animated { // the frame is the picture, whatever canvas was announced
		d.Width, d.Height = f.width, f.height
	}
	if f.x+f.width > d.Width || f.y+f.height > d.Height {
		return problem(CodeCorrupt, "the first frame of the WebP file lies outside its canvas")
	}
	return s.checkSize(int64(d.Width), int64(d.Height))
}

// frameChunk takes note of the chunks that make up one frame.
func (d *details) frameChunk(s *source) func(string, section) error {
	return func(kind string, c section) error {
		if d.webp.width != 0 {
			return nil
		}
		var width, height int
		switch kind {
		case "ALPH":
			d.webp.alpha = c
			return nil
		case "VP8 ":
			b, err := s.bytes(c.offset, 10)
			if err != nil {
				return err
			}
			if b[0]&1 != 0 || b[3] != 0x9d || b[4] != 0x01 || b[5] != 0x2a {
				return problem(CodeCorrupt, "the WebP file does not begin with a key frame")
			}
			width = int(binary.LittleEndian.Uint16(b[6:])) & 0x3fff
			height = int(binary.LittleEndian.Uint16(b[8:])) & 0x3fff
		case "VP8L":
			b, err := s.bytes(c.offset, 5)
			if err != nil {
				return err
			}
			if b[0] != 0x2f {
				return problem(CodeCorrupt, "the lossless part of the WebP file is damaged")
			}
			bits := binary.LittleEndian.Uint32(b[1:])
			width, height = int(bits&0x3fff)+1, int(bits>>14&0x3fff)+1
			d.webp.lossless, d.webp.alpha = true, section{}
		default:
			return nil
		}
		if err := s.checkSize(int64(width), int64(height)); err != nil {
			return err
		}
		d.webp.width, d.webp.height, d.webp.data = width, height, c
		return nil
	}
}

// eachChunk calls f for each chunk between two positions.
func eachChunk(s *source, pos, end int64, f func(kind string, c section) error) error {
	for end-pos >= 8 {
		b, err := s.bytes(pos, 8)
		if err != nil {
			return err
		}
		kind, length := string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:]))
		if length > end-pos-8 {
			return truncated()
		}
		if err := f(kind, section{pos + 8, length}); err != nil {
			return err
		}
		pos += 8 + length + length&1
	}
	return nil
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

// still returns a WebP file of the one frame alone, in the simplest form.
func (f webpFrame) still(data []byte) []byte {
	var body []byte
	chunk := func(kind string, payload []byte) {
		body = append(body, kind...)
		body = binary.LittleEndian.AppendUint32(body, uint32(len(payload)))
		body = append(body, payload...)
		if len(payload)%2 == 1 {
			body = append(body, 0)
		}
	}
	if f.alpha.length > 0 {
		w, h := f.width-1, f.height-1
		chunk("VP8X", []byte{webpAlpha, 0, 0, 0, byte(w), byte(w >> 8), byte(w >> 16), byte(h), byte(h >> 8), byte(h >> 16)})
		chunk("ALPH", f.alpha.of(data))
	}
	kind := "VP8 "
	if f.lossless {
		kind = "VP8L"
	}
	chunk(kind, f.data.of(data))
	file := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(4+len(body)))
	return append(append(file, "WEBP"...), body...)
}

func (c section) of(data []byte) []byte { return data[c.offset : c.offset+c.length] }
