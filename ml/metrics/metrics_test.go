package metrics_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/metrics"
	"github.com/captioner/captioner/ml/text"
)

// golden is testdata/metrics.json: corpora, and what NLTK 3.10.4 says about
// them. The numbers are rounded to 12 significant digits.
type golden struct {
	Cases []struct {
		Name string
		Hyps []string
		Refs [][]string
		NLTK map[string]map[string]float64
	}
}

func readGolden(t testing.TB) golden {
	t.Helper()
	data, err := os.ReadFile("testdata/metrics.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Cases) < 40 {
		t.Fatalf("testdata/metrics.json has %d cases", len(g.Cases))
	}
	return g
}

func tokens(s string) []string { return text.Fields(text.Lower(s)) }

func tokenize(hyps []string, refs [][]string) (h [][]string, r [][][]string) {
	for i, hyp := range hyps {
		h = append(h, tokens(hyp))
		r = append(r, nil)
		for _, ref := range refs[i] {
			r[i] = append(r[i], tokens(ref))
		}
	}
	return h, r
}

// near compares relatively: unsmoothed scores go down to 1e-231.
func near(got, want float64) bool {
	return math.Abs(got-want) <= 1e-9*math.Abs(want)
}

func TestBLEUAsNLTK(t *testing.T) {
	for _, c := range readGolden(t).Cases {
		t.Run(c.Name, func(t *testing.T) {
			hyps, refs := tokenize(c.Hyps, c.Refs)
			counts, err := metrics.Count(hyps, refs)
			if err != nil {
				t.Fatal(err)
			}
			for _, smoothing := range []metrics.Smoothing{metrics.NoSmoothing, metrics.Method1} {
				want := c.NLTK[string(smoothing)]
				got, err := metrics.CorpusBLEU(hyps, refs, smoothing)
				if err != nil || len(want) != 5 {
					t.Fatalf("%v; golden numbers: %v", err, want)
				}
				for n := range got {
					if w := want[fmt.Sprintf("bleu%d", n+1)]; !near(got[n], w) {
						t.Errorf("%s: BLEU-%d = %.15g, NLTK has %.15g", smoothing, n+1, got[n], w)
					}
				}
				if got, w := counts.BLEU(smoothing, 0.33, 0.33, 0.33, 0), want["bleu3_033"]; !near(got, w) {
					t.Errorf("%s: weights 0.33: %.15g, NLTK has %.15g", smoothing, got, w)
				}
			}
		})
	}
}

func TestScoreFileAsNLTK(t *testing.T) {
	for _, c := range readGolden(t).Cases {
		data, err := json.Marshal(map[string]any{"hyps": c.Hyps, "refs": c.Refs, "name": c.Name})
		if err != nil {
			t.Fatal(err)
		}
		got, err := metrics.ScoreFile(strings.NewReader(string(data)), "split")
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		none, method1 := c.NLTK["none"], c.NLTK["method1"]
		for _, n := range []struct {
			name      string
			got, want float64
		}{
			{"bleu1", got.BLEU1, none["bleu1"]}, {"bleu2", got.BLEU2, none["bleu2"]}, {"bleu3", got.BLEU3, none["bleu3"]}, {"bleu4", got.BLEU4, none["bleu4"]},
			{"bleu1_method1", got.BLEU1Method1, method1["bleu1"]}, {"bleu2_method1", got.BLEU2Method1, method1["bleu2"]},
			{"bleu3_method1", got.BLEU3Method1, method1["bleu3"]}, {"bleu4_method1", got.BLEU4Method1, method1["bleu4"]},
		} {
			if !near(n.got, n.want) {
				t.Errorf("%s: %s = %.15g, want %.15g", c.Name, n.name, n.got, n.want)
			}
		}
		if got.Images != len(c.Hyps) {
			t.Errorf("%s: %d images, want %d", c.Name, got.Images, len(c.Hyps))
		}
	}
}

// By hand (Papineni et al. 2002, example 2): "the" seven times against "the
// cat is on the mat" has a clipped unigram precision of 2/7.
func TestClipping(t *testing.T) {
	hyps := [][]string{strings.Fields("the the the the the the the")}
	refs := [][][]string{{strings.Fields("the cat is on the mat"), strings.Fields("there is a cat on the mat")}}
	c, err := metrics.Count(hyps, refs)
	if err != nil {
		t.Fatal(err)
	}
	want := metrics.Counts{Matches: [4]int{2}, Totals: [4]int{7, 6, 5, 4}, HypothesisLength: 7, ReferenceLength: 7}
	if c != want {
		t.Errorf("counts %+v, want %+v", c, want)
	}
	if got := c.Uniform(metrics.NoSmoothing)[0]; got != 2.0/7 {
		t.Errorf("BLEU-1 = %v, want 2/7", got)
	}
}

func TestCountErrors(t *testing.T) {
	one := [][]string{{"a"}}
	for _, c := range []struct {
		name string
		hyps [][]string
		refs [][][]string
	}{
		{"nothing", nil, nil},
		{"fewer references", one, nil},
		{"more references", one, [][][]string{one, one}},
		{"picture without references", one, [][][]string{{}}},
	} {
		if _, err := metrics.CorpusBLEU(c.hyps, c.refs, metrics.Method1); captioner.KindOf(err) != captioner.Invalid {
			t.Errorf("%s: error %v, want Invalid", c.name, err)
		}
	}
}

