package encoder

import (
	"fmt"

	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// inceptionV3 is the encoder of Szegedy et al. 2016, as Keras builds it.
var inceptionV3 = Pretrained{
	Name: "InceptionV3", Side: 299, Grid: 8, Width: 2048,
	build: buildInceptionV3,
}

// unit is a convolution with a normalisation and ReLU.
type unit struct {
	filters, height, width int
	// shrink halves the sides.
	shrink bool
}

func buildInceptionV3(n *network, pixels tf.Output) value {
	n.block()
	x := n.pixels(inceptionInput(n.t.Scope, pixels))
	valid := nn.Kernel{Height: 3, Width: 3, Valid: true}
	shrink := nn.Kernel{Height: 3, Width: 3, Stride: 2, Valid: true}
	x = n.convNormReLU("stem1", x, shrink, 32)
	x = n.convNormReLU("stem2", x, valid, 32)
	x = n.convNormReLU("stem3", x, nn.Kernel{Height: 3, Width: 3}, 64)
	x = n.maxPool("pool1", x)
	x = n.convNormReLU("stem4", x, nn.Kernel{Height: 1, Width: 1}, 80)
	x = n.convNormReLU("stem5", x, valid, 192)
	x = n.maxPool("pool2", x) // [B, 35, 35, 192]

	for i, pooled := range []int{32, 64, 64} {
		x = n.mixed(fmt.Sprintf("mixed%d", i), x, pooled,
			[]unit{{64, 1, 1, false}},
			[]unit{{48, 1, 1, false}, {64, 5, 5, false}},
			[]unit{{64, 1, 1, false}, {96, 3, 3, false}, {96, 3, 3, false}})
	}
	x = n.mixed("mixed3", x, 0, // [B, 17, 17, 768]
		[]unit{{384, 3, 3, true}},
		[]unit{{64, 1, 1, false}, {96, 3, 3, false}, {96, 3, 3, true}})
	for i, c := range []int{128, 160, 160, 192} {
		x = n.mixed(fmt.Sprintf("mixed%d", 4+i), x, 192,
			[]unit{{192, 1, 1, false}},
			[]unit{{c, 1, 1, false}, {c, 1, 7, false}, {192, 7, 1, false}},
			[]unit{{c, 1, 1, false}, {c, 7, 1, false}, {c, 1, 7, false}, {c, 7, 1, false}, {192, 1, 7, false}})
	}
	x = n.mixed("mixed8", x, 0, // [B, 8, 8, 1280]
		[]unit{{192, 1, 1, false}, {320, 3, 3, true}},
		[]unit{{192, 1, 1, false}, {192, 1, 7, false}, {192, 7, 1, false}, {192, 3, 3, true}})
	for i := range 2 {
		x = n.mixedWide(fmt.Sprintf("mixed%d", 9+i), x) // [B, 8, 8, 2048]
	}
	return x
}

// inceptionInput maps pixels from 0…255 to -1…1 as Keras does, by a division.
// TensorFlow multiplies by the reciprocal of what it knows to be a constant,
// which gives some pixels another last bit; with random weights the network
// makes 5e-5 of the feature map from that. Of an input with a default value it
// knows nothing.
func inceptionInput(s *tf.Scope, pixels tf.Output) tf.Output {
	half := tf.Out(s, "PlaceholderWithDefault", tf.Attrs{"shape": tf.MakeShape()}, tf.Scalar(s, 127.5))
	return nn.Sub(s, tf.Out(s, "RealDiv", nil, pixels, half), tf.Scalar(s, 1))
}

// convNormReLU adds a unit. Keras' batch normalisations have no gamma here.
func (n *network) convNormReLU(name string, x value, k nn.Kernel, filters int) value {
	return n.convNormThen(name, x, k, filters, nn.ReLU)
}

// convNormThen adds a unit with another activation.
func (n *network) convNormThen(name string, x value, k nn.Kernel, filters int, activate func(*tf.Scope, tf.Output) tf.Output) value {
	x = n.convNorm(name+"/conv", name+"/norm", x, k, filters, false)
	return n.apply(name+"/activation", "activation", x, activate)
}

// branch adds units one after the other.
func (n *network) branch(name string, x value, units []unit) value {
	for i, u := range units {
		k := nn.Kernel{Height: u.height, Width: u.width}
		if u.shrink {
			k.Stride, k.Valid = 2, true
		}
		x = n.convNormReLU(fmt.Sprintf("%s_%d", name, i+1), x, k, u.filters)
	}
	return x
}

// mixed joins branches and one of pooled locations, of that many channels; 0
// halves the sides, and the locations are pooled with them.
func (n *network) mixed(name string, x value, pooled int, branches ...[]unit) value {
	n.block()
	var ends []value
	for i, units := range branches {
		ends = append(ends, n.branch(fmt.Sprintf("%s/branch%d", name, i+1), x, units))
	}
	if pooled == 0 {
		return n.concat(name, append(ends, n.maxPool(name+"/pool", x))...)
	}
	return n.concat(name, append(ends, n.pooledBranch(name, x, pooled))...)
}

// mixedWide is the last two blocks, whose branches end in two each.
func (n *network) mixedWide(name string, x value) value {
	n.block()
	fork := func(branch string, x value) value {
		return n.concat(branch,
			n.branch(branch+"/row", x, []unit{{384, 1, 3, false}}),
			n.branch(branch+"/column", x, []unit{{384, 3, 1, false}}))
	}
	// Where two layers are as far from the end, Keras has the one first that
	// was made first, so these come in its order.
	one := n.branch(name+"/branch1", x, []unit{{320, 1, 1, false}})
	two := fork(name+"/branch2", n.branch(name+"/branch2", x, []unit{{384, 1, 1, false}}))
	three := fork(name+"/branch3", n.branch(name+"/branch3", x, []unit{{448, 1, 1, false}, {384, 3, 3, false}}))
	return n.concat(name, one, two, three, n.pooledBranch(name, x, 192))
}

// pooledBranch averages each location with its neighbours and convolves that.
// The layers are Keras'; what is computed is the convolution first and the
// average of its results, which is the same, as both are linear and so is a
// normalisation with frozen averages, and leaves 4 to 11 times fewer channels to
// average.
func (n *network) pooledBranch(name string, x value, channels int) value {
	x = n.apply(name+"/pool", "average_pooling2d", x, func(_ *tf.Scope, x tf.Output) tf.Output { return x })
	return n.convNormThen(name+"/pooled_1", x, nn.Kernel{Height: 1, Width: 1}, channels, func(s *tf.Scope, x tf.Output) tf.Output {
		return nn.ReLU(s, nn.AveragePool(s, x, nn.Kernel{Height: 3, Width: 3}))
	})
}

func (n *network) maxPool(name string, x value) value {
	return n.apply(name, "max_pooling2d", x, func(s *tf.Scope, x tf.Output) tf.Output {
		return nn.MaxPool(s, x, nn.Kernel{Height: 3, Width: 3, Stride: 2, Valid: true})
	})
}
