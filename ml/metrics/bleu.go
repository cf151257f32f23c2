// Package metrics scores captions against references. BLEU is NLTK's
// corpus_bleu to the last digit, as the original reports it; beside it stand
// what tells a model that always says the same, and the signature without
// which a score says little. Captions come as token slices or as text; scores
// lie in [0, 1].
package metrics

import (
	"math"

	"github.com/captioner/captioner"
)

// MaxOrder is the longest n-gram that BLEU counts.
const MaxOrder = 4

// Smoothing says what stands in for an n-gram precision of zero, whose
// logarithm does not exist.
type Smoothing string

const (
	// NoSmoothing puts the smallest normal float64, as NLTK does: the score is
	// all but 0.
	NoSmoothing Smoothing = "none"
	// Method1 adds 0.1 to a numerator of zero (Chen and Cherry 2014, method 1,
	// with NLTK's epsilon).
	Method1 Smoothing = "method1"
)

const (
	method1Epsilon = 0.1
	smallestNormal = 0x1p-1022 // Python's sys.float_info.min
)

// Counts are what a corpus' BLEU is computed from, whatever the weights and
// the smoothing (Papineni et al. 2002).
type Counts struct {
	// Matches [n-1] counts the hypotheses' n-grams that occur in a reference,
	// each at most as often as in the reference that has it most often.
	Matches [MaxOrder]int
	// Totals [n-1] counts the hypotheses' n-grams; a hypothesis that is too
	// short for any counts as one, as in NLTK.
	Totals [MaxOrder]int
	// HypothesisLength and ReferenceLength are in tokens; of a picture's
	// references the one closest in length counts, the shorter of two.
	HypothesisLength, ReferenceLength int
}

// Count compares each hypothesis with its references.
//
//	hyps  [pictures][tokens]
//	refs  [pictures][references][tokens]
//
// No picture, lists of different lengths, or a picture without a reference
// are Invalid.
func Count(hyps [][]string, refs [][][]string) (Counts, error) {
	if len(hyps) == 0 || len(hyps) != len(refs) {
		return Counts{}, captioner.Errorf(captioner.Invalid, "%d hypotheses and %d lists of references cannot be compared", len(hyps), len(refs))
	}
	c := counter{ids: map[string]int32{}}
	for i, hyp := range hyps {
		if len(refs[i]) == 0 {
			return Counts{}, captioner.Errorf(captioner.Invalid, "picture %d has no reference", i)
		}
		c.add(hyp, refs[i])
	}
	return c.Counts, nil
}

// ngram holds up to four token IDs, which begin at 1: 0 fills shorter ones.
type ngram [MaxOrder]int32

// counter numbers the words, so that an n-gram is a key of fixed size.
type counter struct {
	Counts
	ids map[string]int32
	// most and own are kept between pictures to spare allocations.
	most, own, of map[ngram]int
	buf           []int32
}

func (c *counter) add(hyp []string, refs [][]string) {
	if c.most == nil {
		c.most, c.own, c.of = map[ngram]int{}, map[ngram]int{}, map[ngram]int{}
	}
	clear(c.most)
	closest := -1
	for _, ref := range refs {
		if closest < 0 || closer(len(ref), closest, len(hyp)) {
			closest = len(ref)
		}
		clear(c.of)
		c.count(ref, c.of)
		for gram, n := range c.of {
			c.most[gram] = max(c.most[gram], n)
		}
	}
	clear(c.own)
	c.count(hyp, c.own)
	for gram, n := range c.own {
		c.Matches[gram.order()-1] += min(n, c.most[gram])
	}
	for n := range MaxOrder {
		c.Totals[n] += max(1, len(hyp)-n)
	}
	c.HypothesisLength += len(hyp)
	c.ReferenceLength += closest
}

// closer reports whether length a is closer to want than b, or as close and
// shorter.
func closer(a, b, want int) bool {
	da, db := abs(a-want), abs(b-want)
	return da < db || da == db && a < b
}

func abs(n int) int { return max(n, -n) }

// count adds all n-grams of tokens to counts.
func (c *counter) count(tokens []string, counts map[ngram]int) {
	c.buf = c.buf[:0]
	for _, token := range tokens {
		id, ok := c.ids[token]
		if !ok {
			id = int32(len(c.ids)) + 1
			c.ids[token] = id
		}
		c.buf = append(c.buf, id)
	}
	for i := range c.buf {
		var gram ngram
		for n := 0; n < MaxOrder && i+n < len(c.buf); n++ {
			gram[n] = c.buf[i+n]
			counts[gram]++
		}
	}
}

func (g ngram) order() int {
	n := 1
	for n < MaxOrder && g[n] != 0 {
		n++
	}
	return n
}

// BLEU returns the geometric mean of the n-gram precisions under the weights,
// of which the first is for unigrams, times the brevity penalty.
func (c Counts) BLEU(smoothing Smoothing, weights ...float64) float64 {
	if c.Matches[0] == 0 {
		return 0
	}
	sum := 0.0
	for i, w := range weights {
		numerator, denominator := float64(c.Matches[i]), float64(c.Totals[i])
		p := numerator / denominator
		if c.Matches[i] == 0 {
			p = smallestNormal
			if smoothing == Method1 {
				p = method1Epsilon / denominator
			}
		}
		sum += w * math.Log(p)
	}
	return c.BrevityPenalty() * math.Exp(sum)
}

// BrevityPenalty returns 1 for a corpus that is longer than its references,
// and exp(1 - references / hypotheses) for a shorter one.
func (c Counts) BrevityPenalty() float64 {
	switch {
	case c.HypothesisLength > c.ReferenceLength:
		return 1
	case c.HypothesisLength == 0:
		return 0
	}
	return math.Exp(1 - float64(c.ReferenceLength)/float64(c.HypothesisLength))
}

// CorpusBLEU returns BLEU-1 to BLEU-4, each with equal weights, over all
// pictures together, as NLTK 3.10's corpus_bleu. Its arguments and errors are
// those of [Count].
func CorpusBLEU(hyps [][]string, refs [][][]string, smoothing Smoothing) ([MaxOrder]float64, error) {
	c, err := Count(hyps, refs)
	if err != nil {
		return [MaxOrder]float64{}, err
	}
	return c.Uniform(smoothing), nil
}

// Uniform returns BLEU-1 to BLEU-4 with weights of 1/n.
func (c Counts) Uniform(smoothing Smoothing) [MaxOrder]float64 {
	var scores [MaxOrder]float64
	var weights [MaxOrder]float64
	for n := 1; n <= MaxOrder; n++ {
		for i := range n {
			weights[i] = 1 / float64(n)
		}
		scores[n-1] = c.BLEU(smoothing, weights[:n]...)
	}
	return scores
}
