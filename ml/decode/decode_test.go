package decode_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/decode"
)

// next gives the log-probabilities of all tokens after a prefix, by token ID.
type next func(picture int32, prefix []int32) []float32

// model is a Stepper over a function. It rebuilds each hypothesis from the
// parents that it is given, as the real one does with its state, and checks
// that the calls make sense.
type model struct {
	t        fataler
	next     next
	position int
	prefixes [][]int32
	rows     []int32
	calls    int
	fed      int // hypotheses over all calls
	err      error
}

type fataler interface{ Fatalf(string, ...any) }

func (m *model) Step(_ context.Context, tokens, parents, rows []int32, position, candidates int) (decode.Candidates, error) {
	if m.err != nil && position == 2 {
		return decode.Candidates{}, m.err
	}
	if position != m.position || len(tokens) == 0 || len(parents) != len(tokens) || len(rows) != len(tokens) {
		m.t.Fatalf("Step(%v, %v, %v, %d): position %d was next", tokens, parents, rows, position, m.position)
	}
	prefixes := make([][]int32, len(tokens))
	var c decode.Candidates
	for k, token := range tokens {
		var prefix []int32
		if position == 0 {
			if token != start || parents[k] != rows[k] {
				m.t.Fatalf("Step at position 0 is fed token %d of parent %d in row %d", token, parents[k], rows[k])
			}
		} else {
			if token == end || m.rows[parents[k]] != rows[k] {
				m.t.Fatalf("Step(%v, %v, %v): extends a finished hypothesis or another picture's", tokens, parents, rows)
			}
			prefix = append(slices.Clone(m.prefixes[parents[k]]), token)
		}
		prefixes[k] = prefix
		ids, logProbs := best(m.next(rows[k], prefix), candidates)
		c.IDs, c.LogProbs = append(c.IDs, ids), append(c.LogProbs, logProbs)
	}
	m.prefixes, m.rows = prefixes, slices.Clone(rows)
	m.position++
	m.calls++
	m.fed += len(tokens)
	return c, nil
}

// best returns the n most probable tokens, equal ones by their ID.
func best(logProbs []float32, n int) (ids []int32, probs []float32) {
	for id := range logProbs {
		ids = append(ids, int32(id))
	}
	slices.SortStableFunc(ids, func(a, b int32) int {
		switch {
		case logProbs[a] > logProbs[b]:
			return -1
		case logProbs[a] < logProbs[b]:
			return 1
		}
		return 0
	})
	ids = ids[:min(n, len(ids))]
	for _, id := range ids {
		probs = append(probs, logProbs[id])
	}
	return ids, probs
}

// words are the tokens of the small models: 4, 5, ... and the end.
var ninf = float32(math.Inf(-1))

// random returns a model of n words whose probabilities depend on the picture
// and the whole prefix. Coarse ones produce many ties.
func random(seed uint64, n int, coarse bool) next {
	return func(picture int32, prefix []int32) []float32 {
		h := fnv.New64a()
		fmt.Fprint(h, seed, picture, prefix)
		r := rand.New(rand.NewPCG(h.Sum64(), 0))
		weights := make([]float64, n+4)
		sum := 0.0
		for id := int(end); id < len(weights); id++ {
			weights[id] = r.Float64() + 1e-3
			if coarse {
				weights[id] = float64(1 + r.IntN(2))
			}
			sum += weights[id]
		}
		return logs(weights, sum)
	}
}

func logs(weights []float64, sum float64) []float32 {
	out := make([]float32, len(weights))
	for id, w := range weights {
		out[id] = ninf
		if w > 0 {
			out[id] = float32(math.Log(w / sum))
		}
	}
	return out
}

// start and end are the tokens of most of the small models.
const start, end int32 = 2, 3

func run(t fataler, n next, images int, opt decode.Options) [][]captioner.Hypothesis {
	if opt.Start == opt.End {
		opt.Start, opt.End = start, end
	}
	got, err := decode.Decode(context.Background(), &model{t: t, next: n}, images, opt)
	if err != nil {
		t.Fatalf("Decode(%+v): %v", opt, err)
	}
	return got
}

