package features

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/captioner/captioner"
)

// Writer writes a shard. The file appears under its name only when Close has
// made it complete and durable. It is not safe for concurrent use.
type Writer struct {
	path  string
	side  int
	file  *os.File
	buf   *bufio.Writer
	index []byte
	names map[string]bool
	err   error // the first failure; later calls repeat it
}

var errClosed = errors.New("shard writer is closed")

// Create starts a shard of square pictures of the given side in pixels. It
// writes to a temporary file beside path until Close; an existing file at
// path stays as it is until then.
func Create(path string, side int) (*Writer, error) {
	if side < 1 || side > maxSide {
		return nil, captioner.Errorf(captioner.Invalid, "a side of %d pixels is not between 1 and %d", side, maxSide)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "create a shard")
	}
	w := &Writer{path: path, side: side, file: f, buf: bufio.NewWriterSize(f, 1<<20), names: map[string]bool{}}
	// The true header follows in Close, when the number of records is known.
	if _, err := w.buf.Write(make([]byte, headerSize)); err != nil {
		w.Abort()
		return nil, captioner.Wrap(captioner.Internal, err, "write a shard")
	}
	return w, nil
}

// Add appends a picture.
//
//	pixels  [side, side, 3] uint8, RGB, row by row
//
// Names are those of the data set and occur once. A wrong size, an empty or a
// repeated name is Invalid and leaves the shard as it was.
func (w *Writer) Add(image string, pixels []byte) error {
	if w.err != nil {
		return w.err
	}
	switch {
	case len(pixels) != recordSize(w.side):
		return captioner.Errorf(captioner.Invalid, "picture has %d bytes of pixels, not %d", len(pixels), recordSize(w.side))
	case image == "" || len(image) >= maxName:
		return captioner.Errorf(captioner.Invalid, "a picture's name must have between 1 and %d bytes", maxName-1)
	case w.names[image]:
		return captioner.Errorf(captioner.Invalid, "picture %q is in the shard already", image)
	}
	if _, err := w.buf.Write(pixels); err != nil {
		w.err = captioner.Wrap(captioner.Internal, err, "write a shard")
		return w.err
	}
	w.names[image] = true
	w.index = binary.LittleEndian.AppendUint32(w.index, crc32.Checksum(pixels, castagnoli))
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
		return captioner.Wrap(captioner.Internal, err, "write a shard")
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
		side:        uint32(w.side),
		records:     uint32(len(w.names)),
		indexOffset: headerSize + uint64(len(w.names))*uint64(recordSize(w.side)),
		indexLength: uint64(len(w.index)),
		indexCRC:    crc32.Checksum(w.index, castagnoli),
	}
	if _, err := w.file.WriteAt(h.marshal(), 0); err != nil {
		return err
	}
	if err := w.file.Chmod(0o644); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	if err := w.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(w.file.Name(), w.path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(w.path))
}

// Abort gives the shard up and removes what was written. After Close it does
// nothing, so that it can be deferred.
func (w *Writer) Abort() {
	if errors.Is(w.err, errClosed) {
		return
	}
	w.file.Close() // a failure changes nothing: the file goes
	os.Remove(w.file.Name())
	w.err = errClosed
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
