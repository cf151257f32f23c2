package demodata

import (
	"math"
	"math/rand/v2"

	"github.com/captioner/captioner"
)

// Scene is the truth about one picture.
type Scene struct {
	Image      string          `json:"image"`
	Split      captioner.Split `json:"split"`
	Width      int             `json:"width"`  // pixels
	Height     int             `json:"height"` // pixels
	Background Background      `json:"background"`
	Objects    []Object        `json:"objects"`
}

// Background is what the objects lie on.
type Background struct {
	Tone    Tone   `json:"tone"`
	Pattern string `json:"pattern"` // "plain", "gradient", "vignette" or "grainy"
}

// Object is one drawn shape.
type Object struct {
	Colour  Colour  `json:"colour"`
	Shape   Shape   `json:"shape"`
	Size    Size    `json:"size"`
	Texture Texture `json:"texture"`
	// X and Y are the centre and Radius that of a circle of about the same
	// extent, in pixels.
	X      float64 `json:"x"`
	Y      float64 `json:"y"`
	Radius float64 `json:"radius"`
	// Rotation is clockwise, in radians.
	Rotation float64 `json:"rotation"`
	// Group numbers the objects that look alike and are named together.
	Group int `json:"group"`
}

// Pair is a colour and a shape that belong together.
type Pair struct {
	Colour Colour `json:"colour"`
	Shape  Shape  `json:"shape"`
}

// String gives the pair as "red circle".
func (p Pair) String() string { return string(p.Colour) + " " + string(p.Shape) }

// Pairs returns the pairs of the scene, each once.
func (s Scene) Pairs() []Pair {
	var pairs []Pair
	for _, g := range s.groups() {
		pairs = append(pairs, Pair{g.Colour, g.Shape})
	}
	return unique(pairs)
}

// group is a set of objects that look alike.
type group struct {
	Object  // its first member
	members []Object
}

func (s Scene) groups() []group {
	var groups []group
	for _, o := range s.Objects {
		if o.Group == len(groups) {
			groups = append(groups, group{Object: o})
		}
		groups[o.Group].members = append(groups[o.Group].members, o)
	}
	return groups
}

// pictureSizes are like those of Flickr, whose pictures have 500 pixels at most.
var pictureSizes = [][2]int{
	{500, 375}, {375, 500}, {400, 400}, {480, 400}, {400, 480}, {480, 360}, {440, 400}, {400, 360},
}

// groupings are the sizes of the groups of a scene: one entry is drawn for
// each, by the weights.
var groupings = []struct {
	sizes  []int
	weight float64
}{
	{[]int{1}, 0.22}, {[]int{2}, 0.08}, {[]int{3}, 0.05},
	{[]int{1, 1}, 0.30}, {[]int{2, 1}, 0.10}, {[]int{2, 2}, 0.03}, {[]int{3, 1}, 0.03},
	{[]int{1, 1, 1}, 0.10}, {[]int{2, 1, 1}, 0.04}, {[]int{1, 1, 1, 1}, 0.05},
}

// newScene draws a scene. Its first group is the given pair, unless that is
// nil; no other group is one of the pairs in avoid.
func newScene(r *rand.Rand, first *Pair, avoid map[Pair]bool) Scene {
	size := pictureSizes[r.IntN(len(pictureSizes))]
	s := Scene{Width: size[0], Height: size[1], Background: newBackground(r)}
	sizes := drawGrouping(r)
	pairs := drawPairs(r, len(sizes), first, avoid)
	for i, n := range sizes {
		look := Object{Colour: pairs[i].Colour, Shape: pairs[i].Shape, Texture: drawTexture(r), Group: i}
		for range n {
			s.Objects = append(s.Objects, look)
		}
	}
	place(r, &s)
	return s
}

func newBackground(r *rand.Rand) Background {
	tones := names[Tone](toneWords)
	patterns := []string{"plain", "gradient", "vignette", "grainy"}
	return Background{Tone: tones[r.IntN(len(tones))], Pattern: patterns[r.IntN(len(patterns))]}
}

