package encoder_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

func TestPretrainedNamed(t *testing.T) {
	for _, name := range []string{"EfficientNetB3", "efficientnetb3", "INCEPTIONV3", "InceptionV3"} {
		if p, err := encoder.PretrainedNamed(name); err != nil || !strings.EqualFold(p.Name, name) {
			t.Errorf("PretrainedNamed(%q) = %q, %v", name, p.Name, err)
		}
	}
	var names []string
	for _, p := range encoder.Pretraineds() {
		names = append(names, p.Name)
	}
	for _, name := range names {
		p, _ := encoder.PretrainedNamed(name)
		if got, want := captioner.PretrainedShape(name), (captioner.EncoderShape{Side: p.Side, Grid: p.Grid, Width: p.Width}); got != want {
			t.Errorf("the root package has %s as %+v, want %+v", name, got, want)
		}
	}
	_, err := encoder.PretrainedNamed("ResNet50")
	if captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), "EfficientNetB3, InceptionV3") {
		t.Errorf("PretrainedNamed(ResNet50) error = %v, want an invalid one that lists the names", err)
	}
}

// The feature map and its average are Keras', from weights in each layout.
func TestKerasParity(t *testing.T) {
	dir := kerastest.Folder(t, "testdata/reference.py")
	tests := []struct{ encoder, weights, reference string }{
		{"InceptionV3", "inceptionv3.weights.h5", "inceptionv3"},
		{"InceptionV3", "inceptionv3_notop.h5", "inceptionv3"},
		{"EfficientNetB3", "efficientnetb3.weights.h5", "efficientnetb3"},
		{"EfficientNetB3", "efficientnetb3_notop.h5", "efficientnetb3"},
		{"EfficientNetB3", "efficientnetb3_imagenet.weights.h5", "efficientnetb3_imagenet"},
		{"EfficientNetB3", "efficientnetb3_imagenet_notop.h5", "efficientnetb3_imagenet"},
		{"EfficientNetB3", "efficientnetb3_published.h5", "efficientnetb3_imagenet"},
	}
	for _, test := range tests {
		t.Run(test.weights, func(t *testing.T) {
			p, err := encoder.PretrainedNamed(test.encoder)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, test.weights)
			weights, digest, err := p.Read(file)
			if err != nil {
				t.Fatal(err)
			}
			defer tf.ReleaseMap(weights)
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if want := captioner.DigestOf(data); digest != want {
				t.Errorf("the file's digest is %q, want %q", digest, want)
			}
			reference := filepath.Join(dir, test.reference+"_reference.h5")
			features, pooled := run(t, p, weights, kerastest.Dataset(t, reference, "pictures"), captioner.PrecisionFloat32)
			near(t, "feature map", features, kerastest.Dataset(t, reference, "features"))
			near(t, "pooled", pooled, kerastest.Dataset(t, reference, "pooled"))
		})
	}
}

// Numbers of 16 bits change the features less than noise of a single grey level
// in the pictures does. (The random weights of the reference make much of both:
// in a trained network what stands beside the features is far less.)
func TestBfloat16(t *testing.T) {
	dir := kerastest.Folder(t, "testdata/reference.py")
	if err := tf.Supports(captioner.PrecisionBfloat16); err != nil {
		t.Skip(err)
	}
	for _, p := range encoder.Pretraineds() {
		file := filepath.Join(dir, strings.ToLower(p.Name))
		weights, _, err := p.Read(file + "_notop.h5")
		if err != nil {
			t.Fatal(err)
		}
		defer tf.ReleaseMap(weights)
		pictures := kerastest.Dataset(t, file+"_reference.h5", "pictures")
		noisy := slices.Clone(pictures)
		for i := range noisy {
			noisy[i] = min(255, max(0, noisy[i]+float32(i*2654435761>>7%3)-1))
		}
		features, pooled := run(t, p, weights, pictures, captioner.PrecisionBfloat16)
		noisyFeatures, noisyPooled := run(t, p, weights, noisy, captioner.PrecisionFloat32)
		for _, c := range []struct {
			what       string
			got, noisy []float32
		}{{"features", features, noisyFeatures}, {"pooled", pooled, noisyPooled}} {
			want := kerastest.Dataset(t, file+"_reference.h5", c.what)
			got, noise := distance(c.got, want), distance(c.noisy, want)
			t.Logf("%s, %s: differ by %.2f %% of their length, after noise by %.2f %%", p.Name, c.what, 100*got, 100*noise)
			if !(got < noise) || got == 0 {
				t.Errorf("%s, %s: differ by %.2f %% of their length, want some and less than %.2f %%", p.Name, c.what, 100*got, 100*noise)
			}
		}
	}
}

