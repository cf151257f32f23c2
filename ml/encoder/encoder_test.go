package encoder_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

func TestNamed(t *testing.T) {
	if !slices.Contains(encoder.Names(), "conv") {
		t.Errorf("Names() = %v, want conv among them", encoder.Names())
	}
	for _, name := range encoder.Names() {
		if _, err := encoder.Named(name); err != nil {
			t.Errorf("Named(%q) error = %v", name, err)
		}
	}
	_, err := encoder.Named("none")
	if captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), "conv") {
		t.Errorf("Named(none) error = %v, want an invalid one that lists the names", err)
	}
}

// Each encoder gives a grid of locations whose number and width are known
// while the graph is built, and gradients for all of its weights.
func TestGrid(t *testing.T) {
	for _, name := range encoder.Names() {
		if encoder.CheckSide(name, 64) != nil {
			continue // TestPretrainedGradients
		}
		t.Run(name, func(t *testing.T) {
			s := tf.NewScope()
			weights := nn.NewVariables(s, 1)
			encode, err := encoder.Named(name)
			if err != nil {
				t.Fatal(err)
			}
			tower := &nn.Tower{Scope: s, Weights: weights, Training: true}
			pixels := tf.Placeholder(s, tf.Float, -1, 64, 64, 3)
			grid := encode(tower.Sub("encoder"), pixels)
			dims := tf.Dims(s, grid)
			if len(dims) != 3 || dims[1] < 4 || dims[2] < 1 {
				t.Fatalf("grid has sizes %v, want [-1, L, D]", dims)
			}
			var values []tf.Output
			for _, w := range weights.Trained() {
				values = append(values, w.Value)
			}
			gradients := tf.Gradients(s, []tf.Output{grid}, values)
			graph, err := s.Finalize()
			if err != nil {
				t.Fatal(err)
			}
			session, err := tf.NewSession(graph, 2)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			initial := weights.Initial()
			defer tf.ReleaseMap(initial)
			if err := weights.All().Assign(session, initial); err != nil {
				t.Fatal(err)
			}
			in := tf.NewTensor(tf.Float, 2, 64, 64, 3)
			defer in.Release()
			for i, x := 0, in.Float32s(); i < len(x); i++ {
				x[i] = float32(i%7) * 42
			}
			results, err := session.Run(tf.Feeds{pixels: in}, append([]tf.Output{grid}, gradients...))
			if err != nil {
				t.Fatal(err)
			}
			defer tf.ReleaseAll(results)
			if diff := cmp.Diff([]int64{2, dims[1], dims[2]}, results[0].Shape()); diff != "" {
				t.Errorf("sizes of the grid (-want +got):\n%s", diff)
			}
		})
	}
}
