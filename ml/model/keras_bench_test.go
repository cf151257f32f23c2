package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/cputime"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// The sizes that a decoder's step is compared with Keras at: the original
// system's, with EfficientNetB3's grid.
const (
	benchImages     = 64
	benchLength     = 24
	benchVocabulary = 8000
	benchLocations  = 100
	benchFeatures   = 1536
	benchWidth      = 256
	// benchSteps is how many steps are taken at a time, ours and Keras' in turn.
	benchSteps = 3
)

// ready is an encoder that has its grid from the start, so that a step is the
// decoder's alone.
const ready = "bench-ready"

func init() {
	encoder.Register(ready, func(t *nn.Tower, _ tf.Output) tf.Output {
		const images = benchImages / 2 // a tower's share
		r := rand.New(rand.NewPCG(1, 2))
		values := make([]float32, images*benchLocations*benchFeatures)
		for i := range values {
			values[i] = r.Float32()
		}
		return tf.Floats(t.Scope, values, images, benchLocations, benchFeatures)
	})
}

// benchCaptions are captions as long as those of Flickr8k, or all of the full
// length: the lengths, and the tokens with a start and an end.
func benchCaptions(full bool) (lengths []int32, captions [][]int32) {
	r := rand.New(rand.NewPCG(3, 4))
	for range benchImages {
		n := benchLength
		if !full {
			n = min(benchLength, 8+r.IntN(9)) // 12 words on average
		}
		caption := make([]int32, benchLength+1)
		for i := range n + 1 {
			caption[i] = int32(4 + r.IntN(benchVocabulary-4))
		}
		lengths, captions = append(lengths, int32(n)), append(captions, caption)
	}
	return lengths, captions
}

// halves are the captions as the batches of two towers.
func halves(lengths []int32, captions [][]int32) []Batch {
	batches := make([]Batch, 2)
	const share = benchImages / 2
	for i := range batches {
		b := Batch{Images: share, Captions: 1, Length: benchLength, Pixels: make([]byte, share*32*32*3)}
		for j, caption := range captions[i*share : (i+1)*share] {
			b.Tokens = append(b.Tokens, caption[:benchLength]...)
			for k := range int(lengths[i*share+j]) {
				b.Rows, b.Targets = append(b.Rows, int32(j*benchLength+k)), append(b.Targets, caption[k+1])
			}
		}
		batches[i] = b
	}
	return batches
}

// BenchmarkAgainstKeras takes steps of every decoder that tools/bench/decoders.py
// has too, in turn with Keras in another process, with as many threads and the
// batch at hand. It reports the best of each, and how many times as fast ours is
// by the clock and by the processor's time, which other work disturbs less.
//
// Narrower numbers are compared with Keras' float32 too, and lstm-pooled with the
// original's training: epoch-ratio is how many times as many words a second ours
// learns from.
func BenchmarkAgainstKeras(b *testing.B) {
	for _, decoder := range []string{"transformer", "lstm-attention", "lstm-pooled"} {
		for _, precision := range []string{captioner.PrecisionFloat32, captioner.PrecisionBfloat16} {
			for _, captions := range []string{"padded", "full"} {
				b.Run(decoder+"/"+precision+"/"+captions, func(b *testing.B) {
					if err := tf.Supports(precision); err != nil {
						b.Skip(err)
					}
					againstKeras(b, decoder, precision, captions == "full")
				})
			}
		}
	}
}

func againstKeras(b *testing.B, decoder, precision string, full bool) {
	c := captioner.DefaultConfig()
	c.Model.Encoder, c.Model.ImageSize, c.Model.Decoder = ready, 32, decoder
	c.Model.Width, c.Model.FeedForward = benchWidth, 4*benchWidth
	if decoder != "transformer" {
		c.Model.Layers = 1
	}
	if decoder == "lstm-pooled" { // as the original has it
		c.Model.EmbeddingDim, c.Model.EmbeddingFrozen = 200, true
		c.Model.Dropout, c.Model.RecurrentDropout = 0.3, 0.2
	}
	c.Training.LabelSmoothing, c.Training.AuxiliaryWeight = 0, 0
	words := slices.Clone(testWords[:4])
	for len(words) < benchVocabulary {
		words = append(words, fmt.Sprint(len(words)))
	}
	m, err := New(c.Model, vocabulary(words), benchLength+1)
	if err != nil {
		b.Fatal(err)
	}
	g := opened(b, m, c, 0, 2, tf.Options{Precision: precision})
	lengths, captions := benchCaptions(full)
	batches := halves(lengths, captions)
	step, loss := 0, 0.0
	ours := &contender{steps: func() (wall, processor float64) {
		start, used := time.Now(), cputime.Used()
		for range benchSteps {
			step++
			if loss, err = g.Step(g.session, batches, step, 1e-4); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(start).Seconds() / benchSteps, (cputime.Used() - used).Seconds() / benchSteps
	}}
	kerasLoss := 0.0
	inKeras := func(decoder, precision string) *contender {
		k := kerastest.StartTrainer(b, "../..", lengths, captions, decoder, precision,
			testThreads, benchImages, benchLength, benchVocabulary, benchLocations, benchFeatures, benchWidth)
		return &contender{steps: func() (wall, processor float64) {
			wall, processor, kerasLoss = k.Steps(b, benchSteps)
			return wall, processor
		}}
	}
	keras := inKeras(decoder, precision)
	contenders := []*contender{ours, keras}
	var float32s, original *contender
	if precision != captioner.PrecisionFloat32 {
		float32s = inKeras(decoder, captioner.PrecisionFloat32)
		contenders = append(contenders, float32s)
	} else if decoder == "lstm-pooled" {
		original = inKeras("original", precision)
		contenders = append(contenders, original)
	}
	ours.steps()

	for b.Loop() {
		for _, t := range contenders {
			t.take()
			if math.Abs(loss-kerasLoss) > 1 && t != ours {
				b.Errorf("our loss is %.2f, Keras' %.2f: not the same work", loss, kerasLoss)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ours.wall*1e3, "ms")
	b.ReportMetric(keras.wall*1e3, "keras-ms")
	b.ReportMetric(keras.wall/ours.wall, "times-as-fast")
	b.ReportMetric(ours.processor*1e3, "processor-ms")
	b.ReportMetric(keras.processor*1e3, "keras-processor-ms")
	b.ReportMetric(keras.processor/ours.processor, "times-by-processor")
	if float32s != nil {
		b.ReportMetric(float32s.wall/ours.wall, "times-keras-float32")
		b.ReportMetric(float32s.processor/ours.processor, "times-keras-float32-by-processor")
	}
	if original != nil {
		// The original learns from one word of each of its samples.
		more := float64(len(batches[0].Targets)+len(batches[1].Targets)) / benchImages
		b.ReportMetric(original.wall*1e3, "original-ms")
		b.ReportMetric(more*original.wall/ours.wall, "epoch-ratio")
		b.ReportMetric(more*original.processor/ours.processor, "epoch-ratio-by-processor")
	}
}

// contender is one of those that take steps in turn, with the best so far of what a
// step takes: seconds and processor seconds, 0 before the first.
type contender struct {
	steps           func() (wall, processor float64)
	wall, processor float64
}

func (t *contender) take() {
	wall, processor := t.steps()
	if t.wall == 0 {
		t.wall, t.processor = wall, processor
	}
	t.wall, t.processor = min(t.wall, wall), min(t.processor, processor)
}
