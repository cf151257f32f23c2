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
	return tf.Out(t.Scope, "BiasAdd", nil, Dense(t, x, 4*size, Glorot), forget(t.Scope, size))
}

// LSTMInputDropped is LSTMInput with a dropout of its own for each gate, the
// same at every step of a sequence, as Keras has it where the hidden states are
// dropped too (Gal and Ghahramani 2016, section 4.2).
//
//	x       [T, R, I]
//	masks   input, forget, output, cell: [R, I] each; see DropoutMask
//	result  [T·R, 4·size]
func LSTMInputDropped(t *Tower, x tf.Output, masks []tf.Output, size int) tf.Output {
	s := t.Scope
	in := width(s, x)
	kernels := Split(s, t.weight("kernel", Glorot, int64(in), int64(4*size)), 1, 4)
	gates := make([]tf.Output, 4)
	for i := range gates {
		gates[i] = MatMul(s, Reshape(s, Mul(s, x, masks[i]), -1, in), kernels[i])
	}
	y := tf.Out(s, "BiasAdd", nil, Concat(s, 1, gates...), t.weight("bias", Zeros, int64(4*size)))
	return tf.Out(s, "BiasAdd", nil, y, forget(s, size))
}

// forget is the bias of the forget gate, [4·size].
func forget(s *tf.Scope, size int) tf.Output {
	bias := make([]float32, 4*size)
	for i := size; i < 2*size; i++ {
		bias[i] = forgetBias
	}
	return tf.Floats(s, bias)
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
//	mask                   [R, 4H]  of the hidden state, for each gate; see
//	                                DropoutMask. Or an empty Output for none
//	weights                recurrent [H, 4H]
func LSTMStep(t *Tower, gates, hidden, cell, mask tf.Output) (nextHidden, nextCell tf.Output) {
	s := t.Scope
	size := width(s, hidden)
	recurrent := t.weight("recurrent", Glorot, int64(size), int64(4*size))
	sums := SplitSizes(s, AddSame(s, gates, recur(s, hidden, recurrent, mask)), 1, 2, tf.Ints(s, int32(3*size), int32(size)))
	open := Split(s, Sigmoid(s, sums[0]), 1, 3) // input, forget, output
	nextCell = AddSame(s, Mul(s, open[1], cell), Mul(s, open[0], Tanh(s, sums[1])))
	return Mul(s, open[2], Tanh(s, nextCell)), nextCell
}

// recur returns hidden·U, where each gate drops what its mask says.
func recur(s *tf.Scope, hidden, recurrent, mask tf.Output) tf.Output {
	if mask.Op == nil {
		return MatMul(s, hidden, recurrent)
	}
	looks := Split(s, Mul(s, Concat(s, 1, hidden, hidden, hidden, hidden), mask), 1, 4)
	kernels := Split(s, recurrent, 1, 4)
	for i := range looks {
		looks[i] = MatMul(s, looks[i], kernels[i])
	}
	return Concat(s, 1, looks...)
}

// LSTMFused returns the weights of LSTMInput and LSTMStep as TensorFlow's
// BlockLSTMV2 takes them, with the cell's gate before the output's.
//
//	kernel  [in+size, 4·size]
//	bias    [4·size]
func LSTMFused(t *Tower, in, size int) (kernel, bias tf.Output) {
	s := t.Scope
	input := t.weight("kernel", Glorot, int64(in), int64(4*size))
	bias = Add(s, t.weight("bias", Zeros, int64(4*size)), forget(s, size))
	kernel = Concat(s, 0, input, t.weight("recurrent", Glorot, int64(size), int64(4*size)))
	order := func(x tf.Output, axis int32) tf.Output {
		gates := Split(s, x, axis, 4)
		return Concat(s, axis, gates[0], gates[1], gates[3], gates[2])
	}
	return order(kernel, 1), order(bias, 0)
}
