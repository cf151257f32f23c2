package nn

import "github.com/captioner/captioner/ml/tf"

// layerNormEpsilon keeps the division finite.
const layerNormEpsilon = 1e-6

// LayerNorm centres and scales each vector of the last axis to mean 0 and
// variance 1, then applies a learned scale and offset (Ba, Kiros and Hinton 2016).
//
//	x, result  [..., M]
//	weights    scale [M], offset [M]
func LayerNorm(t *Tower, x tf.Output) tf.Output { return LayerNormWith(t, x, layerNormEpsilon) }

// LayerNormWith is LayerNorm with epsilon added to the variance.
func LayerNormWith(t *Tower, x tf.Output, epsilon float32) tf.Output {
	s := t.Scope
	size := int64(width(s, x))
	scale, offset := t.weight("scale", Ones, size), t.weight("offset", Zeros, size)
	centred := Sub(s, x, Mean(s, x, true, -1))
	variance := Mean(s, tf.Out(s, "Square", nil, centred), true, -1)
	inverse := tf.Out(s, "Rsqrt", nil, Add(s, variance, tf.Scalar(s, epsilon)))
	return Add(s, Mul(s, Mul(s, centred, inverse), scale), offset)
}

// batchNormMomentum is how much of a running average one step keeps. 0.95
// follows the weights of a training of a few thousand steps closely enough.
const batchNormMomentum = 0.95

// batchNormEpsilon is Keras' default.
const batchNormEpsilon = 1e-3

// BatchNorm normalises each channel over the batch and all locations, then
// applies a learned scale and offset (Ioffe and Szegedy 2015). A training
// tower uses the batch's statistics and moves the running averages, the others,
// and one with frozen averages, use the averages.
//
//	x, result  [B, height, width, C]
//	weights    scale [C], offset [C]; averages mean [C], variance [C]
func BatchNorm(t *Tower, x tf.Output) tf.Output {
	return batchNorm(t, x, t.weight("scale", Ones, int64(width(t.Scope, x))))
}

// BatchNormUnscaled is BatchNorm without the learned scale, for what a ReLU and
// another convolution follow.
//
//	x, result  [B, height, width, C]
//	weights    offset [C]; averages mean [C], variance [C]
func BatchNormUnscaled(t *Tower, x tf.Output) tf.Output {
	ones := make([]float32, width(t.Scope, x))
	for i := range ones {
		ones[i] = 1
	}
	return batchNorm(t, x, tf.Floats(t.Scope, ones))
}

func batchNorm(t *Tower, x, scale tf.Output) tf.Output {
	s := t.Scope
	channels := int64(width(s, x))
	offset := t.weight("offset", Zeros, channels)
	mean := t.Weights.Average(s, t.path+"mean", 0, channels)
	variance := t.Weights.Average(s, t.path+"variance", 1, channels)
	if !t.Training || t.FrozenAverages {
		return tf.Out(s, "FusedBatchNormV3", tf.Attrs{"epsilon": float32(batchNormEpsilon), "is_training": false},
			x, scale, offset, mean, variance)
	}
	none := tf.Floats(s, nil)
	norm := tf.Add(s, "FusedBatchNormV3", tf.Attrs{"epsilon": float32(batchNormEpsilon), "is_training": true},
		x, scale, offset, none, none)
	if s.Err() == nil {
		t.Weights.Move(s, t.path+"mean", norm.Output(1), 1-batchNormMomentum)
		t.Weights.Move(s, t.path+"variance", norm.Output(2), 1-batchNormMomentum)
	}
	return norm.Output(0)
}

// Conv2D slides a square kernel over the picture, without a bias, with as much
// padding with zeros as gives ceil(size / stride) locations.
//
//	x       [B, height, width, C]
//	result  [B, ceil(height/stride), ceil(width/stride), filters]
//	weights kernel [size, size, C, filters]
func Conv2D(t *Tower, x tf.Output, filters, size, stride int) tf.Output {
	return Convolve(t, x, Kernel{Height: size, Width: size, Stride: stride}, filters)
}
