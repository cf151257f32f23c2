package nn

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/captioner/captioner/ml/tf"
)

// Tower is one copy of a model's graph: the one that is trained, the one that
// validates with the same weights, or the one that is exported.
type Tower struct {
	// Scope receives the operations.
	Scope *tf.Scope
	// Weights gives layers their weights.
	Weights Weights
	// Training turns on dropout and batch statistics.
	Training bool
	// FrozenAverages has batch normalisation use its running averages in
	// training too, and leave them as they are: those of a pretrained network
	// are of more pictures than a training with its small batches sees.
	FrozenAverages bool
	// Seed and Step key the random numbers of a training tower. Step is the
	// number of the step, int64 [], fed by the training loop.
	Seed uint64
	Step tf.Output

	path string
}

// Weights gives a layer its weights by name. The training graph has variables
// behind it, an exported one constants.
type Weights interface {
	// Weight returns the trained weight of that name and shape.
	Weight(s *tf.Scope, name string, init Init, shape ...int64) tf.Output
	// Average returns a running average of that name and shape, which starts
	// at the value initial and is not trained by gradients.
	Average(s *tf.Scope, name string, initial float32, shape ...int64) tf.Output
	// Move moves a running average the share rate of the way to value, once a
	// training step; where several towers do, to the mean of their values.
	Move(s *tf.Scope, name string, value tf.Output, rate float32)
}

// Sub returns the tower for a part of the model: its operations and weights
// have name before theirs.
func (t *Tower) Sub(name string) *Tower {
	sub := *t
	sub.Scope = t.Scope.SubScope(name)
	sub.path = t.path + name + "/"
	return &sub
}

// Constant returns a tensor that training leaves alone, with the value initial
// in all of its elements until it is assigned.
func (t *Tower) Constant(name string, initial float32, shape ...int64) tf.Output {
	return t.Weights.Average(t.Scope, t.path+name, initial, shape...)
}

func (t *Tower) weight(name string, init Init, shape ...int64) tf.Output {
	return t.Weights.Weight(t.Scope, t.path+name, init, shape...)
}

// Init gives the initial value of each element of a weight.
type Init func(r *rand.Rand, shape []int64) float32

// Zeros starts a weight at 0.
func Zeros(*rand.Rand, []int64) float32 { return 0 }

// Ones starts a weight at 1.
func Ones(*rand.Rand, []int64) float32 { return 1 }

// Uniform draws from [-limit, limit).
func Uniform(limit float64) Init {
	return func(r *rand.Rand, _ []int64) float32 { return float32((2*r.Float64() - 1) * limit) }
}

// Glorot draws uniformly with variance 2/(inputs+outputs) (Glorot and Bengio
// 2010). The last axis holds the outputs, the ones before it the inputs.
func Glorot(r *rand.Rand, shape []int64) float32 {
	in, out := fans(shape)
	return Uniform(math.Sqrt(6/(in+out)))(r, shape)
}

// He draws uniformly with variance 2/inputs, which keeps the size of
// activations through a ReLU (He et al. 2015).
func He(r *rand.Rand, shape []int64) float32 {
	in, _ := fans(shape)
	return Uniform(math.Sqrt(6/in))(r, shape)
}

// heDepthwise is He for a kernel that stays within a channel.
func heDepthwise(r *rand.Rand, shape []int64) float32 {
	return Uniform(math.Sqrt(6/float64(shape[0]*shape[1])))(r, shape)
}

func fans(shape []int64) (in, out float64) {
	in = 1
	for _, d := range shape[:len(shape)-1] {
		in *= float64(d)
	}
	return in, float64(shape[len(shape)-1])
}

// initial returns the initial values of a weight: a function of seed, name and
// shape alone, so that other weights can come and go.
func initial(seed uint64, name string, init Init, shape []int64) *tf.Tensor {
	t := tf.NewTensor(tf.Float, shape...)
	r := rand.New(rand.NewPCG(seed, hash(name)))
	values := t.Float32s()
	for i := range values {
		values[i] = init(r, shape)
	}
	return t
}

