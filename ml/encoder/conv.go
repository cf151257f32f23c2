package encoder

import (
	"fmt"

	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// convStages are the channels of Conv's stages; each halves the picture's
// sides. The last ones see little of the picture at a time without a second,
// residual convolution.
var convStages = []struct {
	channels int
	residual bool
}{
	{32, false}, {64, false}, {96, true}, {128, true},
}

// Conv is a small convolutional network, to be trained from scratch: four
// stages of 3×3 convolutions with batch normalisation (Ioffe and Szegedy 2015)
// and ReLU, with residual connections (He et al. 2016) in the last two.
//
//	pixels  [B, S, S, 3]         in -1…1
//	result  [B, (S/16)², 128]
func Conv(t *nn.Tower, pixels tf.Output) tf.Output {
	s := t.Scope
	x := pixels
	for i, stage := range convStages {
		t := t.Sub(fmt.Sprintf("stage%d", i+1))
		x = nn.ReLU(s, convNorm(t.Sub("down"), x, stage.channels, 2)) // [B, S/2ⁱ, S/2ⁱ, channels]
		if stage.residual {
			x = nn.ReLU(s, nn.Add(s, x, convNorm(t.Sub("residual"), x, stage.channels, 1)))
		}
	}
	dims := tf.Dims(s, x)
	if len(dims) != 4 {
		return tf.Output{}
	}
	return nn.Reshape(s, x, -1, int(dims[1]*dims[2]), int(dims[3]))
}

func convNorm(t *nn.Tower, x tf.Output, channels, stride int) tf.Output {
	return nn.BatchNorm(t, nn.Conv2D(t, x, channels, 3, stride))
}
