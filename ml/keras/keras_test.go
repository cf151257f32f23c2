package keras_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/keras"
)

// network is the one of testdata/write.py, in the order of its making.
func network() []keras.Layer {
	kernel := func(shape ...int64) keras.Weight { return keras.Weight{Name: "kernel", Shape: shape} }
	return []keras.Layer{
		{Name: "one", Class: "conv2d", Weights: []keras.Weight{kernel(1, 1, 3, 2)}},
		{Name: "left", Class: "conv2d", Inputs: []int{0}, Weights: []keras.Weight{kernel(1, 1, 2, 2), {Name: "bias", Shape: []int64{2}}}},
		{Name: "right_1", Class: "conv2d", Inputs: []int{0}, Weights: []keras.Weight{kernel(1, 1, 2, 2)}},
		{Name: "right_2", Class: "depthwise_conv2d", Inputs: []int{2}, Weights: []keras.Weight{kernel(1, 1, 2, 1)}},
		{Name: "joined", Class: "concatenate", Inputs: []int{1, 3}},
		{Name: "norm", Class: "batch_normalization", Inputs: []int{4}, Weights: []keras.Weight{
			{Name: "beta", Shape: []int64{4}}, {Name: "count", Shape: []int64{}},
		}},
	}
}

// Every layout gives every layer its own tensors, also where Keras' order is
// not the one in which the layers were made.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	kerastest.Run(t, "testdata/write.py", dir)
	want := map[string]float32{"one/kernel": 0, "right_1/kernel": 1, "left/kernel": 2, "left/bias": 2.1, "right_2/kernel": 3, "norm/beta": 5}
	for file, version := range map[string]string{
		"keras2.h5": "2.4.3", "pieces.h5": "2.4.3", "model.h5": "2.4.3", "keras3_notop.h5": "3.15.1", "keras3.weights.h5": "",
	} {
		t.Run(file, func(t *testing.T) {
			w, err := keras.Read(filepath.Join(dir, file), network())
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]float32{}
			for name := range want {
				layer, weight, _ := strings.Cut(name, "/")
				values := w.Values(layer, weight)
				if len(values) == 0 {
					t.Fatalf("no values for %s", name)
				}
				got[name] = values[0]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
			if w.Version != version || len(w.Listed) != 6 || w.Values("norm", "count") != nil {
				t.Errorf("version %q, want %q; %d layers listed; count %v", w.Version, version, len(w.Listed), w.Values("norm", "count"))
			}
			data, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil || w.Digest != captioner.DigestOf(data) {
				t.Errorf("digest %s, %v", w.Digest, err)
			}
		})
	}
}

// A file of another network is refused with every difference.
func TestReadOtherNetwork(t *testing.T) {
	dir := t.TempDir()
	kerastest.Run(t, "testdata/write.py", dir)
	tests := []struct {
		file string
		want []string
	}{
		{"wrong.h5", []string{
			"layer_40/layer_40/kernel:0: has the shape [1 1 3 4], kernel of one has [1 1 3 2]",
			"layer_42: has 1 tensors, left has 2",
			"layer_45/layer_45/gamma:0: is called gamma, and beta of norm should be there",
			"layer_46: is one layer too many",
		}},
		{"missing.h5", []string{"norm: is missing"}},
		{"wrong.weights.h5", []string{
			"layers/conv2d/vars/0: has the shape [1 1 3 4], kernel of one has [1 1 3 2]",
			"layers/conv2d_2: has 1 tensors, left has 2",
			"layers/batch_normalization: is missing, which norm needs",
			"layers/dense: is one layer too many",
		}},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			_, err := keras.Read(filepath.Join(dir, test.file), network())
			if captioner.KindOf(err) != captioner.Invalid || captioner.CodeOf(err) != "weights_mismatch" {
				t.Errorf("error %v, of kind %s", err, captioner.KindOf(err))
			}
			var got []string
			for _, p := range captioner.ProblemsOf(err) {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("differences (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	kerastest.Run(t, "testdata/write.py", dir)
	whole, err := os.ReadFile(filepath.Join(dir, "keras2.h5"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"cut.h5": whole[:len(whole)/2], "text.h5": []byte("weights, please")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]struct {
		kind captioner.Kind
		text string
	}{
		"cut.h5":   {captioner.Corrupt, "cut short"},
		"text.h5":  {captioner.Invalid, "not an HDF5 file"},
		"other.h5": {captioner.Invalid, "no weights of Keras"},
		"none.h5":  {captioner.Invalid, "cannot be opened"},
		"lost.h5":  {captioner.Corrupt, `lists the layer "layer_41"`},
	} {
		_, err := keras.Read(filepath.Join(dir, file), network())
		if captioner.KindOf(err) != want.kind || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: %v, of kind %s; want %s with %q", file, err, captioner.KindOf(err), want.kind, want.text)
		}
	}
}

func TestCount(t *testing.T) {
	w := keras.Weights{Listed: []string{"rescaling", "rescaling_1", "rescaling_x", "rescaling_0", "rescalings", "normalization"}}
	if got := w.Count("rescaling"); got != 2 {
		t.Errorf("Count(rescaling) = %d, want 2", got)
	}
}