// sequence is one of all captions that a small model can produce.
type sequence struct {
	tokens  []int32
	logProb float64
	ended   bool
}

func (s sequence) score(penalty float64) float64 {
	n := len(s.tokens)
	if s.ended {
		n++
	}
	return s.logProb / math.Pow(float64(n), penalty)
}

// enumerate lists every caption of picture 0, by brute force.
func enumerate(n next, prefix []int32, logProb float64, maxTokens int) []sequence {
	if len(prefix) == maxTokens-1 {
		return []sequence{{prefix, logProb, false}}
	}
	var all []sequence
	for id, p := range n(0, prefix) {
		switch {
		case p == ninf:
		case int32(id) == end:
			all = append(all, sequence{prefix, logProb + float64(p), true})
		default:
			all = append(all, enumerate(n, append(slices.Clone(prefix), int32(id)), logProb+float64(p), maxTokens)...)
		}
	}
	return all
}

func TestWideBeamFindsTheBest(t *testing.T) {
	for seed := range uint64(40) {
		for _, penalty := range []float64{0, 0.7, 1, 2} {
			n := random(seed, 3, false)
			const maxTokens = 6
			all := enumerate(n, nil, 0, maxTokens)
			slices.SortFunc(all, func(a, b sequence) int {
				switch {
				case a.ended != b.ended:
					if a.ended {
						return -1
					}
					return 1
				case a.score(penalty) > b.score(penalty):
					return -1
				}
				return 1
			})
			opt := decode.Options{Algorithm: "beam", BeamWidth: len(all), LengthPenalty: penalty, MaxTokens: maxTokens, NumCaptions: 5}
			got := run(t, n, 1, opt)[0]
			if len(got) != 5 {
				t.Fatalf("seed %d: %d captions, want 5", seed, len(got))
			}
			for i, h := range got {
				if !slices.Equal(h.Tokens, all[i].tokens) || math.Abs(h.LogProbability-all[i].logProb) > 1e-9 {
					t.Errorf("seed %d, penalty %v: caption %d is %v (%.4f), want %v (%.4f)",
						seed, penalty, i, h.Tokens, h.LogProbability, all[i].tokens, all[i].logProb)
				}
			}
		}
	}
}

// options draws options that make sense, and a model.
func options(t *rapid.T) (next, decode.Options) {
	n := random(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 6).Draw(t, "words"), rapid.Bool().Draw(t, "coarse"))
	width := rapid.IntRange(1, 5).Draw(t, "width")
	return n, decode.Options{
		Algorithm: "beam", BeamWidth: width,
		LengthPenalty: rapid.SampledFrom([]float64{0, 0.7, 1}).Draw(t, "penalty"),
		NoRepeatNGram: rapid.IntRange(0, 3).Draw(t, "ngram"),
		MaxTokens:     rapid.IntRange(2, 9).Draw(t, "maxTokens"),
		NumCaptions:   rapid.IntRange(1, width).Draw(t, "captions"),
	}
}

// A vocabulary may number start and end as it likes, as the original system's
// does: the captions have the same words.
func TestAnyStartAndEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, opt := options(t)
		opt.Algorithm = rapid.SampledFrom([]string{"beam", "greedy"}).Draw(t, "algorithm")
		if opt.Algorithm == "greedy" {
			opt.NumCaptions = 1
		}
		want := run(t, n, 2, opt)
		opt.Start, opt.End = renumber(start), renumber(end)
		got, err := decode.Decode(context.Background(), renumbered{&model{t: t, next: n}}, 2, opt)
		if err != nil {
			t.Fatal(err)
		}
		for _, of := range want {
			for _, h := range of {
				each(h.Tokens, renumber)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("captions (-usual numbers +others):\n%s", diff)
		}
	})
}

// renumbered is a model whose end is token 2, whose words follow it, and whose
// start comes last.
type renumbered struct{ *model }

const lastToken = 99

func renumber(token int32) int32 {
	switch {
	case token == start:
		return lastToken
	case token > start:
		return token - 1
	}
	return token
}

func original(token int32) int32 {
	switch {
	case token == lastToken:
		return start
	case token >= start:
		return token + 1
	}
	return token
}

