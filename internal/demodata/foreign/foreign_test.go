package foreign_test

import (
	"image"
	_ "image/jpeg"
	_ "image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/captioner/captioner/internal/demodata"
	"github.com/captioner/captioner/internal/demodata/demodatatest"
	"github.com/captioner/captioner/internal/demodata/foreign"
)

// read returns the captions file as text, and the captions by picture.
func read(t *testing.T, dir string) (string, map[string][]string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, foreign.CaptionsFile))
	if err != nil {
		t.Fatal(err)
	}
	captions := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		name, caption, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ",")
		captions[name] = append(captions[name], caption)
	}
	return string(data), captions
}

func TestGenerate(t *testing.T) {
	dir, again := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, again} {
		if err := foreign.Generate(d, 20, 3); err != nil {
			t.Fatal(err)
		}
	}
	text, captions := read(t, dir)
	if same, _ := read(t, again); same != text {
		t.Error("the same seed gave other captions")
	}
	if len(captions) != 20 || strings.HasPrefix(text, "image,caption") {
		t.Errorf("%d pictures with captions, want 20; the file begins with %.20q, want no header", len(captions), text)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.txt")); len(left) != 1 {
		t.Errorf("text files %v, want one", left)
	}
	formats := map[string]int{}
	for name, c := range captions {
		if len(c) != 5 {
			t.Errorf("%s has %d captions, want 5", name, len(c))
		}
		for _, caption := range c {
			if pairs := demodata.Pairs(caption); len(pairs) > 0 {
				t.Errorf("%q names %v of the demonstration's things", caption, pairs)
			}
		}
		formats[format(t, filepath.Join(dir, foreign.ImagesDir, name))]++
		a, _ := os.ReadFile(filepath.Join(dir, foreign.ImagesDir, name))
		if b, _ := os.ReadFile(filepath.Join(again, foreign.ImagesDir, name)); !slices.Equal(a, b) {
			t.Errorf("the same seed gave another %s", name)
		}
	}
	if formats["jpeg"] != 18 || formats["png"] != 2 {
		t.Errorf("formats %v, want 18 JPEG and 2 PNG", formats)
	}
}

func format(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, kind, err := image.Decode(f)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return kind
}

// TestDifficulty bounds what can be had without looking, and how far the
// references agree, on the default number of pictures.
func TestDifficulty(t *testing.T) {
	captions := foreign.Captions(600, 1)
	all := slices.Concat(slices.Collect(maps.Values(captions))...)
	slices.Sort(all)
	names := slices.Sorted(maps.Keys(captions))
	var references [][]string
	for i, name := range names {
		if i%5 == 0 { // as many as the test split gets
			references = append(references, captions[name])
		}
	}
	bleu, caption := demodatatest.BestConstant(t, all, references)
	t.Logf("best constant caption: BLEU-4 %.3f, %q", bleu, caption)
	if bleu > 0.25 {
		t.Errorf("the constant caption %q scores BLEU-4 %.3f, want 0.25 at most", caption, bleu)
	}
	one := demodatatest.OneAgainstOthers(t, references, 0)
	t.Logf("one reference against the others: BLEU-4 %.3f", one)
	if one < 0.55 || one > 0.8 {
		t.Errorf("one reference against the others scores BLEU-4 %.3f, want 0.55 to 0.8", one)
	}
}
