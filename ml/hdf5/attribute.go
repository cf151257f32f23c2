package hdf5

import (
	"strings"

	"github.com/captioner/captioner"
)

// attribute is a named value of an object.
type attribute struct {
	datatype datatype
	count    uint64
	data     []byte
}

// Strings returns the texts of an attribute, one or an array of them, of fixed
// or variable length. An attribute that is not there gives nil, one of another
// type an Invalid error. Without elements the type does not matter: NumPy calls
// an empty list one of numbers.
func (o *object) Strings(name string) ([]string, error) {
	a, err := o.attribute(name)
	if err != nil || a == nil {
		return nil, err
	}
	if a.count == 0 {
		return []string{}, nil
	}
	switch a.datatype.class {
	case classString:
		texts := make([]string, a.count)
		for i := range texts {
			texts[i] = a.datatype.text(a.element(i))
		}
		return texts, nil
	case classVariable:
		return o.file.variableStrings(a)
	}
	return nil, captioner.Errorf(captioner.Invalid, "attribute %q of the HDF5 file holds %v, not text", join(o.path, name), a.datatype.class)
}

// Numbers returns the numbers of an attribute. An attribute that is not there
// gives nil, one of another type an Invalid error.
func (o *object) Numbers(name string) ([]float64, error) {
	a, err := o.attribute(name)
	if err != nil || a == nil {
		return nil, err
	}
	numbers := make([]float64, a.count)
	for i := range numbers {
		switch a.datatype.class {
		case classFloat:
			numbers[i] = a.datatype.float(a.element(i))
		case classInteger:
			numbers[i] = float64(a.datatype.integer(a.element(i)))
		default:
			return nil, captioner.Errorf(captioner.Invalid, "attribute %q of the HDF5 file holds %v, not numbers", join(o.path, name), a.datatype.class)
		}
	}
	return numbers, nil
}

func (a *attribute) element(i int) []byte { return a.data[i*a.datatype.size:][:a.datatype.size] }

// attribute returns the attribute of that name, nil if there is none. The ones
// of other names are not looked into: they may be of any type.
func (o *object) attribute(name string) (*attribute, error) {
	for _, m := range o.messages {
		switch m.kind {
		case messageAttributes:
			if err := o.checkDense(m.data); err != nil {
				return nil, err
			}
		case messageAttribute:
			if m.flags&flagShared != 0 {
				return nil, unsupported("shared attributes (in %q)", o.path)
			}
			found, rest, err := o.attributeName(m.data)
			if err != nil {
				return nil, err
			}
			if found == name {
				return rest.parse(o, join(o.path, name))
			}
		}
	}
	return nil, nil
}

// checkDense refuses attributes that are stored outside of the header.
func (o *object) checkDense(data []byte) error {
	c := newCursor("attribute information", data)
	c.skip(1)
	if flags := c.u8(); flags&1 != 0 {
		c.skip(2)
	}
	if heap := c.u64(); c.err == nil && heap != undefined {
		return unsupported("attributes outside of the header (of %q)", o.path)
	}
	return c.err
}

// attributeParts are the parts of an attribute message behind its name.
type attributeParts struct{ datatype, dataspace, data []byte }

// attributeName takes an attribute message apart.
func (o *object) attributeName(message []byte) (string, attributeParts, error) {
	var parts attributeParts
	c := newCursor("attribute", message)
	version, flags := c.u8(), c.u8()
	sizes := [3]int{int(c.u16()), int(c.u16()), int(c.u16())}
	rounded := sizes
	switch {
	case c.err != nil:
		return "", parts, c.err
	case version == 1:
		for i, n := range sizes {
			rounded[i] = pad(n)
		}
	case version == 3:
		c.skip(1) // encoding of the name: UTF-8 covers both
	case version != 2:
		return "", parts, unsupported("attributes of version %d (in %q)", version, o.path)
	}
	if version > 1 && flags != 0 {
		return "", parts, unsupported("attributes of a shared type (in %q)", o.path)
	}
	name := c.bytes(rounded[0])
	parts.datatype, parts.dataspace = c.bytes(rounded[1]), c.bytes(rounded[2])
	parts.data = c.data
	if c.err != nil {
		return "", parts, c.err
	}
	text, _, _ := strings.Cut(string(name[:sizes[0]]), "\x00")
	return text, parts, nil
}

func (p attributeParts) parse(o *object, where string) (*attribute, error) {
	a := &attribute{data: p.data}
	var err error
	if a.datatype, err = o.file.parseDatatype(p.datatype, where); err != nil {
		return nil, err
	}
	if _, a.count, err = o.file.parseShape(p.dataspace, a.datatype.size, where); err != nil {
		return nil, err
	}
	if uint64(len(a.data)) < a.count*uint64(a.datatype.size) {
		return nil, corrupt("attribute %q ends too early", where)
	}
	return a, nil
}
