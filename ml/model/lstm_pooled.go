package model

import (
	"errors"
	"math"

	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/text"
	"github.com/captioner/captioner/ml/tf"
)

func init() {
	RegisterDecoder("lstm-pooled", func(m *Model) Decoder { return lstmPooled{m} })
}

// lstmPooled is the decoder of the original system, a Keras model: one vector of
// the whole picture is the query of an attention over the hidden states of an
// LSTM that has read the words so far. Each of the Heads is as wide as the model.
// Layers and FeedForward have no meaning here.
//
// The original trains on each prefix of a caption by itself. Here a caption goes
// through once, and each of its words looks back alone: the same losses and
// gradients, since the LSTM reads from left to right.
//
// With one query, attention needs no product per word for keys and values. For
// the hidden states h and a head with the projections K, V and O
//
//	(h·K + k)·q      = h·(K·q) + k·q
//	Σ a·(h·V + v)·O  = (Σ a·h)·(V·O) + v·O
//
// where K·q is made once a picture, V·O once a step, and k·q is the same for
// all words, so that softmax takes no notice: keys have no bias here.
type lstmPooled struct{ *Model }

const (
	// pooledEpsilon is Keras' default for layer normalisation.
	pooledEpsilon = 1e-3
	// mergedDropout is the original's for the last hidden layer.
	mergedDropout = 0.5
)

// Sizes implements [Decoder]. The memory is the picture's vector, each head's
// query carried through the keys' projection. The state is the hidden state and
// cell after each token.
func (d lstmPooled) Sizes() (memory int64, state []int64) {
	return int64((1 + d.Heads) * d.Width), []int64{-1, int64(2 * d.Width)}
}

// Grid averages the locations: the grid is one vector of the whole picture, L
// is 1.
//
//	features  [B, locations, D]
//	result    [B, 1, M]
func (d lstmPooled) Grid(t *nn.Tower, features tf.Output) tf.Output {
	s := t.Scope
	x := nn.ReLU(s, nn.Dense(t.Sub("project"), encoder.Pool(s, features), d.Width, nn.Glorot))
	x = nn.Dropout(t.Sub("project"), x, d.Dropout)
	return nn.ExpandDims(s, nn.LayerNormWith(t.Sub("norm"), x, pooledEpsilon), 1)
}

// Memory makes the query of every head.
//
//	grid    [B, 1, M]
//	result  [B, 1, (1+N)·M]
func (d lstmPooled) Memory(t *nn.Tower, grid tf.Output) tf.Output {
	s := t.Scope
	t = t.Sub("attention")
	size, heads := d.Width, d.Heads
	queries := nn.Dense(t.Sub("query"), nn.Reshape(s, grid, -1, size), heads*size, nn.Glorot)
	queries = nn.Scale(s, queries, float32(1/math.Sqrt(float64(size))))
	queries = nn.Transpose(s, nn.Reshape(s, queries, -1, heads, size), 1, 0, 2) // [N, B, M]

	kernel := nn.Table(t.Sub("key"), "kernel", nn.Glorot, int64(size), int64(heads*size))
	kernel = nn.Transpose(s, nn.Reshape(s, kernel, size, heads, size), 1, 2, 0) // [N, M of q, M of h]
	looks := tf.Out(s, "BatchMatMulV2", nil, queries, kernel)                   // [N, B, M]
	looks = nn.Reshape(s, nn.Transpose(s, looks, 1, 0, 2), -1, 1, heads*size)
	return nn.Concat(s, 2, grid, looks)
}

// parts undoes Memory.
//
//	image  [B, M]
//	looks  [B, N, M]
func (d lstmPooled) parts(s *tf.Scope, memory tf.Output) (image, looks tf.Output) {
	parts := nn.SplitSizes(s, memory, 2, 2, tf.Ints(s, int32(d.Width), int32(d.Heads*d.Width)))
	return nn.Reshape(s, parts[0], -1, d.Width), nn.Reshape(s, parts[1], -1, d.Heads, d.Width)
}

