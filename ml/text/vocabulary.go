package text

import (
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/captioner/captioner"
)

// Pad is the ID of the padding token, which fills a batch's shorter captions.
// It is the same in every vocabulary; the other IDs are the vocabulary's own.
const Pad int32 = 0

// The spellings of the special tokens. Clean leaves no "<", so only the last
// two could be words of a caption.
const (
	PadToken     = "<pad>"
	UnknownToken = "<unk>"
	StartToken   = "startseq"
	EndToken     = "endseq"
)

// The kinds of vocabularies, as data.vocabulary names them.
const (
	Standard = "standard"
	Original = "original"
)

// special are the first tokens of a standard vocabulary.
var special = []string{PadToken, UnknownToken, StartToken, EndToken}

// none is the ID of a token that a vocabulary does not have.
const none int32 = -1

// Vocabulary numbers the words that a model knows. There are two kinds, which
// their tokens tell apart:
//
//   - the standard one begins with the four special tokens; a word that is not
//     in it becomes the unknown token, and so do "startseq" and "endseq" within
//     a caption;
//   - the original system's has no unknown token: after the padding come the
//     words in the order of their bytes, "startseq" and "endseq" among them,
//     and a word that is not in it is dropped.
//
// A Vocabulary is immutable and safe for concurrent use.
type Vocabulary struct {
	tokens              []string
	ids                 map[string]int32
	unknown, start, end int32
}

// BuildVocabulary returns the standard vocabulary of the cleaned captions: the
// special tokens, then the words that occur at least minCount times, the most
// frequent first and equally frequent ones in the order of their bytes. The
// order of the captions makes no difference.
func BuildVocabulary(captions []string, minCount int) *Vocabulary {
	counts := countWords(captions)
	for _, token := range special {
		delete(counts, token)
	}
	maps.DeleteFunc(counts, func(_ string, n int) bool { return n < minCount })
	words := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	return index(slices.Concat(special, words))
}

// BuildOriginalVocabulary returns the vocabulary that the original system makes
// of the cleaned captions. Start and end are in it however few captions there
// are.
func BuildOriginalVocabulary(captions []string, minCount int) *Vocabulary {
	counts := countWords(captions)
	maps.DeleteFunc(counts, func(_ string, n int) bool { return n < minCount })
	counts[StartToken], counts[EndToken] = len(captions), len(captions)
	return index(append([]string{PadToken}, slices.Sorted(maps.Keys(counts))...))
}

func countWords(captions []string) map[string]int {
	counts := map[string]int{}
	for _, caption := range captions {
		for _, word := range Fields(caption) {
			counts[word]++
		}
	}
	return counts
}

// NewVocabulary returns the vocabulary in which the ID of tokens[i] is i, as
// [Vocabulary.Tokens] lists it. The list is Invalid unless it begins with the
// special tokens, or with the padding alone where "startseq" and "endseq" come
// later, and holds each word once, none of them empty or with white space
// within.
func NewVocabulary(tokens []string) (*Vocabulary, error) {
	if !isStandard(tokens) && !isOriginal(tokens) {
		return nil, captioner.Errorf(captioner.Invalid, "a vocabulary must begin with %s, or with %s alone and hold %s and %s",
			strings.Join(special, ", "), PadToken, StartToken, EndToken)
	}
	v := index(slices.Clone(tokens))
	if len(v.ids) != len(tokens) {
		return nil, captioner.Errorf(captioner.Invalid, "a vocabulary must hold each token once")
	}
	for i, token := range tokens {
		if token == "" || strings.ContainsFunc(token, isSpace) {
			return nil, captioner.Errorf(captioner.Invalid, "token %d of the vocabulary is not a word", i)
		}
	}
	return v, nil
}

func isStandard(tokens []string) bool {
	return len(tokens) >= len(special) && slices.Equal(tokens[:len(special)], special)
}

func isOriginal(tokens []string) bool {
	return len(tokens) > 0 && tokens[0] == PadToken && !slices.Contains(tokens, UnknownToken) &&
		slices.Contains(tokens, StartToken) && slices.Contains(tokens, EndToken)
}

func index(tokens []string) *Vocabulary {
	v := &Vocabulary{tokens: tokens, ids: make(map[string]int32, len(tokens)), unknown: none}
	for i, token := range tokens {
		v.ids[token] = int32(i)
	}
	v.start, v.end = v.ids[StartToken], v.ids[EndToken]
	if id, ok := v.ids[UnknownToken]; ok {
		v.unknown = id
	}
	return v
}

