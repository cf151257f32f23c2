package nn

import "github.com/captioner/captioner/ml/tf"

// forgetBias keeps the cell's memory at the start of training, when the other
// biases are 0 (Jozefowicz, Zaremba and Sutskever 2015, section 2.2).
const forgetBias = 1

// LSTMInput returns what the inputs add to the gates of an LSTM: x·W + b, and 1
// to the forget gate, for as many steps at once as there are rows.
//
//	x       [R, I]
//	result  [R, 4·size]  input, forget, output, cell
//	weights kernel [I, 4·size], bias [4·size]
func LSTMInput(t *Tower, x tf.Output, size int) tf.Output {
	start := make([]float32, 4*size)
	for i := size; i < 2*size; i++ {
		start[i] = forgetBias
	}
	return tf.Out(t.Scope, "BiasAdd", nil, Dense(t, x, 4*size, Glorot), tf.Floats(t.Scope, start))
}

// LSTMStep is one step of an LSTM (Hochreiter and Schmidhuber 1997, with the
// forget gate of Gers, Schmidhuber and Cummins 2000):
//
//	i, f, o, g = gates + hidden·U
//	cell'      = σ(f)·cell + σ(i)·tanh(g)
//	hidden'    = σ(o)·tanh(cell')
//
//	gates                  [R, 4H]  see LSTMInput
//	hidden, cell, results  [R, H]
//	weights                recurrent [H, 4H]
func LSTMStep(t *Tower, gates, hidden, cell tf.Output) (nextHidden, nextCell tf.Output) {
	s := t.Scope
	size := width(s, hidden)
	recurrent := t.weight("recurrent", Glorot, int64(size), int64(4*size))
	sums := SplitSizes(s, AddSame(s, gates, MatMul(s, hidden, recurrent)), 1, 2, tf.Ints(s, int32(3*size), int32(size)))
	open := Split(s, Sigmoid(s, sums[0]), 1, 3) // input, forget, output
	nextCell = AddSame(s, Mul(s, open[1], cell), Mul(s, open[0], Tanh(s, sums[1])))
	return Mul(s, open[2], Tanh(s, nextCell)), nextCell
}
