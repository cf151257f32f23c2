package encoder

import (
	"fmt"

	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// convStages are the last stages of Conv; each halves the picture's sides.
//
// What a location sees decides how fast it learns: with no more than about
// half of the picture's side it has to name what is there, and learns the
// shapes of a few thousand things from two thousand pictures; one that sees
// the whole picture learns pictures by heart first.
var convStages = []struct {
	channels int
	residual bool
}{
	{24, false}, {64, false}, {128, true},
}

// convStem is the channels of the stages before them, and convGrid the largest
// side of the grid that comes out: a larger picture gets more stages.
const (
	convStem = 16
	convGrid = 8
)

// Conv is a small convolutional network, to be trained from scratch: stages of
// 3×3 convolutions with batch normalisation (Ioffe and Szegedy 2015) and ReLU,
// with a residual connection (He et al. 2016) in the last. Its stages
// are as many as bring the picture down to 5 to 8 locations a side, three for
// pictures of up to 64 pixels.
//
//	pixels  [B, S, S, 3]  float32, 0…255
//	result  [B, L, 128]   L = ceil(S / 2^stages)²
func Conv(t *nn.Tower, pixels tf.Output) tf.Output {
	s := t.Scope
	x := nn.Normalise(s, pixels)
	dims := tf.Dims(s, x)
	if len(dims) != 4 {
		return tf.Output{}
	}
	for side, i := dims[1], 1; side > convGrid<<len(convStages); side, i = (side+1)/2, i+1 {
		x = nn.ReLU(s, convNorm(t.Sub(fmt.Sprintf("stem%d", i)), x, convStem, 2))
	}
	for i, stage := range convStages {
		t := t.Sub(fmt.Sprintf("stage%d", i+1))
		x = nn.ReLU(s, convNorm(t.Sub("down"), x, stage.channels, 2)) // [B, S/2ⁱ, S/2ⁱ, channels]
		if stage.residual {
			x = nn.ReLU(s, nn.Add(s, x, convNorm(t.Sub("residual"), x, stage.channels, 1)))
		}
	}
	if dims = tf.Dims(s, x); len(dims) != 4 {
		return tf.Output{}
	}
	return nn.Reshape(s, x, -1, int(dims[1]*dims[2]), int(dims[3]))
}

func convNorm(t *nn.Tower, x tf.Output, channels, stride int) tf.Output {
	return nn.BatchNorm(t, nn.Conv2D(t, x, channels, 3, stride))
}
