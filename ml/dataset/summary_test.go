package dataset_test

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/dataset"
)

func TestSummarise(t *testing.T) {
	bad := []captioner.Quarantined{
		{Line: 3, Reason: "no_comma"}, {Image: "d.png", Reason: "truncated"}, {Line: 9, Reason: "no_comma"},
	}
	got := dataset.Summarise(captioner.Dataset{
		Examples: []captioner.Example{
			{Image: "a.png", Split: captioner.Train, References: []string{"a red dog", "a dog"}},
			{Image: "b.png", Split: captioner.Train, References: []string{"a cat runs"}},
			{Image: "c.png", Split: captioner.Test, References: []string{"a a a a"}},
		},
		Vocabulary: []string{"<pad>", "<unk>", "startseq", "endseq", "a", "cat", "dog"},
		MaxTokens:  5,
		Quarantine: bad,
	})
	want := dataset.Summary{
		Splits: []dataset.SplitSummary{
			{Split: captioner.Train, Images: 2, Captions: 3, Lengths: []dataset.LengthCount{{Words: 2, Captions: 1}, {Words: 3, Captions: 2}}},
			{Split: captioner.Validation, Lengths: []dataset.LengthCount{}},
			{Split: captioner.Test, Images: 1, Captions: 1, Lengths: []dataset.LengthCount{{Words: 4, Captions: 1}}},
		},
		MaxTokens: 5,
		Vocabulary: dataset.VocabularySummary{Size: 7, Occurrences: 8, UnknownOccurrences: 2,
			Words: []dataset.WordCount{{Word: "a", Count: 3}, {Word: "dog", Count: 2}, {Word: "cat", Count: 1}}},
		Quarantine: dataset.QuarantineSummary{Total: 3, Items: bad,
			Reasons: []dataset.ReasonCount{{Reason: "no_comma", Count: 2}, {Reason: "truncated", Count: 1}}},
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("Summarise (-want +got):\n%s", diff)
	}
}
