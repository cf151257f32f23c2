package hdf5_test

import (
	"encoding/binary"
	"math"
	"strings"
)

// builder lays out a small HDF5 file. Parts are appended and return where they
// are, so what they point to comes first.
type builder struct{ data []byte }

// newBuilder leaves room for the superblock.
func newBuilder() *builder { return &builder{make([]byte, 96)} }

// add appends the words, little endian: integers in their size, text as it is.
func (b *builder) add(words ...any) uint64 {
	at := uint64(len(b.data))
	b.data = append(b.data, pack(words...)...)
	for len(b.data)%8 != 0 {
		b.data = append(b.data, 0)
	}
	return at
}

func pack(words ...any) []byte {
	var out []byte
	for _, w := range words {
		switch w := w.(type) {
		case string:
			out = append(out, w...)
		case []byte:
			out = append(out, w...)
		default:
			var err error
			if out, err = binary.Append(out, binary.LittleEndian, w); err != nil {
				panic(err)
			}
		}
	}
	return out
}

// msg is a message of an object header, padded to eight bytes.
func msg(kind uint16, words ...any) []byte {
	body := padded(pack(words...))
	return pack(kind, uint16(len(body)), uint32(0), body)
}

func padded(data []byte) []byte {
	return append(data, make([]byte, (8-len(data)%8)%8)...)
}

// header appends an object header with the messages, the second half of them
// in a continuation.
func (b *builder) header(messages ...[]byte) uint64 {
	half := (len(messages) + 1) / 2
	first, rest := messages[:half], messages[half:]
	if len(rest) > 0 {
		body := pack(join(rest))
		first = append(first[:half:half], msg(0x10, b.add(body), uint64(len(body))))
	}
	body := join(first)
	return b.add(uint8(1), uint8(0), uint16(len(messages)+1), uint32(1), uint32(len(body)), uint32(0), body)
}

func join(parts [][]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// group appends a group with the links, in the order of their names, each in a
// leaf of its own below an index of two levels.
func (b *builder) group(names []string, addresses []uint64, messages ...[]byte) uint64 {
	const none = ^uint64(0)
	text := []byte{0, 0, 0, 0, 0, 0, 0, 0}
	children := pack(uint64(0))
	for i, name := range names {
		leaf := b.add("SNOD", uint8(1), uint8(0), uint16(1),
			uint64(len(text)), addresses[i], uint32(0), uint32(0), uint64(0), uint64(0))
		text = append(text, padded([]byte(name+"\x00"))...)
		children = append(children, pack(leaf, uint64(0))...)
	}
	low := b.add("TREE", uint8(0), uint8(0), uint16(len(names)), none, none, children)
	top := b.add("TREE", uint8(0), uint8(1), uint16(1), none, none, uint64(0), low, uint64(0))
	heap := b.add("HEAP", uint32(0), uint64(len(text)), none, b.add(text))
	return b.header(append(messages, msg(0x11, top, heap))...)
}

var (
	float32Type = pack(uint8(0x11), uint8(0x20), uint8(31), uint8(0), uint32(4),
		uint16(0), uint16(32), uint8(23), uint8(8), uint8(0), uint8(23), uint32(127))
	variableType = pack(uint8(0x19), uint8(1), uint16(0), uint32(16), pack(uint8(0x13), uint8(0), uint16(0), uint32(1)))
)

func textType(size int) []byte { return pack(uint8(0x13), uint8(0), uint16(0), uint32(size)) }

func shape(sizes ...uint64) []byte {
	return pack(uint8(1), uint8(len(sizes)), uint8(0), uint8(0), uint32(0), sizes)
}

// attr is an attribute message.
func attr(name string, kind, dims []byte, data ...any) []byte {
	return msg(0x0C, uint8(1), uint8(0), uint16(len(name)+1), uint16(len(kind)), uint16(len(dims)),
		padded([]byte(name+"\x00")), padded(kind), padded(dims), pack(data...))
}

// floats32 appends a data set of the values, contiguous or compact.
func (b *builder) floats32(values []float32, compact bool) uint64 {
	data := pack(values)
	layout := msg(8, uint8(3), uint8(0), uint16(len(data)), data)
	if !compact {
		layout = msg(8, uint8(3), uint8(1), b.add(data), uint64(len(data)))
	}
	return b.header(msg(1, shape(uint64(len(values)))), msg(3, float32Type), layout)
}

// finish writes the superblock for the root group and returns the file.
func (b *builder) finish(root uint64) []byte {
	copy(b.data, pack("\x89HDF\r\n\x1a\n", uint8(0), uint8(0), uint8(0), uint8(0), uint8(0), uint8(8), uint8(8), uint8(0),
		uint16(4), uint16(16), uint32(0), uint64(0), ^uint64(0), uint64(len(b.data)), ^uint64(0),
		uint64(0), root, uint32(0), uint32(0), uint64(0), uint64(0)))
	return b.data
}

// sampleFile has a group with two data sets, and attributes of each kind of text.
func sampleFile() []byte {
	b := newBuilder()
	heap := b.add("GCOL", uint8(1), uint8(0), uint16(0), uint64(16+16+8+16+8+16),
		uint16(1), uint16(1), uint32(0), uint64(3), "one\x00\x00\x00\x00\x00",
		uint16(2), uint16(1), uint32(0), uint64(5), "three\x00\x00\x00",
		uint16(0), uint16(0), uint32(0), uint64(0))
	inner := b.group([]string{"bias", "kernel"}, []uint64{
		b.floats32([]float32{0.5}, true), b.floats32([]float32{1, -2, float32(math.Inf(1))}, false),
	})
	return b.finish(b.group([]string{"layer"}, []uint64{inner},
		attr("names", textType(4), shape(2), "a\x00\x00\x00", strings.Repeat("b", 4)),
		attr("lines", variableType, shape(3), uint32(3), heap, uint32(1), uint32(0), uint64(0), uint32(0), uint32(5), heap, uint32(2)),
		attr("rate", float32Type, shape(), float32(0.25)),
	))
}
