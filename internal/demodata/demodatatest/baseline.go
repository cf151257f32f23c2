// Package demodatatest measures how hard a captioned data set is: what one
// constant caption scores, what a person scores against the others, and what
// the most typical caption of each picture scores. Tests of the data sets made
// here bound these numbers.
package demodatatest

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/captioner/captioner/ml/metrics"
	"github.com/captioner/captioner/ml/text"
)

// BLEU4 scores one hypothesis a picture, after cleaning, in [0, 1].
func BLEU4(tb testing.TB, hypotheses []string, references [][]string) float64 {
	tb.Helper()
	hyps := make([][]string, len(hypotheses))
	refs := make([][][]string, len(references))
	for i, h := range hypotheses {
		hyps[i] = tokens(h)
		for _, r := range references[i] {
			refs[i] = append(refs[i], tokens(r))
		}
	}
	scores, err := metrics.CorpusBLEU(hyps, refs, metrics.NoSmoothing)
	if err != nil {
		tb.Fatal(err)
	}
	return scores[3]
}

func tokens(caption string) []string { return strings.Fields(text.Clean(caption)) }

// BestConstant returns the highest BLEU-4 that one of the captions gets when
// every picture is given the same, among the 40 captions whose n-grams are the
// most frequent in all of them.
func BestConstant(tb testing.TB, captions []string, references [][]string) (score float64, best string) {
	tb.Helper()
	for _, c := range mostTypical(captions, 40) {
		same := make([]string, len(references))
		for i := range same {
			same[i] = c
		}
		if s := BLEU4(tb, same, references); s > score {
			score, best = s, c
		}
	}
	return score, best
}

// OneAgainstOthers scores one reference of each picture, by its number,
// against the picture's other ones.
func OneAgainstOthers(tb testing.TB, references [][]string, number int) float64 {
	tb.Helper()
	hyps := make([]string, len(references))
	others := make([][]string, len(references))
	for i, refs := range references {
		hyps[i] = refs[number]
		others[i] = slices.Delete(slices.Clone(refs), number, number+1)
	}
	return BLEU4(tb, hyps, others)
}

// MostTypical returns the caption whose n-grams are the most frequent in all.
// Of many captions that could be written of one picture it is about the best
// that a model without a look at the references can say.
func MostTypical(captions []string) string { return mostTypical(captions, 1)[0] }

// mostTypical returns up to n different captions, the most typical first.
func mostTypical(captions []string, n int) []string {
	frequency := map[string]int{}
	for _, c := range captions {
		for g := range ngrams(c) {
			frequency[g]++
		}
	}
	typicality := map[string]float64{}
	for _, c := range captions {
		var sum [metrics.MaxOrder + 1]float64
		var count [metrics.MaxOrder + 1]float64
		for g, order := range ngrams(c) {
			sum[order] += float64(frequency[g])
			count[order]++
		}
		product := 1.0
		for order := 1; order <= metrics.MaxOrder; order++ {
			product *= sum[order] / max(count[order], 1)
		}
		typicality[c] = product
	}
	var sorted []string
	for c := range typicality {
		sorted = append(sorted, c)
	}
	slices.SortFunc(sorted, func(a, b string) int {
		return cmp.Or(cmp.Compare(typicality[b], typicality[a]), strings.Compare(a, b))
	})
	return sorted[:min(n, len(sorted))]
}

// ngrams returns the different n-grams of a caption with their orders.
func ngrams(caption string) map[string]int {
	words := tokens(caption)
	out := map[string]int{}
	for order := 1; order <= metrics.MaxOrder; order++ {
		for i := 0; i+order <= len(words); i++ {
			out[strings.Join(words[i:i+order], " ")] = order
		}
	}
	return out
}
