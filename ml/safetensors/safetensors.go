// Package safetensors writes tensors in the format of that name: eight bytes
// with the header's length, a JSON header that gives type, shape and place of
// every tensor, and their bytes. See https://huggingface.co/docs/safetensors.
// Package tf reads them, into TensorFlow's memory.
package safetensors

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/captioner/captioner/internal/failpoint"
)

// Metadata is the key of the text about the tensors in the header.
const Metadata = "__metadata__"

// Entry is a tensor in the header.
type Entry struct {
	// DType is the format's word for the type: F32, I32, I64, U8.
	DType string  `json:"dtype"`
	Shape []int64 `json:"shape"`
	// Offsets are where its bytes begin and end, from the end of the header.
	Offsets [2]int64 `json:"data_offsets"`
}

// Tensor is a tensor to be written: Data has its elements row by row, little
// end first.
type Tensor struct {
	DType string
	Shape []int64
	Data  []byte
}

// Write writes tensors and text about them to path, so that after a crash
// either the whole new file is there or the old one: a temporary file beside it
// is synced and renamed. Equal contents give equal bytes.
func Write(path string, tensors map[string]Tensor, metadata map[string]string) error {
	if err := write(path, tensors, metadata); err != nil {
		return fmt.Errorf("write tensor file %s: %w", filepath.Base(path), err)
	}
	return nil
}

// Encode writes tensors and text about them, which may be nil, to w. Equal
// contents give equal bytes.
func Encode(w io.Writer, tensors map[string]Tensor, metadata map[string]string) error {
	names := slices.Sorted(maps.Keys(tensors))
	header := map[string]any{Metadata: metadata}
	var offset int64
	for _, name := range names {
		t := tensors[name]
		end := offset + int64(len(t.Data))
		header[name] = Entry{DType: t.DType, Shape: append([]int64{}, t.Shape...), Offsets: [2]int64{offset, end}}
		offset = end
	}
	head, err := json.Marshal(header)
	if err != nil {
		return err
	}
	if err := binary.Write(w, binary.LittleEndian, uint64(len(head))); err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, name := range names {
		if _, err := w.Write(tensors[name].Data); err != nil {
			return err
		}
	}
	return nil
}

func write(path string, tensors map[string]Tensor, metadata map[string]string) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(file.Name())
		}
	}()
	w := bufio.NewWriterSize(file, 1<<20)
	if err := Encode(w, tensors, metadata); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	failpoint.Reached(failpoint.TensorsWritten)
	if err := errors.Join(file.Sync(), file.Chmod(0o644), file.Close()); err != nil {
		return err
	}
	failpoint.Reached(failpoint.TensorsSynced)
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	failpoint.Reached(failpoint.TensorsRenamed)
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
