package train

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/text"
)

func TestOrder(t *testing.T) {
	a := order(1, 0, 50)
	if !cmp.Equal(a, order(1, 0, 50)) {
		t.Error("the same seed and epoch gave another order")
	}
	if cmp.Equal(a, order(1, 1, 50)) || cmp.Equal(a, order(2, 0, 50)) {
		t.Error("another epoch or seed gave the same order")
	}
	slices.Sort(a)
	for i, v := range a {
		if i != v {
			t.Fatalf("no permutation: %v", a)
		}
	}
}

func TestDraw(t *testing.T) {
	captions := [][]int32{{1}, {2}, {3}}
	for step := range 20 {
		drawn := draw(stream(1, stepStream, step), captions, 5)
		seen := map[int32]int{}
		for _, c := range drawn {
			seen[c[0]]++
		}
		if len(drawn) != 5 || len(seen) != 3 {
			t.Errorf("step %d: drew %v, want every caption before any comes again", step, drawn)
		}
	}
	if captions[0][0] != 1 || captions[2][0] != 3 {
		t.Error("drawing changed the captions")
	}
}

// Two pictures; the second has one short caption, whose rest is no row.
func TestFill(t *testing.T) {
	b := model.Batch{Images: 2}
	fill(&b, [][][]int32{{{2, 4, 5, 3}, {2, 6, 3}}, {{2, 3}}})
	want := model.Batch{
		Images: 2, Captions: 2, Length: 3,
		Tokens:  []int32{2, 4, 5, 2, 6, 0, 2, 0, 0, 0, 0, 0},
		Rows:    []int32{0, 1, 2, 3, 4, 6},
		Targets: []int32{4, 5, 3, 6, 3, 3},
	}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Errorf("batch (-want +got):\n%s", diff)
	}
}

// Crops stay inside the picture and keep left at the left.
func TestTrainBatchCrops(t *testing.T) {
	const side, inner = 6, 4
	pixels := make([]byte, side*side*3)
	for y := range side {
		for x := range side {
			pixels[(y*side+x)*3], pixels[(y*side+x)*3+1] = byte(x), byte(y)
		}
	}
	d := &data{layout: features.Pixels(side), labels: 2}
	e := &example{pixels: pixels, captions: [][]int32{{2, 4, 3}}, labels: []int{1}}
	config := captioner.TrainingConfig{CaptionsPerImage: 1, Augmentation: true, Seed: 9}
	seen := map[[2]byte]bool{}
	for step := range 60 {
		b := d.trainBatches(config, inner, []*example{e}, step, 1)[0]
		left, top := b.Pixels[0], b.Pixels[1]
		seen[[2]byte{left, top}] = true
		for y := range inner {
			for x := range inner {
				at := (y*inner + x) * 3
				if b.Pixels[at] != left+byte(x) || b.Pixels[at+1] != top+byte(y) {
					t.Fatalf("step %d: the crop at %d, %d is torn", step, left, top)
				}
			}
		}
		if diff := cmp.Diff([]float32{0, 1}, b.Labels); diff != "" {
			t.Fatalf("labels (-want +got):\n%s", diff)
		}
	}
	if len(seen) != 9 {
		t.Errorf("%d crops of 9 came in 60 steps", len(seen))
	}
	five := []*example{e, e, e, e, e}
	if parts := d.trainBatches(config, inner, five, 1, 2); len(parts) != 2 || parts[0].Images != 2 || parts[1].Images != 3 {
		t.Errorf("five pictures were dealt out as %d and %d", parts[0].Images, parts[1].Images)
	}
	config.Augmentation = false
	if b := d.trainBatches(config, inner, []*example{e}, 1, 1)[0]; b.Pixels[0] != 1 || b.Pixels[1] != 1 {
		t.Error("without augmentation the crop is not the middle")
	}
}

func TestLabels(t *testing.T) {
	vocabulary, err := text.NewVocabulary([]string{"<pad>", "<unk>", "startseq", "endseq", "four", "five", "six", "seven"})
	if err != nil {
		t.Fatal(err)
	}
	// Of ten pictures with two captions each, word 4 is in both captions of
	// three and word 5 in one caption of six: people agree on 4 and not on 5.
	// 6 is in all captions, 7 in one picture only, 1 is the unknown token.
	examples := make([]example, 10)
	for i := range examples {
		first, second := []int32{2, 6, 1, 3}, []int32{2, 6, 3}
		if i < 3 {
			first, second = []int32{2, 6, 4, 4, 3}, []int32{2, 4, 6, 3}
		} else if i < 9 {
			first = []int32{2, 5, 6, 3}
		} else {
			first, second = append(first[:3], 7, 3), append(second[:2], 7, 3)
		}
		examples[i].captions = [][]int32{first, second}
	}
	if n := label(examples, vocabulary); n != 1 {
		t.Fatalf("%d labels, want 1: the word 4", n)
	}
	for i, e := range examples {
		if want := i < 3; (len(e.labels) == 1) != want {
			t.Errorf("picture %d has labels %v", i, e.labels)
		}
	}

	// With one caption a picture nobody can agree: all words that are neither
	// rare nor everywhere are taken.
	single := []example{{captions: [][]int32{{2, 4, 5, 3}}}, {captions: [][]int32{{2, 4, 6, 3}}}, {captions: [][]int32{{2, 4, 5, 3}}}}
	if n := label(single, vocabulary); n != 1 || len(single[1].labels) != 0 || len(single[2].labels) != 1 {
		t.Errorf("%d labels of single captions, %v; want 1, the word 5", n, single)
	}
}
