package features

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"path/filepath"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
)

// Writer writes a shard. The file appears under its name only when Close has
// made it complete and durable. It is not safe for concurrent use.
type Writer struct {
	path   string
	layout Layout
	file   *atomicfile.Pending
	buf    *bufio.Writer
	index  []byte
	names  map[string]bool
	err    error // the first failure; later calls repeat it
}

var errClosed = errors.New("shard writer is closed")

// Create starts a shard of records of that layout. It writes to a temporary file
// beside path until Close; an existing file at path stays as it is until then.
func Create(path string, layout Layout) (*Writer, error) {
	return create(atomicfile.OS{}, path, layout)
}

func create(files atomicfile.FileSystem, path string, layout Layout) (*Writer, error) {
	if err := layout.check(); err != nil {
		return nil, captioner.Errorf(captioner.Invalid, "a shard cannot have these records: %v", err)
	}
	w := &Writer{path: path, layout: layout, names: map[string]bool{}}
	file, err := atomicfile.Create(files, filepath.Dir(path), "shard")
	if err != nil {
		return nil, w.failed(err)
	}
	w.file, w.buf = file, bufio.NewWriterSize(file, 1<<20)
	if layout.version() == featuresVersion {
		w.index = binary.LittleEndian.AppendUint32(w.index, uint32(len(layout.Source)))
		w.index = append(w.index, layout.Source...)
	}
	// The true header follows in Close, when the number of records is known.
	if _, err := w.buf.Write(make([]byte, headerSize)); err != nil {
		w.Abort()
		return nil, w.failed(err)
	}
	return w, nil
}

// failed gives a failure of the file system its kind. What the shard has so far
// is needed, at least.
func (w *Writer) failed(err error) error {
	return atomicfile.Classify(err, "write a shard", filepath.Dir(w.path),
		headerSize+int64(len(w.names)+1)*int64(w.layout.Size())+int64(len(w.index)))
}

// Add appends the record of a picture, laid out as [Create] was told. Names are
// those of the data set and occur once. A wrong size, an empty or a repeated
// name is Invalid and leaves the shard as it was.
func (w *Writer) Add(image string, record []byte) error {
	if w.err != nil {
		return w.err
	}
	switch {
	case len(record) != w.layout.Size():
		return captioner.Errorf(captioner.Invalid, "a picture's record has %d bytes, not %d", len(record), w.layout.Size())
	case image == "" || len(image) >= maxName:
		return captioner.Errorf(captioner.Invalid, "a picture's name must have between 1 and %d bytes", maxName-1)
	case w.names[image]:
		return captioner.Errorf(captioner.Invalid, "picture %q is in the shard already", image)
	}
	if _, err := w.buf.Write(record); err != nil {
		w.err = w.failed(err)
		return w.err
	}
	w.names[image] = true
	w.index = binary.LittleEndian.AppendUint32(w.index, crc32.Checksum(record, castagnoli))
	w.index = binary.LittleEndian.AppendUint32(w.index, uint32(len(image)))
	w.index = append(w.index, image...)
	return nil
}

// Len returns the number of pictures added.
func (w *Writer) Len() int { return len(w.names) }

// Close completes the file, makes it durable and gives it its name. After an
// error nothing is left behind.
func (w *Writer) Close() error {
	if w.err != nil {
		err := w.err
		w.Abort()
		return err
	}
	if err := w.finish(); err != nil {
		w.Abort()
		return w.failed(err)
	}
	w.err = errClosed
	return nil
}

// finish writes index and header, then renames: an observer sees the old
// file, or the whole new one, after a power cut too.
func (w *Writer) finish() error {
	if _, err := w.buf.Write(w.index); err != nil {
		return err
	}
	if err := w.buf.Flush(); err != nil {
		return err
	}
	h := header{
		Layout:      w.layout,
		records:     uint32(len(w.names)),
		indexOffset: headerSize + uint64(len(w.names))*uint64(w.layout.Size()),
		indexLength: uint64(len(w.index)),
		indexCRC:    crc32.Checksum(w.index, castagnoli),
	}
	if err := w.file.WriteAt(h.marshal(), 0); err != nil {
		return err
	}
	return w.file.Commit(w.path, 0o644)
}

// Abort gives the shard up and removes what was written. After Close it does
// nothing, so that it can be deferred.
func (w *Writer) Abort() {
	if errors.Is(w.err, errClosed) {
		return
	}
	w.file.Abort()
	w.err = errClosed
}
