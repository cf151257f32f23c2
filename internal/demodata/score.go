package demodata

import (
	"slices"
	"strings"

	"github.com/captioner/captioner"
)

var (
	colourOf = wordMeanings[Colour](colourWords)
	shapeOf  = wordMeanings[Shape](shapeWords)
)

// Pairs returns the pairs of colour and shape that the caption names, each
// once, in the order of naming. A shape belongs to the last colour before it
// with no other shape between; synonyms and plurals count as the name, case
// and punctuation do not matter. How many there are of a pair is not compared:
// pairs are a set.
func Pairs(caption string) []Pair {
	var pairs []Pair
	var colour Colour
	for _, field := range strings.Fields(strings.ToLower(caption)) {
		token := strings.Trim(field, ".,;:!?\"'()")
		if c, ok := colourOf[token]; ok {
			colour = c
		} else if s, ok := shapeOf[token]; ok {
			if colour != "" {
				pairs = append(pairs, Pair{colour, s})
			}
			colour = ""
		}
	}
	return unique(pairs)
}

// PairF1 compares the pairs that the hypothesis names with those of each
// reference, and returns the best F1 in [0, 1]: the harmonic mean of the share
// of its pairs that the reference names and the share of the reference's that
// it names. References without pairs do not count; 0 without any.
func PairF1(hypothesis string, references []string) float64 {
	named, best := Pairs(hypothesis), 0.0
	for _, r := range references {
		best = max(best, setF1(named, Pairs(r)))
	}
	return best
}

func setF1(a, b []Pair) float64 {
	if len(a)+len(b) == 0 {
		return 0
	}
	return 2 * float64(common(a, b)) / float64(len(a)+len(b))
}

// common counts the pairs of a that are in b.
func common(a, b []Pair) int {
	n := 0
	for _, p := range a {
		if slices.Contains(b, p) {
			n++
		}
	}
	return n
}

// PairPrecision returns the share of the pairs named in the hypothesis that
// are in the scene, in [0, 1]; 0 when it names none.
func PairPrecision(hypothesis string, s Scene) float64 {
	named := Pairs(hypothesis)
	if len(named) == 0 {
		return 0
	}
	return float64(common(named, s.Pairs())) / float64(len(named))
}

// Report says how well captions name what is in the pictures. All but the
// counts lie in [0, 1].
type Report struct {
	// Images is the number of captions scored.
	Images int
	// PairF1 and PairPrecision are averages over all of them.
	PairF1        float64
	PairPrecision float64
	// SeenPairF1 is the average of PairF1 over the pictures without a pair
	// that is unseen in training.
	SeenPairF1 float64
	// UnseenImages is the number of pictures with such a pair.
	UnseenImages int
	// UnseenPairRecall is the share of those pairs that their captions name;
	// UnseenPairF1 is the harmonic mean of it and of the share of such pairs
	// named, in any caption, that are in the picture.
	UnseenPairRecall float64
	UnseenPairF1     float64
}

// Map gives the numbers by name, for captioner.Evaluation.Demonstration.
func (r Report) Map() map[string]float64 {
	return map[string]float64{
		"images":             float64(r.Images),
		"pair_f1":            r.PairF1,
		"pair_precision":     r.PairPrecision,
		"seen_pair_f1":       r.SeenPairF1,
		"unseen_images":      float64(r.UnseenImages),
		"unseen_pair_recall": r.UnseenPairRecall,
		"unseen_pair_f1":     r.UnseenPairF1,
	}
}

// Score compares one hypothesis a picture with the picture's references and
// with the truth. The error is NotFound when either knows nothing of a
// picture, Invalid when there is none.
func Score(hypotheses map[string]string, references map[string][]string, truth *Truth) (Report, error) {
	if len(hypotheses) == 0 {
		return Report{}, captioner.Errorf(captioner.Invalid, "no captions to score")
	}
	var t tally
	for _, s := range truth.Scenes {
		hypothesis, ok := hypotheses[s.Image]
		if !ok {
			continue
		}
		refs := references[s.Image]
		if len(refs) == 0 {
			return Report{}, captioner.Errorf(captioner.NotFound, "picture %q has no references", s.Image)
		}
		t.add(hypothesis, refs, s, truth.Unseen)
	}
	if t.images != len(hypotheses) {
		return Report{}, captioner.Errorf(captioner.NotFound, "%d of %d captioned pictures are not in the truth file",
			len(hypotheses)-t.images, len(hypotheses))
	}
	return t.report(), nil
}

// tally sums up over pictures.
type tally struct {
	images, seenImages, unseenImages int
	f1, seenF1, precision            float64
	// Unseen pairs: shown in pictures, named in captions, and both at once.
	shown, named, right int
}

func (t *tally) add(hypothesis string, references []string, s Scene, unseen []Pair) {
	f1 := PairF1(hypothesis, references)
	t.images++
	t.f1 += f1
	t.precision += PairPrecision(hypothesis, s)
	shown, named := intersect(s.Pairs(), unseen), intersect(Pairs(hypothesis), unseen)
	t.shown, t.named, t.right = t.shown+len(shown), t.named+len(named), t.right+common(named, shown)
	if len(shown) > 0 {
		t.unseenImages++
	} else {
		t.seenImages++
		t.seenF1 += f1
	}
}

func (t *tally) report() Report {
	return Report{
		Images:           t.images,
		PairF1:           ratio(t.f1, t.images),
		PairPrecision:    ratio(t.precision, t.images),
		SeenPairF1:       ratio(t.seenF1, t.seenImages),
		UnseenImages:     t.unseenImages,
		UnseenPairRecall: ratio(float64(t.right), t.shown),
		UnseenPairF1:     ratio(2*float64(t.right), t.shown+t.named),
	}
}

func intersect(a, b []Pair) []Pair {
	var out []Pair
	for _, p := range a {
		if slices.Contains(b, p) {
			out = append(out, p)
		}
	}
	return out
}

func ratio(sum float64, n int) float64 {
	if n == 0 {
		return 0
	}
	return sum / float64(n)
}
