package demodata

import "math"

// maxExtent bounds how far any shape of radius 1 reaches from its centre.
const maxExtent = 1.21

// signedDistance returns the approximate distance of (x, y) from the outline
// of the shape of radius 1 around the origin, negative inside; y points down.
// The formulas are Inigo Quilez' two-dimensional distance functions; sizes are
// chosen so that all shapes look about equally large.
func signedDistance(shape Shape, x, y float64) float64 {
	switch shape {
	case "circle":
		return hypot(x, y) - 1
	case "square":
		return boxDistance(x, y, 0.84, 0.84)
	case "triangle":
		return triangleDistance(x, y-0.12)
	case "star":
		return starDistance(x, -y-0.05)
	case "heart":
		return heartDistance(x, -y)
	case "cross":
		return min(boxDistance(x, y, 1.05, 0.29), boxDistance(x, y, 0.29, 1.05))
	case "ring":
		return math.Abs(hypot(x, y)-0.78) - 0.22
	case "moon":
		return max(hypot(x-0.15, y)-1.02, 0.86-hypot(x-0.70, y))
	}
	panic("demodata: no outline for " + string(shape))
}

func boxDistance(x, y, halfWidth, halfHeight float64) float64 {
	dx, dy := math.Abs(x)-halfWidth, math.Abs(y)-halfHeight
	return hypot(max(dx, 0), max(dy, 0)) + min(max(dx, dy), 0)
}

// triangleDistance is that of an equilateral triangle that points up: the
// largest of the distances from its three sides, 0.57 from the centre.
func triangleDistance(x, y float64) float64 {
	slanted := 0.8660254*math.Abs(x) - 0.5*y
	return max(y, slanted) - 0.57
}

// starDistance is that of a star of five points, of radius 1.15.
func starDistance(x, y float64) float64 {
	const radius, ratio = 1.15, 0.42
	k1x, k1y := 0.809016994375, -0.587785252292
	x = math.Abs(x)
	d := 2 * max(k1x*x+k1y*y, 0)
	x, y = x-d*k1x, y-d*k1y
	d = 2 * max(-k1x*x+k1y*y, 0)
	x, y = x+d*k1x, y-d*k1y
	x, y = math.Abs(x), y-radius
	bx, by := ratio*-k1y, ratio*k1x-1
	h := min(max((x*bx+y*by)/(bx*bx+by*by), 0), radius)
	return math.Copysign(hypot(x-bx*h, y-by*h), y*bx-x*by)
}

// heartDistance is that of a heart whose tip is below; y points up.
func heartDistance(x, y float64) float64 {
	const scale = 1.78
	x, y = math.Abs(x)/scale, (y+1)/scale
	if x+y > 1 {
		return scale * (hypot(x-0.25, y-0.75) - math.Sqrt2/4)
	}
	h := 0.5 * max(x+y, 0)
	d := min(x*x+(y-1)*(y-1), (x-h)*(x-h)+(y-h)*(y-h))
	return scale * math.Copysign(math.Sqrt(d), x-y)
}

// hypot is math.Hypot without its care for overflow, which takes three times
// as long.
func hypot(x, y float64) float64 { return math.Sqrt(x*x + y*y) }
