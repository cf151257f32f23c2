package optim

// LossScale is what the loss is multiplied by, and its gradients divided by, so
// that small ones do not vanish in float16 (Micikevicius et al. 2018, section
// 3.2). It grows for as long as nothing overflows, as Keras' LossScaleOptimizer
// has it. The zero value belongs to a training that scales nothing.
type LossScale struct {
	Scale float64 `json:"scale,omitempty"`
	// Good counts the steps in a row without an overflow.
	Good int `json:"good,omitempty"`
	// Skipped counts the steps that an overflow has undone.
	Skipped int `json:"skipped,omitempty"`
}

const (
	firstLossScale  = 1 << 15
	lossScaleGrowth = 2000 // good steps after which the scale doubles
)

// NewLossScale returns the scale of the first step.
func NewLossScale() LossScale { return LossScale{Scale: firstLossScale} }

// After returns the scale after a step whose gradients were finite or not.
func (l LossScale) After(finite bool) LossScale {
	if !finite {
		return LossScale{Scale: l.Scale / 2, Skipped: l.Skipped + 1}
	}
	if l.Good++; l.Good == lossScaleGrowth {
		l.Scale, l.Good = 2*l.Scale, 0
	}
	return l
}
