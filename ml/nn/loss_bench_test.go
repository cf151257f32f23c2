package nn

import (
	"math/rand/v2"
	"testing"

	"github.com/captioner/captioner/ml/tf"
)

// BenchmarkCrossEntropy takes the loss of a batch and its gradient, in turn with
// TensorFlow's fused operation.
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
			t := newBench(b, true)
			losses, gradient := way.add(t.s, t.floats(logits, rows, words), t.ints(targets, rows))
			first := Slice(t.s, gradient, []int32{0, 0}, []int32{1, 1}) // all of it is computed
			t.start(nil)
			for b.Loop() {
				t.run(losses, first)
			}
		})
	}
}
