package features

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/captioner/captioner/internal/atomicfile"
	"github.com/captioner/captioner/internal/faultfs"
)

// TestEveryWriteCanFail writes a shard over another while each change fails in
// turn. The records are larger than the buffer.
func TestEveryWriteCanFail(t *testing.T) {
	layout := Pixels(400)
	shard := func(files atomicfile.FileSystem, path string, value byte) error {
		w, err := create(files, path, layout)
		if err != nil {
			return err
		}
		defer w.Abort()
		for i := range 4 {
			if err := w.Add(fmt.Sprint(i), bytes.Repeat([]byte{value}, layout.Size())); err != nil {
				return err
			}
		}
		return w.Close()
	}
	faultfs.Each(t, func(t *testing.T, files atomicfile.FileSystem, dir string) faultfs.Writer {
		path := filepath.Join(dir, "shard")
		if err := shard(atomicfile.OS{}, path, 1); err != nil {
			t.Fatal(err)
		}
		is := func(values ...byte) func() error {
			return func() error {
				r, err := Open(path)
				if err != nil {
					return err
				}
				defer r.Close()
				if err := r.Verify(); err != nil || r.Len() != 4 || !bytes.Contains(values, r.Record(3)[:1]) {
					return errors.Join(err, errors.New("the shard is neither the old one nor the new"))
				}
				return nil
			}
		}
		return faultfs.Writer{Write: func() error { return shard(files, path, 2) }, Whole: is(1, 2), Done: is(2)}
	})
	if _, err := create(atomicfile.OS{}, filepath.Join(t.TempDir(), "missing", "shard"), layout); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a shard in a folder that does not exist: %v", err)
	}
}
