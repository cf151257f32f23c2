package dataset

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/captioner/captioner"
)

// The first numbers of mt19937ar.out, which the authors of the generator
// publish with it.
func TestTwister(t *testing.T) {
	r := newTwister([]uint32{0x123, 0x234, 0x345, 0x456})
	for i, want := range []uint32{1067595299, 955945823, 477289528, 4107218783, 4228976476, 3344332714, 3355579695, 227628506, 810200273, 2591290167} {
		if got := r.uint32(); got != want {
			t.Fatalf("number %d is %d, want %d", i, got, want)
		}
	}
	for range 990 {
		r.uint32()
	}
	if got := r.uint32(); got == 1067595299 {
		t.Error("the generator repeats itself")
	}
}

// Seeds of more than 32 bits have a key of two words; the lists are those of
// Python 3.11: r = random.Random(seed); x = list(range(8)); r.shuffle(x).
func TestShuffleAsPython(t *testing.T) {
	for seed, want := range map[uint64][]int{
		0:                    {4, 1, 5, 2, 0, 3, 7, 6},
		1:                    {3, 6, 1, 5, 7, 0, 4, 2},
		42:                   {3, 4, 6, 7, 2, 5, 0, 1},
		4294967295:           {0, 6, 7, 2, 5, 4, 1, 3},
		4294967296:           {5, 7, 6, 4, 0, 3, 2, 1},
		18446744073709551615: {5, 7, 3, 6, 4, 2, 1, 0},
		123456789012345:      {4, 5, 6, 0, 1, 7, 2, 3},
	} {
		got := []int{0, 1, 2, 3, 4, 5, 6, 7}
		newPythonRandom(seed).shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		if !slices.Equal(got, want) {
			t.Errorf("seed %d: %v, want %v", seed, got, want)
		}
	}
}

// The golden file holds what the original's own code returned; see ml/text.
func TestSplitAsOriginal(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "text", "testdata", "preprocess.json"))
	if err != nil {
		t.Fatal(err)
	}
	type split struct{ Train, Val, Test []string }
	var golden struct {
		Splits []struct {
			split
			N    int
			Seed uint64
		}
		Files []struct {
			Order  []string
			Splits split `json:"splits_60_20_20_seed42"`
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Splits) == 0 || len(golden.Files) == 0 {
		t.Fatal("the golden file has no splits")
	}
	check := func(names []string, seed uint64, want split) {
		t.Helper()
		got := map[captioner.Split][]string{}
		splits := splitAsOriginal(names, captioner.SplitRatios{Train: 0.6, Validation: 0.2, Test: 0.2}, seed)
		for _, name := range names {
			got[splits[name]] = append(got[splits[name]], name)
		}
		if !slices.Equal(got[captioner.Train], want.Train) || !slices.Equal(got[captioner.Validation], want.Val) || !slices.Equal(got[captioner.Test], want.Test) {
			t.Errorf("%d pictures, seed %d: %v, want %v", len(names), seed, got, want)
		}
	}
	for _, s := range golden.Splits {
		var names []string
		for i := range s.N {
			names = append(names, fmt.Sprintf("img%04d", i))
		}
		check(names, s.Seed, s.split)
	}
	for _, f := range golden.Files {
		check(f.Order, 42, f.Splits)
	}
}
