package nn

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/captioner/captioner/ml/tf"
)

const testThreads = 2

// bench is a training tower under test, with its feeds.
type bench struct {
	testing.TB
	s       *tf.Scope
	vars    *Variables
	tower   *Tower
	feeds   tf.Feeds
	inputs  []tf.Output // float inputs, whose gradients are checked too
	session *tf.Session
}

func newBench(t testing.TB, training bool) *bench {
	t.Helper()
	s := tf.NewScope()
	b := &bench{TB: t, s: s, vars: NewVariables(s, 7), feeds: tf.Feeds{}}
	step := tf.Placeholder(s.SubScope("step"), tf.Int64)
	b.feeds[step] = tf.FromInt64([]int64{3})
	b.tower = &Tower{Scope: s, Weights: b.vars, Training: training, Seed: 11, Step: step}
	t.Cleanup(func() {
		for _, f := range b.feeds {
			f.Release()
		}
		if b.session != nil {
			b.session.Close()
		}
	})
	return b
}

// floats adds an input with numbers in [-1, 1), or the given ones.
func (b *bench) floats(values []float32, shape ...int64) tf.Output {
	if values == nil {
		n := int64(1)
		for _, d := range shape {
			n *= d
		}
		r := rand.New(rand.NewPCG(5, uint64(len(b.inputs))))
		values = make([]float32, n)
		for i := range values {
			values[i] = float32(2*r.Float64() - 1)
		}
	}
	x := tf.Placeholder(b.s, tf.Float, shape...)
	b.feeds[x] = tf.FromFloat32(values, shape...)
	b.inputs = append(b.inputs, x)
	return x
}

func (b *bench) ints(values []int32, shape ...int64) tf.Output {
	x := tf.Placeholder(b.s, tf.Int32, shape...)
	b.feeds[x] = tf.FromInt32(values, shape...)
	return x
}

func (b *bench) bytes(values []byte, shape ...int64) tf.Output {
	x := tf.Placeholder(b.s, tf.Uint8, shape...)
	b.feeds[x] = tf.FromBytes(values, shape...)
	return x
}

// start opens the session with initial weights, overridden by those given.
func (b *bench) start(weights map[string][]float32) {
	b.Helper()
	graph, err := b.s.Finalize()
	if err != nil {
		b.Fatal(err)
	}
	if b.session, err = tf.NewSession(graph, testThreads); err != nil {
		b.Fatal(err)
	}
	values := b.vars.Initial()
	defer tf.ReleaseMap(values)
	for name, w := range weights {
		if values[name] == nil {
			b.Fatalf("there is no weight %q", name)
		}
		copy(values[name].Float32s(), w)
	}
	if err := b.vars.All().Assign(b.session, values); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) run(fetches ...tf.Output) [][]float32 {
	b.Helper()
	results, err := b.session.Run(b.feeds, fetches)
	if err != nil {
		b.Fatal(err)
	}
	defer tf.ReleaseAll(results)
	values := make([][]float32, len(results))
	for i, r := range results {
		values[i] = append([]float32{}, r.Float32s()...)
	}
	return values
}

// checkGradients compares the gradients of y, summed with fixed weights, by
// every weight and float input with central differences.
func (b *bench) checkGradients(y tf.Output) {
	b.Helper()
	// Unequal weights: with equal ones a softmax or a norm has gradient 0.
	shape := tf.Out(b.s, "Shape", nil, y)
	noise := tf.Out(b.s, "StatelessRandomUniform", tf.Attrs{"dtype": tf.Float}, shape, tf.Ints(b.s, 1, 2))
	noise = tf.Out(b.s, "StopGradient", nil, noise)
	loss := tf.Out(b.s, "Sum", nil, Mul(b.s, y, noise), tf.Out(b.s, "Range", nil, tf.Int(b.s, 0), tf.Out(b.s, "Rank", nil, y), tf.Int(b.s, 1)))
	b.checkLoss(loss, []tf.Output{loss}, nil)
}

// checkLoss compares gradients from ys and dys with central differences of loss [].
func (b *bench) checkLoss(loss tf.Output, ys, dys []tf.Output) {
	b.Helper()
	var xs []tf.Output
	var names []string
	for _, w := range b.vars.Trained() {
		xs, names = append(xs, w.Value), append(names, w.Name)
	}
	for range b.inputs {
		names = append(names, "input")
	}
	xs = append(xs, b.inputs...)
	grads := tf.Gradients(b.s, ys, xs, dys...)
	b.start(nil)
	got := b.run(grads...)

	value := func() float64 { return float64(b.run(loss)[0][0]) }
	for i, name := range names {
		var tensor *tf.Tensor
		set := func() {}
		if i < len(b.vars.Trained()) {
			read, err := b.vars.All().Read(b.session, name)
			if err != nil {
				b.Fatal(err)
			}
			defer tf.ReleaseMap(read)
			// A variable's read tensor may share its memory: change a copy.
			tensor = tf.FromFloat32(read[name].Float32s(), read[name].Shape()...)
			defer tensor.Release()
			set = func() {
				if err := b.vars.All().Assign(b.session, map[string]*tf.Tensor{name: tensor}); err != nil {
					b.Fatal(err)
				}
			}
		} else {
			tensor = b.feeds[xs[i]]
		}
		b.compare(name, tensor.Float32s(), got[i], set, value)
	}
}

func (b *bench) compare(name string, x, got []float32, set func(), value func() float64) {
	b.Helper()
	if len(x) != len(got) {
		b.Fatalf("%s: gradient has %d elements, want %d", name, len(got), len(x))
	}
	const h = 1e-2
	for j := range x {
		at := x[j]
		x[j] = at + h
		set()
		up := value()
		x[j] = at - h
		set()
		down := value()
		x[j] = at
		set()
		want := (up - down) / (2 * h)
		// Single precision loses about 1e-4 in the difference, curvature 1e-4 more.
		if diff := math.Abs(want - float64(got[j])); diff > 3e-3+2e-2*math.Abs(want) {
			b.Errorf("%s[%d]: gradient %.5f, finite difference %.5f", name, j, got[j], want)
		}
	}
}

func wantFloats(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-4, 1e-5)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
