package optim

import "math"

// Cosine is a learning rate that rises in a straight line and falls along half
// a cosine (Loshchilov and Hutter 2017).
type Cosine struct {
	// Peak is the highest rate, reached at step Warmup.
	Peak   float64
	Warmup int
	// Steps is the last step, whose rate is Floor · Peak.
	Steps int
	Floor float64
}

// Rate returns the rate of a step, which count from 1; after the last it stays.
func (s Cosine) Rate(step int) float64 {
	if step < s.Warmup {
		return Warmup(s.Peak, step, s.Warmup)
	}
	if step >= s.Steps {
		return s.Peak * s.Floor
	}
	done := float64(step-s.Warmup) / float64(s.Steps-s.Warmup)
	return s.Peak * (s.Floor + (1-s.Floor)*(1+math.Cos(math.Pi*done))/2)
}

// Warmup returns the rate of a step that is one of the first steps, over which
// the rate rises to peak in a straight line, or comes after them.
func Warmup(peak float64, step, steps int) float64 {
	if step < steps {
		return peak * float64(step) / float64(steps)
	}
	return peak
}

// plateauDelta is how much lower than the best a loss must be to count as
// better: Keras' default.
const plateauDelta = 1e-4

// Plateau lowers a learning rate when the validation loss no longer falls, as
// Keras' ReduceLROnPlateau does with its defaults and no cooldown.
type Plateau struct {
	// Factor multiplies the rate, but not below Floor, after Patience epochs in
	// a row without a better loss.
	Factor   float64
	Patience int
	Floor    float64
}

// PlateauState is what a plateau remembers from epoch to epoch.
type PlateauState struct {
	Rate float64 `json:"rate"`
	// Best is the lowest loss so far, nil before the first.
	Best *float64 `json:"best,omitempty"`
	// Wait is the number of epochs since then or since the last reduction.
	Wait int `json:"wait"`
}

// After returns the state after an epoch with the validation loss.
func (p Plateau) After(s PlateauState, loss float64) PlateauState {
	if s.Best == nil || loss < *s.Best-plateauDelta {
		s.Best, s.Wait = &loss, 0
		return s
	}
	s.Wait++
	if s.Wait >= p.Patience && s.Rate > p.Floor {
		s.Rate, s.Wait = max(s.Rate*p.Factor, p.Floor), 0
	}
	return s
}
