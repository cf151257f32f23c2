package tf

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
)

func exampleTensors(t *testing.T) map[string]*Tensor {
	tensors := map[string]*Tensor{
		"w":     FromFloat32([]float32{1, -2, 3.5, 0}, 2, 2),
		"empty": FromFloat32(nil, 0, 3),
		"step":  FromInt64([]int64{-5}),
		"bytes": FromBytes([]byte{9, 8}, 2),
	}
	t.Cleanup(func() { ReleaseMap(tensors) })
	return tensors
}

func TestTensorFileRoundTrip(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.safetensors")
	tensors, metadata := exampleTensors(t), map[string]string{"state": `{"step":3}`}
	if err := WriteTensors(path, tensors, metadata); err != nil {
		t.Fatal(err)
	}
	got, gotMetadata, err := ReadTensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ReleaseMap(got)
	if diff := cmp.Diff(metadata, gotMetadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	for name, want := range tensors {
		if !bytes.Equal(got[name].Bytes(), want.Bytes()) || !cmp.Equal(got[name].Shape(), want.Shape()) || got[name].DataType() != want.DataType() {
			t.Errorf("%s changed", name)
		}
	}
	again := filepath.Join(dir, "b.safetensors")
	if err := WriteTensors(again, tensors, metadata); err != nil {
		t.Fatal(err)
	}
	first, _ := os.ReadFile(path)
	second, _ := os.ReadFile(again)
	if !bytes.Equal(first, second) {
		t.Error("equal tensors gave different files")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("temporary files were left: %v", entries)
	}
	// The header is what other readers of the format expect.
	n := binary.LittleEndian.Uint64(first)
	want := `{"__metadata__":{"state":"{\"step\":3}"},"bytes":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},` +
		`"empty":{"dtype":"F32","shape":[0,3],"data_offsets":[2,2]},"step":{"dtype":"I64","shape":[],"data_offsets":[2,10]},` +
		`"w":{"dtype":"F32","shape":[2,2],"data_offsets":[10,26]}}`
	if diff := cmp.Diff(want, string(first[8:8+n])); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

func TestDamagedTensorFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	if err := WriteTensors(path, exampleTensors(t), nil); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	huge := append(binary.LittleEndian.AppendUint64(nil, 1<<60), whole[8:]...)
	overlapping := bytes.Replace(whole, []byte("[10,26]"), []byte("[02,18]"), 1)
	shape := bytes.Replace(whole, []byte("[2,2]"), []byte("[9,9]"), 1)
	for name, data := range map[string][]byte{
		"empty": nil, "cut": whole[:len(whole)-1], "longer": append(bytes.Clone(whole), 0), "header cut": whole[:20],
		"huge header": huge, "overlap": overlapping, "shape": shape,
		"type":   bytes.Replace(whole, []byte(`"F32"`), []byte(`"F99"`), 1),
		"braces": bytes.Replace(whole, []byte(`{`), []byte(`[`), 1),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, _, err := ReadTensors(path); captioner.KindOf(err) != captioner.Corrupt {
				t.Errorf("ReadTensors error = %v, want kind corrupt", err)
			}
		})
	}
	if _, _, err := ReadTensors(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file was read")
	}
}
