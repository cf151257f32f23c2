package model

import (
	"fmt"

	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

func init() {
	RegisterDecoder("lstm-attention", func(m *Model) Decoder { return lstmAttention{m} })
}

// lstmAttention is the decoder of Show, Attend and Tell (Xu et al. 2015) with
// its deterministic attention: before each word the LSTM's hidden state looks at
// the locations of the grid, and what it finds enters the LSTM with the word so
// far. Above that layer, Layers-1 plain ones read the hidden states below them.
//
// Left out is the penalty that has every location looked at equally often in
// all: the loss knows words alone. Heads and FeedForward have no meaning here.
type lstmAttention struct{ *Model }

// Sizes implements [Decoder]: the memory is the grid as keys and as it is; the
// state is the hidden state and cell of every layer.
func (d lstmAttention) Sizes() (memory int64, state []int64) {
	return int64(2 * d.Width), []int64{int64(2 * d.Layers), int64(d.Width)}
}

// Memory puts what attention compares with before the grid.
//
//	grid    [B, L, M]
//	result  [B, L, 2·M]
func (d lstmAttention) Memory(t *nn.Tower, grid tf.Output) tf.Output {
	return nn.Concat(t.Scope, 2, nn.Dense(t.Sub("keys"), grid, d.Width, nn.Glorot), grid)
}

// Words takes MaxTokens-1 steps, since a loop has no gradient here. A step that
// the batch's captions are too short for has no rows, and so costs little.
// What does not depend on the step before is done for all steps at once.
func (d lstmAttention) Words(t *nn.Tower, tokens, memory tf.Output) tf.Output {
	s := t.Scope
	u := d.unroll(s, tokens)
	words := d.words(t, nn.Reshape(s, tokens, -1, u.length))            // [B·C, T, M]
	words = nn.Reshape(s, nn.Transpose(s, words, 1, 0, 2), -1, d.Width) // [T·B·C, M]
	gates := u.split(s, nn.LSTMInput(t.Sub("lstm1"), words, d.Width))

	keys, values := d.parts(s, memory)
	states := nn.Unpack(s, u.perCaption(s, d.start(t, values)), 2*d.Layers) // [B·C, M] each
	hidden, cell := states[0], states[1]
	hiddens, contexts := make([]tf.Output, u.steps), make([]tf.Output, u.steps)
	for i := range u.steps {
		hidden, cell = u.keep(s, i, hidden), u.keep(s, i, cell)
		hidden, cell, contexts[i], _ = d.attend(t, gates[i], hidden, cell, keys, values, u.captions[i])
		hiddens[i] = hidden
	}
	x := nn.Concat(s, 0, hiddens...) // [T·B·C, M]
	for layer := 1; layer < d.Layers; layer++ {
		t := t.Sub(fmt.Sprintf("lstm%d", layer+1))
		gates := u.split(s, nn.LSTMInput(t, nn.Dropout(t, x, d.Dropout), d.Width))
		hidden, cell := states[2*layer], states[2*layer+1]
		for i := range u.steps {
			hidden, cell = nn.LSTMStep(t, gates[i], u.keep(s, i, hidden), u.keep(s, i, cell), tf.Output{})
			hiddens[i] = hidden
		}
		x = nn.Concat(s, 0, hiddens...)
	}
	x = d.say(t, words, x, nn.Concat(s, 0, contexts...))
	x = nn.Reshape(s, x, u.length, -1, d.Width)
	return nn.Transpose(s, x, 1, 0, 2) // [B·C, T, M]
}

// Step implements [Decoder]. The first state is all zeros: the picture gives
// the one to start with.
func (d lstmAttention) Step(t *nn.Tower, tokens, position, memory, state tf.Output) (logits, seen, next tf.Output) {
	s := t.Scope
	keys, values := d.parts(s, memory)
	isFirst := tf.Out(s, "Equal", nil, position, tf.Int(s, 0))
	start := nn.Transpose(s, d.start(t, values), 1, 0, 2) // [K, 2·layers, M]
	states := nn.Unpack(s, nn.Transpose(s, tf.Out(s, "SelectV2", nil, isFirst, start, state), 1, 0, 2), 2*d.Layers)

	words := d.words(t, tokens)
	gates := nn.LSTMInput(t.Sub("lstm1"), words, d.Width)
	hidden, cell, context, seen := d.attend(t, gates, states[0], states[1], keys, values, 1)
	states[0], states[1] = hidden, cell
	for layer := 1; layer < d.Layers; layer++ {
		t := t.Sub(fmt.Sprintf("lstm%d", layer+1))
		hidden, cell = nn.LSTMStep(t, nn.LSTMInput(t, hidden, d.Width), states[2*layer], states[2*layer+1], tf.Output{})
		states[2*layer], states[2*layer+1] = hidden, cell
	}
	next = nn.Transpose(s, nn.Pack(s, states...), 1, 0, 2)
	return d.Logits(t, d.say(t, words, hidden, context)), nn.Mean(s, seen, false, 1), next
}

// words gives every token its vector.
//
//	tokens  [...] int32
//	result  [..., M]
func (d lstmAttention) words(t *nn.Tower, tokens tf.Output) tf.Output {
	return nn.Dropout(t.Sub("words"), d.Embed(t, tokens), d.Dropout)
}

// parts undoes Memory.
//
//	keys, values  [B, L, M]
func (d lstmAttention) parts(s *tf.Scope, memory tf.Output) (keys, values tf.Output) {
	parts := nn.Split(s, memory, 2, 2)
	return parts[0], parts[1]
}

// start makes the first hidden states and cells of the mean of all locations
// (section 3.1.2 of the paper).
//
//	values  [B, L, M]
//	result  [2·layers, B, M]
func (d lstmAttention) start(t *nn.Tower, values tf.Output) tf.Output {
	s := t.Scope
	all := nn.Tanh(s, nn.Dense(t.Sub("start"), nn.Mean(s, values, false, 1), 2*d.Layers*d.Width, nn.Glorot))
	return nn.Transpose(s, nn.Reshape(s, all, -1, 2*d.Layers, d.Width), 1, 0, 2)
}

// attend is a step of the first layer: the hidden state looks at the locations,
// a gate of its own says how much of that is let in (section 4.2.1), and the
// LSTM reads it beside the word.
//
//	gates                   [B·C, 4·M]  of the word
//	hidden, cell            [B·C, M]
//	keys, values            [B, L, M]
//	captions                C, as a size for Reshape
//	context                 [B·C, M]
//	seen                    [B, C, L]
func (d lstmAttention) attend(t *nn.Tower, gates, hidden, cell, keys, values tf.Output, captions any) (nextHidden, nextCell, context, seen tf.Output) {
	s := t.Scope
	look := nn.Split(s, nn.Dense(t.Sub("look"), hidden, 2*d.Width, nn.Glorot), 1, 2)
	queries := nn.Reshape(s, look[0], nn.Size(s, keys, 0), captions, d.Width)
	context, seen = nn.AdditiveAttention(t.Sub("attention"), queries, keys, values)
	context = nn.Mul(s, nn.Sigmoid(s, look[1]), nn.Reshape(s, context, -1, d.Width))
	found := nn.MatMul(s, context, nn.Table(t.Sub("context"), "kernel", nn.Glorot, int64(d.Width), int64(4*d.Width)))
	nextHidden, nextCell = nn.LSTMStep(t.Sub("lstm1"), nn.AddSame(s, gates, found), hidden, cell, tf.Output{})
	return nextHidden, nextCell, context, seen
}

// say joins the word so far, the last layer's hidden state and the context to
// the vector that the next word is scored by (equation 7 of the paper).
//
//	words, hidden, context, result  [R, M]
func (d lstmAttention) say(t *nn.Tower, words, hidden, context tf.Output) tf.Output {
	s := t.Scope
	x := nn.Add(s, words, nn.Dense(t.Sub("say"), nn.Concat(s, 1, hidden, context), d.Width, nn.Glorot))
	return nn.Dropout(t.Sub("say"), x, d.Dropout)
}

// unrolled is how captions of a length that is known only when the graph runs
// are laid out over the steps of the graph: all rows in each of the first T
// steps, none in those that follow.
type unrolled struct {
	steps    int
	each     tf.Output   // C
	length   tf.Output   // T
	captions []any       // C or 0 a step, for Reshape
	rows     []tf.Output // B·C or 0 a step
}

// unroll lays out tokens [B, C, T].
func (m *Model) unroll(s *tf.Scope, tokens tf.Output) unrolled {
	u := unrolled{steps: m.MaxTokens - 1}
	u.each, u.length = nn.Size(s, tokens, 1), nn.Size(s, tokens, 2)
	rows, none := nn.Size(s, nn.Reshape(s, tokens, -1, u.length), 0), tf.Int(s, 0)
	for i := range u.steps {
		taken := tf.Out(s, "Greater", nil, u.length, tf.Int(s, int32(i)))
		u.captions = append(u.captions, tf.Out(s, "SelectV2", nil, taken, u.each, none))
		u.rows = append(u.rows, tf.Out(s, "SelectV2", nil, taken, rows, none))
	}
	return u
}

// split cuts what was made for all steps into the steps.
//
//	x       [T·B·C, I]
//	result  [B·C, I] or [0, I] a step
func (u unrolled) split(s *tf.Scope, x tf.Output) []tf.Output {
	return nn.SplitSizes(s, x, 0, u.steps, nn.Pack(s, u.rows...))
}

// keep returns the rows of x that the i-th step has.
//
//	x       [B·C, I] or [0, I]
//	result  [B·C, I] or [0, I]
func (u unrolled) keep(s *tf.Scope, i int, x tf.Output) tf.Output {
	dims := tf.Dims(s, x)
	if len(dims) != 2 {
		return tf.Output{} // the scope holds the error
	}
	return tf.Out(s, "Slice", nil, x, tf.Ints(s, 0, 0), nn.Pack(s, u.rows[i], tf.Int(s, int32(dims[1]))))
}

// perCaption repeats what a picture has for each of its captions.
//
//	x       [N, B, M]
//	result  [N, B·C, M]
func (u unrolled) perCaption(s *tf.Scope, x tf.Output) tf.Output {
	dims := tf.Dims(s, x)
	if len(dims) != 3 {
		return tf.Output{} // the scope holds the error
	}
	zeros := tf.Out(s, "Fill", nil, nn.Pack(s, u.each, tf.Int(s, 1)), tf.Scalar(s, 0))
	x = nn.Add(s, nn.ExpandDims(s, x, 2), zeros) // [N, B, C, M]
	return nn.Reshape(s, x, int(dims[0]), -1, int(dims[2]))
}
