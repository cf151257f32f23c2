// Package images looks at picture files before TensorFlow does: which format,
// how large, which way up, whole or cut off. It reads headers only and bounds
// the number of pixels before anything of that size is allocated, since
// decoders allocate by what a header claims. The file's name says nothing:
// formats are told apart by their first bytes.
//
// It also decodes, in Go, what TensorFlow cannot or would show wrongly: WebP,
// transparent pictures, animations, bitmaps. Everything else is decoded by the
// model's own preprocessing graph; what a header does not betray, damage in
// the compressed data above all, is found and reported there.
package images

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/captioner/captioner"
)

// The codes of the errors about pictures, all of kind Invalid.
const (
	CodeEmpty       = "image_empty"       // no bytes at all
	CodeUnsupported = "image_unsupported" // no picture, or none of a kind that can be decoded
	CodeTruncated   = "image_truncated"   // the file ends too early
	CodeCorrupt     = "image_corrupt"     // the file contradicts itself
	CodeTooLarge    = "image_too_large"   // more pixels than allowed
)

// The names of the formats.
const (
	JPEG = "jpeg"
	PNG  = "png"
	GIF  = "gif"
	BMP  = "bmp"
	WebP = "webp"
)

// maxSide bounds width and height whatever the caller allows: that of JPEG,
// the largest that all parts of the pipeline agree on.
const maxSide = 65535

// Info is what a header tells about a picture.
type Info struct {
	// Format is JPEG, PNG, GIF, BMP or WebP.
	Format string
	// Width and Height are in pixels as stored, before orientation.
	Width, Height int
	// Orientation is EXIF's, from 1 (upright) to 8.
	Orientation int
	// UseDecode says that TensorFlow cannot decode the picture, or not as
	// people see it, and that Decode must. Orientation is to be applied all
	// the same.
	UseDecode bool
}

// Oriented returns width and height as a person sees the picture.
func (i Info) Oriented() (width, height int) {
	if i.Orientation >= 5 {
		return i.Height, i.Width
	}
	return i.Width, i.Height
}

// Inspect reads the headers of a picture of at most maxPixels, width × height.
// The errors are Invalid with one of the codes above.
func Inspect(data []byte, maxPixels int) (Info, error) {
	return InspectReader(bytes.NewReader(data), int64(len(data)), maxPixels)
}

// InspectFile is Inspect for a file, of which it reads only what it needs. A
// missing file is NotFound.
func InspectFile(path string, maxPixels int) (Info, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, captioner.Wrap(captioner.NotFound, err, "there is no such picture")
	}
	if err != nil {
		return Info{}, captioner.Wrap(captioner.Internal, err, "open a picture")
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return Info{}, captioner.Wrap(captioner.Internal, err, "open a picture")
	}
	if !stat.Mode().IsRegular() {
		return Info{}, problem(CodeUnsupported, "the picture is not a regular file")
	}
	return InspectReader(f, stat.Size(), maxPixels)
}

// InspectReader is Inspect for size bytes that can be read anywhere. A failing
// read is Internal.
func InspectReader(r io.ReaderAt, size int64, maxPixels int) (Info, error) {
	s := &source{r: r, size: size, maxPixels: int64(maxPixels)}
	d, err := s.inspect()
	return d.Info, err
}

// details are what Decode must know beyond Info.
type details struct {
	Info
	webp webpFrame
}

func (s *source) inspect() (details, error) {
	d, err := s.inspectFormat()
	if errors.Is(err, errShort) {
		err = truncated()
	}
	if err != nil {
		return details{}, err
	}
	return d, nil
}

func (s *source) inspectFormat() (details, error) {
	if s.size == 0 {
		return details{}, problem(CodeEmpty, "the picture is empty")
	}
	head, err := s.head(16)
	if err != nil {
		return details{}, err
	}
	for _, f := range []struct {
		magic   string
		inspect func(*source) (details, error)
	}{
		{"\xff\xd8\xff", inspectJPEG},
		{"\x89PNG\r\n\x1a\n", inspectPNG},
		{"GIF87a", inspectGIF},
		{"GIF89a", inspectGIF},
		{"RIFF????WEBP", inspectWebP},
		{"BM", inspectBMP},
	} {
		switch match(head, f.magic) {
		case whole:
			return f.inspect(s)
		case start:
			return details{}, truncated()
		}
	}
	return details{}, problem(CodeUnsupported, "the file is not a JPEG, PNG, GIF, BMP or WebP picture%s", kindOf(head))
}

const (
	none  = iota
	start // the data ends within the magic
	whole
)

// match compares head with magic, in which ? stands for any byte.
func match(head []byte, magic string) int {
	n := min(len(head), len(magic))
	for i := range n {
		if magic[i] != '?' && head[i] != magic[i] {
			return none
		}
	}
	if n < len(magic) {
		return start
	}
	return whole
}

// kindOf names, for the message, some files that people take for pictures.
func kindOf(head []byte) string {
	for _, k := range []struct{ magic, name string }{
		{"II*\x00", "TIFF"}, {"MM\x00*", "TIFF"}, {"%PDF", "PDF"}, {"<svg", "SVG"}, {"<?xml", "XML"}, {"8BPS", "Photoshop"},
		{"????ftypheic", "HEIC"}, {"????ftypheix", "HEIC"}, {"????ftypmif1", "HEIF"}, {"????ftypavif", "AVIF"}, {"\xff\x0a", "JPEG XL"},
		{"<!DOCTYPE html", "HTML"}, {"<html", "HTML"},
	} {
		if match(head, k.magic) == whole {
			return " but " + k.name
		}
	}
	return ""
}

// checkSize checks the dimensions that a header claims. They are compared before
// anything is allocated.
func (s *source) checkSize(width, height int64) error {
	switch {
	case width < 1 || height < 1:
		return problem(CodeCorrupt, "the picture has no pixels: %d × %d", width, height)
	case width > maxSide || height > maxSide || width*height > s.maxPixels:
		return problem(CodeTooLarge, "the picture has %d × %d pixels, more than the allowed %d", width, height, s.maxPixels)
	}
	return nil
}

func problem(code, format string, args ...any) error {
	err := captioner.Errorf(captioner.Invalid, format, args...)
	var e *captioner.Error
	if errors.As(err, &e) {
		e.Code = code
	}
	return err
}

func truncated() error {
	return problem(CodeTruncated, "the picture file ends too early")
}

// Reason returns the reason for a quarantine list: the code of an error about
// a picture without its prefix, such as "truncated", and "unreadable" for any
// other error.
func Reason(err error) string {
	code, ok := strings.CutPrefix(captioner.CodeOf(err), "image_")
	if !ok {
		return "unreadable"
	}
	return code
}
