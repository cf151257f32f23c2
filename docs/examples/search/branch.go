// Package search is a worked example of docs/extending.md: a search algorithm.
package search

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/decode"
)

func init() { decode.Register("branch", Branch) }

// branch is a caption that is being said of a picture.
type branch struct {
	captioner.Hypothesis
	image, row int32 // which picture, and its place in the step before
	ended      bool
}

// Branch begins a caption with each of the BeamWidth likeliest first words and
// goes on from each greedily. Its captions differ from the first word on, where
// those of beam search often differ in the last one only. It does not look for
// repeated n-grams.
func Branch(ctx context.Context, s decode.Stepper, images int, opt decode.Options) ([][]captioner.Hypothesis, error) {
	var done, live []branch
	for i := range images {
		live = append(live, branch{image: int32(i), row: int32(i)})
	}
	for position := 0; position < opt.MaxTokens-1 && len(live) > 0; position++ {
		width := 1
		if position == 0 {
			width = opt.BeamWidth
		}
		next, err := grow(ctx, s, live, position, width, opt)
		if err != nil {
			return nil, err
		}
		live = nil
		for _, b := range next {
			if b.ended {
				done = append(done, b)
			} else {
				live = append(live, b)
			}
		}
	}
	return best(append(done, live...), images, opt), nil
}

// grow asks for the next token of every branch, and returns a branch for each
// of the answers.
func grow(ctx context.Context, s decode.Stepper, live []branch, position, width int, opt decode.Options) ([]branch, error) {
	var tokens, parents, rows []int32
	for _, b := range live {
		token := opt.Start
		if n := len(b.Tokens); n > 0 {
			token = b.Tokens[n-1]
		}
		tokens, parents, rows = append(tokens, token), append(parents, b.row), append(rows, b.image)
	}
	got, err := s.Step(ctx, tokens, parents, rows, position, width)
	if err != nil {
		return nil, err
	}
	var next []branch
	for k, b := range live {
		before := len(next)
		for m, token := range got.IDs[k] {
			if logProb := float64(got.LogProbs[k][m]); !math.IsInf(logProb, -1) {
				next = append(next, b.say(token, logProb, int32(k), opt.End))
			}
		}
		if len(next) == before { // nothing left to say: cut here
			b.ended = true
			next = append(next, b)
		}
	}
	return next, nil
}

// say returns the branch with one more token, as the row-th of its step; end
// is the token that ends a caption.
func (b branch) say(token int32, logProb float64, row, end int32) branch {
	b.LogProbability += logProb
	b.row = row
	if b.ended = token == end; !b.ended {
		b.Tokens = append(slices.Clone(b.Tokens), token)
	}
	return b
}

// best ranks each picture's branches by log-probability per length^penalty.
func best(all []branch, images int, opt decode.Options) [][]captioner.Hypothesis {
	score := func(h captioner.Hypothesis) float64 {
		return h.LogProbability / math.Pow(float64(len(h.Tokens)+1), opt.LengthPenalty)
	}
	results := make([][]captioner.Hypothesis, images)
	for _, b := range all {
		results[b.image] = append(results[b.image], b.Hypothesis)
	}
	for i, of := range results {
		slices.SortStableFunc(of, func(a, b captioner.Hypothesis) int { return cmp.Compare(score(b), score(a)) })
		results[i] = of[:min(len(of), opt.NumCaptions)]
	}
	return results
}
