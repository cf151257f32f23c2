package hdf5

import (
	"slices"

	"github.com/captioner/captioner"
)

// Where a data set's bytes are, by the number in its layout message.
const (
	layoutCompact    = 0
	layoutContiguous = 1
)

// Dataset is an array of numbers.
type Dataset struct {
	object
	datatype datatype
	shape    []int64
	count    uint64
	// compact is the content of a small data set, which lies in its header;
	// other content begins at the address.
	compact []byte
	at      uint64
}

func newDataset(o *object) (*Dataset, error) {
	var parts [3][]byte
	for i, kind := range []uint16{messageDatatype, messageDataspace, messageLayout} {
		var err error
		if parts[i], err = o.find(kind); err != nil {
			return nil, err
		}
		if parts[i] == nil {
			return nil, captioner.Errorf(captioner.Invalid, "%q of the HDF5 file is not a data set", o.path)
		}
	}
	switch {
	case o.has(messageFilters):
		return nil, unsupported("compression or other filters (in %q)", o.path)
	case o.has(messageExternal):
		return nil, unsupported("data in other files (in %q)", o.path)
	}
	d := &Dataset{object: *o}
	var err error
	if d.datatype, err = o.file.parseDatatype(parts[0], o.path); err != nil {
		return nil, err
	}
	if d.shape, d.count, err = o.file.parseShape(parts[1], d.datatype.size, o.path); err != nil {
		return nil, err
	}
	return d, d.parseLayout(parts[2])
}

func (d *Dataset) parseLayout(data []byte) error {
	c := newCursor("data layout", data)
	version, kind := c.u8(), c.u8()
	if c.err == nil && version != 3 && version != 4 {
		return unsupported("data layouts of version %d (in %q)", version, d.path)
	}
	length := d.count * uint64(d.datatype.size)
	switch kind {
	case layoutCompact:
		d.compact = c.bytes(int(c.u16()))
		if c.err == nil && uint64(len(d.compact)) != length {
			return corrupt("%q has %d bytes, its shape asks for %d", d.path, len(d.compact), length)
		}
	case layoutContiguous:
		d.at = c.u64()
		if stored := c.u64(); c.err == nil && stored != length {
			return corrupt("%q has %d bytes, its shape asks for %d", d.path, stored, length)
		}
		if c.err == nil && length > 0 {
			if d.at == undefined {
				return captioner.Errorf(captioner.Invalid, "%q of the HDF5 file was made and never written", d.path)
			}
			return d.file.within(d.at, length)
		}
	default:
		return unsupported("chunks or another layout than contiguous (in %q)", d.path)
	}
	return c.err
}

// Shape returns the sizes of the axes; a scalar has none.
func (d *Dataset) Shape() []int64 { return slices.Clone(d.shape) }

// Len returns the number of elements.
func (d *Dataset) Len() int { return int(d.count) }

// Integers reports whether the elements are integers, for Int64s.
func (d *Dataset) Integers() bool { return d.datatype.class == classInteger }

// raw returns the bytes of all elements.
func (d *Dataset) raw() ([]byte, error) {
	if d.compact != nil || d.count == 0 {
		return d.compact, nil
	}
	return d.file.read(d.at, d.count*uint64(d.datatype.size))
}

// Float32s returns the elements of a data set of floating-point numbers, the
// last axis the fastest. Half-precision numbers are widened, double-precision
// ones rounded. Other elements are Invalid.
func (d *Dataset) Float32s() ([]float32, error) {
	if d.datatype.class != classFloat {
		return nil, captioner.Errorf(captioner.Invalid, "%q of the HDF5 file holds %v, not floating-point numbers", d.path, d.datatype.class)
	}
	return convert(d, func(element []byte) float32 { return float32(d.datatype.float(element)) })
}

// Int64s returns the elements of a data set of integers. Other elements are Invalid.
func (d *Dataset) Int64s() ([]int64, error) {
	if d.datatype.class != classInteger {
		return nil, captioner.Errorf(captioner.Invalid, "%q of the HDF5 file holds %v, not integers", d.path, d.datatype.class)
	}
	return convert(d, d.datatype.integer)
}

func convert[E any](d *Dataset, element func([]byte) E) ([]E, error) {
	raw, err := d.raw()
	if err != nil {
		return nil, err
	}
	values := make([]E, d.count)
	for i := range values {
		values[i] = element(raw[i*d.datatype.size:])
	}
	return values, nil
}
