// Package decoder is a worked example of docs/extending.md: a caption decoder.
package decoder

import (
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

func init() {
	model.RegisterDecoder("average", func(m *model.Model) model.Decoder { return average{m} })
}

// average is a decoder of one layer that looks at the mean of the words so far
// in place of attention to each (Zhang, Xiong and Su 2018). All that it has to
// remember is their sum, whose size does not grow.
type average struct{ *model.Model }

// Sizes: the memory is the grid's keys and values; the state is the sum.
func (d average) Sizes() (memory int64, state []int64) {
	return int64(2 * d.Width), []int64{int64(d.Width)}
}

// Memory [B, L, M] → [B, L, 2·M].
func (d average) Memory(t *nn.Tower, grid tf.Output) tf.Output {
	return nn.Dense(t.Sub("memory"), grid, 2*d.Width, nn.Glorot)
}

// Words is the way of training: whole captions at once.
func (d average) Words(t *nn.Tower, tokens, memory tf.Output) tf.Output {
	s := t.Scope
	pictures, length := nn.Size(s, tokens, 0), nn.Size(s, tokens, 2)
	x := d.Embed(t, nn.Reshape(s, tokens, -1, length)) // [B·C, T, M]

	sums := tf.Out(s, "Cumsum", nil, x, tf.Int(s, 1))
	counts := tf.Out(s, "Range", nil, tf.Int(s, 1), nn.Add(s, length, tf.Int(s, 1)), tf.Int(s, 1))
	x = d.remember(t, x, tf.Out(s, "RealDiv", nil, sums, nn.Cast(s, nn.ExpandDims(s, counts, 1), tf.Float)))

	// All captions of a picture look at it together: [B, C·T, M].
	y, _ := d.look(t, nn.Reshape(s, x, pictures, -1, d.Width), memory)
	return nn.LayerNorm(t.Sub("norm"), nn.Reshape(s, y, -1, length, d.Width))
}

// Step is the way of serving: one more token of each hypothesis.
func (d average) Step(t *nn.Tower, tokens, position, memory, state tf.Output) (logits, seen, next tf.Output) {
	s := t.Scope
	x := d.Embed(t, tokens) // [K, M]
	next = nn.Add(s, state, x)
	count := nn.Cast(s, nn.Add(s, position, tf.Int(s, 1)), tf.Float)
	x = d.remember(t, x, tf.Out(s, "RealDiv", nil, next, count))

	y, weights := d.look(t, nn.ExpandDims(s, x, 1), memory) // [K, 1, M] and [K, N, 1, L]
	x = nn.LayerNorm(t.Sub("norm"), nn.Reshape(s, y, -1, d.Width))
	return d.Logits(t, x), nn.Mean(s, weights, false, 1, 2), next
}

// remember adds to x what the mean of the words so far says.
func (d average) remember(t *nn.Tower, x, mean tf.Output) tf.Output {
	s := t.Scope
	y := nn.ReLU(s, nn.Dense(t.Sub("widen"), nn.LayerNorm(t.Sub("mean"), mean), d.FeedForward, nn.He))
	return nn.Add(s, x, nn.Dropout(t.Sub("narrow"), nn.Dense(t.Sub("narrow"), y, d.Width, nn.Glorot), d.Dropout))
}

// look adds to x what it finds in the picture.
func (d average) look(t *nn.Tower, x, memory tf.Output) (result, weights tf.Output) {
	s := t.Scope
	keysValues := nn.SplitHeads(s, memory, 2, d.Heads)
	y, weights := nn.CrossAttention(t.Sub("cross"), nn.LayerNorm(t.Sub("look"), x), keysValues[0], keysValues[1], d.Heads)
	return nn.Add(s, x, y), weights
}
