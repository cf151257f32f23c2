package nn

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/captioner/captioner/ml/tf"
)

func TestConvolutionGradients(t *testing.T) {
	row := Kernel{Height: 1, Width: 3}
	tests := map[string]func(b *bench) tf.Output{
		"row": func(b *bench) tf.Output { return Convolve(b.tower.Sub("c"), b.floats(nil, 1, 3, 4, 2), row, 2) },
		"valid": func(b *bench) tf.Output {
			return Convolve(b.tower.Sub("c"), b.floats(nil, 1, 4, 4, 1), Kernel{2, 2, 2, true}, 2)
		},
		"depthwise": func(b *bench) tf.Output {
			return ConvolveDepthwise(b.tower.Sub("c"), b.floats(nil, 1, 4, 4, 2), Kernel{3, 3, 2, false})
		},
		"bias": func(b *bench) tf.Output { return Bias(b.tower.Sub("b"), b.floats(nil, 2, 1, 1, 3)) },
		"pools": func(b *bench) tf.Output {
			x := b.floats(nil, 1, 4, 4, 1)
			return Add(b.s, MaxPool(b.s, x, Kernel{2, 2, 1, true}), AveragePool(b.s, x, Kernel{2, 2, 1, true}))
		},
		"swish":              func(b *bench) tf.Output { return Swish(b.s, b.floats(nil, 5)) },
		"norm without scale": func(b *bench) tf.Output { return BatchNormUnscaled(b.tower.Sub("n"), b.floats(nil, 2, 2, 2, 3)) },
		"frozen norm": func(b *bench) tf.Output {
			b.tower.FrozenAverages = true
			return BatchNorm(b.tower.Sub("n"), b.floats(nil, 2, 2, 2, 3))
		},
	}
	for name, build := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, true)
			b.checkGradients(build(b))
		})
	}
}

func TestConvolutionValues(t *testing.T) {
	b := newBench(t, false)
	x := b.floats([]float32{1, 10, 2, 20, 3, 30, 4, 40}, 1, 2, 2, 2) // [[1 2] [3 4]] and ten times that
	column := Convolve(b.tower.Sub("column"), x, Kernel{Height: 2, Width: 1, Valid: true}, 1)
	depthwise := ConvolveDepthwise(b.tower.Sub("depthwise"), x, Kernel{Height: 2, Width: 2, Stride: 2})
	b.start(map[string][]float32{
		"column/kernel":    {1, 0, 0, 1},             // above from the first channel, below from the second
		"depthwise/kernel": {1, 0, 0, 1, 0, 0, 1, 1}, // corners of the first, right column of the second
	})
	wantFloats(t, "column", b.run(column)[0], []float32{31, 42})
	wantFloats(t, "depthwise", b.run(depthwise)[0], []float32{5, 60})
}

// What lies outside of the picture does not count in an average, as in Keras.
func TestPoolValues(t *testing.T) {
	b := newBench(t, false)
	x := b.floats([]float32{-1, 2, -3, 4}, 1, 2, 2, 1)
	window := Kernel{Height: 3, Width: 3}
	average, largest := AveragePool(b.s, x, window), MaxPool(b.s, Sub(b.s, x, tf.Scalar(b.s, 9)), window)
	b.start(nil)
	wantFloats(t, "average", b.run(average)[0], []float32{0.5, 0.5, 0.5, 0.5})
	wantFloats(t, "largest", b.run(largest)[0], []float32{-5, -5, -5, -5})
}

func TestFrozenAverages(t *testing.T) {
	b := newBench(t, true)
	b.tower.FrozenAverages = true
	y := BatchNormUnscaled(b.tower.Sub("n"), b.floats([]float32{1, 3}, 2, 1, 1, 1))
	if updates := b.vars.Updates(b.s); len(updates) != 0 {
		t.Errorf("%d running averages move", len(updates))
	}
	b.start(map[string][]float32{"n/mean": {1}, "n/variance": {4 - batchNormEpsilon}, "n/offset": {0.5}})
	wantFloats(t, "norm", b.run(y)[0], []float32{0.5, 1.5})
}

// A convolution with its normalisation folded into it gives what the two give.
func TestFolding(t *testing.T) {
	build := func(s *tf.Scope, w Weights, x tf.Output) []tf.Output {
		tower := &Tower{Scope: s, Weights: w}
		window := Kernel{Height: 3, Width: 3, Stride: 2}
		return []tf.Output{
			ConvolveNorm(tower.Sub("c"), Norm{tower.Sub("cn"), true}, x, window, 4),
			ConvolveNorm(tower.Sub("one"), Norm{tower.Sub("onen"), true}, x, window, 1),
			ConvolveNorm(tower.Sub("u"), Norm{tower.Sub("un"), false}, x, window, 5),
			ConvolveDepthwiseNorm(tower.Sub("d"), Norm{tower.Sub("dn"), true}, x, window),
		}
	}
	plain := newBench(t, false)
	want := build(plain.s, plain.vars, plain.floats(nil, 2, 5, 6, 3))
	weights := plain.vars.Initial()
	defer tf.ReleaseMap(weights)
	set := map[string][]float32{}
	for i, name := range slices.Sorted(maps.Keys(weights)) {
		for j, v := range weights[name].Float32s() {
			v += 0.1 * float32((i+3*j)%7) // no initial value of a normalisation shows an error
			set[name] = append(set[name], v)
			weights[name].Float32s()[j] = v
		}
	}
	plain.start(set)

	folded := newBench(t, false)
	got := build(folded.s, NewConstants(weights), folded.floats(nil, 2, 5, 6, 3))
	folded.start(nil)
	for i := range want {
		wantFloats(t, want[i].Op.Name(), folded.run(got[i])[0], plain.run(want[i])[0])
	}
	if kind := got[3].Op.Type(); kind != "BiasAdd" {
		t.Errorf("a %s comes last, want the bias that a folded normalisation leaves", kind)
	}
}

func TestFoldingMissesWeights(t *testing.T) {
	s := tf.NewScope()
	tower := &Tower{Scope: s, Weights: NewConstants(nil)}
	ConvolveNorm(tower.Sub("c"), Norm{tower.Sub("n"), true}, tf.Placeholder(s, tf.Float, 1, 4, 4, 3), Kernel{Height: 1, Width: 1}, 2)
	if _, err := s.Finalize(); err == nil || !strings.Contains(err.Error(), `no weight "c/kernel"`) {
		t.Errorf("error %v, want one that names the weight", err)
	}
}
