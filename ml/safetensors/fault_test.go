package safetensors

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/captioner/captioner/internal/atomicfile"
	"github.com/captioner/captioner/internal/faultfs"
)

// TestEveryWriteCanFail writes a checkpoint's file over another while each change
// fails in turn.
func TestEveryWriteCanFail(t *testing.T) {
	content := func(value byte) map[string]Tensor {
		return map[string]Tensor{"w": {DType: "U8", Shape: []int64{3 << 20}, Data: bytes.Repeat([]byte{value}, 3<<20)}}
	}
	encoded := func(value byte) []byte {
		var b bytes.Buffer
		if err := Encode(&b, content(value), nil); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	before, after := encoded(1), encoded(2)
	faultfs.Each(t, func(t *testing.T, files atomicfile.FileSystem, dir string) faultfs.Writer {
		path := filepath.Join(dir, "checkpoint.safetensors")
		if err := Write(path, content(1), nil); err != nil {
			t.Fatal(err)
		}
		is := func(allowed ...[]byte) func() error {
			return func() error {
				got, err := os.ReadFile(path)
				for _, want := range allowed {
					if err == nil && bytes.Equal(got, want) {
						return nil
					}
				}
				return errors.Join(err, errors.New("the file is neither the old one nor the new"))
			}
		}
		return faultfs.Writer{
			Write: func() error { return writeTo(files, path, content(2), nil) },
			Whole: is(before, after), Done: is(after),
		}
	})
}
