package hdf5

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// class is the kind of a data type, by its number in the file.
type class uint8

const (
	classInteger  class = 0
	classFloat    class = 1
	classString   class = 3
	classVariable class = 9
)

// classNames are the words for the data types that are not read here too.
var classNames = map[class]string{
	classInteger: "integers", classFloat: "floating-point numbers", 2: "times", classString: "text", 4: "bit fields",
	5: "opaque data", 6: "compound data", 7: "references", 8: "enumerations", classVariable: "lists of variable length", 10: "arrays",
}

func (c class) String() string {
	if name, ok := classNames[c]; ok {
		return name
	}
	return fmt.Sprintf("data of class %d", uint8(c))
}

// datatype says how an element is stored.
type datatype struct {
	class  class
	size   int
	order  binary.ByteOrder
	signed bool
	// spaces marks text that is padded with spaces instead of zeros.
	spaces bool
}

// floatLayouts are IEEE 754's, by size: exponent at and bits, mantissa at and
// bits, and the exponent's bias.
var floatLayouts = map[int][5]uint32{
	2: {10, 5, 0, 10, 15},
	4: {23, 8, 0, 23, 127},
	8: {52, 11, 0, 52, 1023},
}

// parseDatatype reads a data type message; where names whose type it is.
func (f *File) parseDatatype(data []byte, where string) (datatype, error) {
	c := newCursor("data type", data)
	kind := c.u8()
	t := datatype{class: class(kind & 15), order: binary.LittleEndian}
	bits := c.bytes(3)
	size := c.u32()
	if c.err != nil {
		return t, c.err
	}
	if size == 0 || uint64(size) > f.size {
		return t, corrupt("an element of %q has %d bytes", where, size)
	}
	t.size = int(size)
	if bits[0]&1 != 0 && t.class <= classFloat {
		t.order = binary.BigEndian
	}
	switch t.class {
	case classInteger:
		t.signed = bits[0]&8 != 0
		return t, t.checkInteger(c, where)
	case classFloat:
		return t, t.checkFloat(c, where)
	case classString:
		t.spaces = bits[0]&15 == 2
		return t, nil
	case classVariable:
		if bits[0]&15 == 1 && t.size == 8+wordSize {
			return t, nil
		}
	}
	return t, unsupported("%v (in %q)", t.class, where)
}

func (t datatype) checkInteger(c *cursor, where string) error {
	offset, precision := int(c.u16()), int(c.u16())
	switch {
	case c.err != nil:
		return c.err
	case (t.size != 1 && t.size != 2 && t.size != 4 && t.size != 8) || offset != 0 || precision != 8*t.size:
		return unsupported("integers of %d bits in %d bytes (in %q)", precision, t.size, where)
	}
	return nil
}

func (t datatype) checkFloat(c *cursor, where string) error {
	c.skip(4)
	layout := [5]uint32{uint32(c.u8()), uint32(c.u8()), uint32(c.u8()), uint32(c.u8()), c.u32()}
	switch {
	case c.err != nil:
		return c.err
	case layout != floatLayouts[t.size]:
		return unsupported("floating-point numbers that are not IEEE 754's (in %q)", where)
	}
	return nil
}

// parseShape reads a dataspace message; a scalar has no sizes. It also returns
// the number of elements, which it holds against the size of the file.
func (f *File) parseShape(data []byte, elementSize int, where string) (shape []int64, count uint64, err error) {
	c := newCursor("dataspace", data)
	version, rank, _ := c.u8(), int(c.u8()), c.u8()
	switch kind := c.u8(); {
	case c.err != nil:
		return nil, 0, c.err
	case version == 1:
		c.skip(4)
	case version != 2:
		return nil, 0, unsupported("dataspaces of version %d (in %q)", version, where)
	case kind > 1:
		return nil, 0, unsupported("empty dataspaces (in %q)", where)
	}
	const maxRank = 32 // the library's own limit
	if rank > maxRank {
		return nil, 0, corrupt("%q has %d axes", where, rank)
	}
	shape, count = make([]int64, rank), 1
	room := f.size / uint64(elementSize)
	for i := range shape {
		size := c.u64()
		if size > math.MaxInt64 || (size > 0 && count > room/size) {
			return nil, 0, corrupt("%q claims more elements than the file has bytes for", where)
		}
		shape[i] = int64(size)
		count *= size
	}
	if c.err == nil && count > room {
		return nil, 0, corrupt("%q claims more elements than the file has bytes for", where)
	}
	return shape, count, c.err
}

// text returns an element of fixed length without its padding.
func (t datatype) text(element []byte) string {
	if t.spaces {
		return strings.TrimRight(string(element), " ")
	}
	if end := bytes.IndexByte(element, 0); end >= 0 {
		element = element[:end]
	}
	return string(element)
}

// float returns an element of class float.
func (t datatype) float(element []byte) float64 {
	switch t.size {
	case 2:
		return float64(halfToFloat(t.order.Uint16(element)))
	case 4:
		return float64(math.Float32frombits(t.order.Uint32(element)))
	}
	return math.Float64frombits(t.order.Uint64(element))
}

// integer returns an element of class integer; unsigned ones above the largest
// int64 wrap around.
func (t datatype) integer(element []byte) int64 {
	switch {
	case t.size == 1 && t.signed:
		return int64(int8(element[0]))
	case t.size == 1:
		return int64(element[0])
	case t.size == 2 && t.signed:
		return int64(int16(t.order.Uint16(element)))
	case t.size == 2:
		return int64(t.order.Uint16(element))
	case t.size == 4 && t.signed:
		return int64(int32(t.order.Uint32(element)))
	case t.size == 4:
		return int64(t.order.Uint32(element))
	}
	return int64(t.order.Uint64(element))
}

// halfToFloat widens an IEEE 754 half-precision number.
func halfToFloat(h uint16) float32 {
	sign, exponent, mantissa := uint32(h>>15)<<31, uint32(h>>10)&31, uint32(h)&1023
	switch exponent {
	case 0: // zero, or without the leading one
		value := float32(mantissa) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(value) | sign)
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | mantissa<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | mantissa<<13)
}