func each(tokens []int32, f func(int32) int32) {
	for i, token := range tokens {
		tokens[i] = f(token)
	}
}

func (m renumbered) Step(ctx context.Context, tokens, parents, rows []int32, position, candidates int) (decode.Candidates, error) {
	tokens = slices.Clone(tokens)
	each(tokens, original)
	c, err := m.model.Step(ctx, tokens, parents, rows, position, candidates)
	for _, ids := range c.IDs {
		each(ids, renumber)
	}
	return c, err
}

func TestBeamOfOneEqualsGreedy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, opt := options(t)
		opt.BeamWidth, opt.NumCaptions = 1, 1
		images := rapid.IntRange(1, 4).Draw(t, "images")
		beam := run(t, n, images, opt)
		opt.Algorithm = "greedy"
		if diff := cmp.Diff(run(t, n, images, opt), beam); diff != "" {
			t.Fatalf("beam of 1 (+) is not greedy (-):\n%s", diff)
		}
	})
}

// What holds for any model: the batch does not matter, captions differ from
// each other and are ordered, carry their true log-probability, repeat no
// forbidden n-gram, and are the same the next time.
func TestBeamProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, opt := options(t)
		images := rapid.IntRange(1, 4).Draw(t, "images")
		got := run(t, n, images, opt)
		if diff := cmp.Diff(got, run(t, n, images, opt)); diff != "" {
			t.Fatalf("not repeatable:\n%s", diff)
		}
		for picture, hypotheses := range got {
			alone := run(t, func(_ int32, p []int32) []float32 { return n(int32(picture), p) }, 1, opt)[0]
			if diff := cmp.Diff(alone, hypotheses); diff != "" {
				t.Fatalf("picture %d alone (-) and in a batch (+):\n%s", picture, diff)
			}
			checkHypotheses(t, n, int32(picture), hypotheses, opt)
		}
	})
}

func checkHypotheses(t *rapid.T, n next, picture int32, hypotheses []captioner.Hypothesis, opt decode.Options) {
	if len(hypotheses) < 1 || len(hypotheses) > opt.NumCaptions {
		t.Fatalf("%d captions, want 1 to %d", len(hypotheses), opt.NumCaptions)
	}
	seen := map[string]bool{}
	last := math.Inf(1)
	for _, h := range hypotheses {
		logProb := 0.0
		for i, token := range h.Tokens {
			if token <= end {
				t.Fatalf("%v holds a special token", h.Tokens)
			}
			logProb += float64(n(picture, h.Tokens[:i])[token])
		}
		ended := logProb + float64(n(picture, h.Tokens)[end])
		length := len(h.Tokens) + 1
		if math.Abs(h.LogProbability-ended) > 1e-9 {
			if math.Abs(h.LogProbability-logProb) > 1e-9 {
				t.Fatalf("%v has log-probability %v, want %v or, cut, %v", h.Tokens, h.LogProbability, ended, logProb)
			}
			length, last = len(h.Tokens), math.Inf(1) // cut ones come after
		}
		score := h.LogProbability / math.Pow(float64(max(length, 1)), opt.LengthPenalty)
		if score > last+1e-12 {
			t.Fatalf("captions are not ordered by score: %v", hypotheses)
		}
		last = score
		if seen[fmt.Sprint(h.Tokens)] || len(h.Tokens) > opt.MaxTokens-1 {
			t.Fatalf("caption %v is there twice or too long", h.Tokens)
		}
		seen[fmt.Sprint(h.Tokens)] = true
		if k := opt.NoRepeatNGram; k > 0 {
			grams := map[string]bool{}
			for i := 0; i+k <= len(h.Tokens); i++ {
				gram := fmt.Sprint(h.Tokens[i : i+k])
				if grams[gram] {
					t.Fatalf("%v repeats %s", h.Tokens, gram)
				}
				grams[gram] = true
			}
		}
	}
}

// table is a model by prefix; a token that is not listed is impossible.
func table(rows map[string]map[int32]float64) next {
	return func(_ int32, prefix []int32) []float32 {
		out := slices.Repeat([]float32{ninf}, 8)
		for id, p := range rows[fmt.Sprint(prefix)] {
			out[id] = float32(math.Log(p))
		}
		return out
	}
}

