package foreign

import (
	"image"
	"image/color"
	"image/draw"
	"math"
	"math/rand/v2"

	"golang.org/x/image/vector"
)

var sizes = []image.Point{{400, 300}, {300, 400}, {360, 360}, {420, 280}}

var (
	skies = map[string][2]color.RGBA{ // at the top, at the horizon
		"day":    {{90, 160, 235, 255}, {190, 225, 250, 255}},
		"sunset": {{110, 60, 120, 255}, {250, 150, 70, 255}},
		"night":  {{8, 10, 35, 255}, {30, 35, 80, 255}},
		"rain":   {{90, 95, 105, 255}, {150, 155, 160, 255}},
	}
	grounds = map[string]color.RGBA{
		"sea": {30, 90, 150, 255}, "field": {70, 150, 50, 255}, "desert": {215, 180, 110, 255}, "snow": {235, 240, 248, 255},
	}
	inks = map[string]color.RGBA{
		"red": {205, 35, 40, 255}, "white": {250, 250, 245, 255}, "yellow": {240, 205, 30, 255}, "blue": {30, 60, 190, 255},
	}
	// light is how much of its colour a thing shows.
	light = map[string]float64{"day": 1, "sunset": 0.85, "night": 0.6, "rain": 0.8}
)

// canvas is a picture in units of its own width and height: (0, 0) is the top
// left corner, (1, 1) the bottom right one.
type canvas struct {
	*image.RGBA
	light float64
}

// fill paints a polygon, smoothly.
func (c canvas) fill(ink color.RGBA, points ...[2]float64) {
	w, h := float64(c.Rect.Dx()), float64(c.Rect.Dy())
	low, high := points[0], points[0]
	for _, p := range points {
		low = [2]float64{min(low[0], p[0]), min(low[1], p[1])}
		high = [2]float64{max(high[0], p[0]), max(high[1], p[1])}
	}
	box := image.Rect(int(math.Floor(low[0]*w)), int(math.Floor(low[1]*h)), int(math.Ceil(high[0]*w)), int(math.Ceil(high[1]*h)))
	z := vector.NewRasterizer(box.Dx(), box.Dy())
	for i, p := range points {
		x, y := float32(p[0]*w)-float32(box.Min.X), float32(p[1]*h)-float32(box.Min.Y)
		if i == 0 {
			z.MoveTo(x, y)
		} else {
			z.LineTo(x, y)
		}
	}
	z.ClosePath()
	// The rasteriser draws from the corner of a rectangle, so what is outside
	// of the picture is cut by drawing through a mask.
	mask := image.NewAlpha(image.Rect(0, 0, box.Dx(), box.Dy()))
	z.Draw(mask, mask.Rect, image.Opaque, image.Point{})
	draw.DrawMask(c.RGBA, box, image.NewUniform(dim(ink, c.light)), image.Point{}, mask, image.Point{}, draw.Over)
}

// disc paints an ellipse as a polygon of many corners.
func (c canvas) disc(ink color.RGBA, x, y, rx, ry float64) {
	var points [][2]float64
	for i := range 40 {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / 40)
		points = append(points, [2]float64{x + rx*cos, y + ry*sin})
	}
	c.fill(ink, points...)
}

func dim(c color.RGBA, light float64) color.RGBA {
	part := func(v uint8) uint8 { return uint8(float64(v) * light) }
	return color.RGBA{part(c.R), part(c.G), part(c.B), 255}
}

// paint draws the view from the sky down to the foreground.
func paint(r *rand.Rand, v view) image.Image {
	size := sizes[r.IntN(len(sizes))]
	c := canvas{image.NewRGBA(image.Rectangle{Max: size}), 1}
	horizon := 0.45 + 0.1*r.Float64()
	c.sky(r, v.time, horizon)
	c.light = light[v.time] * (0.9 + 0.1*r.Float64())
	if v.mountains {
		c.mountains(r, horizon)
	}
	c.ground(r, v.place, horizon)
	middle := map[string]float64{"left": 0.2, "middle": 0.5, "right": 0.8}[v.side] + 0.06*(r.Float64()-0.5)
	base, scale := horizon+0.14+0.1*r.Float64(), 0.9+0.3*r.Float64()
	switch v.thing {
	case "boat":
		c.boat(inks[v.colour], middle, base, scale)
	case "house":
		c.house(inks[v.colour], middle, base, scale)
	case "tent":
		c.tent(inks[v.colour], middle, base, scale)
	case "car":
		c.car(inks[v.colour], middle, base, scale)
	default:
		for i := range v.count {
			c.tree(middle+0.13*(float64(i)-float64(v.count-1)/2), base, scale)
		}
	}
	if v.time == "rain" {
		c.rain(r)
	}
	return c.RGBA
}

func (c canvas) sky(r *rand.Rand, time string, horizon float64) {
	const bands = 40
	top, low := skies[time][0], skies[time][1]
	for i := range bands {
		t := float64(i) / bands
		mix := func(a, b uint8) uint8 { return uint8(float64(a) + t*(float64(b)-float64(a))) }
		ink := color.RGBA{mix(top.R, low.R), mix(top.G, low.G), mix(top.B, low.B), 255}
		band := image.Rect(0, int(t*horizon*float64(c.Rect.Dy())), c.Rect.Dx(), c.Rect.Dy())
		draw.Draw(c.RGBA, band, image.NewUniform(ink), image.Point{}, draw.Src)
	}
	x := 0.1 + 0.8*r.Float64()
	switch time {
	case "day":
		c.disc(color.RGBA{255, 240, 120, 255}, x, 0.13, 0.06, 0.07)
	case "sunset":
		c.disc(color.RGBA{255, 120, 50, 255}, x, horizon-0.03, 0.09, 0.1)
	case "rain":
		for range 4 {
			c.disc(color.RGBA{70, 72, 80, 255}, r.Float64(), 0.05+0.1*r.Float64(), 0.16, 0.06)
		}
	default:
		c.disc(color.RGBA{240, 240, 225, 255}, x, 0.13, 0.05, 0.06)
		for range 25 {
			c.disc(color.RGBA{220, 220, 230, 255}, r.Float64(), 0.4*r.Float64(), 0.004, 0.005)
		}
	}
}

