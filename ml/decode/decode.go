// Package decode turns a model's next-token probabilities into captions:
// greedy search, beam search and sampling, for a batch of pictures at once. It
// knows a model only as a [Stepper]; ml/predict fills that with TensorFlow, the
// tests with small tables.
//
// A hypothesis is a sequence of tokens that begins with the start token. It ends
// with the end token, or is cut when it reaches MaxTokens. Its log-probability
// is the sum over its tokens, its end included; its score, by which beam search
// ranks, is the log-probability divided by length^penalty, where length counts
// the generated tokens and the end (Wu et al. 2016, section 7, in the plain
// form that the original system uses). A finished hypothesis leaves the batch
// and is never extended again.
//
// Equal inputs give equal captions: ties are broken by the rank of the
// hypothesis that is extended, then by the token ID.
package decode

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/captioner/captioner"
)

// Stepper gives the probabilities of the next token for each live hypothesis.
type Stepper interface {
	// Step advances K hypotheses, over all pictures of the batch, by one token.
	//
	//	tokens   [K]  the last token of each hypothesis
	//	parents  [K]  which hypothesis of the previous call, by its index
	//	              there, each continues; at position 0 the picture
	//	rows     [K]  the picture of each, an index into the batch
	//	position      0 for the start token, then 1, 2, ...
	//	candidates    how many next tokens to propose for each
	//
	// It proposes that many, or all that there are when they are fewer, best
	// first and equal ones by their ID.
	Step(ctx context.Context, tokens, parents, rows []int32, position, candidates int) (Candidates, error)
}

// Candidates are proposals for the next token.
type Candidates struct {
	// IDs [K][M] are token IDs, the most probable first.
	IDs [][]int32
	// LogProbs [K][M] are their natural logarithms, 0 or less. Minus infinity
	// marks a token that must not be used.
	LogProbs [][]float32
}

// Options says how to decode.
type Options struct {
	// Algorithm is the name of a registered algorithm.
	Algorithm string
	// BeamWidth is the number of hypotheses that beam search keeps, at least 1.
	BeamWidth int
	// LengthPenalty is the exponent of the length by which a log-probability
	// is divided, 0 or more. 0 compares plain log-probabilities.
	LengthPenalty float64
	// NoRepeatNGram forbids a second occurrence of an n-gram of this order in
	// one caption; 0 allows all.
	NoRepeatNGram int
	// Start and End are the vocabulary's start and end tokens.
	Start, End int32
	// MaxTokens is the longest sequence, start and end included; at least 2.
	MaxTokens int
	// NumCaptions is how many hypotheses each picture gets, at most the beam
	// width, or MaxDraws where they are drawn. 0 means 1.
	NumCaptions int
	// Sampling is how [Sample] draws.
	captioner.Sampling
}

// Algorithm decodes a batch of pictures. It returns for each picture between
// 1 and NumCaptions hypotheses, best first, without their texts. Errors of s
// are returned as they are.
type Algorithm func(ctx context.Context, s Stepper, images int, opt Options) ([][]captioner.Hypothesis, error)

var registry = struct {
	sync.RWMutex
	byName map[string]Algorithm
}{byName: map[string]Algorithm{"greedy": Greedy, "beam": Beam, "sample": Sample}}

// Register adds an algorithm under a name, which must be new: it panics
// otherwise. Call it from an init function.
func Register(name string, a Algorithm) {
	registry.Lock()
	defer registry.Unlock()
	if name == "" || a == nil || registry.byName[name] != nil {
		panic("decode: algorithm " + name + " is empty or registered twice")
	}
	registry.byName[name] = a
}

// Algorithms returns the names of the registered algorithms, sorted.
func Algorithms() []string {
	registry.RLock()
	defer registry.RUnlock()
	return slices.Sorted(maps.Keys(registry.byName))
}

// Others returns the names of the algorithms beside greedy and beam, which
// every run scores first, and sampling, which looks for no best caption that a
// score could be of; sorted.
func Others() []string {
	return slices.DeleteFunc(Algorithms(), func(name string) bool { return name == "greedy" || name == "beam" || name == "sample" })
}

// Scored returns the names of the algorithms in the order of a run's scores.
func Scored() []string { return append([]string{"greedy", "beam"}, Others()...) }

// Decode captions a batch of pictures with the algorithm that opt names. It
// returns one list of hypotheses per picture, best first. Options that make no
// sense are Invalid, an algorithm that is not registered among them.
func Decode(ctx context.Context, s Stepper, images int, opt Options) ([][]captioner.Hypothesis, error) {
	registry.RLock()
	algorithm := registry.byName[opt.Algorithm]
	registry.RUnlock()
	if algorithm == nil {
		return nil, &captioner.Error{
			Kind: captioner.Invalid, Code: "unknown_algorithm",
			Message: "there is no such decoding algorithm; known are " + strings.Join(Algorithms(), ", "),
		}
	}
	if opt.NumCaptions == 0 {
		opt.NumCaptions = 1
	}
	if err := opt.check(); err != nil {
		return nil, err
	}
	if images == 0 {
		return [][]captioner.Hypothesis{}, nil
	}
	return algorithm(ctx, s, images, opt)
}

func (o Options) check() error {
	switch {
	case o.Start == o.End:
		return captioner.Errorf(captioner.Invalid, "token %d cannot both begin and end a caption", o.Start)
	case o.MaxTokens < 2:
		return captioner.Errorf(captioner.Invalid, "a caption of %d tokens has no room for start and end", o.MaxTokens)
	case o.Algorithm == "beam" && o.BeamWidth < 1:
		return captioner.Errorf(captioner.Invalid, "the beam width must be at least 1, not %d", o.BeamWidth)
	case o.LengthPenalty < 0 || math.IsNaN(o.LengthPenalty) || math.IsInf(o.LengthPenalty, 0):
		return captioner.Errorf(captioner.Invalid, "the length penalty must be 0 or more, not %v", o.LengthPenalty)
	case o.NoRepeatNGram < 0:
		return captioner.Errorf(captioner.Invalid, "the order of the n-grams that are not repeated must be 0 or more, not %d", o.NoRepeatNGram)
	case o.Algorithm != "sample" && o.Sampling != captioner.Sampling{}:
		return captioner.Errorf(captioner.Invalid, "temperature, top_k, top_p and seed are for the algorithm sample, not for %s", o.Algorithm)
	case !(o.Temperature >= 0) || math.IsInf(o.Temperature, 0):
		return captioner.Errorf(captioner.Invalid, "the temperature must be a positive number, or 0 for 1, not %v", o.Temperature)
	case o.TopK < 0 || o.TopK > MaxTopK:
		return captioner.Errorf(captioner.Invalid, "top_k must be between 1 and %d, or 0 for that, not %d", MaxTopK, o.TopK)
	case !(o.TopP >= 0 && o.TopP <= 1):
		return captioner.Errorf(captioner.Invalid, "top_p must be a probability, or 0 for 1, not %v", o.TopP)
	case o.NumCaptions < 0 || o.NumCaptions > max(1, o.width()):
		return captioner.Errorf(captioner.Invalid, "the number of captions must be between 1 and %d, as many as are kept, not %d", max(1, o.width()), o.NumCaptions)
	}
	return nil
}

// width returns how many hypotheses of a picture the algorithm keeps.
func (o Options) width() int {
	switch o.Algorithm {
	case "greedy":
		return 1
	case "sample":
		return MaxDraws
	}
	return o.BeamWidth
}
