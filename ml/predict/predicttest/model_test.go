package predicttest_test

import (
	"math"
	"testing"

	"github.com/captioner/captioner/ml/predict/predicttest"
)

// TestProbabilitiesSumToOne: at each position, over all tokens but padding and
// start, after the same beginning.
func TestProbabilitiesSumToOne(t *testing.T) {
	rgb := [3]float64{0.2, 0.5, 1}
	beginning := []int32{4, 7, 4}
	for position := range beginning {
		before := predicttest.LogProbability(rgb, beginning[:position])
		sum := 0.0
		for token := range int32(len(predicttest.Tokens)) {
			if token == 0 || token == 2 {
				continue
			}
			tokens := append(append([]int32{}, beginning[:position]...), token)
			sum += math.Exp(predicttest.LogProbability(rgb, tokens) - before)
		}
		if math.Abs(sum-1) > 1e-12 {
			t.Errorf("position %d: the probabilities sum to %v, want 1", position, sum)
		}
	}
}
