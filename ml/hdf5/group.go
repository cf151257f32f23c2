package hdf5

import (
	"bytes"
	"slices"
	"strings"

	"github.com/captioner/captioner"
)

const (
	// symbolSize is the bytes of an entry of a symbol table.
	symbolSize = 2*wordSize + 8 + 16
	// symbolicLink is the cache type of an entry that names another object.
	symbolicLink = 2
	// maxDepth bounds the nesting of groups and the height of their B-trees.
	maxDepth = 64
	// maxName bounds the name of a link, in bytes.
	maxName = 1 << 12
)

// Group is a folder of groups and data sets.
type Group struct {
	object
	links []link
}

type link struct {
	name    string
	address uint64
}

// Root returns the group that holds everything.
func (f *File) Root() (*Group, error) { return f.group("", f.root) }

func (f *File) group(path string, address uint64) (*Group, error) {
	if known, ok := f.groups[address]; ok {
		return known, nil
	}
	o, err := f.object(path, address)
	if err != nil {
		return nil, err
	}
	table, err := o.find(messageSymbolTable)
	switch {
	case err != nil:
		return nil, err
	case table == nil && (o.has(messageLink) || o.has(messageLinkInfo)):
		return nil, unsupported("groups of the newer kind (%q)", path)
	case table == nil:
		return nil, captioner.Errorf(captioner.Invalid, "%q of the HDF5 file is not a group", path)
	}
	c := newCursor("symbol table", table)
	tree, heap := c.u64(), c.u64()
	if c.err != nil {
		return nil, c.err
	}
	g := &Group{object: *o}
	names, err := f.localHeap(heap)
	if err != nil {
		return nil, err
	}
	if err := g.readTree(tree, names, -1, map[uint64]bool{}); err != nil {
		return nil, err
	}
	f.groups[address] = g
	return g, nil
}

// localHeap returns the names of a group's links, one after the other.
func (f *File) localHeap(address uint64) ([]byte, error) {
	head, err := f.readStructure(address, 8+3*wordSize)
	if err != nil {
		return nil, err
	}
	c := newCursor("local heap", head)
	c.expect("HEAP")
	c.skip(4)
	size := c.u64()
	c.skip(wordSize) // free list
	at := c.u64()
	if c.err != nil {
		return nil, c.err
	}
	return f.readStructure(at, size)
}

// readTree adds the links below a node of the group's B-tree, which has to be
// of the given level, or of any below 0.
func (g *Group) readTree(address uint64, names []byte, level int, seen map[uint64]bool) error {
	if seen[address] {
		return corrupt("the index of group %q runs in a circle", g.path)
	}
	seen[address] = true
	const headSize = 8 + 2*wordSize
	head, err := g.file.readStructure(address, headSize)
	if err != nil {
		return err
	}
	c := newCursor("group index", head)
	c.expect("TREE")
	kind, found, used := c.u8(), int(c.u8()), int(c.u16())
	if c.err != nil {
		return c.err
	}
	if kind != 0 || found >= maxDepth || (level >= 0 && found != level) {
		return corrupt("the index of group %q has a node of type %d and level %d where another should be", g.path, kind, found)
	}
	body, err := g.file.readStructure(address+headSize, uint64(used)*2*wordSize)
	if err != nil {
		return err
	}
	c = newCursor("group index", body)
	for range used {
		c.skip(wordSize) // key: the first name of the child
		child := c.u64()
		if found > 0 {
			err = g.readTree(child, names, found-1, seen)
		} else {
			err = g.readSymbols(child, names, seen)
		}
		if err != nil {
			return err
		}
	}
	return c.err
}

