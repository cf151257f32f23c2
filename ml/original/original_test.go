package original_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/original"
)

// Every layout gives the same weights; archives say what the files of weights
// cannot.
func TestRead(t *testing.T) {
	dir := kerastest.Folder(t, "testdata/reference.py")
	told := original.Architecture{MaxLength: 12, MasksPadding: true}
	masked := original.Architecture{MaxLength: 12, MasksPadding: true, Dropout: 0.3, RecurrentDropout: 0.2}
	unmasked := masked
	unmasked.MasksPadding = false
	sizes := original.Sizes{Features: 2048, Hidden: 16, Heads: 4, Tokens: 61, Embedding: 10}
	var want map[string]original.Tensor
	for _, test := range []struct {
		file         string
		architecture original.Architecture
	}{
		{"masked.keras", masked},
		{"unmasked.keras", unmasked},
		{"masked.weights.h5", told},
		{"masked.h5", told},
		{"masked_weights.h5", told},
		{"unmasked.h5", told},
	} {
		m, err := original.Read(filepath.Join(dir, test.file), told)
		if err != nil {
			t.Errorf("%s: %v", test.file, err)
			continue
		}
		if m.Architecture != test.architecture || m.Sizes != sizes {
			t.Errorf("%s: architecture %+v, sizes %+v", test.file, m.Architecture, m.Sizes)
		}
		data, err := os.ReadFile(filepath.Join(dir, test.file))
		if err != nil || m.Digest != captioner.DigestOf(data) {
			t.Errorf("%s: digest %s, %v", test.file, m.Digest, err)
		}
		if want == nil {
			want = m.Weights
			if n := len(want); n != 19 {
				t.Errorf("%d weights: %v", n, slices.Sorted(maps.Keys(want)))
			}
		}
		if diff := cmp.Diff(want, m.Weights); diff != "" {
			t.Errorf("%s: weights (-masked.keras +this):\n%.2000s", test.file, diff)
		}
	}
	// Trained in float16, with weights of float32.
	if m, err := original.Read(filepath.Join(dir, "mixed.keras"), original.Architecture{}); err != nil || m.Architecture != unmasked {
		t.Errorf("mixed.keras: %+v, %v", m, err)
	}
}

// What is not the original's model is refused, with what it is.
func TestReadRefuses(t *testing.T) {
	dir := kerastest.Folder(t, "testdata/reference.py")
	broken := t.TempDir()
	damage := func(name, as string, change func([]byte) []byte) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(broken, as)
		if err := os.WriteFile(path, change(data), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	half := func(data []byte) []byte { return data[:len(data)/2] }
	tests := []struct {
		path string
		kind captioner.Kind
		want []string
	}{
		{filepath.Join(dir, "lambda.keras"), captioner.Invalid, []string{"class Functional", "class Lambda", "class GaussianNoise"}},
		{filepath.Join(dir, "other.keras"), captioner.Invalid, []string{"has activation tanh, the original's relu"}},
		{filepath.Join(dir, "pickled.keras"), captioner.Invalid, []string{"is no functional model"}},
		{filepath.Join(dir, "other_width.weights.h5"), captioner.Invalid, []string{"merge/bias: has the shape [17], and [16] would fit the others"}},
		{damage("masked.keras", "half.keras", half), captioner.Corrupt, []string{"cut short"}},
		{damage("masked.weights.h5", "half.weights.h5", half), captioner.Corrupt, nil},
		{damage("wordtoix.json", "text.keras", slices.Clone[[]byte]), captioner.Corrupt, []string{"no archive of Keras 3"}},
		{damage("wordtoix.json", "text.h5", slices.Clone[[]byte]), captioner.Invalid, nil},
		{filepath.Join(dir, "none.keras"), captioner.Invalid, []string{"cannot be opened"}},
	}
	for _, test := range tests {
		_, err := original.Read(test.path, original.Architecture{MaxLength: 12})
		told := describe(err)
		if captioner.KindOf(err) != test.kind {
			t.Errorf("%s: kind %q, want %q: %s", filepath.Base(test.path), captioner.KindOf(err), test.kind, told)
		}
		for _, want := range test.want {
			if !strings.Contains(told, want) {
				t.Errorf("%s: %s, want %q in it", filepath.Base(test.path), told, want)
			}
		}
	}
}

// describe joins an error's text and its problems.
func describe(err error) string {
	if err == nil {
		return "no error"
	}
	told := []string{err.Error()}
	var e *captioner.Error
	if errors.As(err, &e) {
		for _, p := range e.Problems {
			told = append(told, p.Field+": "+p.Message)
		}
	}
	return strings.Join(told, "\n")
}

// A configuration that differs in how the layers are joined is refused too.
func TestReadRefusesOtherWiring(t *testing.T) {
	dir := kerastest.Folder(t, "testdata/reference.py")
	tests := map[string]struct {
		change func(layers map[string]map[string]any)
		want   string
	}{
		"halves exchanged": {func(layers map[string]map[string]any) {
			args := call(layers["concatenate"])["args"].([]any)
			halves := args[0].([]any)
			halves[0], halves[1] = halves[1], halves[0]
		}, "the first half of that is a GlobalAveragePooling1D"},
		"a causal mask": {func(layers map[string]map[string]any) {
			call(layers["multi_head_attention"])["kwargs"].(map[string]any)["use_causal_mask"] = true
		}, "is used with use_causal_mask"},
		"another epsilon": {func(layers map[string]map[string]any) {
			layers["layer_normalization"]["config"].(map[string]any)["epsilon"] = 1e-5
		}, "has epsilon 1e-05, the original's 0.001"},
		"a layer that reads itself": {func(layers map[string]map[string]any) {
			tensor := call(layers["dropout"])["args"].([]any)[0].(map[string]any)
			tensor["config"].(map[string]any)["keras_history"].([]any)[0] = layers["dropout"]["name"]
		}, "is a layer of the class Dropout"},
		"no length": {func(layers map[string]map[string]any) {
			layers["text_input"]["config"].(map[string]any)["batch_shape"] = []any{nil, nil}
		}, "has no fixed number of tokens"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := rewritten(t, filepath.Join(dir, "unmasked.keras"), test.change)
			_, err := original.Read(path, original.Architecture{})
			if told := describe(err); captioner.KindOf(err) != captioner.Invalid || !strings.Contains(told, test.want) {
				t.Errorf("%s, want %q in it", told, test.want)
			}
		})
	}
}

func call(layer map[string]any) map[string]any {
	return layer["inbound_nodes"].([]any)[0].(map[string]any)
}

// rewritten copies an archive with another configuration.
func rewritten(t *testing.T, path string, change func(layers map[string]map[string]any)) string {
	t.Helper()
	files := unzip(t, path)
	var config map[string]any
	if err := json.Unmarshal(files["config.json"], &config); err != nil {
		t.Fatal(err)
	}
	layers := map[string]map[string]any{}
	for _, l := range config["config"].(map[string]any)["layers"].([]any) {
		layer := l.(map[string]any)
		// Keras numbers layers through all models of a process. Of a class that is
		// there more than once the last layer stays.
		name := layer["name"].(string)
		layers[strings.TrimRight(name, "_0123456789")] = layer
	}
	change(layers)
	var err error
	if files["config.json"], err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	return zipped(t, files)
}
