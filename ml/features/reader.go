package features

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/captioner/captioner"
)

// Reader gives the records of a shard. It is safe for concurrent use, except
// for Close.
type Reader struct {
	header
	data  []byte // the whole file, mapped read-only
	names []string
	crcs  []uint32
}

// Open maps the shard at path into memory and checks its header, its size and
// its index; the records are checked by [Reader.Verify]. A file that is not a
// whole, undamaged shard is Corrupt, a missing one NotFound.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, captioner.Wrap(captioner.NotFound, err, "there is no such shard")
	}
	if err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "open a shard")
	}
	defer f.Close() // the mapping outlives the descriptor
	info, err := f.Stat()
	if err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "open a shard")
	}
	if info.Size() < headerSize || !info.Mode().IsRegular() {
		return nil, corrupt("%d bytes are too few for a shard", info.Size())
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "map a shard into memory")
	}
	r := &Reader{data: data}
	if err := r.parse(); err != nil {
		r.Close() // err says more than a failing unmap
		return nil, err
	}
	return r, nil
}

func (r *Reader) parse() error {
	h, err := parseHeader(r.data, int64(len(r.data)))
	if err != nil {
		return err
	}
	r.header = h
	index := r.data[h.indexOffset:]
	if crc32.Checksum(index, castagnoli) != h.indexCRC {
		return corrupt("the index of the shard is damaged")
	}
	if h.version() == featuresVersion {
		if index, err = r.parseSource(index); err != nil {
			return err
		}
	}
	// An entry takes more than entrySize bytes, which bounds what is allocated.
	if uint64(h.records)*entrySize > h.indexLength {
		return corrupt("the index of the shard is too short")
	}
	r.names = make([]string, 0, h.records)
	r.crcs = make([]uint32, 0, h.records)
	for range h.records {
		if len(index) < entrySize {
			return corrupt("the index of the shard is too short")
		}
		crc, n := binary.LittleEndian.Uint32(index), binary.LittleEndian.Uint32(index[4:])
		index = index[entrySize:]
		if n == 0 || n >= maxName || int(n) > len(index) {
			return corrupt("the index of the shard is too short")
		}
		r.crcs = append(r.crcs, crc)
		r.names = append(r.names, string(index[:n]))
		index = index[n:]
	}
	if len(index) > 0 {
		return corrupt("the index of the shard is too long")
	}
	return nil
}

// parseSource reads the source, and returns what of the index follows it.
func (r *Reader) parseSource(index []byte) ([]byte, error) {
	if len(index) < 4 {
		return nil, corrupt("the index of the shard is too short")
	}
	n := binary.LittleEndian.Uint32(index)
	index = index[4:]
	if n == 0 || n >= maxName || int(n) > len(index) {
		return nil, corrupt("the index of the shard is too short")
	}
	r.Source = string(index[:n])
	return index[n:], nil
}

// Len returns the number of pictures.
func (r *Reader) Len() int { return len(r.names) }

// Layout says what the records are.
func (r *Reader) Layout() Layout { return r.header.Layout }

// Image returns the name of picture i.
func (r *Reader) Image(i int) string { return r.names[i] }

// Record returns what is kept of picture i, as the layout says, without copying
// it. The slice lies in the mapped file: it must not be written to, and not be
// read after Close.
func (r *Reader) Record(i int) []byte {
	size := r.Size()
	start := headerSize + i*size
	return r.data[start : start+size : start+size]
}

// Verify reads all records and compares them with their checksums. The error
// is Corrupt and names the first damaged picture.
func (r *Reader) Verify() error {
	for i, want := range r.crcs {
		if crc32.Checksum(r.Record(i), castagnoli) != want {
			return corrupt("picture %q of the shard is damaged", r.names[i])
		}
	}
	return nil
}

// Close unmaps the file. It may be called more than once.
func (r *Reader) Close() error {
	if r.data == nil {
		return nil
	}
	data := r.data
	r.data = nil
	if err := unix.Munmap(data); err != nil {
		return captioner.Wrap(captioner.Internal, err, "unmap a shard")
	}
	return nil
}