func (c canvas) rain(r *rand.Rand) {
	for range 90 {
		x, y := r.Float64(), 0.15+0.85*r.Float64()
		c.fill(color.RGBA{200, 205, 215, 255}, [2]float64{x, y}, [2]float64{x + 0.005, y}, [2]float64{x - 0.01, y + 0.05}, [2]float64{x - 0.015, y + 0.05})
	}
}

func (c canvas) mountains(r *rand.Rand, horizon float64) {
	for x := -0.1; x < 1.1; x += 0.22 {
		peak := horizon - 0.14 - 0.1*r.Float64()
		c.fill(color.RGBA{105, 100, 115, 255}, [2]float64{x - 0.2, horizon + 0.01}, [2]float64{x, peak}, [2]float64{x + 0.2, horizon + 0.01})
	}
}

func (c canvas) ground(r *rand.Rand, place string, horizon float64) {
	ink := grounds[place]
	c.fill(ink, [2]float64{0, horizon}, [2]float64{1, horizon}, [2]float64{1, 1}, [2]float64{0, 1})
	// Waves, tufts, dunes or drifts: darker streaks.
	for range 14 {
		x, y := r.Float64(), horizon+0.03+(0.95-horizon)*r.Float64()
		c.disc(dim(ink, 0.88), x, y, 0.05+0.05*r.Float64(), 0.006)
	}
}

func (c canvas) boat(ink color.RGBA, x, base, s float64) {
	c.fill(color.RGBA{90, 60, 40, 255}, [2]float64{x - 0.006, base - 0.28*s}, [2]float64{x + 0.006, base - 0.28*s}, [2]float64{x + 0.006, base}, [2]float64{x - 0.006, base})
	c.fill(ink, [2]float64{x + 0.01, base - 0.27*s}, [2]float64{x + 0.13*s, base - 0.05*s}, [2]float64{x + 0.01, base - 0.05*s})
	c.fill(ink, [2]float64{x - 0.13*s, base - 0.03*s}, [2]float64{x + 0.13*s, base - 0.03*s}, [2]float64{x + 0.09*s, base + 0.05*s}, [2]float64{x - 0.09*s, base + 0.05*s})
}

func (c canvas) house(ink color.RGBA, x, base, s float64) {
	c.fill(ink, [2]float64{x - 0.11*s, base - 0.17*s}, [2]float64{x + 0.11*s, base - 0.17*s}, [2]float64{x + 0.11*s, base + 0.03}, [2]float64{x - 0.11*s, base + 0.03})
	c.fill(color.RGBA{100, 60, 45, 255}, [2]float64{x - 0.14*s, base - 0.17*s}, [2]float64{x, base - 0.29*s}, [2]float64{x + 0.14*s, base - 0.17*s})
	c.fill(color.RGBA{60, 40, 30, 255}, [2]float64{x - 0.025, base - 0.08*s}, [2]float64{x + 0.025, base - 0.08*s}, [2]float64{x + 0.025, base + 0.03}, [2]float64{x - 0.025, base + 0.03})
}

func (c canvas) tent(ink color.RGBA, x, base, s float64) {
	c.fill(ink, [2]float64{x - 0.15*s, base + 0.03}, [2]float64{x, base - 0.2*s}, [2]float64{x + 0.15*s, base + 0.03})
	c.fill(color.RGBA{40, 35, 35, 255}, [2]float64{x - 0.04*s, base + 0.03}, [2]float64{x, base - 0.11*s}, [2]float64{x + 0.04*s, base + 0.03})
}

func (c canvas) car(ink color.RGBA, x, base, s float64) {
	c.fill(ink, [2]float64{x - 0.08*s, base - 0.07*s}, [2]float64{x - 0.05*s, base - 0.15*s}, [2]float64{x + 0.05*s, base - 0.15*s}, [2]float64{x + 0.08*s, base - 0.07*s})
	c.fill(ink, [2]float64{x - 0.15*s, base - 0.08*s}, [2]float64{x + 0.15*s, base - 0.08*s}, [2]float64{x + 0.15*s, base + 0.01}, [2]float64{x - 0.15*s, base + 0.01})
	for _, wheel := range []float64{x - 0.09*s, x + 0.09*s} {
		c.disc(color.RGBA{25, 25, 28, 255}, wheel, base+0.01, 0.04*s, 0.045*s)
	}
}

func (c canvas) tree(x, base, s float64) {
	c.fill(color.RGBA{95, 65, 35, 255}, [2]float64{x - 0.012, base - 0.14*s}, [2]float64{x + 0.012, base - 0.14*s}, [2]float64{x + 0.012, base + 0.03}, [2]float64{x - 0.012, base + 0.03})
	c.disc(color.RGBA{25, 95, 40, 255}, x, base-0.19*s, 0.055*s, 0.12*s)
}
