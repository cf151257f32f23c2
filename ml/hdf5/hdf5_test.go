package hdf5_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/hdf5"
)

// contents is everything that can be read of a file.
type contents struct {
	Floats  map[string][]float32
	Names   []string
	Lines   []string
	Numbers []float64
}

func read(data []byte) (contents, error) {
	got := contents{Floats: map[string][]float32{}}
	f, err := hdf5.New(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return got, err
	}
	root, err := f.Root()
	if err != nil {
		return got, err
	}
	if err := root.Walk(func(d *hdf5.Dataset) error {
		got.Floats[d.Path()], err = d.Float32s()
		return err
	}); err != nil {
		return got, err
	}
	if got.Names, err = root.Strings("names"); err != nil {
		return got, err
	}
	if got.Lines, err = root.Strings("lines"); err != nil {
		return got, err
	}
	got.Numbers, err = root.Numbers("rate")
	return got, err
}

func TestRead(t *testing.T) {
	got, err := read(sampleFile())
	if err != nil {
		t.Fatal(err)
	}
	want := contents{
		Floats:  map[string][]float32{"layer/bias": {0.5}, "layer/kernel": {1, -2, float32(math.Inf(1))}},
		Names:   []string{"a", "bbbb"},
		Lines:   []string{"one", "", "three"},
		Numbers: []float64{0.25},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("contents (-want +got):\n%s", diff)
	}
}

// Each byte of a small file set to another value gives contents or an error of
// a kind that blames the file, and the whole file cut anywhere the latter.
func TestDamage(t *testing.T) {
	whole := sampleFile()
	for at := range whole {
		for _, value := range []byte{0, 1, 0x7f, 0xff, whole[at] ^ 0x10} {
			data := bytes.Clone(whole)
			data[at] = value
			checkBlame(t, data)
		}
		if _, err := read(whole[:at]); err == nil {
			t.Errorf("the file cut after %d bytes was read", at)
		}
		checkBlame(t, whole[:at])
	}
}

func checkBlame(t *testing.T, data []byte) {
	t.Helper()
	_, err := read(data)
	if kind := captioner.KindOf(err); err != nil && kind != captioner.Corrupt && kind != captioner.Invalid {
		t.Fatalf("%v is of kind %q", err, kind)
	}
}

// What points to itself, and what claims more than the file has, is found out.
func TestNonsense(t *testing.T) {
	const none = ^uint64(0)
	build := func(make func(*builder) uint64) []byte {
		b := newBuilder()
		return b.finish(make(b))
	}
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "not an HDF5 file"},
		{"other file", []byte("PK\x03\x04 and so on"), "not an HDF5 file"},
		{"index that is its own child", build(func(b *builder) uint64 {
			at := uint64(len(b.data))
			b.add("TREE", uint8(0), uint8(0), uint16(1), none, none, uint64(0), at, uint64(0))
			return b.header(msg(0x11, at, b.add("HEAP", uint32(0), uint64(8), none, b.add(uint64(0)))))
		}), "circle"},
		{"header that continues in itself", build(func(b *builder) uint64 {
			at := uint64(len(b.data))
			return b.add(uint8(1), uint8(0), uint16(9), uint32(1), uint32(24), uint32(0), msg(0x10, at+16, uint64(24)))
		}), "circle"},
		{"group within itself", func() []byte {
			b := newBuilder()
			data := b.finish(b.group([]string{"self"}, []uint64{0}))
			// The link to itself, once the root's address is known.
			root := binary.LittleEndian.Uint64(data[64:])
			at := bytes.Index(data, []byte("SNOD")) + 8 + 8
			binary.LittleEndian.PutUint64(data[at:], root)
			return data
		}(), "two ways"},
		{"data set larger than the file", build(func(b *builder) uint64 {
			d := b.header(msg(1, shape(1<<40)), msg(3, float32Type), msg(8, uint8(3), uint8(1), uint64(96), uint64(4<<40)))
			return b.group([]string{"x"}, []uint64{d})
		}), "more elements"},
		{"shape whose product overflows", build(func(b *builder) uint64 {
			d := b.header(msg(1, shape(1<<32, 1<<32, 1<<32)), msg(3, float32Type), msg(8, uint8(3), uint8(1), uint64(96), uint64(0)))
			return b.group([]string{"x"}, []uint64{d})
		}), "more elements"},
		{"data beyond the end", build(func(b *builder) uint64 {
			d := b.header(msg(1, shape(4)), msg(3, float32Type), msg(8, uint8(3), uint8(1), uint64(1<<30), uint64(16)))
			return b.group([]string{"x"}, []uint64{d})
		}), "outside"},
		{"names with a slash", build(func(b *builder) uint64 {
			return b.group([]string{"a/b"}, []uint64{b.floats32([]float32{1}, true)})
		}), "slash"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := read(test.data)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// FuzzRead reads anything without a panic, and takes memory only in proportion
// to what it is given.
func FuzzRead(f *testing.F) {
	whole := sampleFile()
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) { checkBlame(t, data) })
}