// Words runs the LSTM over whole captions, and then has every word look at the
// states up to it. Padding comes last, where no word looks.
func (d lstmPooled) Words(t *nn.Tower, tokens, memory tf.Output) tf.Output {
	s := t.Scope
	sizes := nn.Sizes(s, tokens)
	if len(sizes) != 3 || d.SeesPadding {
		s.UpdateErr("lstm-pooled", errors.New("needs tokens of three axes, and a model that does not see padding"))
		return tf.Output{}
	}
	pictures, length := nn.Size(s, memory, 0), sizes[2]
	hidden := d.read(t, tokens) // [B·C, T, M]
	image, looks := d.parts(s, memory)

	// How well each state matches its picture's queries.
	flat := nn.Reshape(s, hidden, pictures, -1, d.Width)                       // [B, C·T, M]
	scores := tf.Out(s, "BatchMatMulV2", tf.Attrs{"adj_y": true}, flat, looks) // [B, C·T, N]
	scores = nn.Reshape(s, scores, -1, length, d.Heads)                        // [B·C, T, N]
	scores = nn.ExpandDims(s, nn.Transpose(s, scores, 0, 2, 1), 1)             // [B·C, 1, N, T]
	scores = nn.Add(s, scores, nn.ExpandDims(s, nn.CausalMask(s, length), 1))  // [B·C, T, N, T]
	weights := nn.Reshape(s, tf.Out(s, "Softmax", nil, scores), -1, timesHeads(s, length, d.Heads), length)
	context := tf.Out(s, "BatchMatMulV2", nil, weights, hidden) // [B·C, T·N, M]

	x := d.merge(t, nn.Reshape(s, context, pictures, -1, d.Heads*d.Width), image) // [B, C·T, M]
	return nn.Reshape(s, x, -1, length, d.Width)
}

// timesHeads returns T·N, as a size for Reshape.
func timesHeads(s *tf.Scope, length any, heads int) any {
	if fixed, ok := length.(int); ok {
		return fixed * heads
	}
	return nn.Mul(s, length.(tf.Output), tf.Int(s, int32(heads)))
}

// read returns the hidden states of the LSTM over captions.
//
//	tokens  [B, C, T]
//	result  [B·C, T, M]
func (d lstmPooled) read(t *nn.Tower, tokens tf.Output) tf.Output {
	s := t.Scope
	u := d.unroll(s, tokens)
	words := d.embedding(t, nn.Transpose(s, nn.Reshape(s, tokens, -1, u.length), 1, 0)) // [T, B·C, E]
	t = t.Sub("lstm")
	inputs, mask := d.gates(t, words)
	gates := u.split(s, inputs)

	rows := u.rows[0]
	hidden := tf.Out(s, "Fill", nil, nn.Pack(s, rows, tf.Int(s, int32(d.Width))), tf.Scalar(s, 0))
	cell := hidden
	hiddens := make([]tf.Output, u.steps)
	for i := range u.steps {
		kept := mask
		if mask.Op != nil {
			kept = u.keep(s, i, mask)
		}
		hidden, cell = nn.LSTMStep(t, gates[i], u.keep(s, i, hidden), u.keep(s, i, cell), kept)
		hiddens[i] = hidden
	}
	x := nn.Reshape(s, nn.Concat(s, 0, hiddens...), u.length, -1, d.Width)
	return nn.Transpose(s, x, 1, 0, 2)
}

// gates returns what the words add to the LSTM's gates, and the mask of its
// hidden state, empty without recurrent dropout. As in Keras a mask is drawn
// once a caption, and one for each gate where there is recurrent dropout.
//
//	words   [T, B·C, E]
//	inputs  [T·B·C, 4·M]
//	mask    [B·C, 4·M]
func (d lstmPooled) gates(t *nn.Tower, words tf.Output) (inputs, mask tf.Output) {
	s := t.Scope
	size := d.EmbeddingSize()
	rows := nn.Size(s, words, 1)
	drop := func(name string, width int, rate float64) tf.Output {
		return nn.DropoutMask(t.Sub(name), nn.Pack(s, rows, tf.Int(s, int32(width))), rate)
	}
	if !t.Training || d.RecurrentDropout == 0 {
		if t.Training && d.Dropout > 0 {
			words = nn.Mul(s, words, drop("input", size, d.Dropout))
		}
		return nn.LSTMInput(t, nn.Reshape(s, words, -1, size), d.Width), tf.Output{}
	}
	masks := make([]tf.Output, 4)
	for i, gate := range []string{"input", "forget", "output", "cell"} {
		masks[i] = drop(gate, size, d.Dropout)
	}
	return nn.LSTMInputDropped(t, words, masks, d.Width), drop("recurrent", 4*d.Width, d.RecurrentDropout)
}

