package dataset

import (
	"cmp"
	"maps"
	"slices"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/text"
)

// Summary is what there is to say about a prepared data set without showing a
// caption of it.
type Summary struct {
	// Splits have an entry for each split, in the order of captioner.Splits.
	Splits []SplitSummary `json:"splits"`
	// MaxTokens is the longest token sequence, start and end included.
	MaxTokens  int               `json:"max_tokens"`
	Vocabulary VocabularySummary `json:"vocabulary"`
	Quarantine QuarantineSummary `json:"quarantine"`
}

// SplitSummary counts a split.
type SplitSummary struct {
	Split    captioner.Split `json:"split"`
	Images   int             `json:"images"`
	Captions int             `json:"captions"`
	// Lengths say how many captions have how many words, the shortest first.
	Lengths []LengthCount `json:"lengths"`
}

// LengthCount is a bar of a histogram.
type LengthCount struct {
	Words    int `json:"words"`
	Captions int `json:"captions"`
}

// VocabularySummary counts words in the training captions.
type VocabularySummary struct {
	// Size is the number of tokens, special ones included.
	Size int `json:"size"`
	// Occurrences are those of all words, UnknownOccurrences of the words that
	// are not in the vocabulary.
	Occurrences        int `json:"occurrences"`
	UnknownOccurrences int `json:"unknown_occurrences"`
	// Words are those of the vocabulary, the most frequent first.
	Words []WordCount `json:"words"`
}

// WordCount says how often a word occurs.
type WordCount struct {
	Word  string `json:"word"`
	Count int    `json:"count"`
}

// QuarantineSummary is what was left out and why.
type QuarantineSummary struct {
	Total int `json:"total"`
	// Reasons begin with the most frequent.
	Reasons []ReasonCount           `json:"reasons"`
	Items   []captioner.Quarantined `json:"items"`
}

// ReasonCount says how often a reason occurs.
type ReasonCount struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
}

// Summarise counts what is in a prepared data set.
func Summarise(ds captioner.Dataset) Summary {
	s := Summary{MaxTokens: ds.MaxTokens, Vocabulary: summariseWords(ds), Quarantine: summariseQuarantine(ds.Quarantine)}
	for _, split := range captioner.Splits {
		s.Splits = append(s.Splits, summariseSplit(ds.Examples, split))
	}
	return s
}

func summariseSplit(examples []captioner.Example, split captioner.Split) SplitSummary {
	s := SplitSummary{Split: split, Lengths: []LengthCount{}}
	lengths := map[int]int{}
	for _, e := range examples {
		if e.Split != split {
			continue
		}
		s.Images++
		s.Captions += len(e.References)
		for _, reference := range e.References {
			lengths[len(text.Fields(reference))]++
		}
	}
	for _, words := range slices.Sorted(maps.Keys(lengths)) {
		s.Lengths = append(s.Lengths, LengthCount{words, lengths[words]})
	}
	return s
}

func summariseWords(ds captioner.Dataset) VocabularySummary {
	v := VocabularySummary{Size: len(ds.Vocabulary), Words: []WordCount{}}
	known := map[string]int{}
	for _, word := range ds.Vocabulary {
		known[word] = 0
	}
	for _, e := range ds.Examples {
		if e.Split != captioner.Train {
			continue
		}
		for _, reference := range e.References {
			for _, word := range text.Fields(reference) {
				v.Occurrences++
				if _, ok := known[word]; ok {
					known[word]++
				} else {
					v.UnknownOccurrences++
				}
			}
		}
	}
	for word, count := range known {
		if count > 0 { // special tokens never occur
			v.Words = append(v.Words, WordCount{word, count})
		}
	}
	slices.SortFunc(v.Words, func(a, b WordCount) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Word, b.Word)) })
	return v
}

func summariseQuarantine(items []captioner.Quarantined) QuarantineSummary {
	q := QuarantineSummary{Total: len(items), Reasons: []ReasonCount{}, Items: slices.Clone(items)}
	if q.Items == nil {
		q.Items = []captioner.Quarantined{} // an array in JSON, never null
	}
	counts := map[string]int{}
	for _, item := range items {
		counts[item.Reason]++
	}
	for reason, count := range counts {
		q.Reasons = append(q.Reasons, ReasonCount{reason, count})
	}
	slices.SortFunc(q.Reasons, func(a, b ReasonCount) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Reason, b.Reason)) })
	return q
}
