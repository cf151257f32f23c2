package captioner

import (
	"strconv"
	"strings"
)

// Split names a part of a data set. All captions of a picture are in one split.
type Split string

const (
	Train      Split = "train"      // what the weights are fitted to
	Validation Split = "validation" // what the best epoch is chosen by
	Test       Split = "test"       // what is reported and gated on
)

// Splits lists the splits in their order everywhere.
var Splits = []Split{Train, Validation, Test}

// Example is a picture with its references.
type Example struct {
	// Image is the picture's name: its path below the images folder, with
	// slashes. It identifies the picture within the data set.
	Image string `json:"image"`
	// SHA256 is the digest of the picture's file.
	SHA256 Digest `json:"sha256"`
	Split  Split  `json:"split"`
	// References are the cleaned captions, without start and end.
	References []string `json:"references"`
}

// Dataset is a prepared data set, the output of PrepareData. Its JSON is
// stored as a blob, whose digest is the data set's. It holds no path of a
// machine: where the pictures lie is passed beside it.
type Dataset struct {
	// Examples are sorted by Image.
	Examples []Example `json:"examples"`
	// Vocabulary lists the words; the token ID of Vocabulary[i] is i. The
	// padding is token 0; what else is special, ml/text says.
	Vocabulary []string `json:"vocabulary"`
	// MaxTokens is the longest token sequence, start and end included.
	MaxTokens int `json:"max_tokens"`
	// Quarantine lists what was left out so far, sorted by image and line.
	Quarantine []Quarantined `json:"quarantine"`
}

// Quarantined is a picture or a caption line that is not used.
type Quarantined struct {
	// Image is the picture's name, empty for a line that names none.
	Image string `json:"image,omitempty"`
	// Line is the line in the captions file, in a JSON file the number of the
	// caption; 0 for a picture as a whole.
	Line int `json:"line,omitempty"`
	// Reason is a stable name, such as "truncated" or "unknown_image".
	Reason string `json:"reason"`
	// Detail is a sentence for a person. It quotes no line of the file.
	Detail string `json:"detail,omitempty"`
}

// LeftOut says what of the data a run does not use, and why.
type LeftOut struct {
	// Reasons counts pictures and caption lines by Quarantined.Reason, sorted.
	Reasons []ReasonCount `json:"reasons"`
	// First are the first of them in the order of Dataset.Quarantine, which has
	// all.
	First []Quarantined `json:"first"`
}

// ReasonCount says how many pictures and caption lines have a reason.
type ReasonCount struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
}

// String counts by reason: "left out: 2 empty_caption, 1 truncated".
func (l LeftOut) String() string {
	var counts []string
	for _, r := range l.Reasons {
		counts = append(counts, strconv.Itoa(r.Count)+" "+r.Reason)
	}
	return "left out: " + strings.Join(counts, ", ")
}

// Hypothesis is a caption produced by a model.
type Hypothesis struct {
	Text string `json:"text"`
	// LogProbability is the natural logarithm of the caption's probability,
	// its end token included; 0 or less.
	LogProbability float64 `json:"log_probability"`
	// Tokens are the token IDs without start and end.
	Tokens []int32 `json:"tokens"`
}
