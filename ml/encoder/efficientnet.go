package encoder

import (
	"fmt"
	"math"
	"strings"

	"github.com/captioner/captioner/ml/keras"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// efficientNetB3 is the encoder of Tan and Le 2019 in the size B3, as Keras
// builds it.
var efficientNetB3 = Pretrained{
	Name: "EfficientNetB3", Side: 300, Grid: 10, Width: 1536,
	build: buildEfficientNetB3, adapt: adaptEfficientNet,
}

// efficientStages are the stages of inverted residual blocks. Keras multiplies
// the channels of B0 by 1.2, rounded to a multiple of 8, and the blocks by 1.4,
// rounded up.
var efficientStages = []struct {
	blocks, kernel, stride, expand, channels int
}{
	{2, 3, 1, 1, 24},
	{3, 3, 2, 6, 32},
	{3, 5, 2, 6, 48},
	{5, 3, 2, 6, 96},
	{5, 5, 1, 6, 136},
	{6, 5, 2, 6, 232},
	{2, 3, 1, 6, 384},
}

// buildEfficientNetB3 adds the network. Where a convolution halves the sides,
// Keras pads with a layer of its own, one less before the picture than after it
// where the side is even: TensorFlow's padding, as long as the side is known. A
// Keras model that is built without a fixed side pads as if all were even, which
// leaves 9 × 9 locations. Ours has the side fixed, in training and in serving.
func buildEfficientNetB3(n *network, pixels tf.Output) value {
	n.block()
	x := n.efficientInput(n.pixels(pixels))
	x = n.swish("stem_activation", n.convNorm("stem_conv", "stem_bn", x, nn.Kernel{Height: 3, Width: 3, Stride: 2}, 40, true))
	for i, stage := range efficientStages {
		for j := range stage.blocks {
			stride := stage.stride
			if j > 0 {
				stride = 1
			}
			n.block()
			x = n.invertedResidual(fmt.Sprintf("block%d%c_", i+1, 'a'+j), x, stage.kernel, stride, stage.expand, stage.channels)
		}
	}
	n.block()
	return n.swish("top_activation", n.convNorm("top_conv", "top_bn", x, nn.Kernel{Height: 1, Width: 1}, 1536, true))
}

// efficientInput standardises the colours with what the weights say, which
// adaptEfficientNet has made one factor of.
func (n *network) efficientInput(x value) value {
	x = n.apply("rescaling", "rescaling", x, func(s *tf.Scope, x tf.Output) tf.Output {
		return nn.Scale(s, x, 1.0/255)
	})
	colours := []int64{3}
	weights := []keras.Weight{{Name: "mean", Shape: colours}, {Name: "variance", Shape: colours}, {Name: "count", Shape: []int64{}}}
	return n.layer("normalization", "normalization", []value{x}, weights, func(t *nn.Tower) tf.Output {
		s := t.Scope
		return nn.Mul(s, nn.Sub(s, x.Output, t.Constant("mean", 0, 3)), t.Constant("factor", 1, 3))
	})
}

func (n *network) swish(name string, x value) value { return n.apply(name, "activation", x, nn.Swish) }

// invertedResidual widens, filters each channel, weighs the channels by what
// the whole picture has of them (squeeze and excitation, Hu et al. 2018), and
// narrows again (MobileNetV2, Sandler et al. 2018). Names are Keras'.
func (n *network) invertedResidual(name string, x value, kernel, stride, expand, channels int) value {
	start, narrow := x, int(n.channels(x))
	point := nn.Kernel{Height: 1, Width: 1}
	if expand > 1 {
		x = n.swish(name+"expand_activation", n.convNorm(name+"expand_conv", name+"expand_bn", x, point, narrow*expand, true))
	}
	x = n.swish(name+"activation", n.depthwiseNorm(name+"dwconv", name+"bn", x, nn.Kernel{Height: kernel, Width: kernel, Stride: stride}))
	x = n.excite(name, x, max(1, narrow/4))
	x = n.convNorm(name+"project_conv", name+"project_bn", x, point, channels, true)
	if stride == 1 && narrow == channels {
		x = n.layer(name+"add", "add", []value{x, start}, nil, func(t *nn.Tower) tf.Output {
			return nn.Add(t.Scope, x.Output, start.Output)
		})
	}
	return x
}

func (n *network) excite(name string, x value, squeezed int) value {
	se := n.apply(name+"se_squeeze", "global_average_pooling2d", x, func(s *tf.Scope, x tf.Output) tf.Output {
		return nn.Mean(s, x, true, 1, 2) // [B, 1, 1, C]
	})
	se = n.convBias(name+"se_reduce", se, squeezed, nn.Swish)
	se = n.convBias(name+"se_expand", se, int(n.channels(x)), nn.Sigmoid)
	return n.layer(name+"se_excite", "multiply", []value{x, se}, nil, func(t *nn.Tower) tf.Output {
		return nn.Mul(t.Scope, x.Output, se.Output)
	})
}

// imagenetDeviation is the standard deviation of ImageNet's colours in 0…1,
// which the published weights have in the place of the variance.
var imagenetDeviation = []float64{0.229, 0.224, 0.225}

// adaptEfficientNet makes one factor of the layers that standardise colours.
//
// Keras divides by the square root of what the file calls the variance. In the
// published weights that is the deviation, so the graph that Keras builds for
// these, and only that one, divides by the root of the deviation once more: the
// second Rescaling layer, which has no tensors. It is there when the file lists
// it. The published files were written by Keras 2 before the layer was added,
// and do not: they are known by their version and by the numbers.
func adaptEfficientNet(w *keras.Weights, tensors map[string]*tf.Tensor) {
	mean, variance := w.Values("normalization", "mean"), w.Values("normalization", "variance")
	twice := w.Count("rescaling") > 1 || (strings.HasPrefix(w.Version, "2.") && near(variance, imagenetDeviation))
	factor := make([]float32, len(variance))
	for i, v := range variance {
		// Keras' smallest divisor.
		f := 1 / math.Max(math.Sqrt(float64(v)), 1e-7)
		if twice {
			f /= math.Sqrt(imagenetDeviation[i])
		}
		factor[i] = float32(f)
	}
	tensors["normalization/mean"] = tf.FromFloat32(mean, int64(len(mean)))
	tensors["normalization/factor"] = tf.FromFloat32(factor, int64(len(factor)))
}

func near(values []float32, want []float64) bool {
	for i, v := range values {
		if math.Abs(float64(v)-want[i]) > 1e-4 {
			return false
		}
	}
	return len(values) == len(want)
}
