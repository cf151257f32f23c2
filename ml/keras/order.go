package keras

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// ordered returns the layers in the order in which a Keras model has them: by
// the longest way to the model's end, and where that is equal, as they were
// made. In a network with branches this is not the order of their making.
func ordered(layers []Layer) []Layer {
	distance := make([]int, len(layers))
	for i := len(layers) - 1; i >= 0; i-- {
		for _, in := range layers[i].Inputs {
			distance[in] = max(distance[in], distance[i]+1)
		}
	}
	places := make([]int, len(layers))
	for i := range places {
		places[i] = i
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(distance[b], distance[a]) })
	out := make([]Layer, len(layers))
	for i, place := range places {
		out[i] = layers[place]
	}
	return out
}

// number returns the number in the name that Keras gives to a layer of the
// class, 0 for the first one, which has none.
func number(name, class string) (int, bool) {
	rest, ok := strings.CutPrefix(name, class)
	switch {
	case !ok:
		return 0, false
	case rest == "":
		return 0, true
	case rest[0] != '_':
		return 0, false
	}
	n, err := strconv.Atoi(rest[1:])
	return n, err == nil && n > 0
}
