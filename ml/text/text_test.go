package text_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/text"
)

// golden is testdata/preprocess.json: what the original's own code (commit in
// the file) returned for these captions under Python 3.11.
type golden struct {
	Captions []struct {
		Raw, Cleaned string
		Tokens       []string
	}
	Vocabularies map[string]struct {
		MinWordCount int              `json:"min_word_count"`
		WordToIndex  map[string]int32 `json:"word_to_index"`
		Encoded      [][]int32
	}
}

func readGolden(t testing.TB) golden {
	t.Helper()
	data, err := os.ReadFile("testdata/preprocess.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Captions) == 0 || len(g.Vocabularies) == 0 {
		t.Fatal("testdata/preprocess.json holds no cases")
	}
	return g
}

func TestCleanAsTheOriginal(t *testing.T) {
	for _, c := range readGolden(t).Captions {
		if got := text.Clean(c.Raw); got != c.Cleaned {
			t.Errorf("Clean(%+q) = %+q, want %+q", c.Raw, got, c.Cleaned)
		}
	}
}

func (g golden) cleaned() []string {
	var captions []string
	for _, c := range g.Captions {
		captions = append(captions, c.Cleaned)
	}
	return captions
}

func TestOriginalVocabulary(t *testing.T) {
	g := readGolden(t)
	for name, want := range g.Vocabularies {
		t.Run("min count "+name, func(t *testing.T) {
			built := text.BuildOriginalVocabulary(g.cleaned(), want.MinWordCount)
			if diff := cmp.Diff(want.WordToIndex, built.WordIndex()); diff != "" {
				t.Errorf("wordtoix (-want +got):\n%s", diff)
			}
			again, err := text.NewVocabulary(built.Tokens())
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range []*text.Vocabulary{built, again} {
				for i, c := range g.Captions {
					if got := v.Encode(c.Cleaned, 0); !slices.Equal(got, want.Encoded[i]) {
						t.Errorf("Encode(%+q) = %v, want %v", c.Cleaned, got, want.Encoded[i])
					}
				}
			}
		})
	}
}

func TestWordIndex(t *testing.T) {
	v := text.BuildOriginalVocabulary([]string{"a dog", "a cat"}, 1)
	wordToIndex, err := json.Marshal(v.WordIndex())
	if err != nil {
		t.Fatal(err)
	}
	indexToWord, err := json.Marshal(v.IndexWord())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(wordToIndex), `{"a":1,"cat":2,"dog":3,"endseq":4,"startseq":5}`; got != want {
		t.Errorf("wordtoix.json is %s, want %s", got, want)
	}
	if got, want := string(indexToWord), `{"1":"a","2":"cat","3":"dog","4":"endseq","5":"startseq"}`; got != want {
		t.Errorf("ixtoword.json is %s, want %s", got, want)
	}
	again, err := text.ReadWordIndex(bytes.NewReader(wordToIndex))
	if err != nil || !slices.Equal(again.Tokens(), v.Tokens()) {
		t.Errorf("read back: %v, error %v, want %v", again, err, v.Tokens())
	}
	// An older file of the original numbers the words as they came.
	old, err := text.ReadWordIndex(strings.NewReader(`{"startseq": 1, "a": 2, "dog": 3, "endseq": 4}`))
	if err != nil || old.Start() != 1 || old.End() != 4 || !slices.Equal(old.Encode("a big dog", 0), []int32{1, 2, 3, 4}) {
		t.Errorf("%v, error %v", old, err)
	}
}

func TestReadWordIndexRefuses(t *testing.T) {
	for name, content := range map[string]string{
		"empty":       ``,
		"a list":      `["a"]`,
		"a gap":       `{"startseq": 1, "endseq": 2, "a": 4}`,
		"zero":        `{"startseq": 0, "endseq": 1, "a": 2}`,
		"twice":       `{"startseq": 1, "endseq": 2, "a": 2}`,
		"no end":      `{"startseq": 1, "a": 2}`,
		"fractions":   `{"startseq": 1, "endseq": 2.5}`,
		"two words":   `{"startseq": 1, "endseq": 2, "a dog": 3}`,
		"the padding": `{"startseq": 1, "endseq": 2, "<pad>": 3}`,
	} {
		if _, err := text.ReadWordIndex(strings.NewReader(content)); captioner.KindOf(err) != captioner.Invalid {
			t.Errorf("%s: error %v, want kind Invalid", name, err)
		}
	}
}

