package nn

import (
	"math"

	"github.com/captioner/captioner/ml/tf"
)

// Norm is the batch normalisation behind a convolution.
type Norm struct {
	// Tower is the part of the model that has its weights, as of [BatchNorm]
	// where it is Scaled, else of [BatchNormUnscaled].
	Tower  *Tower
	Scaled bool
}

func (n Norm) add(x tf.Output) tf.Output {
	if n.Scaled {
		return BatchNorm(n.Tower, x)
	}
	return BatchNormUnscaled(n.Tower, x)
}

// constants returns the constants that the tower's weight of that name is one of,
// nil where it is not: weights of which a part is constant say which.
func (t *Tower) constants(name string) *Constants {
	w, ok := t.Weights.(interface {
		Constant(name string) *Constants
	})
	if !ok {
		return nil
	}
	return w.Constant(t.path + name)
}

// ConvolveNorm is [Convolve] with a batch normalisation. Where the weights are
// [Constants] the kernel is scaled as the normalisation would scale its
// results, and a bias is left of it (Jacob et al. 2018, section 3.2): the same
// function, apart from rounding, in fewer passes over the picture.
func ConvolveNorm(t *Tower, norm Norm, x tf.Output, k Kernel, filters int) tf.Output {
	c := t.constants("kernel")
	if c == nil {
		return norm.add(Convolve(t, x, k, filters))
	}
	kernel, bias := c.fold(t, norm, filters, int64(k.Height), int64(k.Width), int64(width(t.Scope, x)), int64(filters))
	return biasAdd(t.Scope, tf.Out(t.Scope, "Conv2D", k.attrs(), x, kernel), bias)
}

// ConvolveDepthwiseNorm is [ConvolveDepthwise] with a batch normalisation, as
// [ConvolveNorm] is Convolve with one.
func ConvolveDepthwiseNorm(t *Tower, norm Norm, x tf.Output, k Kernel) tf.Output {
	c := t.constants("kernel")
	if c == nil {
		return norm.add(ConvolveDepthwise(t, x, k))
	}
	kernel, bias := c.fold(t, norm, width(t.Scope, x), int64(k.Height), int64(k.Width), int64(width(t.Scope, x)), 1)
	return biasAdd(t.Scope, tf.Out(t.Scope, "DepthwiseConv2dNative", k.attrs(), x, kernel), bias)
}

// fold returns the kernel of t with the normalisation of its channels folded
// into it, and what is left of that.
//
//	kernel  [height, width, C, channels], or [height, width, channels, 1]
//	bias    [channels]
func (c *Constants) fold(t *Tower, norm Norm, channels int, shape ...int64) (kernel, bias tf.Output) {
	name := t.path + "kernel"
	if c.folded[name].kernel.Op != nil {
		return c.folded[name].kernel, c.folded[name].bias
	}
	values := c.floats(t.Scope, name, shape...)
	offset := c.floats(t.Scope, norm.Tower.path+"offset", int64(channels))
	mean := c.floats(t.Scope, norm.Tower.path+"mean", int64(channels))
	variance := c.floats(t.Scope, norm.Tower.path+"variance", int64(channels))
	scale := make([]float32, channels)
	for i := range scale {
		scale[i] = 1
	}
	if norm.Scaled {
		scale = c.floats(t.Scope, norm.Tower.path+"scale", int64(channels))
	}
	if t.Scope.Err() != nil {
		return tf.Output{}, tf.Output{}
	}
	factors, left := make([]float64, channels), make([]float32, channels)
	for i := range factors {
		factors[i] = float64(scale[i]) / math.Sqrt(float64(variance[i])+batchNormEpsilon)
		left[i] = float32(float64(offset[i]) - float64(mean[i])*factors[i])
	}
	scaled := make([]float32, len(values))
	for i, v := range values {
		scaled[i] = float32(float64(v) * factors[i%channels])
	}
	f := folding{weight(t, "kernel", scaled, shape...), weight(t, "bias", left, int64(channels))}
	c.folded[name] = f
	return f.kernel, f.bias
}

// weight adds a constant weight of t.
func weight(t *Tower, name string, values []float32, shape ...int64) tf.Output {
	tensor := tf.FromFloat32(values, shape...)
	defer tensor.Release()
	return tf.Weight(t.Scope, t.path+name, tensor)
}

// folding is what has been made of a convolution and its normalisation.
type folding struct{ kernel, bias tf.Output }

// floats returns the elements of a weight; none after an error in the scope.
func (c *Constants) floats(s *tf.Scope, name string, shape ...int64) []float32 {
	if value := c.value(s, name, shape...); value != nil {
		return value.Float32s()
	}
	return nil
}
