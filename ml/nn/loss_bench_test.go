package nn

import (
	"math/rand/v2"
	"testing"

	"github.com/captioner/captioner/ml/tf"
)

// BenchmarkCrossEntropy takes the loss of a batch and its gradient, in turn with
// TensorFlow's fused operation, on one thread.
func BenchmarkCrossEntropy(b *testing.B) {
	const rows, words = 1536, 8000
	logits, targets := make([]float32, rows*words), make([]int32, rows)
	for i := range logits {
		logits[i] = float32(rand.NormFloat64())
	}
	for i := range targets {
		targets[i] = rand.Int32N(words)
	}
	for _, way := range []struct {
		name string
		add  func(s *tf.Scope, logits, targets tf.Output) (losses, gradient tf.Output)
	}{
		{"softmax", func(s *tf.Scope, x, y tf.Output) (_, _ tf.Output) { return CrossEntropy(s, x, y, 0) }},
		{"softmax, smoothed", func(s *tf.Scope, x, y tf.Output) (_, _ tf.Output) { return CrossEntropy(s, x, y, 0.1) }},
		{"fused", func(s *tf.Scope, x, y tf.Output) (_, _ tf.Output) {
			op := tf.Add(s, "SparseSoftmaxCrossEntropyWithLogits", nil, x, y)
			return op.Output(0), op.Output(1)
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			s := tf.NewScope()
			x, y := tf.Placeholder(s, tf.Float, rows, words), tf.Placeholder(s, tf.Int32, rows)
			losses, gradient := way.add(s, x, y)
			outputs := []tf.Output{Sum(s, losses, 0), Slice(s, gradient, []int32{0, 0}, []int32{1, 1})}
			graph, err := s.Finalize()
			if err != nil {
				b.Fatal(err)
			}
			session, err := tf.NewSession(graph, 1)
			if err != nil {
				b.Fatal(err)
			}
			defer session.Close()
			feeds := tf.Feeds{x: tf.FromFloat32(logits, rows, words), y: tf.FromInt32(targets, rows)}
			defer func() {
				for _, v := range feeds {
					v.Release()
				}
			}()
			for b.Loop() {
				results, err := session.Run(feeds, outputs)
				if err != nil {
					b.Fatal(err)
				}
				tf.ReleaseAll(results)
			}
		})
	}
}
