// Package encoder is a worked example of docs/extending.md: an image encoder.
package encoder

import (
	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

func init() { encoder.Register("patches", Patches) }

// Patches cuts the picture into squares of 8×8 pixels and lets each look at all
// others once (Dosovitskiy et al. 2021, with one layer).
//
//	pixels  [B, S, S, 3]    in -1…1
//	result  [B, L, 64]      L = ceil(S / 8)²
func Patches(t *nn.Tower, pixels tf.Output) tf.Output {
	const patch, width, heads = 8, 64, 4
	s := t.Scope
	x := nn.Conv2D(t.Sub("patches"), pixels, width, patch, patch) // [B, S/8, S/8, 64]
	dims := tf.Dims(s, x)
	if len(dims) != 4 {
		return tf.Output{} // the scope holds the error
	}
	x = nn.Reshape(s, x, -1, int(dims[1]*dims[2]), width) // [B, L, 64]
	x = nn.Add(s, x, nn.Table(t, "places", nn.Uniform(0.05), dims[1]*dims[2], width))
	everywhere := tf.Output{} // no mask
	return nn.Add(s, x, nn.SelfAttention(t.Sub("self"), nn.LayerNorm(t.Sub("self_norm"), x), everywhere, heads))
}
