package nn

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner/ml/tf"
)

// Every layer's gradient by its weights and inputs against central differences.
func TestGradients(t *testing.T) {
	tests := map[string]func(b *bench) tf.Output{
		"dense":        func(b *bench) tf.Output { return Dense(b.tower.Sub("d"), b.floats(nil, 2, 3), 2, Glorot) },
		"dense 3 axes": func(b *bench) tf.Output { return Dense(b.tower.Sub("d"), b.floats(nil, 2, 2, 3), 2, Glorot) },
		"embedding": func(b *bench) tf.Output {
			return Embedding(b.tower.Sub("e"), b.ints([]int32{1, 0, 1, 3}, 2, 2), 4, 3, Uniform(1))
		},
		"table":                 func(b *bench) tf.Output { return Add(b.s, b.floats(nil, 2, 3), Table(b.tower, "p", Uniform(1), 3)) },
		"layer norm":            func(b *bench) tf.Output { return LayerNorm(b.tower.Sub("n"), b.floats(nil, 2, 4)) },
		"batch norm":            func(b *bench) tf.Output { return BatchNorm(b.tower.Sub("n"), b.floats(nil, 2, 2, 2, 3)) },
		"convolution":           func(b *bench) tf.Output { return Conv2D(b.tower.Sub("c"), b.floats(nil, 2, 4, 4, 2), 3, 3, 2) },
		"convolution, odd side": func(b *bench) tf.Output { return Conv2D(b.tower.Sub("c"), b.floats(nil, 1, 5, 5, 1), 2, 3, 1) },
		"dropout":               func(b *bench) tf.Output { return Dropout(b.tower.Sub("o"), b.floats(nil, 4, 5), 0.4) },
		"relu":                  func(b *bench) tf.Output { return ReLU(b.s, b.floats([]float32{-0.5, 0.5, 1, -1}, 4)) },
		"attend": func(b *bench) tf.Output {
			context, _ := Attend(b.s, b.floats(nil, 1, 2, 2, 3), b.floats(nil, 1, 2, 4, 3), b.floats(nil, 1, 2, 4, 3), tf.Output{})
			return context
		},
		"self-attention": func(b *bench) tf.Output {
			return SelfAttention(b.tower.Sub("a"), b.floats(nil, 2, 3, 4), CausalMask(b.s, 3), 2)
		},
		"cross-attention": func(b *bench) tf.Output {
			y, _ := CrossAttention(b.tower.Sub("a"), b.floats(nil, 2, 2, 4), b.floats(nil, 2, 2, 3, 2), b.floats(nil, 2, 2, 3, 2), 2)
			return y
		},
		"additive attention": func(b *bench) tf.Output {
			context, _ := AdditiveAttention(b.tower.Sub("a"), b.floats(nil, 2, 2, 3), b.floats(nil, 2, 4, 3), b.floats(nil, 2, 4, 2))
			return context
		},
		"LSTM, two steps": func(b *bench) tf.Output {
			t := b.tower.Sub("l")
			gates := Split(b.s, LSTMInput(t, b.floats(nil, 4, 3), 2), 0, 2)
			hidden, cell := LSTMStep(t, gates[0], b.floats(nil, 2, 2), b.floats(nil, 2, 2), tf.Output{})
			hidden, cell = LSTMStep(t, gates[1], hidden, cell, tf.Output{})
			return Concat(b.s, 1, hidden, cell)
		},
		"LSTM, second step without rows": func(b *bench) tf.Output {
			t := b.tower.Sub("l")
			gates := SplitSizes(b.s, LSTMInput(t, b.floats(nil, 2, 3), 2), 0, 2, tf.Ints(b.s, 2, 0))
			hidden, cell := LSTMStep(t, gates[0], b.floats(nil, 2, 2), b.floats(nil, 2, 2), tf.Output{})
			none := func(x tf.Output) tf.Output { return Slice(b.s, x, []int32{0, 0}, []int32{0, -1}) }
			later, _ := LSTMStep(t, gates[1], none(hidden), none(cell), tf.Output{})
			return Concat(b.s, 0, hidden, later)
		},
		"LSTM with dropout, two steps": func(b *bench) tf.Output {
			t, shape := b.tower.Sub("l"), tf.Ints(b.s, 2, 3)
			masks := make([]tf.Output, 4)
			for i := range masks {
				masks[i] = DropoutMask(t.Sub(string(rune('a'+i))), shape, 0.4)
			}
			gates := Split(b.s, LSTMInputDropped(t, b.floats(nil, 2, 2, 3), masks, 2), 0, 2)
			mask := DropoutMask(t.Sub("recurrent"), tf.Ints(b.s, 2, 8), 0.4)
			hidden, cell := LSTMStep(t, gates[0], b.floats(nil, 2, 2), b.floats(nil, 2, 2), mask)
			hidden, cell = LSTMStep(t, gates[1], hidden, cell, mask)
			return Concat(b.s, 1, hidden, cell)
		},
		"heads": func(b *bench) tf.Output {
			parts := SplitHeads(b.s, b.floats(nil, 2, 3, 8), 2, 2)
			return JoinHeads(b.s, Mul(b.s, parts[0], parts[1]))
		},
		"log-sum-exp": func(b *bench) tf.Output { return LogSumExp(b.s, b.floats(nil, 2, 3, 2), 1) },
		"sigmoid cross-entropy": func(b *bench) tf.Output {
			return SigmoidCrossEntropy(b.s, b.floats(nil, 3), tf.Floats(b.s, []float32{0, 1, 0.5}))
		},
		"occurrence loss": func(b *bench) tf.Output {
			return OccurrenceLoss(b.tower.Sub("w"), b.floats(nil, 2, 3, 4), tf.Floats(b.s, []float32{1, 0, 0, 1}, 2, 2))
		},
		"grey": func(b *bench) tf.Output { return Grey(b.s, b.floats(nil, 1, 2, 1, 3)) },
		"gather, slice, concat, split, pack": func(b *bench) tf.Output {
			x := b.floats(nil, 4, 2)
			rows := Gather(b.s, x, b.ints([]int32{3, 0, 3}, 3))
			halves := Split(b.s, Concat(b.s, 0, rows, Slice(b.s, x, []int32{1, 0}, []int32{1, -1})), 0, 2)
			return Pack(b.s, Mul(b.s, halves[0], halves[1]), halves[1])
		},
	}
	for name, build := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, true)
			b.checkGradients(build(b))
		})
	}
}