// Step implements [Decoder]. All of the picture is one location, which is looked
// at wholly.
func (d lstmPooled) Step(t *nn.Tower, tokens, position, memory, state tf.Output) (logits, seen, next tf.Output) {
	s := t.Scope
	image, looks := d.parts(s, memory)
	hypotheses := nn.Size(s, tokens, 0)
	none := tf.Out(s, "Fill", nil, nn.Pack(s, hypotheses, tf.Int(s, 1), tf.Int(s, int32(2*d.Width))), tf.Scalar(s, 0))
	before := tf.Out(s, "Slice", nil, nn.Concat(s, 1, none, state), nn.Pack(s, tf.Int(s, 0), position, tf.Int(s, 0)), tf.Ints(s, -1, 1, -1))
	last := nn.Split(s, nn.Reshape(s, before, -1, 2*d.Width), 1, 2)

	gates := nn.LSTMInput(t.Sub("lstm"), d.embedding(t, tokens), d.Width)
	hidden, cell := nn.LSTMStep(t.Sub("lstm"), gates, last[0], last[1], tf.Output{})
	next = nn.Concat(s, 1, state, nn.ExpandDims(s, nn.Concat(s, 1, hidden, cell), 1)) // [K, T+1, 2·M]

	states := nn.Slice(s, next, []int32{0, 0, 0}, []int32{-1, -1, int32(d.Width)}) // [K, T+1, M]
	if d.SeesPadding {
		states = nn.Concat(s, 1, states, d.pad(t, position, hidden, cell))
	}
	scores := tf.Out(s, "BatchMatMulV2", tf.Attrs{"adj_y": true}, looks, states)          // [K, N, T+1]
	context := tf.Out(s, "BatchMatMulV2", nil, tf.Out(s, "Softmax", nil, scores), states) // [K, N, M]

	x := d.merge(t, nn.Reshape(s, context, -1, 1, d.Heads*d.Width), image)
	seen = tf.Out(s, "Fill", nil, nn.Pack(s, hypotheses, tf.Int(s, 1)), tf.Scalar(s, 1))
	return d.Logits(t, nn.Reshape(s, x, -1, d.Width)), seen, next
}

// pad returns the hidden states that follow where padding fills the sequence up
// to MaxTokens-1 tokens. It has no gradient.
//
//	position      []      how many tokens came before the newest
//	hidden, cell  [K, M]  after the newest token
//	result        [K, MaxTokens-2-position, M]
func (d lstmPooled) pad(t *nn.Tower, position, hidden, cell tf.Output) tf.Output {
	s := t.Scope
	size, in := d.Width, d.EmbeddingSize()
	left := nn.Sub(s, tf.Int(s, int32(d.MaxTokens-2)), position)
	shape := nn.Pack(s, left, nn.Size(s, hidden, 0), tf.Int(s, int32(in)))
	words := tf.Out(s, "BroadcastTo", nil, d.embedding(t, tf.Int(s, text.Pad)), shape)

	kernel, bias := nn.LSTMFused(t.Sub("lstm"), in, size)
	none := tf.Floats(s, make([]float32, size)) // no peepholes
	block := tf.Add(s, "BlockLSTMV2", nil, nn.Cast(s, left, tf.Int64), words, cell, hidden, kernel, none, none, none, bias)
	return nn.Transpose(s, block.Output(6), 1, 0, 2)
}

// merge projects what attention has found, and joins it with the picture.
//
//	context  [B, C, N·M]  each head's average of hidden states
//	image    [B, M]
//	result   [B, C, M]
func (d lstmPooled) merge(t *nn.Tower, context, image tf.Output) tf.Output {
	s := t.Scope
	size, heads := d.Width, d.Heads
	at := t.Sub("attention")
	values := nn.Table(at.Sub("value"), "kernel", nn.Glorot, int64(size), int64(heads*size))
	values = nn.Transpose(s, nn.Reshape(s, values, size, heads, size), 1, 0, 2) // [N, M of h, M]
	kernel := nn.Table(at.Sub("out"), "kernel", nn.Glorot, int64(heads*size), int64(size))
	joined := nn.Reshape(s, tf.Out(s, "BatchMatMulV2", nil, values, nn.Reshape(s, kernel, heads, size, size)), heads*size, size)
	bias := nn.Reshape(s, nn.Table(at.Sub("value"), "bias", nn.Zeros, int64(heads*size)), 1, heads*size)
	bias = nn.Add(s, nn.MatMul(s, bias, kernel), nn.Table(at.Sub("out"), "bias", nn.Zeros, int64(size))) // [1, M]
	found := nn.Add(s, nn.MatMul(s, nn.Reshape(s, context, -1, heads*size), joined), bias)

	// A dense layer over both, of which the picture's half is the same for all words.
	t = t.Sub("merge")
	halves := nn.Split(s, nn.Table(t, "kernel", nn.Glorot, int64(2*size), int64(size)), 0, 2)
	x := nn.Reshape(s, nn.MatMul(s, found, halves[0]), nn.Size(s, context, 0), -1, size)
	picture := nn.Add(s, nn.MatMul(s, image, halves[1]), nn.Table(t, "bias", nn.Zeros, int64(size)))
	return nn.Dropout(t, nn.ReLU(s, nn.Add(s, x, nn.ExpandDims(s, picture, 1))), mergedDropout)
}
