package tracking

import (
	"bytes"
	"image"
	"image/draw"
	"image/png"
	"strings"

	scaling "golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

const (
	// shownWidth is about how wide a picture is shown; a model sees fewer pixels.
	shownWidth = 210
	// lineHeight is that of a line of text in pixels.
	lineHeight = 15
)

// captioned draws a caption below a picture, both as PNG files, so that
// TensorBoard shows them together; nil for what is no picture. Letters beyond
// ASCII become boxes: the table of the samples has them.
func captioned(data []byte, caption string) []byte {
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	size := picture.Bounds().Size()
	scale := max(1, (shownWidth+size.X-1)/size.X)
	width, height := size.X*scale, size.Y*scale
	face := basicfont.Face7x13
	lines := wrap(caption, width/face.Advance)

	out := image.NewNRGBA(image.Rect(0, 0, width, height+lineHeight*len(lines)+lineHeight/2))
	draw.Draw(out, out.Bounds(), image.White, image.Point{}, draw.Src)
	scaling.NearestNeighbor.Scale(out, image.Rect(0, 0, width, height), picture, picture.Bounds(), draw.Src, nil)
	for i, line := range lines {
		d := font.Drawer{Dst: out, Src: image.Black, Face: face, Dot: fixed.P(2, height+lineHeight*(i+1))}
		d.DrawString(line)
	}
	var b bytes.Buffer
	_ = png.Encode(&b, out) // into memory: cannot fail
	return b.Bytes()
}

// wrap breaks text into lines of at most width letters, where its words allow.
func wrap(text string, width int) []string {
	var lines []string
	for _, word := range strings.Fields(text) {
		if last := len(lines) - 1; last >= 0 && len(lines[last])+1+len(word) <= width {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}