// The loss functions give their gradients themselves.
func TestCrossEntropyGradients(t *testing.T) {
	for name, smoothing := range map[string]float64{"sparse": 0, "smoothed": 0.2} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, true)
			logits := Dense(b.tower.Sub("d"), b.floats(nil, 3, 2), 4, Glorot)
			losses, gradient := CrossEntropy(b.s, logits, b.ints([]int32{0, 3, 3}, 3), smoothing)
			b.checkLoss(Sum(b.s, losses, 0), []tf.Output{logits}, []tf.Output{gradient})
		})
	}
}

func TestCrossEntropyValues(t *testing.T) {
	b := newBench(t, true)
	logits := b.floats([]float32{0, float32(math.Log(3)), 0, 0}, 2, 2)
	targets := b.ints([]int32{1, 0}, 2)
	sharp, _ := CrossEntropy(b.s, logits, targets, 0)
	smooth, _ := CrossEntropy(b.s, logits, targets, 0.2)
	b.start(nil)
	got := b.run(sharp, smooth)
	// Probabilities are 1/4, 3/4 and 1/2, 1/2; smoothed targets are 0.1 and 0.9.
	wantFloats(t, "losses", got[0], []float32{-ln(0.75), -ln(0.5)})
	wantFloats(t, "smoothed losses", got[1], []float32{-0.9*ln(0.75) - 0.1*ln(0.25), -ln(0.5)})
}

// TestCrossEntropyIsTensorFlows compares with TensorFlow's fused operations, and
// has a target that is next to impossible.
func TestCrossEntropyIsTensorFlows(t *testing.T) {
	const rows, words = 7, 50
	random := rand.New(rand.NewPCG(1, 2))
	logits, targets := make([]float32, rows*words), make([]int32, rows)
	for i := range logits {
		logits[i] = 4 * float32(random.NormFloat64())
	}
	for i := range targets {
		targets[i] = random.Int32N(words)
	}
	logits[targets[0]] = -200
	for _, smoothing := range []float64{0, 0.1} {
		b := newBench(t, true)
		s, x, y := b.s, b.floats(logits, rows, words), b.ints(targets, rows)
		losses, gradient := CrossEntropy(s, x, y, smoothing)
		spread := float32(smoothing / words)
		labels := tf.Out(s, "OneHot", nil, y, tf.Int(s, words), tf.Scalar(s, float32(1-smoothing)+spread), tf.Scalar(s, spread))
		fused := tf.Add(s, "SoftmaxCrossEntropyWithLogits", nil, x, labels)
		b.start(nil)
		got := b.run(losses, gradient, fused.Output(0), fused.Output(1))
		wantFloats(t, "losses", got[0][1:], got[2][1:])
		wantFloats(t, "gradient", got[1], got[3])
		if impossible := got[0][0]; smoothing == 0 && math.Abs(float64(impossible)-126*math.Ln2) > 1e-3 {
			t.Errorf("what is next to impossible costs %v nats, want %v", impossible, 126*math.Ln2)
		}
	}
}