// distance returns the length of the difference as a share of want's.
func distance(got, want []float32) float64 {
	difference, length := 0.0, 0.0
	for i := range want {
		difference += math.Pow(float64(got[i]-want[i]), 2)
		length += math.Pow(float64(want[i]), 2)
	}
	return math.Sqrt(difference / length)
}

// run encodes pictures, 0…255, as an exported graph does, in the session that
// open gives.
func run(t *testing.T, p encoder.Pretrained, weights map[string]*tf.Tensor, pictures []float32,
	precision string) (features, pooled []float32) {
	t.Helper()
	s := tf.NewScope()
	side := int64(p.Side)
	in := tf.Placeholder(s, tf.Uint8, -1, side, side, 3)
	grid := p.Encode(&nn.Tower{Scope: s, Weights: nn.NewConstants(weights)}, nn.Cast(s, in, tf.Float))
	if dims := tf.Dims(s, grid); !slices.Equal(dims, []int64{-1, int64(p.Grid * p.Grid), int64(p.Width)}) {
		t.Fatalf("grid has sizes %v, error %v", dims, s.Err())
	}
	outputs := []tf.Output{grid, encoder.Pool(s, grid)}
	graph, err := s.Finalize()
	if err != nil {
		t.Fatal(err)
	}
	session, err := tf.OpenSession(graph, tf.Options{Threads: 2, Precision: precision})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	pixels := tf.NewTensor(tf.Uint8, int64(len(pictures))/(side*side*3), side, side, 3)
	defer pixels.Release()
	for i, v := range pictures {
		pixels.Bytes()[i] = byte(v)
	}
	results, err := session.Run(tf.Feeds{in: pixels}, outputs)
	if err != nil {
		t.Fatal(err)
	}
	defer tf.ReleaseAll(results)
	return slices.Clone(results[0].Float32s()), slices.Clone(results[1].Float32s())
}

// near wants values equal to 1e-4 of the largest: after a hundred layers in
// another order of additions, single values near zero have no digits of their
// own to compare.
func near(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d values, want %d", what, len(got), len(want))
	}
	var largest, difference float64
	for i := range want {
		largest = max(largest, math.Abs(float64(want[i])))
		difference = max(difference, math.Abs(float64(got[i]-want[i])))
	}
	t.Logf("%s: differs by %.1e of the largest value, %.3g", what, difference/largest, largest)
	if !(difference <= 1e-4*largest) || largest == 0 {
		t.Errorf("%s differs by %g of the largest value, %g", what, difference/largest, largest)
	}
}

// Fine-tuning: every weight of an encoder gets a gradient, and the statistics
// of the pretraining stay.
func TestPretrainedGradients(t *testing.T) {
	for _, p := range encoder.Pretraineds() {
		t.Run(p.Name, func(t *testing.T) {
			s := tf.NewScope()
			weights := nn.NewVariables(s, 1)
			in := tf.Placeholder(s, tf.Float, -1, int64(p.Side), int64(p.Side), 3)
			grid := p.Encode(&nn.Tower{Scope: s, Weights: weights, Training: true, FrozenAverages: true}, in)
			values := make([]tf.Output, len(weights.Trained()))
			for i, w := range weights.Trained() {
				values[i] = w.Value
			}
			gradients := tf.Gradients(s, []tf.Output{grid}, values)
			for i, g := range gradients {
				if got, want := tf.Dims(s, g), weights.Trained()[i].Shape; s.Err() == nil && got != nil && !slices.Equal(got, want) {
					t.Errorf("gradient of %s has shape %v, want %v", weights.Trained()[i].Name, got, want)
				}
			}
			if updates := weights.Updates(s); len(updates) != 0 {
				t.Errorf("%d statistics move", len(updates))
			}
			if _, err := s.Finalize(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestPretrainedWantsItsSide(t *testing.T) {
	for _, p := range encoder.Pretraineds() {
		s := tf.NewScope()
		p.Encode(&nn.Tower{Scope: s, Weights: nn.NewVariables(s, 1)}, tf.Placeholder(s, tf.Float, -1, 64, 64, 3))
		if _, err := s.Finalize(); err == nil || !strings.Contains(err.Error(), "not -1 × 64 × 64 × 3") {
			t.Errorf("%s: error %v, want one about the side", p.Name, err)
		}
	}
}

// The weights of another network are refused.
func TestOtherWeights(t *testing.T) {
	dir := kerastest.Folder(t, "testdata/reference.py")
	b3, err := encoder.PretrainedNamed("EfficientNetB3")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"inceptionv3.weights.h5", "inceptionv3_notop.h5"} {
		_, _, err := b3.Read(filepath.Join(dir, file))
		if captioner.CodeOf(err) != "weights_mismatch" || len(captioner.ProblemsOf(err)) < 100 {
			t.Errorf("%s: %d problems, code %s", file, len(captioner.ProblemsOf(err)), captioner.CodeOf(err))
		}
	}
}
