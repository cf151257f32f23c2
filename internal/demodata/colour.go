package demodata

import (
	"math"
	"math/rand/v2"
)

// rgb is a colour with gamma, each channel in [0, 1].
type rgb [3]float64

// mix moves c towards other by the share t in [0, 1].
func (c rgb) mix(other rgb, t float64) rgb {
	for i := range c {
		c[i] += t * (other[i] - c[i])
	}
	return c
}

// paint says how a colour is drawn, in OKLCh (Ottosson 2020): hue in degrees,
// and the range of lightness. The hues stay at least 30 degrees apart after
// jitter, while the ranges of lightness overlap so far that grey levels give
// little away; a test bounds how much.
type paint struct{ hue, jitter, dark, light float64 }

var paints = map[Colour]paint{
	"red":       {27, 3, 0.50, 0.68},
	"orange":    {60, 4, 0.60, 0.80},
	"yellow":    {102, 4, 0.66, 0.88},
	"green":     {144, 5, 0.48, 0.86},
	"turquoise": {195, 6, 0.52, 0.88},
	"blue":      {260, 5, 0.46, 0.77},
	"purple":    {303, 4, 0.46, 0.77},
	"pink":      {351, 5, 0.58, 0.82},
}

// drawColour returns a shade of the colour.
func drawColour(r *rand.Rand, c Colour) rgb {
	p := paints[c]
	hue := p.hue + p.jitter*(2*r.Float64()-1)
	lightness := p.dark + (p.light-p.dark)*r.Float64()
	return oklch(lightness, largestChroma(lightness, hue)*(0.88+0.12*r.Float64()), hue)
}

// largestChroma finds how saturated a colour can be on a screen, by bisection.
func largestChroma(lightness, hue float64) float64 {
	lo, hi := 0.0, 0.4
	for range 20 {
		mid := (lo + hi) / 2
		if _, ok := oklchLinear(lightness, mid, hue); ok {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// oklch converts from OKLCh: lightness in [0, 1], chroma from 0, hue in
// degrees. What lies outside of the screen's gamut is cut off.
func oklch(lightness, chroma, hue float64) rgb {
	c, _ := oklchLinear(lightness, chroma, hue)
	for i, v := range c {
		v = min(max(v, 0), 1)
		if v <= 0.0031308 {
			c[i] = 12.92 * v
		} else {
			c[i] = 1.055*math.Pow(v, 1/2.4) - 0.055
		}
	}
	return c
}

// oklchLinear converts to linear light, and reports whether that is in gamut.
func oklchLinear(lightness, chroma, hue float64) (rgb, bool) {
	sin, cos := math.Sincos(hue * math.Pi / 180)
	a, b := chroma*cos, chroma*sin
	l := cube(lightness + 0.3963377774*a + 0.2158037573*b)
	m := cube(lightness - 0.1055613458*a - 0.0638541728*b)
	s := cube(lightness - 0.0894841775*a - 1.2914855480*b)
	c := rgb{
		4.0767416621*l - 3.3077115913*m + 0.2309699292*s,
		-1.2684380046*l + 2.6097574011*m - 0.3413193965*s,
		-0.0041960863*l - 0.7034186147*m + 1.7076147010*s,
	}
	for _, v := range c {
		if v < -1e-6 || v > 1+1e-6 {
			return c, false
		}
	}
	return c, true
}

func cube(v float64) float64 { return v * v * v }
