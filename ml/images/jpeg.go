package images

import (
	"bytes"
	"encoding/binary"
)

// The JPEG markers that matter here (ITU-T T.81, table B.1).
const (
	markerSOF0 = 0xc0 // baseline
	markerSOF1 = 0xc1 // extended sequential
	markerSOF2 = 0xc2 // progressive
	markerDHT  = 0xc4
	markerJPG  = 0xc8
	markerDAC  = 0xcc
	markerRST0 = 0xd0
	markerSOI  = 0xd8
	markerEOI  = 0xd9
	markerSOS  = 0xda
	markerAPP1 = 0xe1
	markerTEM  = 0x01
)

var exifPrefix = []byte("Exif\x00\x00")

// inspectJPEG walks the segments up to the first scan. A file without an end
// marker after that is truncated: TensorFlow refuses it too.
func inspectJPEG(s *source) (details, error) {
	d := details{Info: Info{Format: JPEG, Orientation: 1}}
	seenEXIF := false
	for pos := int64(2); ; {
		marker, at, err := nextMarker(s, pos)
		if err != nil {
			return d, err
		}
		if marker >= markerRST0 && marker <= markerSOI || marker == markerTEM {
			pos = at
			continue
		}
		if marker == markerEOI {
			return d, problem(CodeCorrupt, "the JPEG file holds no picture")
		}
		b, err := s.bytes(at, 2)
		if err != nil {
			return d, err
		}
		length := int(binary.BigEndian.Uint16(b))
		if length < 2 {
			return d, problem(CodeCorrupt, "the JPEG file has a segment of %d bytes", length)
		}
		segment, err := s.bytes(at+2, length-2)
		if err != nil {
			return d, err
		}
		pos = at + int64(length)
		switch {
		case marker == markerSOS:
			return d, checkScan(s, d, pos)
		case marker == markerAPP1 && !seenEXIF && bytes.HasPrefix(segment, exifPrefix):
			seenEXIF = true
			d.Orientation = orientation(segment[len(exifPrefix):])
		case isFrame(marker):
			if d.Width != 0 {
				return d, problem(CodeCorrupt, "the JPEG file has two frame headers")
			}
			if err := d.readFrame(s, marker, segment); err != nil {
				return d, err
			}
		}
	}
}

// nextMarker finds the first marker from pos on, whatever stands before it, as
// decoders do. It returns the position after the marker.
func nextMarker(s *source, pos int64) (marker byte, after int64, err error) {
	for {
		b, err := s.bytes(pos, 2)
		if err != nil {
			return 0, 0, err
		}
		pos++
		if b[0] == 0xff && b[1] != 0xff && b[1] != 0 {
			return b[1], pos + 1, nil
		}
	}
}

func isFrame(marker byte) bool {
	return marker >= markerSOF0 && marker <= 0xcf && marker != markerDHT && marker != markerJPG && marker != markerDAC
}

// readFrame reads a frame header: precision, height, width, components.
func (d *details) readFrame(s *source, marker byte, segment []byte) error {
	if marker != markerSOF0 && marker != markerSOF1 && marker != markerSOF2 {
		return problem(CodeUnsupported, "the JPEG file is lossless, hierarchical or arithmetically coded")
	}
	if len(segment) < 6 {
		return problem(CodeCorrupt, "the frame header of the JPEG file is too short")
	}
	components := segment[5]
	switch {
	case segment[0] != 8:
		return problem(CodeUnsupported, "the JPEG file has %d bits a sample, not 8", segment[0])
	case components != 1 && components != 3 && components != 4:
		return problem(CodeUnsupported, "the JPEG file has %d colour components", components)
	case len(segment) != 6+3*int(components):
		return problem(CodeCorrupt, "the frame header of the JPEG file has the wrong length")
	}
	d.Height = int(binary.BigEndian.Uint16(segment[1:]))
	d.Width = int(binary.BigEndian.Uint16(segment[3:]))
	return s.checkSize(int64(d.Width), int64(d.Height))
}

// checkScan looks for the end marker. Within compressed data a byte 0xff is
// followed by 0 or a restart marker, so that the pair can only be a marker.
func checkScan(s *source, d details, pos int64) error {
	if d.Width == 0 {
		return problem(CodeCorrupt, "the JPEG file has no frame header")
	}
	found, err := s.contains(0xff, markerEOI, pos)
	if err == nil && !found {
		return truncated()
	}
	return err
}