// caption draws a caption over few words, so that n-grams repeat.
func caption(min int) *rapid.Generator[[]string] {
	return rapid.SliceOfN(rapid.SampledFrom([]string{"a", "dog", "runs", "and", "cat"}), min, 12)
}

func TestBLEUProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "pictures")
		hyps, refs := make([][]string, n), make([][][]string, n)
		self := make([][][]string, n)
		for i := range n {
			hyps[i] = caption(4).Draw(t, "hyp")
			refs[i] = rapid.SliceOfN(caption(1), 1, 4).Draw(t, "refs")
			self[i] = append([][]string{hyps[i]}, refs[i]...)
		}
		perfect, err := metrics.CorpusBLEU(hyps, self, metrics.NoSmoothing)
		if err != nil || perfect != [4]float64{1, 1, 1, 1} {
			t.Fatalf("a caption that is among its references scores %v, %v", perfect, err)
		}
		for _, smoothing := range []metrics.Smoothing{metrics.NoSmoothing, metrics.Method1} {
			scores, err := metrics.CorpusBLEU(hyps, refs, smoothing)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range scores {
				if !(s >= 0 && s <= 1) {
					t.Fatalf("scores %v", scores)
				}
			}
			// Neither the order of the pictures nor of the references matters.
			for i := range n {
				j := rapid.IntRange(0, i).Draw(t, "swap")
				hyps[i], hyps[j], refs[i], refs[j] = hyps[j], hyps[i], refs[j], refs[i]
				k := rapid.IntRange(0, len(refs[i])-1).Draw(t, "swap")
				refs[i][0], refs[i][k] = refs[i][k], refs[i][0]
			}
			again, err := metrics.CorpusBLEU(hyps, refs, smoothing)
			if err != nil || again != scores {
				t.Fatalf("reordered %v, %v, before %v", again, err, scores)
			}
		}
	})
}

func TestSignature(t *testing.T) {
	digest := captioner.DigestOf([]byte("split"))
	for _, c := range []struct {
		sig  metrics.Signature
		want string
	}{
		{metrics.Signature{Split: digest, Algorithm: "beam", BeamWidth: 3, LengthPenalty: 0.7, NoRepeatNGram: 3, MinReferences: 5, MaxReferences: 5, Tokenizer: "split"},
			"split:" + digest.Short() + "|algo:beam|width:3|lp:0.7|nrn:3|nrefs:5|tok:split|smooth:none,method1|impl:nltk-3.10"},
		{metrics.Signature{Split: digest, Algorithm: "greedy", BeamWidth: 3, LengthPenalty: 0.7, MinReferences: 1, MaxReferences: 5, Tokenizer: "split"},
			"split:" + digest.Short() + "|algo:greedy|nrn:0|nrefs:1-5|tok:split|smooth:none,method1|impl:nltk-3.10"},
		{metrics.Signature{Split: digest, Sample: 1000, Algorithm: "greedy", MinReferences: 5, MaxReferences: 5, Tokenizer: "split"},
			"split:" + digest.Short() + "|sample:1000|algo:greedy|nrn:0|nrefs:5|tok:split|smooth:none,method1|impl:nltk-3.10"},
		{metrics.Signature{MinReferences: 5, MaxReferences: 5, Tokenizer: "split"}, "nrefs:5|tok:split|smooth:none,method1|impl:nltk-3.10"},
	} {
		if got := c.sig.String(); got != c.want {
			t.Errorf("signature %q, want %q", got, c.want)
		}
	}
}

func TestScore(t *testing.T) {
	captions := []string{"A dog runs over grass .", "a cat sits", "a cat sits"}
	references := [][]string{{"a dog runs over grass .", "one dog"}, {"a cat sits"}, {"a cat, sits!", "the cat"}}
	got, err := metrics.Score("greedy", captioner.DigestOf(nil), captioner.EvaluationConfig{BeamWidth: 3, NoRepeatNGram: 2}, captions, references)
	if err != nil {
		t.Fatal(err)
	}
	if got.Algorithm != "greedy" || got.Images != 3 || got.Signature != "split:e3b0c44298fc|algo:greedy|nrn:2|nrefs:1-2|tok:split|smooth:none,method1|impl:nltk-3.10" {
		t.Errorf("scores %+v", got)
	}
	// By hand: 6 of 6, 3 of 3 and 2 of 3 words, since "sits" is "sits!" in the
	// third picture's references.
	if want := 11.0 / 12; !near(got.BLEU1, want) {
		t.Errorf("BLEU-1 = %v, want %v", got.BLEU1, want)
	}
	if !near(got.CollapseShare, 2.0/3) || !near(got.CollapseReferenceShare, 2.0/5) {
		t.Errorf("collapse %v and %v, want 2/3 and 2/5", got.CollapseShare, got.CollapseReferenceShare)
	}
	if _, err := metrics.Score("greedy", "", captioner.EvaluationConfig{}, captions, references[1:]); captioner.KindOf(err) != captioner.Invalid {
		t.Errorf("fewer references: error %v, want Invalid", err)
	}
}

