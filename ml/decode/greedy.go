package decode

import (
	"context"
	"slices"

	"github.com/captioner/captioner"
)

// Greedy takes the most probable token at each position. It gives one caption
// per picture and asks for one candidate per hypothesis, and one more for each
// n-gram that must not be repeated.
func Greedy(ctx context.Context, s Stepper, images int, opt Options) ([][]captioner.Hypothesis, error) {
	b := newBatch(s, images, opt)
	results := make([][]captioner.Hypothesis, images)
	for position := range opt.MaxTokens - 1 {
		next, err := b.step(ctx, position, 1)
		if err != nil {
			return nil, err
		}
		for image, candidates := range next {
			if len(b.live[image]) == 0 {
				continue
			}
			// With nothing left to say the caption is cut.
			h := b.live[image][0]
			cut := len(candidates) == 0
			if !cut {
				h = slices.MinFunc(candidates, compare).extend()
				cut = position == opt.MaxTokens-2
			}
			b.live[image] = []*hypothesis{h}
			if h.ended || cut {
				results[image] = []captioner.Hypothesis{h.result()}
				b.live[image] = nil
			}
		}
	}
	return results, nil
}