// The standard vocabulary has the same words.
func TestVocabularyHasTheOriginalsWords(t *testing.T) {
	g := readGolden(t)
	captions := g.cleaned()
	for name, want := range g.Vocabularies {
		t.Run("min count "+name, func(t *testing.T) {
			var words []string
			for word := range want.WordToIndex {
				if word != text.StartToken && word != text.EndToken {
					words = append(words, word)
				}
			}
			got := text.BuildVocabulary(captions, want.MinWordCount).Tokens()[4:]
			slices.Sort(words)
			slices.Sort(got)
			if diff := cmp.Diff(words, got); diff != "" {
				t.Errorf("words (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClean(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"invalid UTF-8", "a \xff dog\xc3", "a \ufffd dog\ufffd"},
		{"all ASCII punctuation", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", ""},
		{"other punctuation stays", "¿qué?", "¿qué"},
		{"separators of Python's split", "a\x1cb\x1dc\x1ed\x1fe\u2028f\u3000g", "a b c d e f g"},
		{"zero-width space is no white space", "a\u200bb", "a\u200bb"},
		{"NUL stays", "a\x00b", "a\x00b"},
	} {
		if got := text.Clean(c.in); got != c.want {
			t.Errorf("%s: Clean(%+q) = %+q, want %+q", c.name, c.in, got, c.want)
		}
	}
}

func TestBuildVocabularyOrder(t *testing.T) {
	v := text.BuildVocabulary([]string{"a red dog", "a dog b", "a startseq endseq", "b c"}, 2)
	want := []string{"<pad>", "<unk>", "startseq", "endseq", "a", "b", "dog"}
	if diff := cmp.Diff(want, v.Tokens()); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
	if v.Size() != len(want) {
		t.Errorf("Size = %d, want %d", v.Size(), len(want))
	}
}

func TestEncode(t *testing.T) {
	v, err := text.NewVocabulary([]string{"<pad>", "<unk>", "startseq", "endseq", "a", "dog", "runs"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, caption string
		maxTokens     int
		want          []int32
	}{
		{"known words", "a dog runs", 0, []int32{2, 4, 5, 6, 3}},
		{"unknown word", "a cat runs", 5, []int32{2, 4, 1, 6, 3}},
		{"cut before the end", "a dog runs", 4, []int32{2, 4, 5, 3}},
		{"room for start and end only", "a dog runs", 2, []int32{2, 3}},
		{"empty", "", 10, []int32{2, 3}},
		{"special tokens are no words", "startseq a <pad> endseq", 0, []int32{2, 1, 4, 1, 1, 3}},
	} {
		if got := v.Encode(c.caption, c.maxTokens); !slices.Equal(got, c.want) {
			t.Errorf("%s: Encode(%q, %d) = %v, want %v", c.name, c.caption, c.maxTokens, got, c.want)
		}
	}
}

func TestEncodeWithoutUnknown(t *testing.T) {
	v, err := text.NewVocabulary([]string{"<pad>", "a", "dog", "endseq", "runs", "startseq"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, caption string
		maxTokens     int
		want          []int32
	}{
		{"known words", "a dog runs", 0, []int32{5, 1, 2, 4, 3}},
		{"unknown words are dropped", "the cat a <unk> runs", 0, []int32{5, 1, 4, 3}},
		{"cut after dropping", "the a dog runs", 4, []int32{5, 1, 2, 3}},
		{"start and end are words", "startseq a <pad> endseq", 0, []int32{5, 5, 1, 3, 3}},
	} {
		if got := v.Encode(c.caption, c.maxTokens); !slices.Equal(got, c.want) {
			t.Errorf("%s: Encode(%q, %d) = %v, want %v", c.name, c.caption, c.maxTokens, got, c.want)
		}
	}
	if got := v.Decode([]int32{5, 1, 2, 3, 4}); got != "a dog" {
		t.Errorf("decoded %q", got)
	}
	for id, want := range []bool{false, true, true, false, true, false, false} {
		if got := v.IsWord(int32(id)); got != want {
			t.Errorf("IsWord(%d) = %t, want %t", id, got, want)
		}
	}
	if v.Words() != 3 {
		t.Errorf("%d words, want 3", v.Words())
	}
}

func TestDecode(t *testing.T) {
	v, err := text.NewVocabulary([]string{"<pad>", "<unk>", "startseq", "endseq", "a", "dog"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ids  []int32
		want string
	}{
		{[]int32{2, 4, 5, 3, 0, 0}, "a dog"},
		{[]int32{4, 5}, "a dog"},
		{[]int32{2, 4, 1, 3}, "a <unk>"},
		{[]int32{4, 99, -1}, "a <unk> <unk>"},
		{[]int32{4, 3, 5}, "a"},
		{nil, ""},
	} {
		if got := v.Decode(c.ids); got != c.want {
			t.Errorf("Decode(%v) = %q, want %q", c.ids, got, c.want)
		}
	}
}

func TestNewVocabularyRefuses(t *testing.T) {
	special := []string{"<pad>", "<unk>", "startseq", "endseq"}
	for _, c := range []struct {
		name   string
		tokens []string
	}{
		{"none", nil},
		{"special tokens missing", []string{"a", "dog"}},
		{"special tokens in another order", []string{"<unk>", "<pad>", "startseq", "endseq"}},
		{"the original's without end", []string{"<pad>", "a", "startseq"}},
		{"the original's with an unknown token", []string{"<pad>", "<unk>", "a", "endseq", "startseq"}},
		{"a word twice", append(slices.Clone(special), "a", "b", "a")},
		{"an empty word", append(slices.Clone(special), "")},
		{"two words in one", append(slices.Clone(special), "a dog")},
	} {
		if _, err := text.NewVocabulary(c.tokens); captioner.KindOf(err) != captioner.Invalid {
			t.Errorf("%s: error %v, want kind Invalid", c.name, err)
		}
	}
}

// A cleaned caption stays as it is, holds single spaces and no punctuation,
// and one whose words are all in the vocabulary survives encode and decode.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		captions := rapid.SliceOfN(rapid.String(), 1, 5).Draw(t, "captions")
		for i, raw := range captions {
			captions[i] = checkClean(t, raw)
		}
		v := text.BuildVocabulary(captions, 1)
		again, err := text.NewVocabulary(v.Tokens())
		if err != nil {
			t.Fatalf("NewVocabulary refuses Tokens: %v", err)
		}
		for _, c := range captions {
			if strings.Contains(c, "seq") {
				continue // may hold a special token's spelling
			}
			ids := v.Encode(c, 0)
			if got := again.Decode(ids); got != c {
				t.Fatalf("decode(encode(%q)) = %q", c, got)
			}
			maxTokens := rapid.IntRange(2, 8).Draw(t, "maxTokens")
			cut := v.Encode(c, maxTokens)
			if len(cut) > maxTokens || cut[0] != v.Start() || cut[len(cut)-1] != v.End() {
				t.Fatalf("Encode(%q, %d) = %v", c, maxTokens, cut)
			}
		}
		slices.Reverse(captions)
		if diff := cmp.Diff(v.Tokens(), text.BuildVocabulary(captions, 1).Tokens()); diff != "" {
			t.Fatalf("the order of the captions changes the vocabulary:\n%s", diff)
		}
	})
}

type fataler interface{ Fatalf(string, ...any) }

func checkClean(t fataler, raw string) string {
	c := text.Clean(raw)
	if again := text.Clean(c); again != c {
		t.Fatalf("Clean(%+q) = %+q, and again %+q", raw, c, again)
	}
	if !utf8.ValidString(c) || strings.Join(text.Fields(c), " ") != c || strings.ContainsAny(c, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") {
		t.Fatalf("Clean(%+q) = %+q is not clean", raw, c)
	}
	if text.HasWords(raw) != (c != "") {
		t.Fatalf("HasWords(%+q) = %t, and Clean gives %+q", raw, text.HasWords(raw), c)
	}
	return c
}

func FuzzClean(f *testing.F) {
	for _, c := range readGolden(f).Captions {
		f.Add(c.Raw)
	}
	f.Add("\xff\x00Σ")
	f.Fuzz(func(t *testing.T, raw string) {
		c := checkClean(t, raw)
		text.BuildVocabulary([]string{c}, 1).Encode(c, 4)
	})
}

func BenchmarkClean(b *testing.B) {
	const caption = "A child in a pink dress is climbing up a set of stairs in an entry way ."
	b.Run("ascii", func(b *testing.B) {
		b.SetBytes(int64(len(caption)))
		for b.Loop() {
			text.Clean(caption)
		}
	})
	b.Run("unicode", func(b *testing.B) {
		const caption = "Ein kleines Mädchen in einem rosa Kleid klettert die Stufen zur Tür hinauf ."
		b.SetBytes(int64(len(caption)))
		for b.Loop() {
			text.Clean(caption)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	const caption = "a child in a pink dress is climbing up a set of stairs in an entry way"
	v := text.BuildVocabulary([]string{caption}, 1)
	for b.Loop() {
		v.Encode(caption, 24)
	}
}