// ReadWordIndex reads the original system's wordtoix.json: an object that gives
// each word its ID, from 1 without gaps, in any order. Anything else is
// Invalid.
func ReadWordIndex(r io.Reader) (*Vocabulary, error) {
	var ids map[string]int
	if err := json.NewDecoder(r).Decode(&ids); err != nil {
		return nil, captioner.Wrap(captioner.Invalid, err, "the vocabulary is not an object of words and their numbers")
	}
	tokens := make([]string, len(ids)+1)
	tokens[Pad] = PadToken
	for _, word := range slices.Sorted(maps.Keys(ids)) {
		id := ids[word]
		switch {
		case id < 1 || id > len(ids):
			return nil, captioner.Errorf(captioner.Invalid, "the vocabulary gives a word the number %d, and %d words have the numbers 1 to %d", id, len(ids), len(ids))
		case tokens[id] != "":
			return nil, captioner.Errorf(captioner.Invalid, "the vocabulary gives the number %d to two words", id)
		}
		tokens[id] = word
	}
	return NewVocabulary(tokens)
}

// WordIndex returns every token's ID but the padding's: the content of the
// original system's wordtoix.json.
func (v *Vocabulary) WordIndex() map[string]int32 {
	ids := maps.Clone(v.ids)
	delete(ids, PadToken)
	return ids
}

// IndexWord returns every ID's token but the padding's: the content of the
// original system's ixtoword.json.
func (v *Vocabulary) IndexWord() map[int32]string {
	words := make(map[int32]string, len(v.tokens))
	for id, token := range v.tokens[1:] {
		words[int32(id+1)] = token
	}
	return words
}

// Tokens returns all tokens, the special ones included; the index is the ID.
func (v *Vocabulary) Tokens() []string { return slices.Clone(v.tokens) }

// Size returns the number of tokens, the special ones included.
func (v *Vocabulary) Size() int { return len(v.tokens) }

// Words returns the number of tokens that are words.
func (v *Vocabulary) Words() int {
	special := 3 // padding, start and end
	if v.unknown != none {
		special++
	}
	return len(v.tokens) - special
}

// Start returns the ID of the token that begins each sequence.
func (v *Vocabulary) Start() int32 { return v.start }

// End returns the ID of the token that ends each sequence.
func (v *Vocabulary) End() int32 { return v.end }

// IsWord reports whether an ID is that of a word, and of no special token.
func (v *Vocabulary) IsWord(id int32) bool {
	return id > Pad && int(id) < len(v.tokens) && id != v.unknown && id != v.start && id != v.end
}

// ID returns the token ID that stands for a word within a caption. For one that
// is not in the vocabulary that is the unknown token's; a vocabulary without
// such a token gives false.
func (v *Vocabulary) ID(word string) (int32, bool) {
	id, ok := v.ids[word]
	if v.unknown == none {
		return id, ok && id != Pad
	}
	if !ok || !v.IsWord(id) {
		id = v.unknown
	}
	return id, true
}

// Token returns the word of an ID, "<unk>" for one that is out of range.
func (v *Vocabulary) Token(id int32) string {
	if id < 0 || int(id) >= len(v.tokens) {
		return UnknownToken
	}
	return v.tokens[id]
}

// Encode returns the token IDs of a cleaned caption between start and end,
// at most maxTokens of them: a longer caption loses its last words, never its
// end. A maxTokens below 2, the room that start and end take, cuts nothing.
func (v *Vocabulary) Encode(cleaned string, maxTokens int) []int32 {
	words := Fields(cleaned)
	ids := make([]int32, 0, len(words)+2)
	ids = append(ids, v.start)
	for _, word := range words {
		if id, ok := v.ID(word); ok {
			ids = append(ids, id)
		}
	}
	if maxTokens >= 2 {
		ids = ids[:min(len(ids), maxTokens-1)]
	}
	return append(ids, v.end)
}

// Decode returns the words of ids up to the first end, separated by spaces.
// Padding and start are left out; the unknown token, and an ID that is out of
// range, reads "<unk>": a hole in a caption is shown.
func (v *Vocabulary) Decode(ids []int32) string {
	words := make([]string, 0, len(ids))
	for _, id := range ids {
		if id == v.end {
			break
		}
		if id != Pad && id != v.start {
			words = append(words, v.Token(id))
		}
	}
	return strings.Join(words, " ")
}