// By hand: greedy takes 4 (0.6) and ends with 0.6·0.3 = 0.18 at best; the best
// caption is 5 with 0.4·0.9 = 0.36.
var trap = table(map[string]map[int32]float64{
	"[]":    {4: 0.6, 5: 0.4},
	"[4]":   {3: 0.3, 6: 0.28, 7: 0.22, 5: 0.2},
	"[5]":   {3: 0.9, 6: 0.1},
	"[4 6]": {3: 1}, "[4 7]": {3: 1}, "[4 5]": {3: 1}, "[5 6]": {3: 1},
})

func TestBeamLeavesGreedysTrap(t *testing.T) {
	for _, c := range []struct {
		opt  decode.Options
		want []int32
		p    float64
	}{
		{decode.Options{Algorithm: "greedy", MaxTokens: 6}, []int32{4}, 0.18},
		{decode.Options{Algorithm: "beam", BeamWidth: 1, MaxTokens: 6}, []int32{4}, 0.18},
		{decode.Options{Algorithm: "beam", BeamWidth: 2, MaxTokens: 6}, []int32{5}, 0.36},
	} {
		got := run(t, trap, 1, c.opt)[0][0]
		if !slices.Equal(got.Tokens, c.want) || math.Abs(math.Exp(got.LogProbability)-c.p) > 1e-6 {
			t.Errorf("%+v: %v with probability %.4f, want %v with %.4f", c.opt, got.Tokens, math.Exp(got.LogProbability), c.want, c.p)
		}
	}
}

// By hand: [4] has ln 0.5 = -0.693 over 2 tokens, [5 6 7] ln 0.49 = -0.713
// over 4. Without penalty the short one wins, with any of note the long one.
func TestLengthPenalty(t *testing.T) {
	n := table(map[string]map[int32]float64{
		"[]": {4: 0.5, 5: 0.5}, "[4]": {3: 1}, "[5]": {6: 1}, "[5 6]": {7: 0.98, 4: 0.02}, "[5 6 7]": {3: 1}, "[5 6 4]": {3: 1},
	})
	for _, c := range []struct {
		penalty float64
		want    []int32
	}{{0, []int32{4}}, {0.7, []int32{5, 6, 7}}, {1, []int32{5, 6, 7}}} {
		opt := decode.Options{Algorithm: "beam", BeamWidth: 2, LengthPenalty: c.penalty, MaxTokens: 8}
		if got := run(t, n, 1, opt)[0][0].Tokens; !slices.Equal(got, c.want) {
			t.Errorf("penalty %v: %v, want %v", c.penalty, got, c.want)
		}
	}
}

// A model that says "4 5 4 5 ..." for ever, and would end only with 0.1.
func TestNoRepeatedNGrams(t *testing.T) {
	n := func(_ int32, prefix []int32) []float32 {
		w := []float64{0, 0, 0, 1, 0.5, 0.5}
		if len(prefix) == 0 || prefix[len(prefix)-1] == 5 {
			w[4] = 8.5
		} else {
			w[5] = 8.5
		}
		return logs(w, 10)
	}
	for _, c := range []struct {
		order int
		want  []int32
	}{
		{0, []int32{4, 5, 4, 5, 4, 5, 4}}, // cut at MaxTokens
		{1, []int32{4, 5}},
		{2, []int32{4, 5, 4}},
		{3, []int32{4, 5, 4, 5}},
	} {
		for _, algorithm := range []string{"greedy", "beam"} {
			opt := decode.Options{Algorithm: algorithm, BeamWidth: 1, NoRepeatNGram: c.order, MaxTokens: 8}
			got := run(t, n, 1, opt)[0][0].Tokens
			if !slices.Equal(got, c.want) {
				t.Errorf("%s, order %d: %v, want %v", algorithm, c.order, got, c.want)
			}
		}
	}
}

