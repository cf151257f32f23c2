package images

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"slices"

	"golang.org/x/image/bmp"
	"golang.org/x/image/webp"

	"github.com/captioner/captioner"
)

// decodeLimit bounds what Decode allocates, 3 GiB at the end: whoever wants
// less calls Inspect with a limit of their own first.
const decodeLimit = 1 << 30

// Decode decodes a picture of any of the formats: the first frame of an
// animation, transparent parts over white, CMYK and 16 bit reduced to RGB of
// 8 bit. The orientation is not applied.
//
//	pixels  [height, width, 3] uint8, RGB, row by row
//
// The errors are those of Inspect; call that first to bound the size.
func Decode(data []byte) (pixels []byte, width, height int, err error) {
	// The decoders read hostile files. Should one of them fall over, the file
	// is at fault, and the process has other pictures to serve.
	defer func() {
		if p := recover(); p != nil {
			pixels, width, height = nil, 0, 0
			err = problem(CodeCorrupt, "the picture's data is damaged")
		}
	}()
	s := &source{r: bytes.NewReader(data), size: int64(len(data)), maxPixels: decodeLimit}
	d, err := s.inspect()
	if err != nil {
		return nil, 0, 0, err
	}
	img, at, err := decodeFormat(data, d)
	if err != nil {
		return nil, 0, 0, decodeError(err)
	}
	pixels = slices.Repeat([]byte{0xff}, d.Width*d.Height*3)
	paint(pixels, d.Width, img, at)
	return pixels, d.Width, d.Height, nil
}

// decodeFormat returns the picture and where its bounds begin on the canvas.
func decodeFormat(data []byte, d details) (image.Image, image.Point, error) {
	var img image.Image
	var err error
	var at image.Point
	r := bytes.NewReader(data)
	switch d.Format {
	case JPEG:
		img, err = jpeg.Decode(r)
	case PNG:
		img, err = png.Decode(r)
	case GIF:
		if img, err = gif.Decode(io.MultiReader(bytes.NewReader(gifHeader(data, d)), bytes.NewReader(data[gifHeaderSize:]))); err == nil {
			at = img.Bounds().Min
		}
	case BMP:
		img, err = bmp.Decode(r)
	case WebP:
		at = image.Pt(d.webp.x, d.webp.y)
		img, err = webp.Decode(bytes.NewReader(d.webp.still(data)))
		img = studioSwing(img)
	}
	if err != nil {
		return nil, at, err
	}
	if end := at.Add(img.Bounds().Size()); end.X > d.Width || end.Y > d.Height {
		return nil, at, problem(CodeCorrupt, "the picture is not as large as its header says")
	}
	return img, at, nil
}

const gifHeaderSize = 10

// gifHeader returns the file's first bytes with the screen's true size.
func gifHeader(data []byte, d details) []byte {
	h := slices.Clone(data[:gifHeaderSize])
	binary.LittleEndian.PutUint16(h[6:], uint16(d.Width))
	binary.LittleEndian.PutUint16(h[8:], uint16(d.Height))
	return h
}

// decodeError turns an error of a decoder into one of this package's.
func decodeError(err error) error {
	var ours *captioner.Error
	var badJPEG jpeg.UnsupportedError
	var badPNG png.UnsupportedError
	code, message := CodeCorrupt, "the picture's data is damaged"
	switch {
	case errors.As(err, &ours):
		return err
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		code, message = CodeTruncated, "the picture file ends too early"
	case errors.As(err, &badJPEG) || errors.As(err, &badPNG) || errors.Is(err, bmp.ErrUnsupported):
		code, message = CodeUnsupported, "the picture is of a kind that cannot be decoded"
	}
	return &captioner.Error{Kind: captioner.Invalid, Code: code, Message: message, Err: err}
}

// stripRows is how many rows are converted at once: the copy with alpha that
// image/draw wants stays small.
const stripRows = 32

// paint draws img over white pixels [.., width, 3], beginning at a point.
func paint(pixels []byte, width int, img image.Image, at image.Point) {
	b := img.Bounds()
	strip := image.NewRGBA(image.Rect(0, 0, b.Dx(), min(stripRows, b.Dy())))
	for top := 0; top < b.Dy(); top += stripRows {
		rows := min(stripRows, b.Dy()-top)
		draw.Draw(strip, strip.Bounds(), image.White, image.Point{}, draw.Src)
		draw.Draw(strip, image.Rect(0, 0, b.Dx(), rows), img, b.Min.Add(image.Pt(0, top)), draw.Over)
		for y := range rows {
			from := strip.Pix[y*strip.Stride : y*strip.Stride+4*b.Dx()]
			to := pixels[((at.Y+top+y)*width+at.X)*3:]
			for x := range b.Dx() {
				copy(to[3*x:3*x+3], from[4*x:4*x+3])
			}
		}
	}
}

// studioSwing gives the pictures of lossy WebP the colours that they have. The
// decoder returns Y in 16 to 235 as the file has it, image.YCbCr means 0 to
// 255: shown as they come they look faded. Other pictures stay as they are.
func studioSwing(img image.Image) image.Image {
	var ycc *image.YCbCr
	alpha := func(int, int) byte { return 0xff }
	switch m := img.(type) {
	case *image.YCbCr:
		ycc = m
	case *image.NYCbCrA:
		ycc = &m.YCbCr
		alpha = func(x, y int) byte { return m.A[m.AOffset(x, y)] }
	default:
		return img
	}
	out := image.NewNRGBA(ycc.Rect)
	for y := ycc.Rect.Min.Y; y < ycc.Rect.Max.Y; y++ {
		for x := ycc.Rect.Min.X; x < ycc.Rect.Max.X; x++ {
			c := ycc.COffset(x, y)
			r, g, b := videoRGB(ycc.Y[ycc.YOffset(x, y)], ycc.Cb[c], ycc.Cr[c])
			copy(out.Pix[out.PixOffset(x, y):], []byte{r, g, b, alpha(x, y)})
		}
	}
	return out
}

// videoRGB converts as libwebp does (src/dsp/yuv.h): BT.601 in fixed point
// with 14 bits, of which 8 go with each product.
func videoRGB(y, u, v byte) (r, g, b byte) {
	times := func(c byte, k int) int { return int(c) * k >> 8 }
	clip := func(c int) byte { return byte(max(0, min(c>>6, 255))) }
	luma := times(y, 19077)
	return clip(luma + times(v, 26149) - 14234),
		clip(luma - times(u, 6419) - times(v, 13320) + 8708),
		clip(luma + times(u, 33050) - 17685)
}