func ln(x float64) float32 { return float32(math.Log(x)) }

func TestDenseValues(t *testing.T) {
	b := newBench(t, false)
	y := Dense(b.tower.Sub("d"), b.floats([]float32{1, 2}, 1, 1, 2), 3, Glorot)
	b.start(map[string][]float32{"d/kernel": {1, 2, 3, 4, 5, 6}, "d/bias": {0, 10, 0}})
	wantFloats(t, "x·W + b", b.run(y)[0], []float32{9, 22, 15})
}

func TestLayerNormValues(t *testing.T) {
	b := newBench(t, false)
	y := LayerNorm(b.tower.Sub("n"), b.floats([]float32{1, 2, 3, 4}, 1, 4))
	b.start(map[string][]float32{"n/scale": {1, 1, 1, 2}, "n/offset": {0, 0, 0, 1}})
	// Mean 2.5, variance 1.25.
	wantFloats(t, "norm", b.run(y)[0], []float32{-1.341641, -0.447214, 0.447214, 3.683282})
}

func TestBatchNormValuesAndAverages(t *testing.T) {
	b := newBench(t, true)
	x := b.floats([]float32{1, 3, 5, 7}, 4, 1, 1, 1)
	y := BatchNorm(b.tower.Sub("n"), x)
	evaluation := *b.tower
	evaluation.Training = false
	z := BatchNorm(evaluation.Sub("n"), x)
	// A second tower sees 3 less everywhere.
	BatchNorm(b.tower.Sub("n"), Sub(b.s, x, tf.Scalar(b.s, 3)))
	updates := b.vars.Updates(b.s)
	b.start(nil)
	// Mean 4, variance 5, and 20/3 with n-1 for the running average.
	wantFloats(t, "training", b.run(y)[0], []float32{-1.341506, -0.447169, 0.447169, 1.341506})
	wantFloats(t, "before any step", b.run(z)[0], []float32{0.9995, 2.9985, 4.9975, 6.9965})
	results, err := b.session.Run(b.feeds, nil, updates...)
	if err != nil {
		t.Fatal(err)
	}
	tf.ReleaseAll(results)
	averages, err := b.vars.All().Read(b.session, "n/mean", "n/variance")
	if err != nil {
		t.Fatal(err)
	}
	defer tf.ReleaseMap(averages)
	wantFloats(t, "mean", averages["n/mean"].Float32s(), []float32{0.05 * (4 + 1) / 2})
	wantFloats(t, "variance", averages["n/variance"].Float32s(), []float32{0.95 + 0.05*20/3.0})
}

func TestConv2DValues(t *testing.T) {
	b := newBench(t, false)
	x := b.floats([]float32{1, 2, 3, 4, 5, 6, 7, 8, 9}, 1, 3, 3, 1)
	y := Conv2D(b.tower.Sub("c"), x, 1, 3, 2)
	b.start(map[string][]float32{"c/kernel": {0, 0, 0, 0, 1, 1, 0, 0, 0}})
	// The pixel and its right neighbour, at every second row and column.
	wantFloats(t, "convolution", b.run(y)[0], []float32{3, 3, 15, 9})
}

