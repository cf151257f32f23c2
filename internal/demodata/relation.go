package demodata

import "math"

// relation says where a group lies relative to another, numbered by Group.
type relation struct {
	subject, object int
	kind            relationKind
}

type relationKind int

const (
	leftOf relationKind = iota
	rightOf
	above
	below
	near
)

// relations lists what can be said of the scene's groups without a doubt.
func relations(s Scene, groups []group) []relation {
	var found []relation
	for i, a := range groups {
		for j, b := range groups {
			if i == j {
				continue
			}
			for kind := leftOf; kind <= near; kind++ {
				if holdsForAll(s, kind, a.members, b.members) {
					found = append(found, relation{i, j, kind})
				}
			}
		}
	}
	return found
}

// holdsForAll reports whether the relation is true of every member of a with
// every member of b; two things are near when all of them are.
func holdsForAll(s Scene, kind relationKind, as, bs []Object) bool {
	for _, a := range as {
		for _, b := range bs {
			if !holds(s, kind, a, b) {
				return false
			}
		}
	}
	return true
}

// holds reports whether the relation is plain to see. "Left of" means well
// apart along the horizontal and much more so than along the vertical, in the
// picture and in its squashed square alike; the others follow from it.
func holds(s Scene, kind relationKind, a, b Object) bool {
	dx, dy := b.X-a.X, b.Y-a.Y
	switch kind {
	case rightOf:
		return holds(s, leftOf, b, a)
	case below:
		return holds(s, above, b, a)
	case near:
		return distance(a, b)-a.Radius-b.Radius < 0.10*math.Sqrt(float64(s.Width*s.Height))
	case above:
		return dominates(dy, dx, s.Height, s.Width) && dy > 0.9*(a.Radius+b.Radius)
	default:
		return dominates(dx, dy, s.Width, s.Height) && dx > 0.9*(a.Radius+b.Radius)
	}
}

// dominates reports whether the positive distance along one axis is at least
// 1.6 times that along the other, both in pixels and as shares of the sides.
func dominates(along, across float64, side, otherSide int) bool {
	across = math.Abs(across)
	return along > 1.6*across && along/float64(side) > 1.6*across/float64(otherSide)
}
