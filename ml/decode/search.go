package decode

import (
	"context"
	"math"
	"slices"

	"github.com/captioner/captioner"
)

// hypothesis is a sequence under construction. Its tokens leave out the start.
type hypothesis struct {
	tokens  []int32
	logProb float64
	ended   bool
	// index is its place in the batch of the last step.
	index int32
}

// last returns the token that the next step is fed.
func (h *hypothesis) last(start int32) int32 {
	if len(h.tokens) == 0 {
		return start
	}
	return h.tokens[len(h.tokens)-1]
}

// generated returns the number of tokens the model has chosen.
func (h *hypothesis) generated() int {
	if h.ended {
		return len(h.tokens) + 1
	}
	return len(h.tokens)
}

// score returns the log-probability divided by length^penalty.
func (h *hypothesis) score(penalty float64) float64 {
	return normalise(h.logProb, h.generated(), penalty)
}

func normalise(logProb float64, length int, penalty float64) float64 {
	if penalty == 0 || length <= 1 {
		return logProb
	}
	return logProb / math.Pow(float64(length), penalty)
}

// extend returns the candidate's parent with its token.
func (c candidate) extend() *hypothesis {
	h := c.parent
	next := &hypothesis{logProb: h.logProb + float64(c.logProb), index: h.index, ended: c.ends}
	if next.ended {
		next.tokens = h.tokens // shared: tokens are never written to again
		return next
	}
	next.tokens = make([]int32, len(h.tokens)+1)
	copy(next.tokens, h.tokens)
	next.tokens[len(h.tokens)] = c.token
	return next
}

// banned returns the tokens that would complete an n-gram which h holds
// already, each perhaps more than once.
func (h *hypothesis) banned(order int) []int32 {
	if order == 0 || len(h.tokens) < order {
		return nil
	}
	var tokens []int32
	prefix := h.tokens[len(h.tokens)-order+1:]
	for i := 0; i+order <= len(h.tokens); i++ {
		if slices.Equal(h.tokens[i:i+order-1], prefix) {
			tokens = append(tokens, h.tokens[i+order-1])
		}
	}
	return tokens
}

// batch is the state of a search over several pictures: the live hypotheses
// of each, best first.
type batch struct {
	stepper Stepper
	opt     Options
	live    [][]*hypothesis
}

func newBatch(s Stepper, images int, opt Options) *batch {
	b := &batch{stepper: s, opt: opt, live: make([][]*hypothesis, images)}
	for i := range b.live {
		b.live[i] = []*hypothesis{{index: int32(i)}}
	}
	return b
}

// candidate is a hypothesis and a token that may follow it.
type candidate struct {
	parent  *hypothesis
	rank    int // of the parent among the picture's
	token   int32
	ends    bool // whether token is the end
	logProb float32
	total   float64
}

// step asks for the next tokens of all live hypotheses. It returns for each
// picture what may follow: at least width tokens of each hypothesis besides
// the end, unless the model has fewer. Nil when nothing is live.
func (b *batch) step(ctx context.Context, position, width int) ([][]candidate, error) {
	var tokens, parents, rows []int32
	var banned [][]int32
	most := 0
	for image, hypotheses := range b.live {
		for _, h := range hypotheses {
			tokens = append(tokens, h.last(b.opt.Start))
			parents = append(parents, h.index)
			rows = append(rows, int32(image))
			banned = append(banned, h.banned(b.opt.NoRepeatNGram))
			most = max(most, len(banned[len(banned)-1]))
		}
	}
	if len(tokens) == 0 {
		return nil, nil
	}
	got, err := b.stepper.Step(ctx, tokens, parents, rows, position, width+most)
	if err != nil {
		return nil, err
	}
	if err := checkShape(got, len(tokens)); err != nil {
		return nil, err
	}
	next := make([][]candidate, len(b.live))
	k := 0
	for image, hypotheses := range b.live {
		for rank, h := range hypotheses {
			h.index = int32(k)
			for m, token := range got.IDs[k] {
				logProb := got.LogProbs[k][m]
				if math.IsInf(float64(logProb), -1) || slices.Contains(banned[k], token) {
					continue
				}
				if math.IsNaN(float64(logProb)) {
					return nil, captioner.Errorf(captioner.Internal, "the model gave a probability that is not a number")
				}
				next[image] = append(next[image], candidate{h, rank, token, token == b.opt.End, logProb, h.logProb + float64(logProb)})
			}
			k++
		}
	}
	return next, nil
}

func checkShape(c Candidates, want int) error {
	if len(c.IDs) != want || len(c.LogProbs) != want {
		return captioner.Errorf(captioner.Internal, "the model answered for %d and %d hypotheses, not %d", len(c.IDs), len(c.LogProbs), want)
	}
	for k := range c.IDs {
		if len(c.IDs[k]) != len(c.LogProbs[k]) {
			return captioner.Errorf(captioner.Internal, "the model gave %d tokens with %d probabilities", len(c.IDs[k]), len(c.LogProbs[k]))
		}
	}
	return nil
}

// compare orders candidates of one picture: the more probable first, then by
// the parent's rank, then by token ID.
func compare(a, b candidate) int {
	switch {
	case a.total > b.total:
		return -1
	case a.total < b.total:
		return 1
	case a.rank != b.rank:
		return a.rank - b.rank
	}
	return int(a.token) - int(b.token)
}

// result converts a hypothesis; the text is left to the caller.
func (h *hypothesis) result() captioner.Hypothesis {
	tokens := h.tokens
	if tokens == nil {
		tokens = []int32{}
	}
	return captioner.Hypothesis{LogProbability: h.logProb, Tokens: tokens}
}
