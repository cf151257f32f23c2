package kerastest

import (
	"testing"

	"github.com/captioner/captioner/ml/hdf5"
)

// Dataset returns the numbers of a data set of an HDF5 file, whole ones too.
func Dataset(t testing.TB, path, name string) []float32 {
	t.Helper()
	file, err := hdf5.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	root, err := file.Root()
	if err != nil {
		t.Fatal(err)
	}
	d, err := root.Dataset(name)
	if err != nil {
		t.Fatal(err)
	}
	if d.Integers() {
		whole, err := d.Int64s()
		if err != nil {
			t.Fatal(err)
		}
		values := make([]float32, len(whole))
		for i, v := range whole {
			values[i] = float32(v)
		}
		return values
	}
	values, err := d.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return values
}
