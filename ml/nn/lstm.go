package nn

import "github.com/captioner/captioner/ml/tf"

// forgetBias keeps the cell's memory at the start of training, when the other
// biases are 0 (Jozefowicz, Zaremba and Sutskever 2015, section 2.2).
const forgetBias = 1

// LSTMInput returns what the inputs add to the gates of an LSTM: x·W + b, for
// as many steps at once as there are rows.
//
//	x       [R, I]
//	result  [R, 4·size]  input, forget, cell, output
//	weights kernel [I, 4·size], bias [4·size]
func LSTMInput(t *Tower, x tf.Output, size int) tf.Output {
	return Dense(t, x, 4*size, Glorot)
}

// LSTMStep is one step of an LSTM (Hochreiter and Schmidhuber 1997, with the
// forget gate of Gers, Schmidhuber and Cummins 2000):
//
//	i, f, g, o = gates + hidden·U
//	cell'      = σ(f + 1)·cell + σ(i)·tanh(g)
//	hidden'    = σ(o)·tanh(cell')
//
//	gates                  [R, 4H]  see LSTMInput
//	hidden, cell, results  [R, H]
//	weights                recurrent [H, 4H]
func LSTMStep(t *Tower, gates, hidden, cell tf.Output) (nextHidden, nextCell tf.Output) {
	s := t.Scope
	size := width(s, hidden)
	recurrent := t.weight("recurrent", Glorot, int64(size), int64(4*size))
	parts := Split(s, Add(s, gates, MatMul(s, hidden, recurrent)), 1, 4)
	input, forget, output := Sigmoid(s, parts[0]), Sigmoid(s, Add(s, parts[1], tf.Scalar(s, forgetBias))), Sigmoid(s, parts[3])
	nextCell = Add(s, Mul(s, forget, cell), Mul(s, input, Tanh(s, parts[2])))
	return Mul(s, output, Tanh(s, nextCell)), nextCell
}