func TestDropout(t *testing.T) {
	ones := make([]float32, 10_000)
	for i := range ones {
		ones[i] = 1
	}
	mask := func(step int64, name string, training bool) []float32 {
		b := newBench(t, training)
		y := tf.Named(b.s, "y", Dropout(b.tower.Sub(name), b.floats(ones, 10_000), 0.25))
		b.start(nil)
		for o, f := range b.feeds {
			if f.DataType() == tf.Int64 {
				f.Release()
				b.feeds[o] = tf.FromInt64([]int64{step})
			}
		}
		return b.run(y)[0]
	}
	first := mask(1, "a", true)
	dropped := 0
	for _, v := range first {
		switch {
		case v == 0:
			dropped++
		case math.Abs(float64(v)-4.0/3) > 1e-6:
			t.Fatalf("kept value %v, want 4/3", v)
		}
	}
	if dropped < 2300 || dropped > 2700 { // 2500 ± 4.6 standard deviations
		t.Errorf("%d of 10,000 dropped at rate 0.25", dropped)
	}
	if !cmp.Equal(first, mask(1, "a", true)) {
		t.Error("the same step dropped others")
	}
	if cmp.Equal(first, mask(2, "a", true)) || cmp.Equal(first, mask(1, "b", true)) {
		t.Error("another step or layer dropped the same")
	}
	if !cmp.Equal(ones, mask(1, "a", false)) {
		t.Error("something was dropped outside training")
	}
}

func TestAttendValues(t *testing.T) {
	b := newBench(t, false)
	// One query that matches the second key e² times better, over √4.
	q := b.floats([]float32{2, 0, 0, 0}, 1, 1, 1, 4)
	k := b.floats([]float32{0, 0, 0, 0, 2, 0, 0, 0}, 1, 1, 2, 4)
	v := b.floats([]float32{1, 0, 0, 1}, 1, 1, 2, 2)
	context, weights := Attend(b.s, q, k, v, tf.Output{})
	b.start(nil)
	got := b.run(context, weights)
	wantFloats(t, "weights", got[1], []float32{0.1192029, 0.8807971})
	wantFloats(t, "context", got[0], []float32{0.1192029, 0.8807971})
}

// The inputs' dropout is the same at every step of a caption, and another for
// each gate and caption.
func TestLSTMInputDropped(t *testing.T) {
	const steps, rows, in = 3, 40, 1
	b := newBench(t, false)
	b.tower.Training = true
	tower := b.tower.Sub("l")
	masks := make([]tf.Output, 4)
	for i := range masks {
		masks[i] = DropoutMask(tower.Sub(string(rune('a'+i))), tf.Ints(b.s, rows, in), 0.5)
	}
	ones := make([]float32, steps*rows*in)
	for i := range ones {
		ones[i] = 1
	}
	gates := LSTMInputDropped(tower, b.floats(ones, steps, rows, in), masks, 1)
	b.start(map[string][]float32{"l/kernel": {1, 1, 1, 1}, "l/bias": {0, -forgetBias, 0, 0}})
	got := b.run(gates)[0] // [T·R, 4]: 0 where dropped, 2 elsewhere
	wantFloats(t, "second step", got[rows*4:2*rows*4], got[:rows*4])
	wantFloats(t, "third step", got[2*rows*4:], got[:rows*4])
	for gate := range 4 {
		dropped, alike := 0, 0
		for row := range rows {
			if got[row*4+gate] == 0 {
				dropped++
			}
			if got[row*4+gate] == got[row*4+(gate+1)%4] {
				alike++
			}
		}
		if dropped < rows/4 || dropped > 3*rows/4 || alike == rows {
			t.Errorf("gate %d drops %d of %d captions' inputs, and those of the next gate's in %d", gate, dropped, rows, alike)
		}
	}
}

func TestAdditiveAttentionValues(t *testing.T) {
	b := newBench(t, false)
	// Scores are tanh(0.5 + 0.5) and tanh(0.5 - 0.5), times 2.
	queries, keys := b.floats([]float32{0.5}, 1, 1, 1), b.floats([]float32{0.5, -0.5}, 1, 2, 1)
	context, seen := AdditiveAttention(b.tower.Sub("a"), queries, keys, b.floats([]float32{10, 20}, 1, 2, 1))
	b.start(map[string][]float32{"a/score": {2}})
	got := b.run(context, seen)
	first := float32(1 / (1 + math.Exp(-2*math.Tanh(1))))
	wantFloats(t, "weights", got[1], []float32{first, 1 - first})
	wantFloats(t, "context", got[0], []float32{10*first + 20*(1-first)})
}

