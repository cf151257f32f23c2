package foreign

import (
	"math/rand/v2"
	"slices"
	"strings"
)

// captions describes the view five times.
func captions(r *rand.Rand, v view) []string {
	var out []string
	for len(out) < 5 {
		c := describe(r, v)
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// describe puts subject, verb, place, side, horizon and time into one of five
// orders.
func describe(r *rand.Rand, v view) string {
	often := func(usual, other string) string {
		if r.Float64() < 0.6 {
			return usual
		}
		return other
	}
	subject, verb := v.subject(often), v.verb(often)
	place, side, time := v.where(often), v.beside(often), v.when(often)
	if v.mountains && r.Float64() < 0.7 {
		place += " " + often("near mountains", "below high hills")
	}
	switch u := r.Float64(); {
	case u < 0.30:
		return join(subject, verb, place, time)
	case u < 0.45:
		return join(time, subject, verb, place)
	case u < 0.60:
		return join(subject, side, place, time)
	case u < 0.85:
		return join(subject, verb, place, side)
	default:
		return join("there", v.be(), subject, place, time)
	}
}

func join(parts ...string) string { return strings.Join(parts, " ") }

func (v view) subject(often func(string, string) string) string {
	if v.thing == "tree" {
		return []string{"", "a tall tree", "two trees", "three trees"}[v.count]
	}
	noun := map[string]string{
		"boat": often("boat", "ship"), "house": often("house", "cottage"), "tent": "tent", "car": "car",
	}[v.thing]
	return join("a", v.colour, noun)
}

func (v view) verb(often func(string, string) string) string {
	if v.count > 1 {
		return often("grow", "stand")
	}
	return map[string]string{
		"boat": often("sails", "floats"), "house": often("stands", "is"), "tree": often("grows", "stands"),
		"tent": often("waits", "is"), "car": often("drives", "rolls"),
	}[v.thing]
}

func (v view) be() string {
	if v.count > 1 {
		return "are"
	}
	return "is"
}

func (v view) where(often func(string, string) string) string {
	return map[string]string{
		"sea":    often("on the sea", "on blue water"),
		"field":  often("in a green field", "on the grass"),
		"desert": often("in the desert", "on dry sand"),
		"snow":   often("in deep snow", "on the white snow"),
	}[v.place]
}

func (v view) beside(often func(string, string) string) string {
	if v.side == "middle" {
		return often("in the middle", "in the center")
	}
	return often("on the "+v.side, "to the "+v.side)
}

func (v view) when(often func(string, string) string) string {
	return map[string]string{
		"day":    often("on a sunny day", "in bright sunshine"),
		"sunset": often("at sunset", "under a red sky"),
		"night":  often("at night", "late at night"),
		"rain":   often("in the rain", "under dark clouds"),
	}[v.time]
}
