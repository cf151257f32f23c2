package optim

import (
	"math"

	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// Adam is the update of one set of weights in a graph.
type Adam struct {
	beta1, beta2 float64

	rate, power1, power2 tf.Output
	norm                 tf.Output
	updates              []*tf.Operation
	moments              []*tf.Variable
}

// Options are Adam's constants.
type Options struct {
	Beta1, Beta2, Epsilon float64
	// ClipNorm bounds the norm of all gradients taken as one vector; 0 does not.
	ClipNorm float64
	// Share returns the share of the learning rate that a weight gets; nil gives
	// all of it to each.
	Share func(weight string) float64
}

// NewAdam adds to s the operations that move the weights against the
// gradients, one per weight and of its shape. The moments join the variables.
func NewAdam(s *tf.Scope, o Options, variables *tf.Variables, weights []*tf.Variable, gradients []tf.Output) *Adam {
	s = s.SubScope("adam")
	a := &Adam{
		beta1: o.Beta1, beta2: o.Beta2,
		rate:   tf.Placeholder(s, tf.Float),
		power1: tf.Placeholder(s, tf.Float),
		power2: tf.Placeholder(s, tf.Float),
		norm:   GlobalNorm(s, gradients),
	}
	if o.ClipNorm > 0 {
		// norm > ClipNorm: g · ClipNorm / norm, else g.
		limit := tf.Scalar(s, float32(o.ClipNorm))
		factor := tf.Out(s, "RealDiv", nil, limit, tf.Out(s, "Maximum", nil, a.norm, limit))
		clipped := make([]tf.Output, len(gradients))
		for i, g := range gradients {
			clipped[i] = nn.Mul(s, g, factor)
		}
		gradients = clipped
	}
	beta1, beta2, epsilon := tf.Scalar(s, float32(o.Beta1)), tf.Scalar(s, float32(o.Beta2)), tf.Scalar(s, float32(o.Epsilon))
	rates := map[float64]tf.Output{1: a.rate}
	for i, w := range weights {
		share := 1.0
		if o.Share != nil {
			share = o.Share(w.Name)
		}
		if _, made := rates[share]; !made {
			rates[share] = nn.Scale(s, a.rate, float32(share))
		}
		m := variables.Get("adam/m/"+w.Name, w.Shape...)
		v := variables.Get("adam/v/"+w.Name, w.Shape...)
		a.moments = append(a.moments, m, v)
		a.updates = append(a.updates, tf.Add(s, "ResourceApplyAdam", nil,
			w.Handle, m.Handle, v.Handle, a.power1, a.power2, rates[share], beta1, beta2, epsilon, gradients[i]))
	}
	return a
}

// GlobalNorm returns the Euclidean norm of all tensors taken as one vector.
func GlobalNorm(s *tf.Scope, tensors []tf.Output) tf.Output {
	halves := make(tf.OutputList, len(tensors))
	for i, t := range tensors {
		halves[i] = tf.Out(s, "L2Loss", nil, t) // half the sum of squares
	}
	return tf.Out(s, "Sqrt", nil, nn.Scale(s, tf.Out(s, "AddN", nil, halves), 2))
}

// Norm is the global norm of the gradients before clipping, [].
func (a *Adam) Norm() tf.Output { return a.norm }

// Updates are the targets of a training step.
func (a *Adam) Updates() []*tf.Operation { return a.updates }

// Feeds adds to feeds what a step needs: its learning rate and the powers of
// the betas, which undo the moments' start at zero. Steps count from 1. The
// caller releases the tensors.
func (a *Adam) Feeds(feeds tf.Feeds, step int, rate float64) {
	scalar := func(v float64) *tf.Tensor { return tf.FromFloat32([]float32{float32(v)}) }
	feeds[a.rate] = scalar(rate)
	feeds[a.power1] = scalar(math.Pow(a.beta1, float64(step)))
	feeds[a.power2] = scalar(math.Pow(a.beta2, float64(step)))
}

// Initial returns the moments before the first step, all zero. The caller
// releases them.
func (a *Adam) Initial() map[string]*tf.Tensor {
	values := make(map[string]*tf.Tensor, len(a.moments))
	for _, m := range a.moments {
		values[m.Name] = tf.FromFloat32(make([]float32, m.Len()), m.Shape...)
	}
	return values
}