// Two steps of one unit, against the equations in double precision.
func TestLSTMValues(t *testing.T) {
	b := newBench(t, false)
	tower := b.tower.Sub("l")
	gates := Split(b.s, LSTMInput(tower, b.floats([]float32{1, -2}, 2, 1), 1), 0, 2)
	hidden, cell := LSTMStep(tower, gates[0], b.floats([]float32{0.5}, 1, 1), b.floats([]float32{-1}, 1, 1), tf.Output{})
	hidden, cell = LSTMStep(tower, gates[1], hidden, cell, tf.Output{})
	w, u, bias := []float64{0.1, 0.2, 0.3, 0.4}, []float64{-0.5, 0.6, 0.7, -0.8}, []float64{0.01, 0.02, 0.03, 0.04}
	b.start(map[string][]float32{"l/kernel": {0.1, 0.2, 0.3, 0.4}, "l/recurrent": {-0.5, 0.6, 0.7, -0.8}, "l/bias": {0.01, 0.02, 0.03, 0.04}})

	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	h, c := 0.5, -1.0
	for _, x := range []float64{1, -2} {
		gate := func(i int) float64 { return x*w[i] + h*u[i] + bias[i] }
		c = sigmoid(gate(1)+1)*c + sigmoid(gate(0))*math.Tanh(gate(3))
		h = sigmoid(gate(2)) * math.Tanh(c)
	}
	got := b.run(hidden, cell)
	wantFloats(t, "hidden and cell", []float32{got[0][0], got[1][0]}, []float32{float32(h), float32(c)})
}

// No token sees a later one, and cached steps give what a whole pass gives.
func TestSelfAttentionStep(t *testing.T) {
	b := newBench(t, false)
	x := b.floats(nil, 2, 3, 4)
	whole := SelfAttention(b.tower.Sub("a"), x, CausalMask(b.s, Sizes(b.s, x)[1]), 2)
	state := tf.Floats(b.s, nil, 2, 2, 0, 4)
	steps := make([]tf.Output, 3)
	for i := range steps {
		token := Slice(b.s, x, []int32{0, int32(i), 0}, []int32{-1, 1, -1})
		steps[i], state = SelfAttentionStep(b.tower.Sub("a"), token, state, 2)
	}
	joined := Concat(b.s, 1, steps...)
	b.start(nil)
	got := b.run(whole, joined)
	wantFloats(t, "steps", got[1], got[0])
}

func TestLogSumExpIsStable(t *testing.T) {
	b := newBench(t, false)
	y := LogSumExp(b.s, b.floats([]float32{1000, 1000, -1000, -1000}, 2, 2), 1)
	b.start(nil)
	wantFloats(t, "log-sum-exp", b.run(y)[0], []float32{1000.6931, -999.3069})
}

func TestConstants(t *testing.T) {
	values := map[string]*tf.Tensor{"d/kernel": tf.FromFloat32([]float32{1, 2}, 2, 1), "d/bias": tf.FromFloat32([]float32{3}, 1)}
	defer tf.ReleaseMap(values)
	build := func(in int64) error {
		s := tf.NewScope()
		tower := &Tower{Scope: s, Weights: NewConstants(values)}
		Dense(tower.Sub("d"), tf.Placeholder(s, tf.Float, 1, in), 1, Glorot)
		Dense(tower.Sub("d"), tf.Placeholder(s, tf.Float, 1, in), 1, Glorot)
		_, err := s.Finalize()
		return err
	}
	if err := build(2); err != nil {
		t.Error(err)
	}
	if build(3) == nil {
		t.Error("a weight of another shape was taken")
	}
	values["d/other"] = values["d/bias"]
	delete(values, "d/bias")
	if build(2) == nil {
		t.Error("a missing weight was no error")
	}
}

// Initial weights depend on seed and name alone.
func TestInitialWeights(t *testing.T) {
	draw := func(seed uint64, name string) []float32 {
		w := initial(seed, name, He, []int64{3, 3, 2, 50})
		defer w.Release()
		return append([]float32{}, w.Float32s()...)
	}
	a := draw(1, "a")
	if !cmp.Equal(a, draw(1, "a")) {
		t.Error("the same seed and name gave other weights")
	}
	if cmp.Equal(a, draw(2, "a")) || cmp.Equal(a, draw(1, "b")) {
		t.Error("another seed or name gave the same weights")
	}
	var squares float64
	for _, v := range a {
		squares += float64(v) * float64(v)
	}
	if variance := squares / float64(len(a)); math.Abs(variance-2.0/18) > 0.01 {
		t.Errorf("variance %.3f, want 2/18", variance)
	}
}
