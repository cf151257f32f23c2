package nn

import "github.com/captioner/captioner/ml/tf"

// A loss function returns the loss of each row and its gradient by the logits,
// which TensorFlow computes in the same pass: the C++ gradients know none for
// the sparse kind. The gradient goes into tf.Gradients as dy of the logits.

// CrossEntropy returns the cross-entropy of softmax(logits) and the target
// tokens, in nats. With smoothing, that share of each target is spread evenly
// over the vocabulary (Szegedy et al. 2016, section 7).
//
//	logits    [R, V]
//	targets   [R] int32, in [0, V)
//	losses    [R]
//	gradient  [R, V]  of losses by logits
func CrossEntropy(s *tf.Scope, logits, targets tf.Output, smoothing float64) (losses, gradient tf.Output) {
	if smoothing == 0 {
		op := tf.Add(s, "SparseSoftmaxCrossEntropyWithLogits", nil, logits, targets)
		return op.Output(0), op.Output(1)
	}
	size := width(s, logits)
	spread := float32(smoothing / float64(size))
	labels := tf.Out(s, "OneHot", nil, targets, tf.Int(s, int32(size)), tf.Scalar(s, float32(1-smoothing)+spread), tf.Scalar(s, spread))
	op := tf.Add(s, "SoftmaxCrossEntropyWithLogits", nil, logits, labels)
	return op.Output(0), op.Output(1)
}

// SigmoidCrossEntropy returns the cross-entropy of sigmoid(logits) and labels,
// in nats, element by element.
//
//	logits, labels  [...]  labels in [0, 1]
func SigmoidCrossEntropy(s *tf.Scope, logits, labels tf.Output) tf.Output {
	return Sub(s, tf.Out(s, "Softplus", nil, logits), Mul(s, logits, labels))
}

// LogSumExp returns log Σ exp(x) over the axis, a soft maximum, without overflow.
func LogSumExp(s *tf.Scope, x tf.Output, axis int32) tf.Output {
	top := tf.Out(s, "StopGradient", nil, tf.Out(s, "Max", tf.Attrs{"keep_dims": true}, x, tf.Ints(s, axis)))
	total := Sum(s, tf.Out(s, "Exp", nil, Sub(s, x, top)), axis)
	return Add(s, tf.Out(s, "Log", nil, total), tf.Out(s, "Squeeze", tf.Attrs{"squeeze_dims": []int64{int64(axis)}}, top))
}

// OccurrenceLoss asks the locations of a picture which words its captions
// hold: each location votes for each word, the soft maximum of the votes is
// the picture's, and the loss is its cross-entropy with the truth. It pulls an
// encoder towards features that tell the words apart, before the decoder is
// good enough to do so.
//
//	grid    [B, L, M]
//	labels  [B, A]  1 where the word occurs in any caption of the picture
//	loss    []      mean over the pictures of the sum over the words, nats
//	weights kernel [M, A], bias [A]
func OccurrenceLoss(t *Tower, grid, labels tf.Output) tf.Output {
	s := t.Scope
	count := width(s, labels)
	votes := Dense(t, grid, count, Glorot)                            // [B, L, A]
	logits := Sub(s, LogSumExp(s, votes, 1), tf.Scalar(s, rareLogit)) // [B, A]
	return Mean(s, Sum(s, SigmoidCrossEntropy(s, logits, labels), 1), false, 0)
}

// rareLogit is subtracted from the sum of the locations' votes, so that an
// untrained layer says that a word occurs in a few pictures, not in all.
const rareLogit = 6
