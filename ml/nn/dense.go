package nn

import "github.com/captioner/captioner/ml/tf"

// Dense returns x·W + b.
//
//	x       [..., I]
//	result  [..., size]
//	weights kernel [I, size], bias [size]
func Dense(t *Tower, x tf.Output, size int, init Init) tf.Output {
	s := t.Scope
	in := width(s, x)
	kernel := t.weight("kernel", init, int64(in), int64(size))
	bias := t.weight("bias", Zeros, int64(size))
	if len(tf.Dims(s, x)) == 2 {
		return tf.Out(s, "BiasAdd", nil, MatMul(s, x, kernel), bias)
	}
	// One flat product is much faster than a batch of small ones.
	y := tf.Out(s, "BiasAdd", nil, MatMul(s, Reshape(s, x, -1, in), kernel), bias)
	return Reshape(s, y, append(lead(s, x), size)...)
}

// Embedding returns the row of a table for every token.
//
//	tokens  [...] int32, in [0, count)
//	result  [..., size]
//	weights table [count, size]
func Embedding(t *Tower, tokens tf.Output, count, size int, init Init) tf.Output {
	return Gather(t.Scope, t.weight("table", init, int64(count), int64(size)), tokens)
}

// Table returns a learned array of the shape, such as a vector per position.
func Table(t *Tower, name string, init Init, shape ...int64) tf.Output {
	return t.weight(name, init, shape...)
}

// Dropout sets each element of x to 0 with probability rate in a training
// tower and scales the others up so that the expectation stays (Srivastava et
// al. 2014). Which ones depends on the tower's seed, the layer's name and the
// step alone, so that a resumed training repeats them.
func Dropout(t *Tower, x tf.Output, rate float64) tf.Output {
	if !t.Training || rate == 0 {
		return x
	}
	return Mul(t.Scope, x, DropoutMask(t, tf.Out(t.Scope, "Shape", nil, x), rate))
}

// DropoutMask returns what Dropout multiplies by, for layers that drop the same
// elements more than once: 0 with probability rate, 1/(1-rate) otherwise.
//
//	shape  int32 [rank]
func DropoutMask(t *Tower, shape tf.Output, rate float64) tf.Output {
	s := t.Scope.SubScope("dropout")
	keep := tf.Out(s, "GreaterEqual", nil, uniform(t, s, shape), tf.Scalar(s, float32(rate)))
	return Scale(s, Cast(s, keep, tf.Float), float32(1/(1-rate)))
}

// uniform returns numbers in [0, 1) of the shape, int32 [rank], keyed by seed,
// the name of s and step.
func uniform(t *Tower, s *tf.Scope, shape tf.Output) tf.Output {
	key := tf.FromInt64([]int64{int64(t.Seed ^ hash(t.path))})
	defer key.Release()
	seed := Pack(s, tf.Const(s, key), t.Step) // [2] int64
	return tf.Out(s, "StatelessRandomUniform", tf.Attrs{"dtype": tf.Float}, shape, seed)
}
