// Package dataset reads captions and the pictures they belong to, and makes a
// captioner.Dataset of them: cleaned captions, a split, a vocabulary, the
// digest of every picture, and a list of what was left out and why. It looks
// at the pictures' headers only; whether their data can be decoded turns out
// when features are extracted, after which [Drop] and [CheckUsable] apply the
// same rules once more.
//
// The result is a function of the files' contents and the configuration: not
// of where they lie, of their order in the folder, of the machine.
package dataset

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/captioner/captioner"
)

// The reasons for leaving out a line of the captions file, or a picture. Those
// about a picture's file are images.Reason's.
const (
	ReasonNoComma      = "no_comma"          // the line has no comma
	ReasonNoTab        = "no_tab"            // the line has no tab
	ReasonNoBar        = "no_bar"            // the line has no bars
	ReasonLineTooLong  = "line_too_long"     // the line is longer than MaxLineBytes
	ReasonInvalidName  = "invalid_name"      // the line names no file below the images folder
	ReasonEmptyCaption = "empty_caption"     // nothing follows the comma
	ReasonNoWords      = "no_words"          // the caption is punctuation only
	ReasonDuplicate    = "duplicate_caption" // the picture has this caption already
	ReasonUnknownImage = "unknown_image"     // there is no such picture
	ReasonNoCaption    = "no_caption"        // a picture of a split file has no caption
	ReasonNoSplit      = "no_split"          // a captioned picture is in no split file
	ReasonUnknownSplit = "unknown_split"     // the captions file puts the picture into a split of another name
)

// Drop returns the data set without the pictures that are named in
// quarantined, which it adds to the list. Vocabulary and MaxTokens stay as
// they are: they name token IDs that others may have used already.
func Drop(ds captioner.Dataset, quarantined []captioner.Quarantined) captioner.Dataset {
	gone := map[string]bool{}
	for _, q := range quarantined {
		gone[q.Image] = true
	}
	ds.Examples = slices.DeleteFunc(slices.Clone(ds.Examples), func(e captioner.Example) bool { return gone[e.Image] })
	ds.Quarantine = slices.Concat(ds.Quarantine, quarantined)
	sortQuarantine(ds.Quarantine)
	ds.Quarantine = slices.Compact(ds.Quarantine)
	return ds
}

func sortQuarantine(list []captioner.Quarantined) {
	slices.SortFunc(list, func(a, b captioner.Quarantined) int {
		return cmp.Or(
			cmp.Compare(a.Image, b.Image), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Detail, b.Detail))
	})
}

// CheckUsable returns an Invalid error with code "unusable_data" when less
// than the share minUsable of the pictures can be used, or when a split is
// empty, for which source names the field. Its problems give the counts by
// reason. A picture counts when a caption or a split file names it; one without
// any split file that wants it does not.
func CheckUsable(ds captioner.Dataset, minUsable float64, source func(captioner.Split) string) error {
	unusable := unusablePictures(ds)
	total := len(ds.Examples) + len(unusable)
	var problems []captioner.Problem
	if share := float64(len(ds.Examples)) / float64(max(total, 1)); share < minUsable {
		problems = append(problems, captioner.Problem{Field: "data.min_usable", Message: fmt.Sprintf(
			"%d of %d pictures can be used, %.1f %% are needed", len(ds.Examples), total, 100*minUsable)})
	}
	perSplit := map[captioner.Split]int{}
	for _, e := range ds.Examples {
		perSplit[e.Split]++
	}
	for _, split := range captioner.Splits {
		if perSplit[split] == 0 && len(ds.Examples) > 0 { // of nothing, every split is empty
			problems = append(problems, captioner.Problem{Field: source(split), Message: fmt.Sprintf("no usable picture is in the %s split", split)})
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return &captioner.Error{
		Kind: captioner.Invalid, Code: "unusable_data",
		Message:  "the data set cannot be used",
		Problems: append(problems, countProblems(ds, unusable)...),
	}
}

// unusablePictures returns the pictures that are not examples, each with one
// reason: the one about the picture as a whole where there is one.
func unusablePictures(ds captioner.Dataset) map[string]string {
	used := map[string]bool{}
	for _, e := range ds.Examples {
		used[e.Image] = true
	}
	reasons := map[string]string{}
	for _, q := range ds.Quarantine {
		if q.Image == "" || used[q.Image] || q.Reason == ReasonNoSplit {
			continue
		}
		if _, ok := reasons[q.Image]; !ok || q.Line == 0 {
			reasons[q.Image] = q.Reason
		}
	}
	return reasons
}

// countProblems gives one problem per reason, with the first of its cases:
// pictures, then lines.
func countProblems(ds captioner.Dataset, unusable map[string]string) []captioner.Problem {
	pictures, lines := map[string]int{}, map[string]int{}
	for _, reason := range unusable {
		pictures[reason]++
	}
	firstPicture, firstLine := map[string]captioner.Quarantined{}, map[string]captioner.Quarantined{}
	for _, q := range ds.Quarantine { // sorted by picture
		if _, ok := firstPicture[q.Reason]; !ok && unusable[q.Image] == q.Reason {
			firstPicture[q.Reason] = q
		}
		if q.Line > 0 {
			lines[q.Reason]++
			if first, ok := firstLine[q.Reason]; !ok || q.Line < first.Line {
				firstLine[q.Reason] = q
			}
		}
	}
	var problems []captioner.Problem
	for _, reason := range slices.Sorted(maps.Keys(pictures)) {
		first := firstPicture[reason]
		problems = append(problems, captioner.Problem{Field: "data.images", Message: fmt.Sprintf(
			"%s: %s, the first is %s: %s", reason, count(pictures[reason], "picture"), first.Image, first.Detail)})
	}
	for _, reason := range slices.Sorted(maps.Keys(lines)) {
		first := firstLine[reason]
		problems = append(problems, captioner.Problem{Field: "data.captions", Message: fmt.Sprintf(
			"%s: %s, the first is line %d: %s", reason, count(lines[reason], "line"), first.Line, first.Detail)})
	}
	return problems
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// SplitDigest identifies the pictures and references of a split, so that
// scores on it can be told from scores on another. Names do not count.
func SplitDigest(ds captioner.Dataset, split captioner.Split) captioner.Digest {
	var b strings.Builder
	for _, e := range ds.Examples {
		if e.Split != split {
			continue
		}
		fmt.Fprintf(&b, "%s\n", e.SHA256)
		for _, reference := range e.References {
			fmt.Fprintf(&b, "\t%s\n", reference) // cleaned: holds neither tab nor newline
		}
	}
	return captioner.DigestOf([]byte(b.String()))
}
