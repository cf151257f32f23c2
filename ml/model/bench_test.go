package model

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/tf"
)

// benchModel is the model of the defaults but for the decoder, with a vocabulary like the
// demonstration's, and a session with its initial weights.
func benchModel(b *testing.B, decoder string) (*Training, *tf.Session) {
	b.Helper()
	c := captioner.DefaultConfig()
	c.Model.Decoder = decoder
	tokens := slices.Clone(testWords)
	for i := len(tokens); i < 120; i++ {
		tokens = append(tokens, fmt.Sprintf("word%d", i))
	}
	m, err := New(c.Model, vocabulary(tokens), 22)
	if err != nil {
		b.Fatal(err)
	}
	g := opened(b, m, c, 60, Towers(c.Training.BatchSize), tf.Options{})
	return g.Training, g.session
}

// benchBatch is a tower's half of a training batch: 8 pictures with 2 captions
// of 13 words.
func benchBatch(side int) Batch {
	const images, captions, length = 8, 2, 13
	batch := Batch{
		Images: images, Captions: captions, Length: length, Pixels: make([]byte, images*side*side*3),
		Tokens: make([]int32, images*captions*length), Labels: make([]float32, images*60),
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range batch.Pixels {
		batch.Pixels[i] = byte(r.IntN(256))
	}
	for i := range batch.Tokens {
		batch.Tokens[i] = int32(4 + r.IntN(116))
		batch.Rows, batch.Targets = append(batch.Rows, int32(i)), append(batch.Targets, int32(4+r.IntN(116)))
	}
	return batch
}

// BenchmarkStep is what an epoch is made of.
func BenchmarkStep(b *testing.B) {
	for _, decoder := range Decoders() {
		b.Run(decoder, func(b *testing.B) {
			g, session := benchModel(b, decoder)
			batches := []Batch{benchBatch(g.model.ImageSize), benchBatch(g.model.ImageSize)}
			for step := 1; b.Loop(); step++ {
				if _, err := g.Step(session, batches, step, 1e-4); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkGreedy is what the sample captions add to an epoch: 8 pictures, by
// an untrained model that never ends a caption.
func BenchmarkGreedy(b *testing.B) {
	g, session := benchModel(b, "transformer")
	pixels := benchBatch(g.model.StoredSize()).Pixels
	for b.Loop() {
		if _, err := g.Greedy(session, pixels, 8); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(8*float64(b.N)/b.Elapsed().Seconds(), "captions/s")
}
