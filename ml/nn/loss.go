package nn

import "github.com/captioner/captioner/ml/tf"

// CrossEntropy returns the cross-entropy of softmax(logits) and the target
// tokens, in nats. With smoothing, that share of each target is spread evenly
// over the vocabulary (Szegedy et al. 2016, section 7). A target that is less
// likely than the smallest normal float32 counts as that likely, 87 nats.
//
// It returns the gradient too, which goes into tf.Gradients as dy of the logits:
// the softmax less the target, in the memory of the softmax. TensorFlow's fused
// operations for the same take five times as long (BenchmarkCrossEntropy).
//
//	logits    [R, V]
//	targets   [R] int32, in [0, V)
//	losses    [R]
//	gradient  [R, V]  of losses by logits
func CrossEntropy(s *tf.Scope, logits, targets tf.Output, smoothing float64) (losses, gradient tf.Output) {
	probabilities := tf.Out(s, "Softmax", nil, logits)
	rows := tf.Out(s, "Range", nil, tf.Int(s, 0), Size(s, targets, 0), tf.Int(s, 1))
	places := tf.Out(s, "Pack", tf.Attrs{"axis": int64(1)}, tf.OutputList{rows, targets}) // [R, 2]
	right := tf.Out(s, "GatherNd", nil, probabilities, places)                            // [R]
	losses = tf.Out(s, "Neg", nil, tf.Out(s, "Log", nil, tf.Out(s, "Maximum", nil, right, tf.Scalar(s, leastProbability))))
	if smoothing > 0 {
		score := tf.Out(s, "GatherNd", nil, logits, places)
		losses = Add(s, losses, Scale(s, Sub(s, score, Mean(s, logits, false, 1)), float32(smoothing)))
		probabilities = Sub(s, probabilities, tf.Scalar(s, float32(smoothing/float64(width(s, logits)))))
	}
	// Made of right, so that they come after it: nobody reads the softmax then, and
	// it need not be copied to become the gradient.
	ones := Scale(s, tf.Out(s, "OnesLike", nil, right), float32(1-smoothing))
	return losses, tf.Out(s, "TensorScatterSub", nil, probabilities, places, ones)
}

// leastProbability is the smallest normal float32.
const leastProbability = 0x1p-126

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
