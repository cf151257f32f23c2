package train

import (
	"cmp"
	"slices"

	"github.com/captioner/captioner/ml/text"
)

// Auxiliary words are those that say something about the picture: people who
// describe the same picture agree on them more often than chance. Words of
// style ("there is", "can be seen") would only add noise to what the encoder
// learns from; so would pairs of neighbours, by their number.
const (
	// labelMinShare and labelMaxShare bound the share of the pictures whose
	// captions hold the word: rarer ones give too little to learn from.
	labelMinShare = 0.02
	labelMaxShare = 0.9
	// labelMinLift is how many times likelier than chance a word is in one
	// caption of a picture when it is in another one of it.
	labelMinLift = 2.5
	// labelMax bounds their number; the most frequent ones stay.
	labelMax = 256
)

// usage counts where a word occurs.
type usage struct {
	pictures, captions int
	// agreements counts the ordered pairs of captions of one picture that both
	// hold the word.
	agreements int
}

// label chooses the auxiliary words of the examples, notes in each which of
// them its captions hold, and returns how many there are.
func label(examples []example, vocabulary *text.Vocabulary) int {
	uses := make(map[int32]usage)
	captions, pairs := 0, 0
	for _, e := range examples {
		captions += len(e.captions)
		pairs += len(e.captions) * (len(e.captions) - 1)
		for w, n := range wordsOf(e.captions, vocabulary) {
			u := uses[w]
			u.pictures++
			u.captions += n
			u.agreements += n * (n - 1)
			uses[w] = u
		}
	}
	var chosen []int32
	for w, u := range uses {
		share := float64(u.pictures) / float64(len(examples))
		if u.pictures > 1 && share >= labelMinShare && share <= labelMaxShare && u.lift(captions, pairs) >= labelMinLift {
			chosen = append(chosen, w)
		}
	}
	slices.SortFunc(chosen, func(a, b int32) int {
		return cmp.Or(uses[b].pictures-uses[a].pictures, int(a-b))
	})
	chosen = chosen[:min(len(chosen), labelMax)]
	for i := range examples {
		held := wordsOf(examples[i].captions, vocabulary)
		for j, w := range chosen {
			if held[w] > 0 {
				examples[i].labels = append(examples[i].labels, j)
			}
		}
	}
	return len(chosen)
}

// lift returns how many times likelier than chance two captions of a picture
// share the word. Where pictures have one caption each, nothing is known about
// any word, and every word passes.
func (u usage) lift(captions, pairs int) float64 {
	if pairs == 0 {
		return labelMinLift
	}
	chance := float64(u.captions) / float64(captions)
	return float64(u.agreements) / float64(pairs) / (chance * chance)
}

// wordsOf returns in how many of the captions each word is, without the
// special tokens.
func wordsOf(captions [][]int32, vocabulary *text.Vocabulary) map[int32]int {
	counts := make(map[int32]int)
	for _, c := range captions {
		seen := make(map[int32]bool)
		for _, token := range c {
			if vocabulary.IsWord(token) && !seen[token] {
				seen[token] = true
				counts[token]++
			}
		}
	}
	return counts
}
