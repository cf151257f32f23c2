package demodata

import (
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/demodata/demodatatest"
)

// split returns the default data set's scenes of a split, and apart their
// references.
func split(want captioner.Split) (scenes []described, references [][]string) {
	for _, s := range defaultScenes() {
		if s.Split == want {
			scenes = append(scenes, s)
			references = append(references, s.references)
		}
	}
	return scenes, references
}

func flatten(references [][]string) []string {
	var all []string
	for _, r := range references {
		all = append(all, r...)
	}
	return all
}

// TestNotTrivial bounds what can be had without looking at the pictures.
func TestNotTrivial(t *testing.T) {
	_, train := split(captioner.Train)
	_, test := split(captioner.Test)
	bleu, caption := demodatatest.BestConstant(t, append(flatten(train), flatten(test)...), test)
	t.Logf("best constant caption: BLEU-4 %.3f, %q", bleu, caption)
	if bleu > 0.25 {
		t.Errorf("the constant caption %q scores BLEU-4 %.3f, want 0.25 at most", caption, bleu)
	}
	f1, caption := bestConstantF1(flatten(train), test)
	t.Logf("best constant caption: pair F1 %.3f, %q", f1, caption)
	if f1 > 0.15 {
		t.Errorf("the constant caption %q scores pair F1 %.3f, want 0.15 at most", caption, f1)
	}
}

// bestConstantF1 tries every set of pairs that a caption names.
func bestConstantF1(captions []string, references [][]string) (best float64, caption string) {
	named := make([][][]Pair, len(references))
	for i, refs := range references {
		for _, r := range refs {
			named[i] = append(named[i], Pairs(r))
		}
	}
	for _, c := range captions {
		pairs, sum := Pairs(c), 0.0
		for _, refs := range named {
			f1 := 0.0
			for _, r := range refs {
				f1 = max(f1, setF1(pairs, r))
			}
			sum += f1 / float64(len(references))
		}
		if sum > best {
			best, caption = sum, c
		}
	}
	return best, caption
}

// TestVariedButLearnable bounds how far references agree, from above and from
// below: the most typical of many captions of a scene is about the best that a
// model can learn to say, and must leave room above the 0.55 asked of it.
func TestVariedButLearnable(t *testing.T) {
	scenes, references := split(captioner.Test)
	for number := range referencesPerImage {
		bleu := demodatatest.OneAgainstOthers(t, references, number)
		t.Logf("reference %d against the others: BLEU-4 %.3f", number, bleu)
		if bleu > 0.8 || bleu < 0.4 {
			t.Errorf("reference %d against the others scores BLEU-4 %.3f, want 0.4 to 0.8", number, bleu)
		}
	}
	typical := make([]string, len(scenes))
	for i, s := range scenes {
		var many []string
		for n := range 8 {
			many = append(many, otherReferences(i, n, s.Scene)...)
		}
		typical[i] = demodatatest.MostTypical(many)
	}
	bleu := demodatatest.BLEU4(t, typical, references)
	t.Logf("typical captions: BLEU-4 %.3f", bleu)
	if bleu < 0.68 {
		t.Errorf("typical captions score BLEU-4 %.3f, want 0.68 or more", bleu)
	}
}

// otherReferences writes references other than those of the data set.
func otherReferences(i, n int, s Scene) []string {
	return references(stream(uint64(n)+1000, captionStream, i), s)
}
