package text

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/captioner/captioner"
)

// The IDs of the special tokens, the same in every vocabulary.
const (
	Pad     int32 = 0 // fills a batch's shorter captions
	Unknown int32 = 1 // stands for each word that is not in the vocabulary
	Start   int32 = 2 // begins each sequence
	End     int32 = 3 // ends each sequence
)

// The spellings of the special tokens. Clean leaves no "<", so only the last
// two could be words of a caption; there they count as unknown.
const (
	PadToken     = "<pad>"
	UnknownToken = "<unk>"
	StartToken   = "startseq"
	EndToken     = "endseq"
)

var special = []string{PadToken, UnknownToken, StartToken, EndToken}

// Vocabulary numbers the words that a model knows. It is immutable and safe
// for concurrent use.
type Vocabulary struct {
	tokens []string
	ids    map[string]int32
}

// BuildVocabulary returns the vocabulary of the cleaned captions: the special
// tokens, then the words that occur at least minCount times, the most frequent
// first and equally frequent ones in the order of their bytes. The order of
// the captions makes no difference.
func BuildVocabulary(captions []string, minCount int) *Vocabulary {
	counts := map[string]int{}
	for _, caption := range captions {
		for _, word := range Fields(caption) {
			counts[word]++
		}
	}
	for _, token := range special {
		delete(counts, token)
	}
	maps.DeleteFunc(counts, func(_ string, n int) bool { return n < minCount })
	words := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	return index(slices.Concat(special, words))
}

// NewVocabulary returns the vocabulary in which the ID of tokens[i] is i, as
// [Vocabulary.Tokens] lists it. The list is Invalid unless it begins with the
// special tokens and holds each word once, none of them empty or with white
// space within.
func NewVocabulary(tokens []string) (*Vocabulary, error) {
	if len(tokens) < len(special) || !slices.Equal(tokens[:len(special)], special) {
		return nil, captioner.Errorf(captioner.Invalid, "a vocabulary must begin with %s", strings.Join(special, ", "))
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

func index(tokens []string) *Vocabulary {
	v := &Vocabulary{tokens: tokens, ids: make(map[string]int32, len(tokens))}
	for i, token := range tokens {
		v.ids[token] = int32(i)
	}
	return v
}

// Tokens returns all tokens, the special ones included; the index is the ID.
func (v *Vocabulary) Tokens() []string { return slices.Clone(v.tokens) }

// Size returns the number of tokens, the special ones included.
func (v *Vocabulary) Size() int { return len(v.tokens) }

// ID returns the token ID of a word, Unknown for one that is not in the
// vocabulary and for the special tokens, which are no words.
func (v *Vocabulary) ID(word string) int32 {
	if id, ok := v.ids[word]; ok && id >= int32(len(special)) {
		return id
	}
	return Unknown
}

// Token returns the word of an ID, "<unk>" for one that is out of range.
func (v *Vocabulary) Token(id int32) string {
	if id < 0 || int(id) >= len(v.tokens) {
		return UnknownToken
	}
	return v.tokens[id]
}

// Encode returns the token IDs of a cleaned caption between Start and End,
// at most maxTokens of them: a longer caption loses its last words, never its
// end. A maxTokens below 2, the room that Start and End take, cuts nothing.
func (v *Vocabulary) Encode(cleaned string, maxTokens int) []int32 {
	words := Fields(cleaned)
	if maxTokens >= 2 && len(words) > maxTokens-2 {
		words = words[:maxTokens-2]
	}
	ids := make([]int32, 0, len(words)+2)
	ids = append(ids, Start)
	for _, word := range words {
		ids = append(ids, v.ID(word))
	}
	return append(ids, End)
}

// Decode returns the words of ids up to the first End, separated by spaces.
// Pad and Start are left out; Unknown, and an ID that is out of range, reads
// "<unk>": a hole in a caption is shown.
func (v *Vocabulary) Decode(ids []int32) string {
	words := make([]string, 0, len(ids))
	for _, id := range ids {
		if id == End {
			break
		}
		if id != Pad && id != Start {
			words = append(words, v.Token(id))
		}
	}
	return strings.Join(words, " ")
}
