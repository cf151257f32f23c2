package demodata

import (
	"bytes"
	"image"
	"image/jpeg"
	"math"
	"math/rand/v2"
)

// jpegQuality is about that of Flickr's pictures.
const jpegQuality = 88

// render draws the scene and returns it as a JPEG.
func render(r *rand.Rand, s Scene) ([]byte, error) {
	var out bytes.Buffer
	if err := jpeg.Encode(&out, draw(r, s), &jpeg.Options{Quality: jpegQuality}); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func draw(r *rand.Rand, s Scene) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, s.Width, s.Height))
	drawBackground(r, img, s.Background)
	var look style
	for i, o := range s.Objects {
		if i == 0 || s.Objects[i-1].Group != o.Group {
			look = newStyle(r, o)
		}
		drawObject(img, o, look)
	}
	return img
}

// toneRange is how a background is coloured, in OKLCh: a range of lightness,
// below that of all objects so that shapes show alike in every colour, chroma
// up to the given one, and a hue; any hue where the chroma is next to nothing.
var toneRange = map[Tone]struct{ dark, light, chroma, hue float64 }{
	Black: {0.08, 0.20, 0.015, -1},
	Grey:  {0.34, 0.43, 0.015, -1},
	Brown: {0.24, 0.34, 0.055, 60},
}

// drawBackground fills the picture with a dull colour. It touches every pixel, so it counts in whole 256ths of a level: brightness is the sum
// of what the column and the row add, and grain.
func drawBackground(r *rand.Rand, img *image.RGBA, b Background) {
	span := toneRange[b.Tone]
	lightness, chroma, hue := span.dark+(span.light-span.dark)*r.Float64(), span.chroma*r.Float64(), 360*r.Float64()
	if span.hue >= 0 {
		chroma, hue = (span.chroma+chroma)/2, span.hue
	}
	base := oklch(lightness, chroma, hue)
	red, green, blue := int32(65280*base[0]), int32(65280*base[1]), int32(65280*base[2])
	grain := int32(2)
	if b.Pattern == "grainy" {
		grain = 14
	}
	columns, rows := shading(r, b.Pattern, img.Rect.Dx(), img.Rect.Dy())
	noise := uint32(r.Uint64()) | 1
	for y, row := range rows {
		line := img.Pix[y*img.Stride:]
		for x, column := range columns {
			// A xorshift generator is random enough for grain, and quick.
			noise ^= noise << 13
			noise ^= noise >> 17
			noise ^= noise << 5
			level := row + column + grain*(int32(noise>>24)-128)
			pixel := line[4*x : 4*x+4 : 4*x+4]
			pixel[0] = fixed8(red + level)
			pixel[1] = fixed8(green + level)
			pixel[2] = fixed8(blue + level)
			pixel[3] = 255
		}
	}
}

// shading returns what each column and each row add to the brightness, in
// 256ths of a level.
func shading(r *rand.Rand, pattern string, width, height int) (columns, rows []int32) {
	sin, cos := math.Sincos(2 * math.Pi * r.Float64())
	depth := 65280 * (0.04 + 0.05*r.Float64())
	along := func(n int, slope float64) []int32 {
		out := make([]int32, n)
		for i := range out {
			switch u := 2*float64(i)/float64(n) - 1; pattern {
			case "gradient":
				out[i] = int32(depth * slope * u)
			case "vignette":
				out[i] = int32(depth * (0.25 - u*u))
			}
		}
		return out
	}
	return along(width, cos), along(height, sin)
}

// fixed8 rounds 256ths of a level to a level.
func fixed8(v int32) uint8 { return uint8(min(max((v+128)>>8, 0), 255)) }

func level8(v float64) uint8 { return uint8(min(max(v+0.5, 0), 255)) }

// style is how the objects of a group are filled.
type style struct {
	ink, accent rgb // the colour, and what stripes and dots are made of
	texture     Texture
	// sin and cos turn the stripes; phase shifts them.
	sin, cos, phase float64
	// lightX and lightY point to where the object is slightly brighter.
	lightX, lightY float64
}

// newStyle draws how the objects of a group are filled. Stripes and dots are
// paler than the rest, so that they cannot be taken for holes.
func newStyle(r *rand.Rand, o Object) style {
	ink := drawColour(r, o.Colour)
	sin, cos := math.Sincos(math.Pi / 4 * float64(r.IntN(4)))
	lightY, lightX := math.Sincos(2 * math.Pi * r.Float64())
	return style{ink, ink.mix(rgb{1, 1, 1}, 0.4), o.Texture, sin, cos, r.Float64(), 0.07 * lightX, 0.07 * lightY}
}

// drawObject blends the object over the picture, smoothed by the share of each
// pixel that it covers.
func drawObject(img *image.RGBA, o Object, st style) {
	reach := o.Radius*maxExtent + 1
	box := image.Rect(int(o.X-reach), int(o.Y-reach), int(o.X+reach)+2, int(o.Y+reach)+2).Intersect(img.Rect)
	sin, cos := math.Sincos(o.Rotation)
	// The rim keeps the plain colour, so that the outline stays clear.
	rim := max(0.1, 2.5/o.Radius)
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			dx, dy := (float64(x)+0.5-o.X)/o.Radius, (float64(y)+0.5-o.Y)/o.Radius
			u, v := dx*cos+dy*sin, dy*cos-dx*sin
			d := signedDistance(o.Shape, u, v)
			cover := min(0.5-d*o.Radius, 1)
			if cover <= 0 {
				continue
			}
			c := st.ink
			if st.texture != Solid {
				t := min(st.accentAt(u, v, o.Radius), min(max(-(d+rim)*o.Radius+0.5, 0), 1))
				c = c.mix(st.accent, t)
			}
			blend(img.Pix[img.PixOffset(x, y):], c, 1+u*st.lightX+v*st.lightY, cover)
		}
	}
}

func blend(pixel []uint8, c rgb, brightness, cover float64) {
	for i := range 3 {
		old := float64(pixel[i])
		pixel[i] = level8(old + cover*(255*min(c[i]*brightness, 1)-old))
	}
}

// accentAt returns the share of accent at a place inside the object, 0 to 1.
func (st style) accentAt(u, v, radius float64) float64 {
	a, b := u*st.cos+v*st.sin, v*st.cos-u*st.sin
	var d float64 // distance into the accent, in radii
	if st.texture == Striped {
		const period = 0.52
		d = period * (0.22 - math.Abs(cycle(a/period+st.phase)))
	} else {
		const period = 0.50
		d = 0.15 - period*math.Hypot(cycle(a/period+st.phase), cycle(b/period))
	}
	return min(max(d*radius+0.5, 0), 1)
}

// cycle maps v to its distance from the nearest whole number, with sign.
func cycle(v float64) float64 { return v - math.Round(v) }
