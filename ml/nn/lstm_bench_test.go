package nn

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/captioner/captioner/internal/cputime"
	"github.com/captioner/captioner/ml/tf"
)

// lstmBench is a layer over captions of one length, forward and backward.
type lstmBench struct {
	session *tf.Session
	fetches []tf.Output // what the layer says, the weights' gradients, the input's
}

// newLSTMBench builds the layer over T tokens of R captions. dy stands for the
// gradient that comes back into the hidden states, [T·R, H].
func newLSTMBench(b testing.TB, layer func(t *Tower, x, dy tf.Output) []tf.Output, tokens, rows, in, size int) *lstmBench {
	b.Helper()
	s := tf.NewScope()
	vars := NewVariables(s, 1)
	r := rand.New(rand.NewPCG(1, 2))
	random := func(shape ...int64) tf.Output {
		n := int64(1)
		for _, d := range shape {
			n *= d
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(r.NormFloat64())
		}
		return tf.Floats(s, values, shape...)
	}
	x, dy := random(int64(tokens), int64(rows), int64(in)), random(int64(tokens*rows), int64(size))
	fetches := layer(&Tower{Scope: s, Weights: vars, path: "l/"}, x, dy)
	graph, err := s.Finalize()
	if err != nil {
		b.Fatal(err)
	}
	session, err := tf.NewSession(graph, 2)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { session.Close() })
	initial := vars.Initial()
	defer tf.ReleaseMap(initial)
	if err := vars.All().Assign(session, initial); err != nil {
		b.Fatal(err)
	}
	return &lstmBench{session, fetches}
}

func (l *lstmBench) run(b testing.TB) []*tf.Tensor {
	b.Helper()
	results, err := l.session.Run(nil, l.fetches)
	if err != nil {
		b.Fatal(err)
	}
	return results
}

// unrolledLSTM is the layer as the decoders build it.
func unrolledLSTM(steps, rows, size int, keep bool) func(t *Tower, x, dy tf.Output) []tf.Output {
	return func(t *Tower, x, dy tf.Output) []tf.Output {
		s := t.Scope
		in := width(s, x)
		inputs := LSTMInput(t, Reshape(s, x, -1, in), size)
		count := Size(s, x, 1)
		sizes := make([]tf.Output, steps)
		for i := range sizes {
			sizes[i] = count
		}
		gates := SplitSizes(s, inputs, 0, steps, Pack(s, sizes...))
		hidden := tf.Floats(s, make([]float32, rows*size), int64(rows), int64(size))
		cell := hidden
		kept := func(x tf.Output) tf.Output {
			if !keep {
				return x
			}
			return tf.Out(s, "Slice", nil, x, tf.Ints(s, 0, 0), Pack(s, count, tf.Int(s, int32(size))))
		}
		hiddens := make([]tf.Output, steps)
		for i := range steps {
			hidden, cell = LSTMStep(t, gates[i], kept(hidden), kept(cell), tf.Output{})
			hiddens[i] = hidden
		}
		y := Concat(s, 0, hiddens...)
		weights := t.Weights.(*Variables).Trained()
		xs := []tf.Output{x}
		for _, w := range weights {
			xs = append(xs, w.Value)
		}
		return append([]tf.Output{y}, tf.Gradients(s, []tf.Output{y}, xs, dy)...)
	}
}

// blockLSTM is the layer as one operation of TensorFlow's, and its gradient as
// another: the C++ gradients know none, so that it is put in by hand.
func blockLSTM(steps, rows, size int) func(t *Tower, x, dy tf.Output) []tf.Output {
	return func(t *Tower, x, dy tf.Output) []tf.Output {
		s := t.Scope
		in := width(s, x)
		kernel, bias := LSTMFused(t, in, size)
		none := tf.Floats(s, make([]float32, size))
		state := tf.Floats(s, make([]float32, rows*size), int64(rows), int64(size))
		length := Cast(s, tf.Int(s, int32(steps)), tf.Int64)
		inputs := []tf.Input{length, x, state, state, kernel, none, none, none, bias}
		block := tf.Add(s, "BlockLSTMV2", nil, inputs...)
		for i := range 7 {
			inputs = append(inputs, block.Output(i))
		}
		shape := tf.Ints(s, int32(steps), int32(rows), int32(size))
		noCells := tf.Out(s, "Fill", nil, shape, tf.Scalar(s, 0))
		inputs = append(inputs, noCells, tf.Out(s, "Reshape", nil, dy, shape))
		gradient := tf.Add(s, "BlockLSTMGradV2", tf.Attrs{"use_peephole": false}, inputs...)
		var values []tf.Output
		for _, w := range t.Weights.(*Variables).Trained() {
			values = append(values, w.Value)
		}
		gradients := tf.Gradients(s, []tf.Output{kernel, bias}, values, gradient.Output(3), gradient.Output(7))
		y := Reshape(s, block.Output(6), -1, size)
		return append([]tf.Output{y, gradient.Output(0)}, gradients...)
	}
}

// Both give the same numbers.
func TestBlockLSTMEqualsUnrolled(t *testing.T) {
	const steps, rows, in, size = 5, 3, 4, 2
	var values [2][][]float32
	for i, layer := range []func(*Tower, tf.Output, tf.Output) []tf.Output{unrolledLSTM(steps, rows, size, true), blockLSTM(steps, rows, size)} {
		results := newLSTMBench(t, layer, steps, rows, in, size).run(t)
		for _, r := range results {
			values[i] = append(values[i], append([]float32(nil), r.Float32s()...))
		}
		tf.ReleaseAll(results)
	}
	for i, name := range []string{"hidden states", "input's gradient", "kernel's", "bias'", "recurrent kernel's"} {
		wantFloats(t, name, values[1][i], values[0][i])
	}
}

// BenchmarkLSTM is what decisions/0010 compares: a layer over a batch of
// captions, forward and backward. cpu-ms is the time of all cores.
func BenchmarkLSTM(b *testing.B) {
	for _, n := range []struct{ rows, tokens, in, size int }{{64, 24, 200, 256}, {64, 24, 256, 256}, {32, 13, 128, 128}} {
		layers := map[string]func(*Tower, tf.Output, tf.Output) []tf.Output{
			"block":            blockLSTM(n.tokens, n.rows, n.size),
			"unrolled":         unrolledLSTM(n.tokens, n.rows, n.size, true),
			"unrolled, padded": unrolledLSTM(n.tokens, n.rows, n.size, false),
		}
		for _, name := range []string{"unrolled", "block", "unrolled, padded"} {
			b.Run(fmt.Sprintf("%dx%d/%d-%d/%s", n.rows, n.tokens, n.in, n.size, name), func(b *testing.B) {
				l := newLSTMBench(b, layers[name], n.tokens, n.rows, n.in, n.size)
				tf.ReleaseAll(l.run(b)) // the first run prepares the graph
				before := cputime.Used()
				for b.Loop() {
					tf.ReleaseAll(l.run(b))
				}
				b.ReportMetric(float64((cputime.Used()-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
			})
		}
	}
}