func TestTiesAreBrokenByID(t *testing.T) {
	n := func(_ int32, prefix []int32) []float32 {
		if len(prefix) == 1 {
			return logs([]float64{0, 0, 0, 1, 0, 0, 0}, 1)
		}
		return logs([]float64{0, 0, 0, 0, 1, 1, 1}, 3)
	}
	got := run(t, n, 1, decode.Options{Algorithm: "beam", BeamWidth: 3, MaxTokens: 5, NumCaptions: 3})[0]
	for i, h := range got {
		if want := []int32{int32(4 + i)}; !slices.Equal(h.Tokens, want) {
			t.Errorf("caption %d of three equal ones is %v, want %v", i, h.Tokens, want)
		}
	}
	if got := run(t, n, 1, decode.Options{Algorithm: "greedy", MaxTokens: 5})[0][0].Tokens; !slices.Equal(got, []int32{4}) {
		t.Errorf("greedy takes %v among equal ones, want [4]", got)
	}
}

// Pictures leave the batch when their caption is finished.
func TestFinishedLeaveTheBatch(t *testing.T) {
	// Picture p says p words, then ends.
	n := func(picture int32, prefix []int32) []float32 {
		if len(prefix) == int(picture) {
			return logs([]float64{0, 0, 0, 1, 0}, 1)
		}
		return logs([]float64{0, 0, 0, 0, 1}, 1)
	}
	m := &model{t: t, next: n}
	got, err := decode.Decode(t.Context(), m, 4, decode.Options{Algorithm: "beam", BeamWidth: 3, MaxTokens: 20, Start: start, End: end})
	if err != nil {
		t.Fatal(err)
	}
	if m.calls != 4 || m.fed != 4+3+2+1 {
		t.Errorf("%d steps of %d hypotheses in all, want 4 of 10", m.calls, m.fed)
	}
	for p, h := range got {
		if len(h[0].Tokens) != p {
			t.Errorf("picture %d: %v, want %d words", p, h[0].Tokens, p)
		}
	}
}

func TestEdges(t *testing.T) {
	nothing := func(int32, []int32) []float32 { return logs(make([]float64, 6), 1) }
	endOnly := func(int32, []int32) []float32 { return logs([]float64{0, 0, 0, 1, 0}, 1) }
	for _, algorithm := range []string{"greedy", "beam", "sample"} {
		opt := decode.Options{Algorithm: algorithm, BeamWidth: 2, MaxTokens: 5}
		for _, c := range []struct {
			name string
			next next
		}{{"no token possible", nothing}, {"end at once", endOnly}} {
			got := run(t, c.next, 2, opt)
			for _, h := range got {
				if len(h) != 1 || h[0].Tokens == nil || len(h[0].Tokens) != 0 || h[0].LogProbability != 0 {
					t.Errorf("%s, %s: %+v, want one empty caption", algorithm, c.name, h)
				}
			}
		}
		if got := run(t, endOnly, 0, opt); len(got) != 0 {
			t.Errorf("%s: %v for no pictures", algorithm, got)
		}
	}
}

