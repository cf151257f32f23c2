package encoder

import (
	"fmt"
	"strings"

	"github.com/captioner/captioner/ml/keras"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// network adds an encoder that was published with Keras to a tower and notes
// the layers as Keras has them, so that weights can be matched to them.
type network struct {
	t      *nn.Tower
	layers []keras.Layer
	// blocks are the places of the layers that each block begins with.
	blocks []int
}

// block begins the next block: a part that is fine-tuned as one.
func (n *network) block() { n.blocks = append(n.blocks, len(n.layers)) }

// value is a layer's output, and its place among the layers.
type value struct {
	tf.Output
	place int
}

// layer notes a layer of a class, with the output that the tower's part of that
// name gives.
func (n *network) layer(name, class string, inputs []value, weights []keras.Weight, add func(*nn.Tower) tf.Output) value {
	places := make([]int, len(inputs))
	for i, in := range inputs {
		places[i] = in.place
	}
	n.layers = append(n.layers, keras.Layer{Name: name, Class: class, Inputs: places, Weights: weights})
	return value{add(n.t.Sub(name)), len(n.layers) - 1}
}

// pixels is the network's input.
func (n *network) pixels(x tf.Output) value {
	return n.layer("input", "input_layer", nil, nil, func(*nn.Tower) tf.Output { return x })
}

// apply adds a layer without weights.
func (n *network) apply(name, class string, x value, f func(*tf.Scope, tf.Output) tf.Output) value {
	return n.layer(name, class, []value{x}, nil, func(t *nn.Tower) tf.Output { return f(t.Scope, x.Output) })
}

// convNorm adds a convolution without a bias and a batch normalisation.
func (n *network) convNorm(conv, norm string, x value, k nn.Kernel, filters int, scaled bool) value {
	weights := []keras.Weight{{Name: "kernel", Shape: []int64{int64(k.Height), int64(k.Width), n.channels(x), int64(filters)}}}
	return n.normed(conv, "conv2d", norm, x, weights, scaled, func(t *nn.Tower, b nn.Norm) tf.Output {
		return nn.ConvolveNorm(t, b, x.Output, k, filters)
	})
}

// convBias adds a convolution of single locations with a bias and what follows.
func (n *network) convBias(name string, x value, filters int, follow func(*tf.Scope, tf.Output) tf.Output) value {
	weights := []keras.Weight{
		{Name: "kernel", Shape: []int64{1, 1, n.channels(x), int64(filters)}},
		{Name: "bias", Shape: []int64{int64(filters)}},
	}
	return n.layer(name, "conv2d", []value{x}, weights, func(t *nn.Tower) tf.Output {
		return follow(t.Scope, nn.Bias(t, nn.Convolve(t, x.Output, nn.Kernel{Height: 1, Width: 1}, filters)))
	})
}

// depthwiseNorm adds a convolution of each channel and a batch normalisation.
func (n *network) depthwiseNorm(conv, norm string, x value, k nn.Kernel) value {
	weights := []keras.Weight{{Name: "kernel", Shape: []int64{int64(k.Height), int64(k.Width), n.channels(x), 1}}}
	return n.normed(conv, "depthwise_conv2d", norm, x, weights, true, func(t *nn.Tower, b nn.Norm) tf.Output {
		return nn.ConvolveDepthwiseNorm(t, b, x.Output, k)
	})
}

// normed notes a convolution and its batch normalisation, with or without a
// learned scale, which add makes together.
func (n *network) normed(conv, class, norm string, x value, kernel []keras.Weight, scaled bool, add func(*nn.Tower, nn.Norm) tf.Output) value {
	x = n.layer(conv, class, []value{x}, kernel, func(t *nn.Tower) tf.Output {
		return add(t, nn.Norm{Tower: n.t.Sub(norm), Scaled: scaled})
	})
	var weights []keras.Weight
	for _, w := range []string{"gamma", "beta", "moving_mean", "moving_variance"} {
		if scaled || w != "gamma" {
			weights = append(weights, keras.Weight{Name: w, Shape: []int64{n.channels(x)}})
		}
	}
	return n.layer(norm, "batch_normalization", []value{x}, weights, func(*nn.Tower) tf.Output { return x.Output })
}

// concat joins the channels of the layers' outputs.
func (n *network) concat(name string, xs ...value) value {
	return n.layer(name, "concatenate", xs, nil, func(t *nn.Tower) tf.Output {
		outputs := make([]tf.Output, len(xs))
		for i, x := range xs {
			outputs[i] = x.Output
		}
		return nn.Concat(t.Scope, 3, outputs...)
	})
}

// channels returns the size of x's last axis; 0 after an error in the scope.
func (n *network) channels(x value) int64 {
	if dims := tf.Dims(n.t.Scope, x.Output); len(dims) == 4 {
		return dims[3]
	}
	return 0
}

// ourNames are the names that package nn has for the weights of Keras.
var ourNames = map[string]string{
	"kernel": "kernel", "bias": "bias", "gamma": "scale", "beta": "offset", "moving_mean": "mean", "moving_variance": "variance",
}

// ourWeights returns the tensors of a weights file under the names that the
// tower gives them. Those without such a name are left to the encoder.
func (n *network) ourWeights(w *keras.Weights) map[string]*tf.Tensor {
	tensors := make(map[string]*tf.Tensor)
	for _, layer := range n.layers {
		for _, weight := range layer.Weights {
			if name, ok := ourNames[weight.Name]; ok {
				tensors[layer.Name+"/"+name] = tf.FromFloat32(w.Values(layer.Name, weight.Name), weight.Shape...)
			}
		}
	}
	return tensors
}

// flatten makes a row of locations of the grid.
//
//	x       [B, height, width, D]
//	result  [B, height·width, D]
func flatten(s *tf.Scope, x tf.Output) tf.Output {
	dims := tf.Dims(s, x)
	if len(dims) != 4 {
		return tf.Output{}
	}
	return nn.Reshape(s, x, -1, int(dims[1]*dims[2]), int(dims[3]))
}

// wantSide is an error in the scope unless the pictures have the side.
func wantSide(s *tf.Scope, name string, pixels tf.Output, side int) {
	if dims := tf.Dims(s, pixels); s.Err() == nil && (len(dims) != 4 || dims[1] != int64(side) || dims[2] != int64(side)) {
		s.UpdateErr(name, fmt.Errorf("%s takes pictures of %d × %d pixels, not %s", name, side, side,
			strings.Trim(strings.ReplaceAll(fmt.Sprint(dims), " ", " × "), "[]")))
	}
}