func hash(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// Variables are weights that a training graph changes.
type Variables struct {
	vars     *tf.Variables
	seed     uint64
	inits    map[string]Init
	trained  []*tf.Variable
	averages []*tf.Variable
	moves    map[string][]move
}

// move is what one tower wants of a running average.
type move struct {
	value tf.Output
	rate  float32
}

// NewVariables returns weights kept in variables of the graph of s; seed
// decides their initial values.
func NewVariables(s *tf.Scope, seed uint64) *Variables {
	return &Variables{vars: tf.NewVariables(s), seed: seed, inits: make(map[string]Init), moves: make(map[string][]move)}
}

// Weight implements [Weights]. Towers that ask for the same name share it.
func (v *Variables) Weight(_ *tf.Scope, name string, init Init, shape ...int64) tf.Output {
	w := v.vars.Get(name, shape...)
	if _, ok := v.inits[name]; !ok {
		v.inits[name] = init
		v.trained = append(v.trained, w)
	}
	return w.Value
}

// Average implements [Weights].
func (v *Variables) Average(_ *tf.Scope, name string, initial float32, shape ...int64) tf.Output {
	w := v.vars.Get(name, shape...)
	if _, ok := v.inits[name]; !ok {
		v.inits[name] = func(*rand.Rand, []int64) float32 { return initial }
		v.averages = append(v.averages, w)
	}
	return w.Value
}

// Move implements [Weights].
func (v *Variables) Move(_ *tf.Scope, name string, value tf.Output, rate float32) {
	v.moves[name] = append(v.moves[name], move{value, rate})
}

// Trained returns the weights that gradients train, in the order of their making.
func (v *Variables) Trained() []*tf.Variable { return v.trained }

// Averages returns the running averages.
func (v *Variables) Averages() []*tf.Variable { return v.averages }

// Updates adds to s the operations that move the running averages as all
// towers so far want, and returns them. One operation moves each: two that
// race would add up in any order, and so to different bits.
func (v *Variables) Updates(s *tf.Scope) []*tf.Operation {
	var updates []*tf.Operation
	for _, w := range v.averages {
		moves := v.moves[w.Name]
		if len(moves) == 0 {
			continue
		}
		share := make(tf.OutputList, len(moves))
		for i, m := range moves {
			share[i] = Scale(s, Sub(s, w.Value, m.value), m.rate/float32(len(moves)))
		}
		updates = append(updates, tf.Add(s, "AssignSubVariableOp", tf.Attrs{"dtype": tf.Float},
			w.Handle, tf.Out(s, "AddN", nil, share)))
	}
	return updates
}

// All returns the set with every variable, also those of an optimiser.
func (v *Variables) All() *tf.Variables { return v.vars }

// Initial returns the initial values of weights and averages, by name. The
// caller releases them.
func (v *Variables) Initial() map[string]*tf.Tensor {
	values := make(map[string]*tf.Tensor)
	for _, list := range [][]*tf.Variable{v.trained, v.averages} {
		for _, w := range list {
			values[w.Name] = initial(v.seed, w.Name, v.inits[w.Name], w.Shape)
		}
	}
	return values
}

// Constants are weights frozen into an exported graph, by name.
type Constants struct {
	values map[string]*tf.Tensor
	made   map[string]tf.Output
	folded map[string]folding // by the kernel's name
}

// NewConstants returns weights with the given values, which stay the caller's.
func NewConstants(values map[string]*tf.Tensor) *Constants {
	return &Constants{values: values, made: make(map[string]tf.Output), folded: make(map[string]folding)}
}

// Constant returns c: all of its weights are constants.
func (c *Constants) Constant(string) *Constants { return c }

// Weight implements [Weights]. A missing name is an error in the scope.
func (c *Constants) Weight(s *tf.Scope, name string, _ Init, shape ...int64) tf.Output {
	if out, ok := c.made[name]; ok {
		return out
	}
	value := c.value(s, name, shape...)
	if value == nil {
		return tf.Output{}
	}
	c.made[name] = tf.Weight(s, name, value)
	return c.made[name]
}

// value returns a weight; nil, and an error in the scope, where it is missing
// or has another shape.
func (c *Constants) value(s *tf.Scope, name string, shape ...int64) *tf.Tensor {
	value, ok := c.values[name]
	if !ok {
		s.UpdateErr("Const", fmt.Errorf("there is no weight %q", name))
		return nil
	}
	if fmt.Sprint(value.Shape()) != fmt.Sprint(shape) {
		s.UpdateErr("Const", fmt.Errorf("weight %q has shape %v, want %v", name, value.Shape(), shape))
		return nil
	}
	return value
}

// Average implements [Weights].
func (c *Constants) Average(s *tf.Scope, name string, _ float32, shape ...int64) tf.Output {
	return c.Weight(s, name, nil, shape...)
}

// Move implements [Weights]: constants do not move, so it is an error.
func (c *Constants) Move(s *tf.Scope, name string, _ tf.Output, _ float32) {
	s.UpdateErr("Const", fmt.Errorf("average %q cannot move in an exported graph", name))
}
