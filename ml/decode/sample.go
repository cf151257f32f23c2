package decode

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/captioner/captioner"
)

const (
	// MaxTopK bounds TopK, and stands for a TopK of 0: less likely tokens are
	// never drawn. Sorting many more costs more than computing them.
	MaxTopK = 1000
	// MaxDraws bounds NumCaptions where captions are drawn.
	MaxDraws = 64
)

// Sample draws each token with the probability that the model gives it, sharpened
// or flattened by the temperature, from the TopK likeliest and, among those,
// from the fewest that have TopP of the probability (Holtzman et al. 2020).
// Tokens that must not be used are left out first. The log-probabilities of its
// captions are the model's all the same.
//
// A caption depends on the picture, the options and the seed alone, not on the
// batch. Where several are wanted, twice as many are drawn: those that differ
// come back, the more probable first, and fewer than NumCaptions where too many
// are alike.
func Sample(ctx context.Context, s Stepper, images int, opt Options) ([][]captioner.Hypothesis, error) {
	b := newBatch(s, images, opt)
	draws := make([][]draw, images)
	for image := range draws {
		for i := range opt.draws() {
			start := *b.live[image][0]
			draws[image] = append(draws[image], draw{hypothesis: &start, random: rand.New(rand.NewPCG(opt.Seed, uint64(i)))})
		}
	}
	for position := range opt.MaxTokens - 1 {
		for image := range draws {
			b.live[image] = unfinished(draws[image])
		}
		next, err := b.step(ctx, position, opt.topK())
		if err != nil {
			return nil, err
		}
		if next == nil {
			break
		}
		for image, candidates := range next {
			lengthen(draws[image], candidates, opt)
		}
	}
	results := make([][]captioner.Hypothesis, images)
	for image := range results {
		results[image] = distinct(draws[image], opt.NumCaptions)
	}
	return results, nil
}

// draw is a caption that is being drawn, and what decides its next token.
type draw struct {
	*hypothesis
	random *rand.Rand
	done   bool
}

func (o Options) draws() int {
	if o.NumCaptions == 1 {
		return 1
	}
	return 2 * o.NumCaptions
}

func (o Options) topK() int { return cmp.Or(o.TopK, MaxTopK) }

// unfinished returns the hypotheses that go on.
func unfinished(draws []draw) []*hypothesis {
	var live []*hypothesis
	for _, d := range draws {
		if !d.done {
			live = append(live, d.hypothesis)
		}
	}
	return live
}

// lengthen adds a token to each draw that goes on. candidates are in the draws'
// order, those of each best first; a draw without any is cut.
func lengthen(draws []draw, candidates []candidate, opt Options) {
	for i := range draws {
		d := &draws[i]
		if d.done {
			continue
		}
		n := 0
		for n < len(candidates) && candidates[n].parent == d.hypothesis {
			n++
		}
		if d.done = n == 0; !d.done {
			d.hypothesis = pick(candidates[:min(n, opt.topK())], opt, d.random.Float64()).extend()
			d.done = d.ended
		}
		candidates = candidates[n:]
	}
}

// pick returns the candidate at the point u, in [0, 1), of the probability of
// those that may be drawn.
func pick(candidates []candidate, opt Options, u float64) candidate {
	temperature, share := cmp.Or(opt.Temperature, 1), cmp.Or(opt.TopP, 1)
	sums, total := make([]float64, len(candidates)), 0.0
	for i, c := range candidates {
		total += math.Exp(float64(c.logProb-candidates[0].logProb) / temperature)
		sums[i] = total
	}
	last := len(sums) - 1
	if share < 1 {
		last, _ = slices.BinarySearch(sums, share*total)
		last = min(last, len(sums)-1)
	}
	at, found := slices.BinarySearch(sums[:last+1], u*sums[last])
	if found { // a point between two tokens is the next one's
		at++
	}
	return candidates[min(at, last)]
}

// distinct returns the n most probable of the draws that differ.
func distinct(draws []draw, n int) []captioner.Hypothesis {
	var results []captioner.Hypothesis
	for _, d := range draws {
		same := func(h captioner.Hypothesis) bool { return slices.Equal(h.Tokens, d.tokens) }
		if len(results) < n && !slices.ContainsFunc(results, same) {
			results = append(results, d.result())
		}
	}
	slices.SortStableFunc(results, func(a, b captioner.Hypothesis) int { return cmp.Compare(b.LogProbability, a.LogProbability) })
	return results
}
