package search_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	_ "github.com/captioner/captioner/docs/examples/search"
	"github.com/captioner/captioner/ml/decode"
)

const start, end int32 = 2, 3

// sentences is a model that knows a few sentences: tokens and probability.
type sentences struct {
	t       *testing.T
	known   map[int32][]sentence // by picture
	said    [][]int32            // of the hypotheses of the last step
	fromRow []int32
}

type sentence struct {
	tokens []int32
	p      float64
}

// Step proposes what goes on from the hypotheses' prefixes.
func (m *sentences) Step(_ context.Context, tokens, parents, rows []int32, position, candidates int) (decode.Candidates, error) {
	var c decode.Candidates
	var said [][]int32
	for k, token := range tokens {
		var prefix []int32
		if position > 0 {
			if m.fromRow[parents[k]] != rows[k] {
				m.t.Fatalf("hypothesis %d of picture %d goes on from one of picture %d", k, rows[k], m.fromRow[parents[k]])
			}
			prefix = append(slices.Clone(m.said[parents[k]]), token)
		} else if token != start {
			m.t.Fatalf("the first token is %d", token)
		}
		said = append(said, prefix)
		ids, logProbs := m.after(rows[k], prefix)
		n := min(len(ids), candidates)
		c.IDs, c.LogProbs = append(c.IDs, ids[:n]), append(c.LogProbs, logProbs[:n])
	}
	m.said, m.fromRow = said, slices.Clone(rows)
	return c, nil
}

// after gives the next tokens in the order of the sentences, each with the
// probability of the first sentence that has it, once it is certain which.
func (m *sentences) after(picture int32, prefix []int32) (ids []int32, logProbs []float32) {
	for _, s := range m.known[picture] {
		if len(s.tokens) <= len(prefix) || !slices.Equal(s.tokens[:len(prefix)], prefix) || slices.Contains(ids, s.tokens[len(prefix)]) {
			continue
		}
		p := 1.0
		if len(prefix) == 0 {
			p = s.p
		}
		ids, logProbs = append(ids, s.tokens[len(prefix)]), append(logProbs, float32(math.Log(p)))
	}
	return ids, logProbs
}

func TestBranch(t *testing.T) {
	known := map[int32][]sentence{
		0: {{[]int32{4, 5, end}, 0.5}, {[]int32{6, end}, 0.3}, {[]int32{7, 8, 9, end}, 0.2}},
		1: {{[]int32{6, 6, 6, 6, 6, 6}, 1}}, // never ends: cut
		2: {{[]int32{end}, 1}},
	}
	got, err := decode.Decode(t.Context(), &sentences{t: t, known: known}, 3, decode.Options{
		Algorithm: "branch", BeamWidth: 3, NumCaptions: 2, MaxTokens: 5, Start: start, End: end,
	})
	if err != nil {
		t.Fatal(err)
	}
	var texts [][][]int32
	for _, of := range got {
		var captions [][]int32
		for _, h := range of {
			captions = append(captions, h.Tokens)
		}
		texts = append(texts, captions)
	}
	want := [][][]int32{{{4, 5}, {6}}, {{6, 6, 6, 6}}, {nil}}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("captions (-want +got):\n%s", diff)
	}
	if p := math.Exp(got[0][0].LogProbability); math.Abs(p-0.5) > 1e-6 {
		t.Errorf("the best caption has probability %.3f, want 0.5", p)
	}
}

// With one branch there is nothing to choose: the algorithm is greedy search.
func TestBranchOfOneIsGreedy(t *testing.T) {
	known := map[int32][]sentence{0: {{[]int32{4, 5, 6, end}, 0.6}, {[]int32{5, end}, 0.4}}}
	var captions [][][]captioner.Hypothesis
	for _, algorithm := range []string{"greedy", "branch"} {
		got, err := decode.Decode(t.Context(), &sentences{t: t, known: known}, 1, decode.Options{Algorithm: algorithm, BeamWidth: 1, MaxTokens: 9, Start: start, End: end})
		if err != nil {
			t.Fatal(err)
		}
		captions = append(captions, got)
	}
	if diff := cmp.Diff(captions[0], captions[1]); diff != "" {
		t.Errorf("captions (-greedy +branch):\n%s", diff)
	}
}
