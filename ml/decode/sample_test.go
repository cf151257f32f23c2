package decode_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/decode"
)

// tempered returns the model that sampling from n draws as it says, written
// down token by token from the papers' definitions.
func tempered(n next, s captioner.Sampling) next {
	return func(picture int32, prefix []int32) []float32 {
		type entry struct {
			id int
			p  float64
		}
		var entries []entry
		for id, logProb := range n(picture, prefix) {
			if logProb != ninf {
				entries = append(entries, entry{id, math.Pow(math.Exp(float64(logProb)), 1/s.Temperature)})
			}
		}
		slices.SortStableFunc(entries, func(a, b entry) int {
			switch {
			case a.p > b.p:
				return -1
			case a.p < b.p:
				return 1
			}
			return 0
		})
		entries = entries[:min(s.TopK, len(entries))]
		total := 0.0
		for _, e := range entries {
			total += e.p
		}
		kept, sum := make([]float64, 16), 0.0
		for _, e := range entries {
			if sum >= s.TopP*total {
				break
			}
			kept[e.id] = e.p
			sum += e.p
		}
		return logs(kept, sum)
	}
}

// Captions come as often as the exact distribution has them: Pearson's
// chi-square test over every caption that a small model can give.
func TestSampleFollowsTheDistribution(t *testing.T) {
	const draws, maxTokens = 20_000, 4
	n := random(3, 4, false)
	for _, s := range []captioner.Sampling{
		{Temperature: 1, TopK: 5, TopP: 1},
		{Temperature: 0.5, TopK: 5, TopP: 1},
		{Temperature: 2, TopK: 5, TopP: 1},
		{Temperature: 1, TopK: 2, TopP: 1},
		{Temperature: 1, TopK: 5, TopP: 0.7},
		{Temperature: 0.7, TopK: 4, TopP: 0.8},
	} {
		t.Run(fmt.Sprintf("temperature %v top-k %d top-p %v", s.Temperature, s.TopK, s.TopP), func(t *testing.T) {
			counts := map[string]int{}
			for seed := range uint64(draws) {
				s.Seed = seed
				h := run(t, n, 1, decode.Options{Algorithm: "sample", MaxTokens: maxTokens, Sampling: s})[0][0]
				counts[fmt.Sprint(h.Tokens)]++
			}
			// Captions that are expected fewer than 5 times count as one.
			rest := draws
			statistic, rare, cells := 0.0, 0.0, 0
			cell := func(got int, want float64) {
				statistic += (float64(got) - want) * (float64(got) - want) / want
				cells++
			}
			for _, c := range enumerate(tempered(n, s), nil, 0, maxTokens) {
				want := draws * math.Exp(c.logProb)
				if want < 5 {
					rare += want
					continue
				}
				got := counts[fmt.Sprint(c.tokens)]
				rest -= got
				cell(got, want)
			}
			if rare > 0 {
				cell(rest, rare)
			} else if rest > 0 {
				t.Errorf("%d captions are none that can be drawn: %v", rest, slices.Sorted(maps.Keys(counts)))
			}
			if limit := chiSquare(float64(cells - 1)); statistic > limit {
				t.Errorf("chi-square is %.1f over %d captions, want at most %.1f", statistic, cells, limit)
			}
		})
	}
}

// chiSquare returns what one in a thousand values of the distribution with so
// many degrees of freedom exceeds (Wilson and Hilferty 1931).
func chiSquare(degrees float64) float64 {
	const normal = 3.09
	x := 2 / (9 * degrees)
	return degrees * math.Pow(1-x+normal*math.Sqrt(x), 3)
}

func TestColdSampleIsGreedy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := random(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 6).Draw(t, "words"), false)
		opt := decode.Options{
			Algorithm: "sample", NoRepeatNGram: rapid.IntRange(0, 3).Draw(t, "ngram"), MaxTokens: rapid.IntRange(2, 9).Draw(t, "maxTokens"),
			Sampling: captioner.Sampling{Temperature: 1e-9, Seed: rapid.Uint64().Draw(t, "draw")},
		}
		if rapid.Bool().Draw(t, "one token") {
			opt.Temperature, opt.TopK = 5, 1
		}
		images := rapid.IntRange(1, 4).Draw(t, "images")
		sampled := run(t, n, images, opt)
		opt.Algorithm, opt.Sampling = "greedy", captioner.Sampling{}
		if diff := cmp.Diff(run(t, n, images, opt), sampled); diff != "" {
			t.Fatalf("cold sample (+) is not greedy (-):\n%s", diff)
		}
	})
}

// What holds for any model: a seed gives its captions again, whatever the
// batch, and they carry their true log-probability, repeat no forbidden n-gram
// and differ from each other.
func TestSampleProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, opt := options(t)
		opt.Algorithm, opt.BeamWidth, opt.LengthPenalty = "sample", 0, 0
		opt.Sampling = captioner.Sampling{
			Temperature: rapid.SampledFrom([]float64{0, 0.5, 2}).Draw(t, "temperature"), TopK: rapid.IntRange(0, 4).Draw(t, "top_k"),
			TopP: rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(t, "top_p"), Seed: rapid.Uint64().Draw(t, "draw"),
		}
		images := rapid.IntRange(1, 4).Draw(t, "images")
		got := run(t, n, images, opt)
		for picture, hypotheses := range got {
			alone := run(t, func(_ int32, p []int32) []float32 { return n(int32(picture), p) }, 1, opt)[0]
			if diff := cmp.Diff(alone, hypotheses); diff != "" {
				t.Fatalf("picture %d alone (-) and in a batch (+):\n%s", picture, diff)
			}
			ended := slices.Clone(hypotheses)
			checkHypotheses(t, n, int32(picture), ended, opt)
		}
	})
}

// By hand: the two likeliest have 0.8 together, of which 0.5 and 0.3 are drawn.
func TestSampleSeveral(t *testing.T) {
	n := table(map[string]map[int32]float64{
		"[]": {4: 0.5, 5: 0.3, 6: 0.2}, "[4]": {3: 1}, "[5]": {3: 1}, "[6]": {3: 1},
	})
	opt := decode.Options{Algorithm: "sample", MaxTokens: 4, NumCaptions: 3, Sampling: captioner.Sampling{TopP: 0.8}}
	fewer := 0
	for seed := range uint64(200) {
		opt.Seed = seed
		got := run(t, n, 1, opt)[0]
		if len(got) < 2 {
			fewer++
			continue
		}
		if len(got) != 2 || got[0].Tokens[0] != 4 || got[1].Tokens[0] != 5 {
			t.Fatalf("seed %d: %v, want [4] and [5], the more probable first", seed, got)
		}
	}
	// All six draws alike: 0.625⁶ + 0.375⁶ = 0.062 of the seeds, give or take 0.017.
	if fewer < 3 || fewer > 24 {
		t.Errorf("%d of 200 seeds gave one caption, want about 12", fewer)
	}
}
