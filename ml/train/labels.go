package train

import (
	"cmp"
	"slices"

	"github.com/captioner/captioner/ml/text"
)

// Auxiliary words are single words and pairs of neighbours that are neither
// rare, so that there is something to learn from, nor in nearly all captions.
const (
	labelMinShare = 0.02
	labelMaxShare = 0.9
	labelMax      = 256
)

// word is a token, or two neighbouring ones; the second is 0 for one.
type word [2]int32

// label chooses the auxiliary words of the examples, notes in each which of
// them its captions hold, and returns how many there are.
func label(examples []example) int {
	counts := make(map[word]int)
	held := make([]map[word]bool, len(examples))
	for i, e := range examples {
		held[i] = wordsOf(e.captions)
		for w := range held[i] {
			counts[w]++
		}
	}
	var chosen []word
	for w, n := range counts {
		if share := float64(n) / float64(len(examples)); n > 1 && share >= labelMinShare && share <= labelMaxShare {
			chosen = append(chosen, w)
		}
	}
	slices.SortFunc(chosen, func(a, b word) int {
		return cmp.Or(counts[b]-counts[a], int(a[0]-b[0]), int(a[1]-b[1]))
	})
	chosen = chosen[:min(len(chosen), labelMax)]
	for i := range examples {
		for j, w := range chosen {
			if held[i][w] {
				examples[i].labels = append(examples[i].labels, j)
			}
		}
	}
	return len(chosen)
}

// wordsOf returns the words and pairs in any of the captions, without the
// special tokens.
func wordsOf(captions [][]int32) map[word]bool {
	words := make(map[word]bool)
	for _, c := range captions {
		for i, token := range c {
			if token <= text.End {
				continue
			}
			words[word{token}] = true
			if i+1 < len(c) && c[i+1] > text.End {
				words[word{token, c[i+1]}] = true
			}
		}
	}
	return words
}
