package dataset

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/captioner/captioner"
)

func TestSplitSizes(t *testing.T) {
	usual := captioner.SplitRatios{Train: 0.6, Validation: 0.2, Test: 0.2}
	for _, c := range []struct {
		n                int
		ratios           captioner.SplitRatios
		test, validation int
	}{
		{0, usual, 0, 0},
		{1, usual, 0, 0},
		{2, usual, 1, 0},
		{3, usual, 1, 1},
		{5, usual, 1, 1},
		{10, usual, 2, 2},
		{8091, usual, 1618, 1618},
		{100, captioner.SplitRatios{Train: 0.9, Test: 0.1}, 10, 0},
		{10, captioner.SplitRatios{Test: 1}, 10, 0},
		{4, captioner.SplitRatios{Train: 0.1, Validation: 0.45, Test: 0.45}, 2, 1},
		{1000, captioner.SplitRatios{Train: 0.9998, Validation: 0.0001, Test: 0.0001}, 1, 1},
	} {
		n := max(c.n, 0)
		test, validation := splitSizes(n, c.ratios)
		if c.n == 0 {
			// No picture to give away: nothing may be taken.
			if len(assign(0, c.ratios, 1)) != 0 {
				t.Error("pictures out of nothing")
			}
			continue
		}
		if test != c.test || validation != c.validation {
			t.Errorf("%d pictures by %+v: test %d, validation %d, want %d and %d", n, c.ratios, test, validation, c.test, c.validation)
		}
	}
}

func assign(n int, ratios captioner.SplitRatios, seed uint64) []captioner.Example {
	examples := make([]captioner.Example, n)
	for i := range examples {
		examples[i] = captioner.Example{Image: fmt.Sprint(i), SHA256: captioner.DigestOf(fmt.Append(nil, i))}
	}
	splitByRatios(examples, ratios, seed)
	return examples
}

// Sizes as asked for, no split without a picture, and one picture more or less
// moves few others.
func TestSplitProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(3, 300).Draw(t, "n")
		a := rapid.Float64Range(0.01, 0.98).Draw(t, "test")
		b := rapid.Float64Range(0.005, 0.99-a).Draw(t, "validation")
		ratios := captioner.SplitRatios{Train: 1 - a - b, Validation: b, Test: a}
		seed := rapid.Uint64().Draw(t, "seed")
		sizes := map[captioner.Split]int{}
		small, large := assign(n, ratios, seed), assign(n+1, ratios, seed)
		moved := 0
		for i, e := range small {
			sizes[e.Split]++
			if large[i].Split != e.Split {
				moved++
			}
		}
		for split, ratio := range map[captioner.Split]float64{captioner.Test: a, captioner.Validation: b, captioner.Train: 1 - a - b} {
			if sizes[split] == 0 || math.Abs(float64(sizes[split])-ratio*float64(n)) > 2.5 {
				t.Fatalf("%d of %d pictures are in %s, whose ratio is %.3f", sizes[split], n, split, ratio)
			}
		}
		if moved > 4 {
			t.Fatalf("one picture more moves %d of %d", moved, n)
		}
	})
}

func TestIdenticalPicturesStayTogether(t *testing.T) {
	for seed := range uint64(50) {
		examples := make([]captioner.Example, 60)
		for i := range examples {
			examples[i] = captioner.Example{Image: fmt.Sprint(i), SHA256: captioner.DigestOf(fmt.Append(nil, i/6))}
		}
		splitByRatios(examples, captioner.SplitRatios{Train: 0.6, Validation: 0.2, Test: 0.2}, seed)
		sizes := map[captioner.Split]int{}
		for i, e := range examples {
			if e.Split != examples[i/6*6].Split {
				t.Fatalf("seed %d: picture %d is in %s, its twin in %s", seed, i, e.Split, examples[i/6*6].Split)
			}
			sizes[e.Split]++
		}
		if sizes[captioner.Test] != 12 || sizes[captioner.Validation] != 12 {
			t.Errorf("seed %d: %v", seed, sizes)
		}
	}
}

func TestSample(t *testing.T) {
	examples := assign(100, captioner.SplitRatios{Train: 0.6, Validation: 0.2, Test: 0.2}, 42)
	sample := Sample(examples, 30)
	if len(sample) != 30 {
		t.Fatalf("%d pictures, want 30", len(sample))
	}
	at := 0
	for _, e := range examples {
		if at < len(sample) && cmp.Equal(sample[at], e) {
			at++
		}
	}
	if at != len(sample) {
		t.Error("the sample is not in the order of the pictures")
	}
	larger := Sample(examples, 31)
	if diff := cmp.Diff(sample, slices.DeleteFunc(larger, func(e captioner.Example) bool {
		return !slices.ContainsFunc(sample, func(s captioner.Example) bool { return s.Image == e.Image })
	})); diff != "" {
		t.Errorf("a larger sample lacks pictures of the smaller one:\n%s", diff)
	}
	splits := map[captioner.Split]int{}
	for _, e := range sample {
		splits[e.Split]++
	}
	if splits[captioner.Test] > 15 {
		t.Errorf("the sample follows the split: %v", splits)
	}
	for _, n := range []int{0, 100, 1000} {
		if got := Sample(examples, n); len(got) != 100 {
			t.Errorf("Sample(%d) has %d pictures, want all 100", n, len(got))
		}
	}
}

func TestLengthPercentile(t *testing.T) {
	var captions []string
	for i := range 200 {
		caption := "a dog runs"
		if i < 2 {
			caption += " over a very long meadow"
		}
		captions = append(captions, caption)
	}
	// Two of 200 lie above the 99th percentile; three would raise it.
	if got := lengthPercentile(captions, 99); got != 5 {
		t.Errorf("length %d, want 5", got)
	}
	captions[3] = "a dog runs and runs"
	if got := lengthPercentile(captions, 99); got != 7 {
		t.Errorf("length %d, want 7", got)
	}
	for percentile, want := range map[float64]int{100: 10, 99.5: 10, 99: 7, 98.5: 5, 0.01: 5} {
		if got := lengthPercentile(captions, percentile); got != want {
			t.Errorf("percentile %v: length %d, want %d", percentile, got, want)
		}
	}
	if got := lengthPercentile([]string{"dog"}, 99); got != 3 {
		t.Errorf("length of one caption %d, want 3", got)
	}
}
