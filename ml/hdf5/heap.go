package hdf5

// collection is a global heap: the places of the texts of variable length that
// it holds, by their index.
type collection map[uint16]block

// variableStrings returns the texts that the attribute's elements refer to.
// Together they are no larger than the file: otherwise a few bytes that refer
// to one text again and again could fill the memory.
func (f *File) variableStrings(a *attribute) ([]string, error) {
	texts := make([]string, a.count)
	total := uint64(0)
	for i := range texts {
		c := newCursor("text", a.element(i))
		length, address, index := uint64(c.u32()), c.u64(), c.u32()
		if c.err != nil {
			return nil, c.err
		}
		if length == 0 {
			continue
		}
		heap, err := f.globalHeap(address)
		if err != nil {
			return nil, err
		}
		at, ok := heap[uint16(index)]
		if total += length; !ok || index > 0xffff || length > at.length || total > f.size {
			return nil, corrupt("a text is not where it should be")
		}
		text, err := f.read(at.address, length)
		if err != nil {
			return nil, err
		}
		texts[i] = a.datatype.text(text)
	}
	return texts, nil
}

// globalHeap returns the heap at the address.
func (f *File) globalHeap(address uint64) (collection, error) {
	if known, ok := f.heaps[address]; ok {
		return known, nil
	}
	const headSize = 8 + wordSize
	head, err := f.read(address, headSize)
	if err != nil {
		return nil, err
	}
	c := newCursor("global heap", head)
	c.expect("GCOL")
	c.skip(4)
	size := c.u64()
	if c.err != nil {
		return nil, c.err
	}
	if size < headSize {
		return nil, corrupt("a global heap claims %d bytes", size)
	}
	data, err := f.readStructure(address, size)
	if err != nil {
		return nil, err
	}
	heap := make(collection)
	c = newCursor("global heap", data[headSize:])
	at := address + headSize
	for len(c.data) >= 8+wordSize {
		index := c.u16()
		c.skip(6)
		length := c.u64()
		if index == 0 { // the rest is free
			break
		}
		at += 8 + wordSize
		if length > uint64(len(c.data)) {
			return nil, corrupt("a text of %d bytes overruns its heap", length)
		}
		heap[index] = block{at, length}
		step := min(pad(int(length)), len(c.data))
		c.skip(step)
		at += uint64(step)
	}
	f.heaps[address] = heap
	return heap, c.err
}
