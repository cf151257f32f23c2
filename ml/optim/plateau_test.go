package optim_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/optim"
)

// plateauCase is losses by epoch and, from Keras, the rate after each.
type plateauCase struct {
	Factor   float64   `json:"factor"`
	Patience int       `json:"patience"`
	Floor    float64   `json:"floor"`
	Rate     float64   `json:"rate"`
	Losses   []float64 `json:"losses"`
	Rates    []float64 `json:"rates"`
}

// rates follows the losses.
func (c plateauCase) rates() []float64 {
	p := optim.Plateau{Factor: c.Factor, Patience: c.Patience, Floor: c.Floor}
	s := optim.PlateauState{Rate: c.Rate}
	var rates []float64
	for _, loss := range c.Losses {
		s = p.After(s, loss)
		rates = append(rates, s.Rate)
	}
	return rates
}

func TestPlateau(t *testing.T) {
	for name, c := range map[string]plateauCase{
		"falling": {0.5, 1, 0, 8, []float64{3, 2, 1}, []float64{8, 8, 8}},
		"patience, then again": {0.5, 2, 0, 8,
			[]float64{3, 3, 3, 3, 3, 2, 2, 2}, []float64{8, 8, 4, 4, 2, 2, 2, 1}},
		"floor":                 {0.1, 1, 0.5, 8, []float64{3, 3, 3, 3}, []float64{8, 0.8, 0.5, 0.5}},
		"too little is nothing": {0.5, 1, 0, 8, []float64{3, 3 - 0.9e-4, 3 - 1.1e-4}, []float64{8, 4, 4}},
	} {
		t.Run(name, func(t *testing.T) { compareRates(t, c.rates(), c.Rates) })
	}
}

// Random losses that fall and then stay, against Keras' callback.
func TestPlateauKeras(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var cases []plateauCase
	for range 20 {
		c := plateauCase{
			Factor: 0.1 + 0.8*r.Float64(), Patience: 1 + r.IntN(4), Floor: math.Pow(10, -6+4*r.Float64()), Rate: 1e-2 * r.Float64(),
		}
		for epoch := range 40 {
			c.Losses = append(c.Losses, math.Max(1, 3-0.1*float64(epoch))+2e-4*r.Float64())
		}
		cases = append(cases, c)
	}
	data, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cases.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var want []plateauCase
	if err := json.Unmarshal(kerastest.Run(t, "testdata/plateau.py", path), &want); err != nil {
		t.Fatal(err)
	}
	reduced := 0
	for i, c := range want {
		compareRates(t, cases[i].rates(), c.Rates)
		if c.Rates[len(c.Rates)-1] < c.Rate {
			reduced++
		}
	}
	if reduced < len(cases)/2 {
		t.Errorf("Keras reduced the rate in %d cases only", reduced)
	}
}

// compareRates allows for Keras' keeping the rate in single precision.
func compareRates(t *testing.T, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d rates, want %d", len(got), len(want))
	}
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-5*want[i] {
			t.Errorf("rate after epoch %d is %v, want %v", i+1, got[i], want[i])
		}
	}
}
