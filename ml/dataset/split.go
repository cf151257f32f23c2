package dataset

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/captioner/captioner"
)

// The ways of data.split_method in which pictures are divided by ratios.
const (
	SplitHash     = "hash"     // splitByRatios
	SplitOriginal = "original" // splitAsOriginal
)

// SplitMethods lists them, the default first.
var SplitMethods = []string{SplitHash, SplitOriginal}

// splitByRatios assigns each picture to a split. The pictures are put into the
// order of SHA-256(seed, picture's digest), a shuffle that depends on nothing
// but the pictures and the seed, and cut in the given ratios: test first, then
// validation, then train. Every split with a ratio gets a picture while there
// are enough. Identical pictures land in the same split, whatever their names:
// what is tested on was not trained on.
func splitByRatios(examples []captioner.Example, ratios captioner.SplitRatios, seed uint64) {
	order := shuffled(examples, seed)
	test, validation := splitSizes(len(order), ratios)
	test = keepTwins(examples, order, test)
	validation = keepTwins(examples, order, test+validation) - test
	for i, at := range order {
		switch {
		case i < test:
			examples[at].Split = captioner.Test
		case i < test+validation:
			examples[at].Split = captioner.Validation
		default:
			examples[at].Split = captioner.Train
		}
	}
}

// shuffled returns the indices of the examples in the order of their keys.
func shuffled(examples []captioner.Example, seed uint64) []int {
	keys := make([][sha256.Size]byte, len(examples))
	order := make([]int, len(examples))
	for i, e := range examples {
		keys[i] = sha256.Sum256(append(binary.BigEndian.AppendUint64(nil, seed), e.SHA256...))
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(bytes.Compare(keys[a][:], keys[b][:]), cmp.Compare(examples[a].Image, examples[b].Image))
	})
	return order
}

// Sample returns n of the examples, in their order; all of them where n is 0 or
// they are no more. They are chosen by the pictures' contents alone, so that
// scores of the same split are scores of the same pictures.
func Sample(examples []captioner.Example, n int) []captioner.Example {
	if n == 0 || n >= len(examples) {
		return examples
	}
	chosen := shuffled(examples, sampleSeed)[:n]
	slices.Sort(chosen)
	sample := make([]captioner.Example, n)
	for i, at := range chosen {
		sample[i] = examples[at]
	}
	return sample
}

// sampleSeed is not one that a split is likely to be made by: the first pictures
// of a shuffle are the test split.
const sampleSeed = 0x73616d706c65 // "sample"

// splitSizes returns how many of n pictures go to test and to validation; the
// rest is for training.
func splitSizes(n int, ratios captioner.SplitRatios) (test, validation int) {
	size := func(ratio float64) int {
		if ratio <= 0 {
			return 0
		}
		return max(1, int(math.Round(ratio*float64(n))))
	}
	test, validation = size(ratios.Test), size(ratios.Validation)
	for ratios.Train > 0 && test+validation >= n && test+validation > 0 {
		if test > validation {
			test--
		} else {
			validation--
		}
	}
	return test, validation
}

// keepTwins moves a border behind all pictures that equal the one before it.
func keepTwins(examples []captioner.Example, order []int, border int) int {
	for border > 0 && border < len(order) && examples[order[border]].SHA256 == examples[order[border-1]].SHA256 {
		border++
	}
	return border
}

// splitAsOriginal returns the split that the original system gives pictures:
// Python's random.Random(seed).shuffle of their order in the captions file, cut
// after int(ratio·n) for training and for validation; the rest is for testing.
func splitAsOriginal(names []string, ratios captioner.SplitRatios, seed uint64) map[string]captioner.Split {
	order := slices.Clone(names)
	r := newPythonRandom(seed)
	r.shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	n := float64(len(order))
	train := int(ratios.Train * n)
	validation := train + int(ratios.Validation*n)
	splits := make(map[string]captioner.Split, len(order))
	for i, name := range order {
		switch {
		case i < train:
			splits[name] = captioner.Train
		case i < validation:
			splits[name] = captioner.Validation
		default:
			splits[name] = captioner.Test
		}
	}
	return splits
}

// maxListed bounds how many problems of one kind are listed singly.
const maxListed = 20

// splitFile is a split and the file that lists its pictures, one name a line.
type splitFile struct {
	split captioner.Split
	field string // its name in the configuration
	path  string
}

func splitFiles(files captioner.SplitFiles) []splitFile {
	return []splitFile{
		{captioner.Train, "data.split_files.train", files.Train},
		{captioner.Validation, "data.split_files.validation", files.Validation},
		{captioner.Test, "data.split_files.test", files.Test},
	}
}

// splitReader collects what the split files say.
type splitReader struct {
	splits map[string]captioner.Split
	// given is what the captions file says.
	given    map[string]captioner.Split
	problems []captioner.Problem
	left     int // problems that are not listed
}

func (s *splitReader) problem(field string, line int, format string, args ...any) {
	if len(s.problems) >= maxListed {
		s.left++
		return
	}
	s.problems = append(s.problems, captioner.Problem{Field: field, Line: line, Column: 1, Message: fmt.Sprintf(format, args...)})
}

// read takes in one split file. A name that occurs twice in it counts once.
func (s *splitReader) read(f splitFile, r io.Reader) error {
	lines := newLineReader(r)
	found := false
	for {
		name, err := lines.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return readError(err, "read a split file")
		}
		if name == "" && !lines.tooLong {
			continue
		}
		found = true
		other, known := s.splits[name]
		given, inCaptions := s.given[name]
		switch {
		case lines.tooLong || !validName(name):
			s.problem(f.field, lines.number, "this is not the name of a file below the images folder")
		case known && other != f.split:
			s.problem(f.field, lines.number, "the picture is in the %s split too", other)
		case inCaptions && given != f.split:
			s.problem(f.field, lines.number, "the captions file puts the picture into the %s split", given)
		default:
			s.splits[name] = f.split
		}
	}
	if !found {
		s.problem(f.field, 1, "the file names no picture")
	}
	return nil
}

func (s *splitReader) err() error {
	return contradictions("the split files contradict each other", "data.split_files", s.problems, s.left)
}

// contradictions returns the error of splits that do not fit together, nil
// where there are no problems; left counts those that are not listed.
func contradictions(what, field string, problems []captioner.Problem, left int) error {
	if len(problems) == 0 {
		return nil
	}
	if left > 0 {
		problems = append(problems, captioner.Problem{Field: field, Message: fmt.Sprintf("%d more", left)})
	}
	return &captioner.Error{Kind: captioner.Invalid, Code: "invalid_split", Message: what, Problems: problems}
}