func TestMeasureCollapse(t *testing.T) {
	for _, c := range []struct {
		name       string
		captions   []string
		references [][]string
		want       metrics.Collapse
	}{
		{"nothing", nil, nil, metrics.Collapse{}},
		{"all the same", []string{"a dog", "A dog .", "a  dog"}, [][]string{{"a dog"}, {"a cat"}, {"a cow", "A DOG!"}}, metrics.Collapse{Caption: "a dog", Share: 1, ReferenceShare: 0.5, Distinct: 1}},
		{"a tie", []string{"b", "a", "b", "a"}, [][]string{{"b"}, {"a"}, {"b"}, {"c"}}, metrics.Collapse{Caption: "a", Share: 0.5, ReferenceShare: 0.25, Distinct: 2}},
		{"silent", []string{"", ""}, [][]string{{"a"}, {"b"}}, metrics.Collapse{Share: 1, Distinct: 1}},
	} {
		if diff := cmp.Diff(c.want, metrics.MeasureCollapse(c.captions, c.references)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestScoreFileProblems(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       []string
	}{
		{"no JSON", "{\"hyps\": [\"a\"],\n  oops}", []string{"line 2, column 3: is not JSON: invalid character 'o' looking for beginning of object key string"}},
		{"empty", "", []string{"line 1, column 1: is not JSON: unexpected end of JSON input"}},
		{"a list", "[]", []string{`must be a JSON object, {"hyps": [...], "refs": [[...], ...]}`}},
		{"two objects", `{"hyps":["a"],"refs":[["a"]]} {}`, []string{"line 1, column 31: is not JSON: invalid character '{' after top-level value"}},
		{"nothing in it", "{}", []string{"hyps: is missing; it must be a list of captions", "refs: is missing; it must be a list of lists of references"}},
		{"null", `{"hyps":null,"refs":null}`, []string{"hyps: must be a list of captions", "refs: must be a list of lists of references"}},
		{"empty lists", `{"hyps":[],"refs":[]}`, []string{"hyps: is empty", "refs: is empty"}},
		{"all wrong", `{"hyps":["a",7,null],"refs":["a",[],["a",{}]]}`, []string{
			"hyps[1]: must be a string", "hyps[2]: must be a string",
			"refs[0]: must be a list of references", "refs[1]: has no reference", "refs[2][1]: must be a string"}},
		{"lengths", `{"hyps":["a"],"refs":[["a"],["b"]]}`, []string{"refs: there are 2 lists of references for 1 captions"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := metrics.ScoreFile(strings.NewReader(c.file), "split")
			if captioner.KindOf(err) != captioner.Invalid {
				t.Fatalf("error %v, want Invalid", err)
			}
			var got []string
			for _, p := range captioner.ProblemsOf(err) {
				got = append(got, strings.TrimPrefix(p.String(), ": "))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
	many := `{"hyps":[` + strings.Repeat("1,", 500) + `1],"refs":[["a"]]}`
	_, err := metrics.ScoreFile(strings.NewReader(many), "split")
	if problems := captioner.ProblemsOf(err); len(problems) != 101 || problems[100].Message != "401 more problems" {
		t.Errorf("%d problems, the last is %v", len(problems), problems[len(problems)-1])
	}
	if _, err := metrics.ScoreFile(strings.NewReader("{}"), "ptb"); captioner.CodeOf(err) != "unknown_tokenizer" {
		t.Errorf("unknown tokenizer: error %v", err)
	}
}

func FuzzScoreFile(f *testing.F) {
	f.Add(`{"hyps":["a dog"],"refs":[["a dog","b"]]}`)
	f.Add(`{"hyps":["a",7],"refs":["a",[]]}`)
	f.Fuzz(func(t *testing.T, file string) {
		got, err := metrics.ScoreFile(strings.NewReader(file), "split")
		if err != nil {
			if captioner.KindOf(err) != captioner.Invalid || len(captioner.ProblemsOf(err)) == 0 {
				t.Fatalf("error %v", err)
			}
			return
		}
		if !(got.BLEU4 >= 0 && got.BLEU1 <= 1) {
			t.Fatalf("%+v", got)
		}
	})
}

// BenchmarkCorpusBLEU scores a test split of 1,000 pictures with five
// references each.
func BenchmarkCorpusBLEU(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	sentence := func() []string {
		words := make([]string, 10)
		for i := range words {
			words[i] = fmt.Sprint("word", r.IntN(500))
		}
		return words
	}
	hyps, refs := make([][]string, 1000), make([][][]string, 1000)
	for i := range hyps {
		hyps[i] = sentence()
		for range 5 {
			refs[i] = append(refs[i], sentence())
		}
	}
	for b.Loop() {
		if _, err := metrics.CorpusBLEU(hyps, refs, metrics.Method1); err != nil {
			b.Fatal(err)
		}
	}
}
