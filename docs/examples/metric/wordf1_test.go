package metric_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/docs/examples/metric"
	"github.com/captioner/captioner/ml/metrics"
)

func ExampleWordF1() {
	fmt.Printf("%.2f\n", metric.WordF1(
		[][]string{{"a", "red", "dog", "runs"}},
		[][][]string{{{"the", "red", "dog"}, {"a", "cat"}}}))
	// Output: 0.57
}

// TestScored: the metric is part of every score, `captioner score` included.
func TestScored(t *testing.T) {
	captions, references := []string{"A red dog runs", "no"}, [][]string{{"the red dog", "a cat"}, {"yes"}}
	s, err := metrics.Score("greedy", "", captioner.DefaultConfig().Evaluation, captions, references)
	if err != nil {
		t.Fatal(err)
	}
	const want = 2 * 2 / 7.0 / 2 // of 4 and 3 words two are common; the second picture has 0
	if got, ok := metrics.Value(s, "word_f1"); !ok || got != want {
		t.Errorf("word_f1 = %v (%v), want %v", got, ok, want)
	}
	r, err := metrics.ScoreFile(strings.NewReader(`{"hyps": ["a red dog runs", "no"], "refs": [["the red dog", "a cat"], ["yes"]]}`), metrics.Split)
	if err != nil || r.Metrics["word_f1"] != want {
		t.Errorf("ScoreFile() = %+v, %v, want word_f1 %v", r, err, want)
	}
}
