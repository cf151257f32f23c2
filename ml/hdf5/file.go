// Package hdf5 reads the part of the HDF5 file format (version 1 structures of
// the "HDF5 File Format Specification Version 3.0") in which Keras writes
// weights: groups as symbol tables, contiguous and compact data sets of
// numbers, and attributes of text and numbers. It leaves alone everything else,
// compression and chunks above all, and it never writes.
//
// Files come from anywhere, so nothing in them is believed: addresses and sizes
// are held against the size of the file before memory is taken, and what points
// to itself is found out. A file that is cut short or contradicts itself is an
// error of kind Corrupt; one that uses what this package cannot read is of kind
// Invalid and names the feature.
package hdf5

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/captioner/captioner"
)

const (
	signature = "\x89HDF\r\n\x1a\n"
	// wordSize is the bytes of an address and of a length; other sizes are
	// allowed by the format and written by nobody.
	wordSize = 8
	// undefined is the address of what is not in the file.
	undefined = ^uint64(0)
	// superblockSize is that of version 0, with the root group's entry.
	superblockSize = 24 + 4*wordSize + symbolSize
)

// File is an open file. It is not safe for concurrent use.
type File struct {
	r      io.ReaderAt
	size   uint64
	root   uint64
	closer io.Closer
	// What has been read of the structure is kept, so that each part is read once.
	objects map[uint64]*object
	groups  map[uint64]*Group
	heaps   map[uint64]collection
	// structure is how many bytes that was.
	structure uint64
}

// Open opens the file at path.
func Open(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	f, err := New(file, info.Size())
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	f.closer = file
	return f, nil
}

// Close closes what Open has opened.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// New returns the file whose size bytes r holds.
func New(r io.ReaderAt, size int64) (*File, error) {
	f := &File{
		r: r, size: uint64(max(0, size)),
		objects: make(map[uint64]*object), groups: make(map[uint64]*Group), heaps: make(map[uint64]collection),
	}
	head, err := f.read(0, min(f.size, superblockSize))
	if err != nil {
		return nil, err
	}
	if len(head) < len(signature) || string(head[:len(signature)]) != signature {
		return nil, captioner.Errorf(captioner.Invalid, "this is not an HDF5 file: its first bytes are others")
	}
	if len(head) > 8 && head[8] != 0 {
		return nil, unsupported("superblock version %d", head[8])
	}
	c := newCursor("superblock", head)
	c.skip(8 + 5)
	if offsets, lengths := c.u8(), c.u8(); c.err == nil && (offsets != wordSize || lengths != wordSize) {
		return nil, unsupported("addresses of %d bytes and lengths of %d", offsets, lengths)
	}
	c.skip(1 + 2 + 2 + 4)
	base := c.u64()
	c.skip(wordSize) // free space
	end := c.u64()
	c.skip(wordSize) // driver information
	c.skip(wordSize) // the root group has no name
	f.root = c.u64()
	switch {
	case c.err != nil:
		return nil, c.err
	case base != 0:
		return nil, unsupported("a user block")
	case end > f.size:
		return nil, corrupt("it has %d bytes and should have %d: it is cut short", f.size, end)
	}
	return f, nil
}

// readStructure is read for what describes the data. Its parts do not overlap,
// so all of them together are no larger than the file: a small file cannot ask
// for much time or memory by pointing to the same bytes again and again.
func (f *File) readStructure(address, length uint64) ([]byte, error) {
	if length > f.size-f.structure {
		return nil, corrupt("its parts overlap")
	}
	f.structure += length
	return f.read(address, length)
}

// read returns length bytes at the address.
func (f *File) read(address, length uint64) ([]byte, error) {
	if err := f.within(address, length); err != nil {
		return nil, err
	}
	data := make([]byte, length)
	if n, err := f.r.ReadAt(data, int64(address)); err != nil && (n < len(data) || !errors.Is(err, io.EOF)) {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, corrupt("it ends within what should be read")
		}
		return nil, fmt.Errorf("read HDF5 file: %w", err)
	}
	return data, nil
}

// within returns an error unless the file has length bytes at the address.
func (f *File) within(address, length uint64) error {
	if address > f.size || length > f.size-address {
		return corrupt("%d bytes at address %d lie outside of its %d: it is cut short or damaged", length, address, f.size)
	}
	return nil
}

func corrupt(format string, args ...any) error {
	return captioner.Errorf(captioner.Corrupt, "the HDF5 file is damaged: "+format, args...)
}

func unsupported(format string, args ...any) error {
	return captioner.Errorf(captioner.Invalid, "the HDF5 file uses "+format+", which cannot be read here", args...)
}

// cursor reads numbers, little endian, from bytes whose end it minds: after
// that it has an error and gives zeros.
type cursor struct {
	data []byte
	what string
	err  error
}

func newCursor(what string, data []byte) *cursor { return &cursor{data: data, what: what} }

// bytes returns the next n bytes, nil after the end.
func (c *cursor) bytes(n int) []byte {
	if c.err != nil {
		return nil
	}
	if n < 0 || n > len(c.data) {
		c.err = corrupt("a %s ends too early", c.what)
		return nil
	}
	head := c.data[:n]
	c.data = c.data[n:]
	return head
}

func (c *cursor) skip(n int) { c.bytes(n) }

func (c *cursor) u8() uint8 {
	if b := c.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// expect wants a signature.
func (c *cursor) expect(magic string) {
	if b := c.bytes(len(magic)); c.err == nil && string(b) != magic {
		c.err = corrupt("a %s does not begin with %s", c.what, magic)
	}
}

// pad returns n rounded up to a multiple of 8.
func pad(n int) int { return (n + 7) &^ 7 }
