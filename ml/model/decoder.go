package model

import (
	"maps"
	"slices"

	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// Decoder says a picture's caption word by word, from the grid that the encoder
// made of the picture. It adds itself to a graph twice, with the same weights:
// whole captions at a time to be trained, and one token at a time to be served.
// Both must give the same numbers.
//
// The axes: B pictures, C captions a picture, T tokens, L locations of the grid,
// D the width of the encoder's output, E of the words' vectors, M the model's
// Width, V its Vocabulary, K hypotheses; W is the width of the memory.
type Decoder interface {
	// Grid turns the encoder's output into the vectors that the decoder looks
	// at: [Model.Grid], or fewer where the decoder pools locations. L is their
	// number in all that follows.
	//
	//	features  [B, locations, D]
	//	result    [B, L, M]
	Grid(t *nn.Tower, features tf.Output) tf.Output
	// Memory turns the grid into what all steps read, computed once a picture.
	//
	//	grid    [B, L, M]
	//	result  [B, L, W]
	Memory(t *nn.Tower, grid tf.Output) tf.Output
	// Words turns the memory and the tokens so far into a vector per token, of
	// which [Model.Logits] makes the scores of the next one.
	//
	//	tokens  [B, C, T] int32  each from the start token
	//	memory  [B, L, W]
	//	result  [B·C, T, M]
	Words(t *nn.Tower, tokens, memory tf.Output) tf.Output
	// Step is Words and Logits for one more token of each hypothesis.
	//
	//	tokens    [K] int32   the newest tokens
	//	position  [] int32    how many came before, the same for all
	//	memory    [K, L, W]   of each hypothesis' picture
	//	state     [K, ...]    what the step before has left; see Sizes
	//	logits    [K, V]
	//	seen      [K, L]      how much each location was looked at, sums to 1
	//	next      [K, ...]    the state for the next step
	Step(t *nn.Tower, tokens, position, memory, state tf.Output) (logits, seen, next tf.Output)
	// Sizes returns W, and the axes of the state after K. An axis of -1 grows
	// with the tokens and is 0 before the first; the first state is all zeros.
	Sizes() (memory int64, state []int64)
}

// decoders has what makes a model's decoder, under the names that
// configurations use.
var decoders = map[string]func(*Model) Decoder{
	"transformer": func(m *Model) Decoder { return transformer{m} },
}

// RegisterDecoder adds a decoder under a name, which must be new: it panics
// otherwise. Call it from an init function, and add the name to
// internal/config, which is built without TensorFlow and cannot ask here.
func RegisterDecoder(name string, of func(*Model) Decoder) {
	if name == "" || of == nil || decoders[name] != nil {
		panic("model: decoder " + name + " is empty or registered twice")
	}
	decoders[name] = of
}

// Decoders returns the names of all decoders, sorted.
func Decoders() []string { return slices.Sorted(maps.Keys(decoders)) }

// transformer is the decoder of model.go.
type transformer struct{ *Model }

// Sizes implements [Decoder]: the keys and values of every layer, of the grid
// and of the tokens.
func (m transformer) Sizes() (memory int64, state []int64) {
	return int64(m.Layers * 2 * m.Width), []int64{int64(m.Layers * 2), -1, int64(m.Width)}
}
