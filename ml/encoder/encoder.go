// Package encoder has the image encoders, by name. An encoder turns a picture
// into a feature map: a grid of locations with a vector each, which the
// decoder attends to. A new one is a file that registers its function.
package encoder

import (
	"maps"
	"slices"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// Encoder adds an image encoder to a tower. The names "project", "positions"
// and "norm" are taken there by what ml/model adds behind it.
//
//	pixels  [B, S, S, 3]  float32, 0…255: what else is done to them is its own
//	result  [B, L, D]     L locations, row by row
type Encoder func(t *nn.Tower, pixels tf.Output) tf.Output

// registry has every encoder under the name that configurations use.
var registry = map[string]Encoder{
	"conv": Conv,
}

// Register adds an encoder under a name, which must be new: it panics
// otherwise. Call it from an init function, and add the name to
// internal/config, which is built without TensorFlow and cannot ask here.
func Register(name string, e Encoder) {
	if name == "" || e == nil || registry[name] != nil {
		panic("encoder: " + name + " is empty or registered twice")
	}
	registry[name] = e
}

// Named returns the encoder of that name; an unknown one is an Invalid error.
func Named(name string) (Encoder, error) {
	if e, ok := registry[name]; ok {
		return e, nil
	}
	if p, err := PretrainedNamed(name); err == nil {
		return p.Encode, nil
	}
	return nil, captioner.Errorf(captioner.Invalid, "there is no encoder %q, only %s", name, strings.Join(Names(), ", "))
}

// Names returns the names of all encoders, sorted.
func Names() []string {
	names := slices.Collect(maps.Keys(registry))
	for _, p := range Pretraineds() {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names
}