func drawGrouping(r *rand.Rand) []int {
	u := r.Float64()
	for _, g := range groupings {
		if u -= g.weight; u < 0 {
			return g.sizes
		}
	}
	return groupings[0].sizes
}

// drawPairs returns n different pairs.
func drawPairs(r *rand.Rand, n int, first *Pair, avoid map[Pair]bool) []Pair {
	var pairs []Pair
	taken := make(map[Pair]bool)
	if first != nil {
		pairs, taken[*first] = append(pairs, *first), true
	}
	cs, ss := colours(), shapes()
	for len(pairs) < n {
		p := Pair{cs[r.IntN(len(cs))], ss[r.IntN(len(ss))]}
		if !taken[p] && !avoid[p] {
			pairs, taken[p] = append(pairs, p), true
		}
	}
	return pairs
}

func drawTexture(r *rand.Rand) Texture {
	switch u := r.Float64(); {
	case u < 0.6:
		return Solid
	case u < 0.8:
		return Striped
	default:
		return Dotted
	}
}

// radiusRange gives the smallest and largest radius of a size, in units of the
// square root of the picture's area. A small object is 14 pixels wide or more
// after the picture is squashed to 64 × 64, enough to tell shape and texture;
// the gaps between the ranges keep the sizes apart.
var radiusRange = map[Size][2]float64{
	Small:  {0.130, 0.140},
	Medium: {0.172, 0.184},
	Large:  {0.220, 0.236},
}

// place draws sizes and positions until nothing overlaps, and, for a scene of
// two groups, mostly until one is clearly beside or above the other.
func place(r *rand.Rand, s *Scene) {
	wantRelation := r.Float64() < 0.8
	for attempt := 0; ; attempt++ {
		drawSizes(r, s)
		if !placeAll(r, s) {
			continue
		}
		groups := s.groups()
		if attempt < 200 && wantRelation && len(groups) > 1 && len(relations(*s, groups)) == 0 {
			continue
		}
		return
	}
}

func drawSizes(r *rand.Rand, s *Scene) {
	all := []Size{Small, Medium, Large}
	unit := math.Sqrt(float64(s.Width * s.Height))
	for i := range s.Objects {
		o := &s.Objects[i]
		if i > 0 && s.Objects[i-1].Group == o.Group {
			o.Size, o.Radius = s.Objects[i-1].Size, s.Objects[i-1].Radius
		} else {
			o.Size = all[r.IntN(len(all))]
			lo, hi := radiusRange[o.Size][0], radiusRange[o.Size][1]
			o.Radius = unit * (lo + (hi-lo)*r.Float64())
		}
		o.Rotation = (r.Float64()*2 - 1) * 5 * math.Pi / 180
	}
}

// placeAll gives every object a position; false when there was no room.
func placeAll(r *rand.Rand, s *Scene) bool {
	gap := 0.03 * math.Sqrt(float64(s.Width*s.Height))
	for i := range s.Objects {
		o := &s.Objects[i]
		free := false
		for range 40 {
			edge := o.Radius*maxExtent + 2
			o.X = edge + r.Float64()*(float64(s.Width)-2*edge)
			o.Y = edge + r.Float64()*(float64(s.Height)-2*edge)
			if free = isFree(*o, s.Objects[:i], gap); free {
				break
			}
		}
		if !free {
			return false
		}
		// A tenth of a pixel is enough, and keeps the file of truths short.
		o.X, o.Y, o.Radius = round(o.X, 10), round(o.Y, 10), round(o.Radius, 10)
		o.Rotation = round(o.Rotation, 1000)
	}
	return true
}

func isFree(o Object, others []Object, gap float64) bool {
	for _, other := range others {
		if distance(o, other) < o.Radius+other.Radius+gap {
			return false
		}
	}
	return true
}

func distance(a, b Object) float64 { return math.Hypot(a.X-b.X, a.Y-b.Y) }

func round(v, unit float64) float64 { return math.Round(v*unit) / unit }

func unique[T comparable](list []T) []T {
	seen := make(map[T]bool, len(list))
	out := list[:0]
	for _, v := range list {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}
