package safetensors_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/captioner/captioner/ml/safetensors"
)

// The file by hand, as the format's page has it: names and places in order.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weights.safetensors")
	err := safetensors.Write(path, map[string]safetensors.Tensor{
		"b": {DType: "U8", Shape: []int64{2}, Data: []byte{7, 9}},
		"a": {DType: "F32", Data: []byte{0, 0, 128, 63}}, // 1.0, of no axes
	}, map[string]string{"version": "x"})
	if err != nil {
		t.Fatal(err)
	}
	header := `{"__metadata__":{"version":"x"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}}`
	want := string([]byte{byte(len(header)), 0, 0, 0, 0, 0, 0, 0}) + header + "\x00\x00\x80\x3f\x07\x09"
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("the file is %q, want %q", got, want)
	}
}

func TestWriteKeepsTheOldFile(t *testing.T) {
	dir := t.TempDir()
	if err := safetensors.Write(filepath.Join(dir, "missing", "f"), nil, nil); err == nil {
		t.Error("wrote into a folder that does not exist")
	}
	path := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := safetensors.Write(path, nil, nil); err == nil {
		t.Error("wrote over a folder")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v are left in the folder, error %v; want the one that was there", left, err)
	}
}
