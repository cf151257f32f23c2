package tf

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func exampleModel(t *testing.T) (*Graph, map[string]Signature) {
	s := NewScope()
	x := Placeholder(s.SubScope("in"), Float, -1, 2)
	y := Named(s, "y", Out(s, "MatMul", Attrs{"transpose_a": false, "transpose_b": false}, x, Floats(s, []float32{1, 2, 3, 4}, 2, 2)))
	text := Placeholder(s.SubScope("text"), String)
	upper := Named(s, "upper", Out(s, "StringUpper", nil, text))
	return finalize(t, s), map[string]Signature{
		"double": {Inputs: map[string]Output{"x": x}, Outputs: map[string]Output{"y": y}},
		"shout":  {Inputs: map[string]Output{"text": text}, Outputs: map[string]Output{"upper": upper}},
	}
}

func TestSavedModel(t *testing.T) {
	dir := t.TempDir()
	graph, signatures := exampleModel(t)
	if err := WriteSavedModel(dir, graph, signatures); err != nil {
		t.Fatal(err)
	}
	m, err := LoadSavedModel(dir, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if diff := cmp.Diff([]string{"double", "shout"}, m.Signatures()); diff != "" {
		t.Errorf("signatures (-want +got):\n%s", diff)
	}
	x := FromFloat32([]float32{1, 1, 0, 2}, 2, 2)
	defer x.Release()
	results, err := m.Run("double", map[string]*Tensor{"x": x}, "y")
	if err != nil {
		t.Fatal(err)
	}
	defer ReleaseAll(results)
	if diff := cmp.Diff([]float32{4, 6, 6, 8}, results[0].Float32s()); diff != "" {
		t.Errorf("y (-want +got):\n%s", diff)
	}

	for name, run := range map[string]func() error{
		"signature": func() error { _, err := m.Run("none", nil); return err },
		"input":     func() error { _, err := m.Run("double", map[string]*Tensor{"z": x}, "y"); return err },
		"missing":   func() error { _, err := m.Run("double", nil, "y"); return err },
		"output":    func() error { _, err := m.Run("double", map[string]*Tensor{"x": x}, "z"); return err },
	} {
		if run() == nil {
			t.Errorf("no error for a wrong %s", name)
		}
	}
}

func TestSavedModelBytesAreDeterministic(t *testing.T) {
	var written [2][]byte
	for i := range written {
		dir := t.TempDir()
		graph, signatures := exampleModel(t)
		if err := WriteSavedModel(dir, graph, signatures); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, "saved_model.pb"))
		if err != nil {
			t.Fatal(err)
		}
		written[i] = data
	}
	if !bytes.Equal(written[0], written[1]) {
		t.Error("two equal graphs gave different bytes")
	}
}

func TestLoadSavedModelErrors(t *testing.T) {
	if _, err := LoadSavedModel(filepath.Join(t.TempDir(), "none"), 2); err == nil || !strings.Contains(err.Error(), "SavedModel") {
		t.Errorf("missing folder: %v", err)
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "saved_model.pb"), []byte("no proto"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSavedModel(broken, 2); err == nil {
		t.Error("a broken file was loaded")
	}
}
