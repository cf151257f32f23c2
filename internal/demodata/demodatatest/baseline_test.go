package demodatatest_test

import (
	"testing"

	"github.com/captioner/captioner/internal/demodata/demodatatest"
)

func TestBaselines(t *testing.T) {
	references := [][]string{
		{"A dog runs on the grass .", "a dog runs on the grass", "a dog is on the grass"},
		{"A cat sleeps on the grass .", "a cat sleeps on the grass", "one cat is on a chair"},
	}
	var captions []string
	for _, r := range references {
		captions = append(captions, r...)
	}
	if got := demodatatest.OneAgainstOthers(t, references, 0); got != 1 {
		t.Errorf("first reference against its copies = %v, want 1", got)
	}
	if got := demodatatest.OneAgainstOthers(t, references, 2); got <= 0 || got >= 1 {
		t.Errorf("third reference against the others = %v, want between 0 and 1", got)
	}
	score, best := demodatatest.BestConstant(t, captions, references)
	if score <= 0.3 || score >= 1 {
		t.Errorf("best constant %q = %v, want 0.3 to 1", best, score)
	}
	if got := demodatatest.MostTypical(references[0]); got != "A dog runs on the grass ." && got != "a dog runs on the grass" {
		t.Errorf("MostTypical = %q", got)
	}
}
