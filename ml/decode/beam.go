package decode

import (
	"cmp"
	"context"
	"slices"

	"github.com/captioner/captioner"
)

// Beam keeps the BeamWidth most probable hypotheses of each picture. An end
// token that is among a position's BeamWidth best continuations finishes a
// hypothesis, and the best others go on. A picture is done when BeamWidth
// hypotheses have finished, or earlier when no live one can still reach the
// NumCaptions best. With a width of 1 it equals [Greedy].
//
// Hypotheses that were cut at MaxTokens are ranked after finished ones,
// whatever their scores: they break off in the middle of a sentence.
func Beam(ctx context.Context, s Stepper, images int, opt Options) ([][]captioner.Hypothesis, error) {
	b := newBatch(s, images, opt)
	finished := make([][]*hypothesis, images)
	for position := range opt.MaxTokens - 1 {
		// One more than the width leaves that many beside the end token.
		next, err := b.step(ctx, position, opt.BeamWidth+1)
		if err != nil {
			return nil, err
		}
		if next == nil {
			break
		}
		for image, candidates := range next {
			if len(b.live[image]) == 0 {
				continue
			}
			ended, live := advance(candidates, opt.BeamWidth)
			if len(ended)+len(live) == 0 && len(finished[image]) == 0 {
				ended = b.live[image] // nothing left to say: cut here
			}
			finished[image] = append(finished[image], ended...)
			b.live[image] = live
			if done(finished[image], live, opt) {
				b.live[image] = nil
			}
		}
	}
	results := make([][]captioner.Hypothesis, images)
	for image := range results {
		results[image] = rank(append(finished[image], b.live[image]...), opt)
	}
	return results, nil
}

// advance splits a picture's continuations into those that end and those that
// go on, best first.
func advance(candidates []candidate, width int) (ended, live []*hypothesis) {
	slices.SortFunc(candidates, compare)
	for i, c := range candidates {
		switch {
		case len(live) == width:
			return ended, live
		case !c.ends:
			live = append(live, c.extend())
		case i < width:
			ended = append(ended, c.extend())
		}
	}
	return ended, live
}

// done reports whether a picture's search is over.
func done(finished, live []*hypothesis, opt Options) bool {
	if len(live) == 0 || len(finished) >= opt.BeamWidth {
		return true
	}
	if len(finished) < opt.NumCaptions {
		return false
	}
	// A live hypothesis can at best reach the longest length without losing
	// any probability; the best live one bounds the others.
	bound := normalise(live[0].logProb, opt.MaxTokens-1, opt.LengthPenalty)
	better := 0
	for _, h := range finished {
		if h.score(opt.LengthPenalty) >= bound {
			better++
		}
	}
	return better >= opt.NumCaptions
}

// rank returns the NumCaptions best: those that ended first, then by score,
// then in the order in which they were found.
func rank(hypotheses []*hypothesis, opt Options) []captioner.Hypothesis {
	slices.SortStableFunc(hypotheses, func(a, b *hypothesis) int {
		if a.ended != b.ended {
			if a.ended {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.score(opt.LengthPenalty), a.score(opt.LengthPenalty))
	})
	results := make([]captioner.Hypothesis, 0, opt.NumCaptions)
	for _, h := range hypotheses[:min(len(hypotheses), opt.NumCaptions)] {
		results = append(results, h.result())
	}
	return results
}
