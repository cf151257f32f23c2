package optim

import "math"

// Schedule is a learning rate that rises in a straight line and falls along
// half a cosine (Loshchilov and Hutter 2017).
type Schedule struct {
	// Peak is the highest rate, reached at step Warmup.
	Peak   float64
	Warmup int
	// Steps is the last step, whose rate is Floor · Peak.
	Steps int
	Floor float64
}

// Rate returns the rate of a step, which count from 1; after the last it stays.
func (s Schedule) Rate(step int) float64 {
	if step < s.Warmup {
		return s.Peak * float64(step) / float64(s.Warmup)
	}
	if step >= s.Steps {
		return s.Peak * s.Floor
	}
	done := float64(step-s.Warmup) / float64(s.Steps-s.Warmup)
	return s.Peak * (s.Floor + (1-s.Floor)*(1+math.Cos(math.Pi*done))/2)
}
