// Package metric is a worked example of docs/extending.md: a metric.
package metric

import "github.com/captioner/captioner/ml/metrics"

func init() { metrics.Register("word_f1", WordF1) }

// WordF1 is the mean over the pictures of the best F1 between the words of the
// caption and those of a reference, each word counted once and in any order.
func WordF1(hyps [][]string, refs [][][]string) float64 {
	sum := 0.0
	for i, hyp := range hyps {
		best := 0.0
		for _, ref := range refs[i] {
			best = max(best, f1(set(hyp), set(ref)))
		}
		sum += best
	}
	return sum / float64(len(hyps))
}

func f1(a, b map[string]bool) float64 {
	common := 0
	for word := range a {
		if b[word] {
			common++
		}
	}
	if common == 0 {
		return 0
	}
	return 2 * float64(common) / float64(len(a)+len(b))
}

func set(words []string) map[string]bool {
	s := map[string]bool{}
	for _, word := range words {
		s[word] = true
	}
	return s
}
