// Package safetensors writes tensors in the format of that name: eight bytes
// with the header's length, a JSON header that gives type, shape and place of
// every tensor, and their bytes. See https://huggingface.co/docs/safetensors.
// Package tf reads them, into TensorFlow's memory.
package safetensors

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"maps"
	"path/filepath"
	"slices"

	"github.com/captioner/captioner/internal/atomicfile"
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
// either the whole new file is there or the old one; see package atomicfile.
// Equal contents give equal bytes.
func Write(path string, tensors map[string]Tensor, metadata map[string]string) error {
	return writeTo(atomicfile.OS{}, path, tensors, metadata)
}

func writeTo(files atomicfile.FileSystem, path string, tensors map[string]Tensor, metadata map[string]string) error {
	var needed int64 // but for the header
	for _, t := range tensors {
		needed += int64(len(t.Data))
	}
	return atomicfile.Classify(write(files, path, tensors, metadata),
		"write tensor file "+filepath.Base(path), filepath.Dir(path), needed)
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

func write(files atomicfile.FileSystem, path string, tensors map[string]Tensor, metadata map[string]string) error {
	file, err := atomicfile.Create(files, filepath.Dir(path), "tensors")
	if err != nil {
		return err
	}
	defer file.Abort()
	w := bufio.NewWriterSize(file, 1<<20)
	if err := Encode(w, tensors, metadata); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return file.Commit(path, 0o644)
}
