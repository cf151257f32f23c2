package hdf5

// Message types of an object header.
const (
	messageDataspace    = 0x0001
	messageLinkInfo     = 0x0002
	messageDatatype     = 0x0003
	messageLink         = 0x0006
	messageExternal     = 0x0007
	messageLayout       = 0x0008
	messageFilters      = 0x000B
	messageAttribute    = 0x000C
	messageContinuation = 0x0010
	messageSymbolTable  = 0x0011
	messageAttributes   = 0x0015

	// flagShared marks a message whose content lies elsewhere.
	flagShared = 0x02
)

// message is one fact about an object.
type message struct {
	kind  uint16
	flags uint8
	data  []byte
}

// object is what groups and data sets have in common: a header of messages.
type object struct {
	file     *File
	path     string
	address  uint64
	messages []message
}

// Path returns the names that lead to the object, joined by slashes; empty for
// the root.
func (o *object) Path() string { return o.path }

// block is a part of an object header.
type block struct{ address, length uint64 }

// object reads the header at the address.
func (f *File) object(path string, address uint64) (*object, error) {
	const prefix = 16
	if known, ok := f.objects[address]; ok {
		return known, nil
	}
	head, err := f.readStructure(address, prefix)
	if err != nil {
		return nil, err
	}
	if string(head[:4]) == "OHDR" {
		return nil, unsupported("object headers of version 2")
	}
	c := newCursor("object header", head)
	if version := c.u8(); version != 1 {
		return nil, corrupt("there is no object header at address %d", address)
	}
	c.skip(1)
	count := int(c.u16())
	c.skip(4) // reference count
	o := &object{file: f, path: path, address: address}
	blocks := []block{{address + prefix, uint64(c.u32())}}
	seen := map[uint64]bool{}
	for i := 0; i < len(blocks); i++ {
		at := blocks[i]
		if seen[at.address] {
			return nil, corrupt("the object header at address %d continues in a circle", address)
		}
		seen[at.address] = true
		more, err := o.readBlock(at, count)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, more...)
	}
	f.objects[address] = o
	return o, nil
}

// readBlock adds the messages of a block, up to limit messages in all, and
// returns the blocks that continue it.
func (o *object) readBlock(at block, limit int) ([]block, error) {
	data, err := o.file.readStructure(at.address, at.length)
	if err != nil {
		return nil, err
	}
	var more []block
	c := newCursor("object header", data)
	for len(c.data) >= 8 && len(o.messages) < limit {
		m := message{kind: c.u16()}
		size := int(c.u16())
		m.flags = c.u8()
		c.skip(3)
		if m.data = c.bytes(size); c.err != nil {
			return nil, c.err
		}
		o.messages = append(o.messages, m)
		if m.kind == messageContinuation {
			next := newCursor("continuation", m.data)
			more = append(more, block{next.u64(), next.u64()})
			if next.err != nil {
				return nil, next.err
			}
		}
	}
	return more, nil
}

// find returns the content of the first message of the kind, nil if there is none.
func (o *object) find(kind uint16) ([]byte, error) {
	for _, m := range o.messages {
		if m.kind != kind {
			continue
		}
		if m.flags&flagShared != 0 {
			return nil, unsupported("shared messages (in %q)", o.path)
		}
		return m.data, nil
	}
	return nil, nil
}

func (o *object) has(kind uint16) bool {
	for _, m := range o.messages {
		if m.kind == kind {
			return true
		}
	}
	return false
}
