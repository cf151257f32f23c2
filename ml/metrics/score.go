package metrics

import (
	"fmt"
	"slices"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/text"
)

// implementation names how the numbers are computed; a change of any number
// needs another name.
const implementation = "nltk-3.10"

// Split is the name of the tokenizer that lower-cases and splits at white
// space, as the original does before it scores.
const Split = "split"

// tokenizers by their names in signatures and on the command line.
var tokenizers = map[string]func(string) []string{
	Split: func(s string) []string { return text.Fields(text.Lower(s)) },
}

// Tokenizers returns the names of the tokenizers, sorted.
func Tokenizers() []string {
	names := make([]string, 0, len(tokenizers))
	for name := range tokenizers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func tokenizer(name string) (func(string) []string, error) {
	tokenize, ok := tokenizers[name]
	if !ok {
		return nil, &captioner.Error{Kind: captioner.Invalid, Code: "unknown_tokenizer",
			Message: "there is no such tokenizer; known are " + strings.Join(Tokenizers(), ", ")}
	}
	return tokenize, nil
}

// Signature names what a score depends on beside the model: two scores can be
// compared when their signatures are equal. It is written in the manner of
// sacrebleu (Post 2018).
type Signature struct {
	// Split is the digest of the pictures and references; empty for a file.
	Split captioner.Digest
	// Sample is how many pictures of the split were scored, 0 for all of it.
	Sample int
	// Algorithm made the captions; empty for a file.
	Algorithm string
	// BeamWidth, LengthPenalty and NoRepeatNGram are its settings; the first
	// two say nothing for "greedy" and are left out there.
	BeamWidth     int
	LengthPenalty float64
	NoRepeatNGram int
	// MinReferences and MaxReferences are per picture.
	MinReferences, MaxReferences int
	Tokenizer                    string
}

// String gives, for example,
// "split:0a1b2c3d4e5f|algo:beam|width:3|lp:0.7|nrn:3|nrefs:5|tok:split|smooth:none,method1|impl:nltk-3.10".
func (s Signature) String() string {
	var parts []string
	add := func(name string, value any) { parts = append(parts, fmt.Sprintf("%s:%v", name, value)) }
	if s.Split != "" {
		add("split", s.Split.Short())
	}
	if s.Sample > 0 {
		add("sample", s.Sample)
	}
	if s.Algorithm != "" {
		add("algo", s.Algorithm)
		if s.Algorithm != "greedy" {
			add("width", s.BeamWidth)
			add("lp", s.LengthPenalty)
		}
		add("nrn", s.NoRepeatNGram)
	}
	if s.MinReferences == s.MaxReferences {
		add("nrefs", s.MinReferences)
	} else {
		add("nrefs", fmt.Sprintf("%d-%d", s.MinReferences, s.MaxReferences))
	}
	add("tok", s.Tokenizer)
	add("smooth", NoSmoothing+","+Method1)
	add("impl", implementation)
	return strings.Join(parts, "|")
}

// Score compares the captions that an algorithm gave a split, or the sample of
// cfg.SamplePictures of it, with the references, tokenized by [Split]. The
// settings in cfg go into the signature.
//
//	captions    [pictures]
//	references  [pictures][references]
//
// The errors are those of [Count].
func Score(algorithm string, split captioner.Digest, cfg captioner.EvaluationConfig, captions []string, references [][]string) (captioner.Scores, error) {
	return score(captions, references, Signature{
		Split: split, Sample: cfg.SamplePictures, Algorithm: algorithm, Tokenizer: Split,
		BeamWidth: cfg.BeamWidth, LengthPenalty: cfg.LengthPenalty, NoRepeatNGram: cfg.NoRepeatNGram,
	})
}

// SentenceBLEU returns BLEU-1 to BLEU-4 of one caption, tokenized by [Split] and
// smoothed by [Method1]: how the caption did, not a part of the corpus' score.
func SentenceBLEU(caption string, references []string) ([MaxOrder]float64, error) {
	tokenize := tokenizers[Split]
	refs := make([][]string, len(references))
	for i, reference := range references {
		refs[i] = tokenize(reference)
	}
	return CorpusBLEU([][]string{tokenize(caption)}, [][][]string{refs}, Method1)
}

// score completes the signature by the number of references.
func score(captions []string, references [][]string, sig Signature) (captioner.Scores, error) {
	tokenize, err := tokenizer(sig.Tokenizer)
	if err != nil {
		return captioner.Scores{}, err
	}
	hyps, refs := make([][]string, len(captions)), make([][][]string, len(references))
	for i, caption := range captions {
		hyps[i] = tokenize(caption)
	}
	for i, list := range references {
		for _, reference := range list {
			refs[i] = append(refs[i], tokenize(reference))
		}
	}
	c, err := Count(hyps, refs)
	if err != nil {
		return captioner.Scores{}, err
	}
	sig.MinReferences, sig.MaxReferences = len(references[0]), len(references[0])
	for _, list := range references {
		sig.MinReferences = min(sig.MinReferences, len(list))
		sig.MaxReferences = max(sig.MaxReferences, len(list))
	}
	further, err := scoreOthers(hyps, refs)
	if err != nil {
		return captioner.Scores{}, err
	}
	none, method1 := c.Uniform(NoSmoothing), c.Uniform(Method1)
	collapse := MeasureCollapse(captions, references)
	return captioner.Scores{
		Algorithm: sig.Algorithm, Signature: sig.String(), Images: len(captions),
		BLEU1: none[0], BLEU2: none[1], BLEU3: none[2], BLEU4: none[3],
		BLEU1Method1: method1[0], BLEU2Method1: method1[1], BLEU3Method1: method1[2], BLEU4Method1: method1[3],
		CollapseShare: collapse.Share, CollapseReferenceShare: collapse.ReferenceShare,
		Metrics: further,
	}, nil
}

// Collapse tells how far a model says the same of every picture.
type Collapse struct {
	// Caption is the most frequent one, cleaned; of several the first in the
	// order of their bytes.
	Caption string
	// Share is its share of the pictures, ReferenceShare its share of all
	// references. A model that learned gives a frequent caption about as often
	// as people do.
	Share, ReferenceShare float64
	// Distinct is the number of different captions.
	Distinct int
}

// MeasureCollapse finds the most frequent caption. Captions and references
// are compared cleaned. No captions give zeros.
func MeasureCollapse(captions []string, references [][]string) Collapse {
	counts := map[string]int{}
	for _, caption := range captions {
		counts[text.Clean(caption)]++
	}
	c := Collapse{Distinct: len(counts)}
	most := 0
	for caption, n := range counts {
		if n > most || n == most && caption < c.Caption {
			c.Caption, most = caption, n
		}
	}
	if most == 0 {
		return c
	}
	c.Share = float64(most) / float64(len(captions))
	total, equal := 0, 0
	for _, list := range references {
		total += len(list)
		for _, reference := range list {
			if text.Clean(reference) == c.Caption {
				equal++
			}
		}
	}
	if total > 0 {
		c.ReferenceShare = float64(equal) / float64(total)
	}
	return c
}
