package encoder

import (
	"fmt"
	"path"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/keras"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// Pretrained is an encoder whose weights Keras publishes.
type Pretrained struct {
	// Name is Keras' name of it.
	Name string
	// Side is that of the pictures it takes, in pixels; it takes no others.
	Side int
	// Grid is the number of locations a side, and Width that of the numbers at
	// each: L is Grid², D is Width.
	Grid, Width int

	build func(*network, tf.Output) value
	// adapt converts the tensors that have no counterpart in the graph.
	adapt func(*keras.Weights, map[string]*tf.Tensor)
}

// Pretraineds returns the encoders whose weights Keras publishes. A new one is
// a file that says how it is built, and its name here.
func Pretraineds() []Pretrained { return []Pretrained{efficientNetB3, inceptionV3} }

// PretrainedNamed returns the encoder of that name, in capitals or not; an
// unknown one is an Invalid error.
func PretrainedNamed(name string) (Pretrained, error) {
	var names []string
	for _, p := range Pretraineds() {
		if strings.EqualFold(p.Name, name) {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Pretrained{}, captioner.Errorf(captioner.Invalid, "there is no pretrained encoder %q, only %s", name, strings.Join(names, ", "))
}

// CheckSide returns an Invalid error where the encoder of that name takes only
// pictures of another side than the given one.
func CheckSide(name string, side int) error {
	if p, err := PretrainedNamed(name); err == nil && side != p.Side {
		return captioner.Errorf(captioner.Invalid, "%s takes pictures of %d × %d pixels: image_size must be %d, is %d",
			p.Name, p.Side, p.Side, p.Side, side)
	}
	return nil // others take any
}

// Encode is the [Encoder].
//
//	pixels  [B, Side, Side, 3]      float32, 0…255
//	result  [B, Grid·Grid, Width]
//
// Other sides are an error in the scope. A tower with FrozenAverages normalises
// with the statistics of the pretraining.
func (p Pretrained) Encode(t *nn.Tower, pixels tf.Output) tf.Output {
	wantSide(t.Scope, p.Name, pixels, p.Side)
	return flatten(t.Scope, p.build(&network{t: t}, pixels).Output)
}

// Pool averages the grid over its locations.
//
//	grid    [B, L, D]
//	result  [B, D]
func Pool(s *tf.Scope, grid tf.Output) tf.Output { return nn.Mean(s, grid, false, 1) }

// layers returns the network as Keras has it.
func (p Pretrained) layers() (*network, error) {
	s := tf.NewScope()
	n := &network{t: &nn.Tower{Scope: s, Weights: nn.NewVariables(s, 0)}}
	p.build(n, tf.Placeholder(s, tf.Float, -1, int64(p.Side), int64(p.Side), 3))
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("build %s: %w", p.Name, err)
	}
	return n, nil
}

// LastBlocks returns what tells the weights of the encoder's last blocks, as many
// as blocks says; -1, or more than there are, stands for all. The names are
// those that a tower with the encoder alone has.
func (p Pretrained) LastBlocks(blocks int) (func(weight string) bool, error) {
	n, err := p.layers()
	if err != nil {
		return nil, err
	}
	first := 0
	if blocks >= 0 && blocks < len(n.blocks) {
		first = append(n.blocks, len(n.layers))[len(n.blocks)-blocks]
	}
	last := make(map[string]bool)
	for _, layer := range n.layers[first:] {
		last[layer.Name] = true
	}
	return func(weight string) bool { return last[path.Dir(weight)] }, nil
}

// Read reads weights that Keras has written and returns them under the names
// that a tower with the encoder alone has for them, with the file's digest. The
// caller releases them. A file of another network is Invalid and has every
// difference among its problems.
func (p Pretrained) Read(file string) (map[string]*tf.Tensor, captioner.Digest, error) {
	n, err := p.layers()
	if err != nil {
		return nil, "", err
	}
	weights, err := keras.Read(file, n.layers)
	if err != nil {
		return nil, "", err
	}
	tensors := n.ourWeights(weights)
	if p.adapt != nil {
		p.adapt(weights, tensors)
	}
	return tensors, weights.Digest, nil
}
