package tf

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/safetensors"
)

// Tensor files have the format of package safetensors.

// maxHeader bounds the header of a tensor file, in bytes.
const maxHeader = 64 << 20

var fileTypes = map[DataType]string{Float: "F32", Int32: "I32", Int64: "I64", Uint8: "U8"}

// WriteTensors writes tensors and text about them to path, as [safetensors.Write]
// does.
func WriteTensors(path string, tensors map[string]*Tensor, metadata map[string]string) error {
	contents := make(map[string]safetensors.Tensor, len(tensors))
	for name, t := range tensors {
		kind, ok := fileTypes[t.DataType()]
		if !ok {
			return fmt.Errorf("write tensor file %s: tensor %q has type %d, which the format lacks", filepath.Base(path), name, t.DataType())
		}
		contents[name] = safetensors.Tensor{DType: kind, Shape: t.Shape(), Data: t.Bytes()}
	}
	return safetensors.Write(path, contents, metadata)
}

// ReadTensors reads a file that WriteTensors wrote. A file that is not whole
// gives an error of kind Corrupt. The caller releases the tensors.
func ReadTensors(path string) (map[string]*Tensor, map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read tensor file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("read tensor file: %w", err)
	}
	tensors := make(map[string]*Tensor)
	metadata, err := readTensors(bufio.NewReaderSize(file, 1<<20), info.Size(), tensors)
	if err != nil {
		ReleaseMap(tensors)
		return nil, nil, captioner.Wrap(captioner.Corrupt, err, "tensor file %s is damaged", filepath.Base(path))
	}
	return tensors, metadata, nil
}

// readTensors fills tensors, also before an error.
func readTensors(r io.Reader, size int64, tensors map[string]*Tensor) (map[string]string, error) {
	var length uint64
	if err := binary.Read(r, binary.LittleEndian, &length); err != nil {
		return nil, err
	}
	if length > maxHeader || int64(length) > size-8 {
		return nil, fmt.Errorf("the header claims %d bytes", length)
	}
	head := make([]byte, length)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	header := make(map[string]json.RawMessage)
	if err := json.Unmarshal(head, &header); err != nil {
		return nil, err
	}
	var metadata map[string]string
	if raw, ok := header[safetensors.Metadata]; ok {
		if err := json.Unmarshal(raw, &metadata); err != nil {
			return nil, err
		}
		delete(header, safetensors.Metadata)
	}

	entries := make(map[string]safetensors.Entry, len(header))
	for name, raw := range header {
		var e safetensors.Entry
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, err
		}
		entries[name] = e
	}
	names := slices.SortedFunc(maps.Keys(entries), func(a, b string) int {
		if d := entries[a].Offsets[0] - entries[b].Offsets[0]; d != 0 {
			return int(max(-1, min(1, d)))
		}
		return int(max(-1, min(1, entries[a].Offsets[1]-entries[b].Offsets[1])))
	})
	at, rest := int64(0), size-8-int64(length)
	for _, name := range names {
		t, err := readEntry(r, entries[name], at, rest)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		tensors[name] = t
		at = entries[name].Offsets[1]
	}
	if at != rest {
		return nil, fmt.Errorf("the tensors end after %d of %d bytes", at, rest)
	}
	return metadata, nil
}

func readEntry(r io.Reader, e safetensors.Entry, at, rest int64) (*Tensor, error) {
	var kind DataType
	for k, name := range fileTypes {
		if name == e.DType {
			kind = k
		}
	}
	if kind == 0 {
		return nil, fmt.Errorf("unknown type %q", e.DType)
	}
	size := int64(elementSize(kind))
	for _, d := range e.Shape {
		if d < 0 || (d > 0 && size > rest/d+1) {
			return nil, fmt.Errorf("shape %v does not fit the file", e.Shape)
		}
		size *= d
	}
	if e.Offsets[0] != at || e.Offsets[1] != at+size || e.Offsets[1] > rest {
		return nil, fmt.Errorf("it lies at %v instead of [%d %d]", e.Offsets, at, at+size)
	}
	t := NewTensor(kind, e.Shape...)
	if _, err := io.ReadFull(r, t.Bytes()); err != nil {
		t.Release()
		return nil, err
	}
	return t, nil
}
