package nn

import "github.com/captioner/captioner/ml/tf"

// Kernel says how a convolution slides over a picture.
type Kernel struct {
	Height, Width int
	// Stride is how far it goes, both ways; 0 stands for 1.
	Stride int
	// Valid keeps it within the picture; otherwise zeros around the picture
	// give it ceil(size / stride) locations.
	Valid bool
}

// attrs returns the attributes of an operation that slides k.
func (k Kernel) attrs() tf.Attrs {
	step, padding := int64(max(1, k.Stride)), "SAME"
	if k.Valid {
		padding = "VALID"
	}
	return tf.Attrs{"strides": []int64{1, step, step, 1}, "padding": padding}
}

// pool returns the attributes of an operation that takes k's window.
func (k Kernel) pool() tf.Attrs {
	attrs := k.attrs()
	attrs["ksize"] = []int64{1, int64(k.Height), int64(k.Width), 1}
	return attrs
}

// Convolve makes filters numbers of each window of the picture, without a bias.
//
//	x       [B, height, width, C]
//	result  [B, height', width', filters]
//	weights kernel [k.Height, k.Width, C, filters]
func Convolve(t *Tower, x tf.Output, k Kernel, filters int) tf.Output {
	kernel := t.weight("kernel", He, int64(k.Height), int64(k.Width), int64(width(t.Scope, x)), int64(filters))
	return tf.Out(t.Scope, "Conv2D", k.attrs(), x, kernel)
}

// ConvolveDepthwise makes one number of each window in each channel.
//
//	x       [B, height, width, C]
//	result  [B, height', width', C]
//	weights kernel [k.Height, k.Width, C, 1]
func ConvolveDepthwise(t *Tower, x tf.Output, k Kernel) tf.Output {
	kernel := t.weight("kernel", heDepthwise, int64(k.Height), int64(k.Width), int64(width(t.Scope, x)), 1)
	return tf.Out(t.Scope, "DepthwiseConv2dNative", k.attrs(), x, kernel)
}

// Bias adds a learned offset to each channel.
//
//	x, result  [..., C]
//	weights    bias [C]
func Bias(t *Tower, x tf.Output) tf.Output {
	return biasAdd(t.Scope, x, t.weight("bias", Zeros, int64(width(t.Scope, x))))
}

// biasAdd adds bias [C] to x [..., C]. TensorFlow computes a convolution, its
// BiasAdd and what is done to each number then in one pass.
func biasAdd(s *tf.Scope, x, bias tf.Output) tf.Output { return tf.Out(s, "BiasAdd", nil, x, bias) }

// MaxPool returns the largest number of each window in each channel.
func MaxPool(s *tf.Scope, x tf.Output, k Kernel) tf.Output { return tf.Out(s, "MaxPool", k.pool(), x) }

// AveragePool returns the average of each window in each channel; what lies
// outside of the picture does not count.
func AveragePool(s *tf.Scope, x tf.Output, k Kernel) tf.Output {
	return tf.Out(s, "AvgPool", k.pool(), x)
}

// Sigmoid returns 1 / (1 + exp(-x)).
func Sigmoid(s *tf.Scope, x tf.Output) tf.Output { return tf.Out(s, "Sigmoid", nil, x) }

// Swish returns x · sigmoid(x) (Ramachandran, Zoph and Le 2017).
func Swish(s *tf.Scope, x tf.Output) tf.Output { return Mul(s, x, Sigmoid(s, x)) }
