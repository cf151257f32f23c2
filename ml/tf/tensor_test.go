package tf

import (
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	graft "github.com/wamuir/graft/tensorflow"
)

// The handle of graft's Tensor is private and read through a struct of our
// own: both must look the same.
func TestLayoutOfGraftTensor(t *testing.T) {
	theirs, ours := reflect.TypeFor[graft.Tensor](), reflect.TypeFor[graftTensor]()
	if theirs.Size() != ours.Size() || theirs.NumField() != ours.NumField() {
		t.Fatalf("graft's Tensor has %d bytes and %d fields, want %d and %d",
			theirs.Size(), theirs.NumField(), ours.Size(), ours.NumField())
	}
	for i := range ours.NumField() {
		a, b := theirs.Field(i), ours.Field(i)
		if a.Name != b.Name || a.Offset != b.Offset || a.Type.Kind() != b.Type.Kind() {
			t.Errorf("field %d: graft has %s %s at %d, want %s %s at %d", i, a.Name, a.Type, a.Offset, b.Name, b.Type, b.Offset)
		}
	}
	made, err := graft.NewTensor([]int32{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	inner := (*graftTensor)(unsafe.Pointer(made))
	if inner.c == nil || !cmp.Equal(inner.shape, []int64{3}) {
		t.Errorf("handle %v, shape %v", inner.c, inner.shape)
	}
}

func TestTensorRoundTrip(t *testing.T) {
	long := strings.Repeat("long", 100)
	tests := []struct {
		name   string
		tensor *Tensor
		read   func(*Tensor) any
		want   any
		shape  []int64
	}{
		{"bytes", FromBytes([]byte{1, 2, 3, 4}, 2, 2), func(t *Tensor) any { return t.Bytes() }, []byte{1, 2, 3, 4}, []int64{2, 2}},
		{"int32", FromInt32([]int32{-1, 7}, 2), func(t *Tensor) any { return t.Int32s() }, []int32{-1, 7}, []int64{2}},
		{"float scalar", FromFloat32([]float32{1.5}), func(t *Tensor) any { return t.Float32s() }, []float32{1.5}, []int64{}},
		{"empty", FromFloat32(nil, 2, 0), func(t *Tensor) any { return t.Float32s() }, []float32(nil), []int64{2, 0}},
		{"strings", FromStrings([]string{"", "short", long}, 3), func(t *Tensor) any { return t.Strings() }, []string{"", "short", long}, []int64{3}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			defer test.tensor.Release()
			if diff := cmp.Diff(test.want, test.read(test.tensor)); diff != "" {
				t.Errorf("contents differ (-want +got):\n%s", diff)
			}
			if got := test.tensor.Shape(); !cmp.Equal(append([]int64{}, got...), test.shape) {
				t.Errorf("shape %v, want %v", got, test.shape)
			}
		})
	}
}

func TestTensorMisuse(t *testing.T) {
	released := FromInt32([]int32{1})
	released.Release()
	released.Release()
	(*Tensor)(nil).Release()
	tests := map[string]func(){
		"use after release": func() { released.Int32s() },
		"wrong shape":       func() { FromInt32([]int32{1, 2}, 3) },
		"wrong type":        func() { FromInt32([]int32{1}).Float32s() },
		"strings of ints":   func() { FromInt32([]int32{1}).Strings() },
	}
	for name, misuse := range tests {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			misuse()
		})
	}
}
