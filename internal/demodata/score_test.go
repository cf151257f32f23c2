package demodata_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/demodata"
)

func TestPairs(t *testing.T) {
	redCircle := demodata.Pair{Colour: "red", Shape: "circle"}
	blueSquare := demodata.Pair{Colour: "blue", Shape: "square"}
	tests := []struct {
		caption string
		want    []demodata.Pair
	}{
		{"", nil},
		{"a dark background", nil},
		{"a circle", nil},
		{"a red thing", nil},
		{"A large red circle .", []demodata.Pair{redCircle}},
		{"a scarlet disc, an azure box", []demodata.Pair{redCircle, blueSquare}},
		{"two red discs and a pair of blue boxes", []demodata.Pair{redCircle, blueSquare}},
		{"a red circle and a red circle", []demodata.Pair{redCircle}},
		{"three violet pluses", []demodata.Pair{{Colour: "purple", Shape: "cross"}}},
		// A colour belongs to one shape only, and the nearest colour wins.
		{"a red circle and a square", []demodata.Pair{redCircle}},
		{"a red blue square", []demodata.Pair{blueSquare}},
		{"startseq a red circle endseq", []demodata.Pair{redCircle}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, demodata.Pairs(tt.caption), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("Pairs(%q) (-want +got):\n%s", tt.caption, diff)
		}
	}
}

func TestPairF1(t *testing.T) {
	tests := []struct {
		hypothesis string
		references []string
		want       float64
	}{
		{"a red circle", []string{"a scarlet disc"}, 1},
		{"a red circle", []string{"a blue circle"}, 0},
		{"a red circle", []string{"a red circle and a blue square"}, 2. / 3},     // P 1, R 1/2
		{"a red circle and a blue star", []string{"a red circle"}, 2. / 3},       // P 1/2, R 1
		{"a red circle and a blue star", []string{"a red star , a red ring"}, 0}, // both words right, both pairs wrong
		{"a red circle", []string{"a red circle and a blue square", "a disc"}, 2. / 3},
		{"a red circle", []string{"a red circle and a blue square", "a red disc"}, 1}, // the best one counts
		{"on a dark background", []string{"a red circle"}, 0},
		{"on a dark background", []string{"on a dark background"}, 0},
		{"a red circle", nil, 0},
	}
	for _, tt := range tests {
		if got := demodata.PairF1(tt.hypothesis, tt.references); math.Abs(got-tt.want) > 1e-12 {
			t.Errorf("PairF1(%q, %q) = %v, want %v", tt.hypothesis, tt.references, got, tt.want)
		}
	}
}

func scene(image string, pairs ...demodata.Pair) demodata.Scene {
	s := demodata.Scene{Image: image}
	for i, p := range pairs {
		s.Objects = append(s.Objects, demodata.Object{Colour: p.Colour, Shape: p.Shape, Group: i})
	}
	return s
}

func TestPairPrecision(t *testing.T) {
	s := scene("x", demodata.Pair{Colour: "red", Shape: "circle"}, demodata.Pair{Colour: "blue", Shape: "star"})
	tests := []struct {
		hypothesis string
		want       float64
	}{
		{"a red circle", 1},
		{"a red circle and an azure star", 1},
		{"a red circle and a red star", 0.5},
		{"a green moon", 0},
		{"a surface", 0},
	}
	for _, tt := range tests {
		if got := demodata.PairPrecision(tt.hypothesis, s); got != tt.want {
			t.Errorf("PairPrecision(%q) = %v, want %v", tt.hypothesis, got, tt.want)
		}
	}
}

// The scene file has four pictures, of which c and d show the unseen pair of
// green and heart. By hand:
//
//	a  right                   F1 1    precision 1
//	b  one of two pairs named  F1 2/3  precision 1
//	c  right                   F1 1    precision 1
//	d  green star instead      F1 0    precision 0
func TestScore(t *testing.T) {
	red, blue := demodata.Pair{Colour: "red", Shape: "circle"}, demodata.Pair{Colour: "blue", Shape: "square"}
	heart := demodata.Pair{Colour: "green", Shape: "heart"}
	truth := &demodata.Truth{
		Unseen: []demodata.Pair{heart},
		Scenes: []demodata.Scene{scene("a", red), scene("b", red, blue), scene("c", heart), scene("d", heart), scene("train", red)},
	}
	references := map[string][]string{
		"a": {"a red circle"}, "b": {"a red circle and a blue box"}, "c": {"a green heart"}, "d": {"a green heart"},
	}
	hypotheses := map[string]string{"a": "a red disc", "b": "a red circle", "c": "an emerald valentine", "d": "a green star"}
	got, err := demodata.Score(hypotheses, references, truth)
	if err != nil {
		t.Fatal(err)
	}
	want := demodata.Report{
		Images: 4, PairF1: (1 + 2./3 + 1) / 4, PairPrecision: 0.75,
		SeenPairF1: (1 + 2./3) / 2, UnseenImages: 2, UnseenPairRecall: 0.5,
		UnseenPairF1: 2. / 3, // of two shown one is named, and none wrongly
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-12)); diff != "" {
		t.Errorf("Score (-want +got):\n%s", diff)
	}
	if m := got.Map(); m["pair_f1"] != got.PairF1 || m["unseen_pair_f1"] != got.UnseenPairF1 || len(m) != 7 {
		t.Errorf("Map = %v", m)
	}

	for name, tt := range map[string]struct {
		hypotheses map[string]string
		want       captioner.Kind
	}{
		"no captions":     {nil, captioner.Invalid},
		"unknown picture": {map[string]string{"zebra": "a red circle"}, captioner.NotFound},
		"no references":   {map[string]string{"train": "a red circle"}, captioner.NotFound},
	} {
		if _, err := demodata.Score(tt.hypotheses, references, truth); captioner.KindOf(err) != tt.want {
			t.Errorf("Score with %s = %v, want %s", name, err, tt.want)
		}
	}
}