func TestErrors(t *testing.T) {
	valid := decode.Options{Algorithm: "beam", BeamWidth: 3, MaxTokens: 8, Start: start, End: end}
	n := random(1, 4, false)
	for _, c := range []struct {
		name   string
		change func(*decode.Options)
		code   string
	}{
		{"unknown algorithm", func(o *decode.Options) { o.Algorithm = "magic" }, "unknown_algorithm"},
		{"no algorithm", func(o *decode.Options) { o.Algorithm = "" }, "unknown_algorithm"},
		{"no beam", func(o *decode.Options) { o.BeamWidth = 0 }, "invalid"},
		{"no room", func(o *decode.Options) { o.MaxTokens = 1 }, "invalid"},
		{"start is end", func(o *decode.Options) { o.End = o.Start }, "invalid"},
		{"negative penalty", func(o *decode.Options) { o.LengthPenalty = -1 }, "invalid"},
		{"penalty NaN", func(o *decode.Options) { o.LengthPenalty = math.NaN() }, "invalid"},
		{"negative order", func(o *decode.Options) { o.NoRepeatNGram = -1 }, "invalid"},
		{"more captions than beams", func(o *decode.Options) { o.NumCaptions = 4 }, "invalid"},
		{"seed of beam search", func(o *decode.Options) { o.Seed = 1 }, "invalid"},
		{"temperature below 0", func(o *decode.Options) { o.Algorithm, o.Temperature = "sample", -1 }, "invalid"},
		{"temperature without end", func(o *decode.Options) { o.Algorithm, o.Temperature = "sample", math.Inf(1) }, "invalid"},
		{"top_k too large", func(o *decode.Options) { o.Algorithm, o.TopK = "sample", decode.MaxTopK+1 }, "invalid"},
		{"top_p NaN", func(o *decode.Options) { o.Algorithm, o.TopP = "sample", math.NaN() }, "invalid"},
		{"too many draws", func(o *decode.Options) { o.Algorithm, o.NumCaptions = "sample", decode.MaxDraws+1 }, "invalid"},
		{"several captions of greedy", func(o *decode.Options) { o.Algorithm, o.NumCaptions = "greedy", 2 }, "invalid"},
	} {
		opt := valid
		c.change(&opt)
		_, err := decode.Decode(t.Context(), &model{t: t, next: n}, 1, opt)
		if captioner.KindOf(err) != captioner.Invalid || captioner.CodeOf(err) != c.code {
			t.Errorf("%s: error %v with code %q, want Invalid with %q", c.name, err, captioner.CodeOf(err), c.code)
		}
	}

	broken := errors.New("engine died")
	if _, err := decode.Decode(t.Context(), &model{t: t, next: table(map[string]map[int32]float64{"[]": {4: 1}, "[4]": {4: 1}}), err: broken}, 1, valid); !errors.Is(err, broken) {
		t.Errorf("error of the stepper became %v", err)
	}
	nan := func(int32, []int32) []float32 { return slices.Repeat([]float32{float32(math.NaN())}, 6) }
	if _, err := decode.Decode(t.Context(), &model{t: t, next: nan}, 1, valid); captioner.KindOf(err) != captioner.Internal {
		t.Errorf("NaN: error %v, want Internal", err)
	}
	if _, err := decode.Decode(t.Context(), misshapen{}, 1, valid); captioner.KindOf(err) != captioner.Internal {
		t.Errorf("misshapen answer: error %v, want Internal", err)
	}
}

// misshapen answers for too few hypotheses.
type misshapen struct{}

func (misshapen) Step(context.Context, []int32, []int32, []int32, int, int) (decode.Candidates, error) {
	return decode.Candidates{}, nil
}

func TestRegister(t *testing.T) {
	decode.Register("silent", func(_ context.Context, _ decode.Stepper, images int, _ decode.Options) ([][]captioner.Hypothesis, error) {
		return make([][]captioner.Hypothesis, images), nil
	})
	for _, name := range []string{"beam", "greedy", "sample", "silent"} {
		if !slices.Contains(decode.Algorithms(), name) {
			t.Errorf("Algorithms() = %v, want %s among them", decode.Algorithms(), name)
		}
	}
	if got := run(t, nil, 3, decode.Options{Algorithm: "silent", MaxTokens: 2}); len(got) != 3 {
		t.Errorf("the registered algorithm gave %v", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("registering a name twice did not panic")
		}
	}()
	decode.Register("beam", decode.Greedy)
}

// constant is a Stepper that costs next to nothing, so that the benchmarks
// measure the search alone.
type constant struct{}

func (constant) Step(_ context.Context, tokens, _, _ []int32, position, candidates int) (decode.Candidates, error) {
	var c decode.Candidates
	for k := range tokens {
		ids, logProbs := make([]int32, candidates), make([]float32, candidates)
		for m := range ids {
			ids[m] = int32(4 + (k*7+m*13+position*31)%1000)
			logProbs[m] = -0.5 - float32(m)
		}
		c.IDs, c.LogProbs = append(c.IDs, ids), append(c.LogProbs, logProbs)
	}
	return c, nil
}

func BenchmarkDecode(b *testing.B) {
	for _, algorithm := range []string{"greedy", "beam", "sample"} {
		for _, images := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/%d pictures", algorithm, images), func(b *testing.B) {
				opt := decode.Options{Algorithm: algorithm, BeamWidth: 3, LengthPenalty: 0.7, NoRepeatNGram: 3, MaxTokens: 20, Start: start, End: end}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := decode.Decode(b.Context(), constant{}, images, opt); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
