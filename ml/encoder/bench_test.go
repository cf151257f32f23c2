package encoder_test

import (
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// BenchmarkEncode encodes pictures as an exported graph does, weights frozen,
// two batches side by side, each in one thread.
func BenchmarkEncode(b *testing.B) {
	for _, p := range encoder.Pretraineds() {
		for _, batch := range []int64{1, 8, 32} {
			b.Run(fmt.Sprintf("%s/batch=%d", p.Name, batch), func(b *testing.B) {
				encode(b, p, batch)
			})
		}
	}
}

func encode(b *testing.B, p encoder.Pretrained, batch int64) {
	s := tf.NewScope()
	weights := nn.NewVariables(s, 1)
	side := int64(p.Side)
	p.Encode(&nn.Tower{Scope: s, Weights: weights}, tf.Placeholder(s, tf.Float, -1, side, side, 3))
	values := weights.Initial()
	defer tf.ReleaseMap(values)

	s = tf.NewScope()
	in := tf.Placeholder(s, tf.Uint8, -1, side, side, 3)
	grid := p.Encode(&nn.Tower{Scope: s, Weights: nn.NewConstants(values)}, nn.Cast(s, in, tf.Float))
	graph, err := s.Finalize()
	if err != nil {
		b.Fatal(err)
	}
	session, err := tf.NewSession(graph, 2)
	if err != nil {
		b.Fatal(err)
	}
	defer session.Close()
	pixels := tf.NewTensor(tf.Uint8, batch, side, side, 3)
	defer pixels.Release()
	for i := range pixels.Bytes() {
		pixels.Bytes()[i] = byte(i * 7)
	}
	run := func() {
		var group errgroup.Group
		for range 2 {
			group.Go(func() error {
				results, err := session.Run(tf.Feeds{in: pixels}, []tf.Output{grid})
				tf.ReleaseAll(results)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	run() // optimises the graph
	pictures := 0
	for b.Loop() {
		run()
		pictures += 2 * int(batch)
	}
	b.ReportMetric(float64(pictures)/b.Elapsed().Seconds(), "pictures/s")
}