// readSymbols adds the links of a leaf.
func (g *Group) readSymbols(address uint64, names []byte, seen map[uint64]bool) error {
	if seen[address] {
		return corrupt("the index of group %q runs in a circle", g.path)
	}
	seen[address] = true
	head, err := g.file.readStructure(address, 8)
	if err != nil {
		return err
	}
	c := newCursor("symbol table node", head)
	c.expect("SNOD")
	c.skip(2)
	count := int(c.u16())
	if c.err != nil {
		return c.err
	}
	body, err := g.file.readStructure(address+8, uint64(count)*symbolSize)
	if err != nil {
		return err
	}
	c = newCursor("symbol table node", body)
	for range count {
		name, err := nameAt(names, c.u64())
		if err != nil {
			return err
		}
		l := link{name, c.u64()}
		if cache := c.u32(); cache == symbolicLink {
			return unsupported("symbolic links (%q)", join(g.path, name))
		}
		c.skip(4 + 16)
		g.links = append(g.links, l)
	}
	return c.err
}

// nameAt returns the text that ends with a zero byte at the offset of a heap.
func nameAt(names []byte, offset uint64) (string, error) {
	if offset >= uint64(len(names)) {
		return "", corrupt("a name lies outside of its heap")
	}
	end := bytes.IndexByte(names[offset:min(uint64(len(names)), offset+maxName)], 0)
	if end < 1 || bytes.IndexByte(names[offset:offset+uint64(end)], '/') >= 0 {
		return "", corrupt("the name of a link is empty, too long or has a slash")
	}
	return string(names[offset : offset+uint64(end)]), nil
}

// Names returns the names of the group's links in the order of its index,
// which is that of their bytes.
func (g *Group) Names() []string {
	names := make([]string, len(g.links))
	for i, l := range g.links {
		names[i] = l.name
	}
	return names
}

// find returns the object that the path leads to; NotFound where none does.
func (g *Group) find(path string) (string, uint64, error) {
	head, rest, deeper := strings.Cut(path, "/")
	i := slices.IndexFunc(g.links, func(l link) bool { return l.name == head })
	if i < 0 {
		return "", 0, captioner.Errorf(captioner.NotFound, "the HDF5 file has no %q", join(g.path, head))
	}
	here := join(g.path, head)
	if !deeper {
		return here, g.links[i].address, nil
	}
	if strings.Count(here, "/") >= maxDepth {
		return "", 0, corrupt("groups are nested more than %d deep", maxDepth)
	}
	sub, err := g.file.group(here, g.links[i].address)
	if err != nil {
		return "", 0, err
	}
	return sub.find(rest)
}

// Group returns the group that the path, names joined by slashes, leads to
// from g. What is not there is NotFound.
func (g *Group) Group(path string) (*Group, error) {
	if path == "" {
		return g, nil
	}
	here, address, err := g.find(path)
	if err != nil {
		return nil, err
	}
	return g.file.group(here, address)
}

// Dataset returns the data set that the path leads to from g. What is not
// there is NotFound.
func (g *Group) Dataset(path string) (*Dataset, error) {
	here, address, err := g.find(path)
	if err != nil {
		return nil, err
	}
	o, err := g.file.object(here, address)
	if err != nil {
		return nil, err
	}
	return newDataset(o)
}

// Walk calls visit for every data set below g, in the order of the indexes.
func (g *Group) Walk(visit func(*Dataset) error) error {
	return g.walk(visit, map[uint64]bool{g.address: true}, 0)
}

func (g *Group) walk(visit func(*Dataset) error, seen map[uint64]bool, depth int) error {
	if depth > maxDepth {
		return corrupt("groups are nested more than %d deep", maxDepth)
	}
	for _, l := range g.links {
		here := join(g.path, l.name)
		if seen[l.address] {
			return corrupt("%q is reached by two ways", here)
		}
		seen[l.address] = true
		o, err := g.file.object(here, l.address)
		if err != nil {
			return err
		}
		if o.has(messageLayout) {
			d, err := newDataset(o)
			if err == nil {
				err = visit(d)
			}
			if err != nil {
				return err
			}
			continue
		}
		sub, err := g.file.group(here, l.address)
		if err != nil {
			return err
		}
		if err := sub.walk(visit, seen, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "/" + name
}
