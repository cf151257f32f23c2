package text

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
)

func vectorWords(t *testing.T) *Vocabulary {
	t.Helper()
	v, err := NewVocabulary([]string{PadToken, UnknownToken, StartToken, EndToken, "a", "dog", "zebra"})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestReadVectors(t *testing.T) {
	file := "the 9 9\n" +
		"dog 1 -2.5e-1\r\n" +
		"<unk> 7 7\n" + // no word of a caption
		". . . 8 8\n" + // a word with spaces
		"a\t3 4 \n" +
		"Zebra 5 5\n" + // another word
		"dog 1 2" // the last one counts, and needs no end of line
	got, err := ReadVectors(strings.NewReader(file), vectorWords(t))
	if err != nil {
		t.Fatal(err)
	}
	want := Vectors{Width: 2, Words: 3, Found: 2, Values: []float32{0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 1, 2, 0, 0}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The original's vocabulary has a start and an end token among its words, which
// no file has.
func TestReadVectorsOriginal(t *testing.T) {
	words, err := ReadWordIndex(strings.NewReader(`{"dog": 1, "endseq": 2, "startseq": 3}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadVectors(strings.NewReader("startseq 5 5\ndog 1 2\n"), words)
	want := Vectors{Width: 2, Words: 1, Found: 1, Values: []float32{0, 0, 1, 2, 0, 0, 0, 0}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestReadVectorsBroken(t *testing.T) {
	tests := []struct {
		name, file, message string
		lines               []int
	}{
		{"cut short", "the 1 2\ndog 3", "1 broken lines", []int{2}},
		{"too many numbers", "the 1 2\ndog 3 4 5\na 1 2\n", "1 broken lines", []int{2}},
		{"no numbers", "the 1 2\ndog x 4\nnobody x 5\na 1 NaN\n\n", "3 broken lines", []int{2, 4, 5}},
		{"empty", "", "is empty", nil},
		{"another format", "400000 300\nthe 1 2\n", "the first line holds no word vector", nil},
		{"no text", strings.Repeat("x", maxLine+1), "has a line of more than", nil},
		{"many", "the 1 2\n" + strings.Repeat("dog\n", 50), "50 broken lines", nil},
	}
	for _, test := range tests {
		_, err := ReadVectors(strings.NewReader(test.file), vectorWords(t))
		if captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: error %v, want an invalid one with %q", test.name, err, test.message)
			continue
		}
		var e *captioner.Error
		errors.As(err, &e)
		var lines []int
		for _, p := range e.Problems {
			lines = append(lines, p.Line)
		}
		if test.lines != nil && !cmp.Equal(lines, test.lines) || len(lines) > maxBroken {
			t.Errorf("%s: broken lines %v, want %v", test.name, lines, test.lines)
		}
	}
}

func TestVectorWidth(t *testing.T) {
	for line, want := range map[string]int{
		"the 0.1 0.2 0.3\nmore": 3, "1 2 3\n": 2, ". . 1 2": 2, "": 0, "the": 0, "400000 300\n": 0, "the x y": 0,
	} {
		if got, err := VectorWidth(strings.NewReader(line)); got != want || (err == nil) != (want > 0) {
			t.Errorf("VectorWidth(%q) = %d, %v, want %d", line, got, err, want)
		}
	}
}

// What is kept grows with the vocabulary, not with the file.
func BenchmarkReadVectors(b *testing.B) {
	words, err := NewVocabulary([]string{PadToken, UnknownToken, StartToken, EndToken, "a"})
	if err != nil {
		b.Fatal(err)
	}
	var file bytes.Buffer
	numbers := strings.Repeat(" 0.12345", 200)
	for i := range 10_000 {
		fmt.Fprintf(&file, "word%d%s\n", i, numbers)
	}
	b.SetBytes(int64(file.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadVectors(bytes.NewReader(file.Bytes()), words); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzReadVectors(f *testing.F) {
	f.Add([]byte("the 1 2\ndog 3 4\n"))
	f.Add([]byte(" 1 2\n\n"))
	words, err := NewVocabulary([]string{PadToken, UnknownToken, StartToken, EndToken, "a", "dog"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := ReadVectors(bytes.NewReader(data), words)
		if err == nil && len(v.Values) != words.Size()*v.Width {
			t.Errorf("%d numbers for %d words of width %d", len(v.Values), words.Size(), v.Width)
		}
	})
}
