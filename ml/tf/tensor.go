package tf

// #include <stdlib.h>
// #include <string.h>
// #include "tensorflow/c/c_api.h"
//
// static void captioner_set_string(TF_Tensor* t, size_t i, _GoString_ s) {
//   TF_TString* at = (TF_TString*)TF_TensorData(t) + i;
//   TF_TString_Init(at);
//   TF_TString_Copy(at, _GoStringPtr(s), _GoStringLen(s));
// }
//
// static const char* captioner_string(TF_Tensor* t, size_t i, size_t* n) {
//   TF_TString* at = (TF_TString*)TF_TensorData(t) + i;
//   *n = TF_TString_GetSize(at);
//   return TF_TString_GetDataPointer(at);
// }
//
// // captioner_free frees a tensor and, where Go has put them there, its strings:
// // TensorFlow frees only the strings that it has allocated itself.
// static void captioner_free(TF_Tensor* t, size_t strings) {
//   TF_TString* at = (TF_TString*)TF_TensorData(t);
//   for (size_t i = 0; i < strings; i++) TF_TString_Dealloc(at + i);
//   TF_DeleteTensor(t);
// }
import "C"

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	graft "github.com/wamuir/graft/tensorflow"
)

// Tensor is an array in TensorFlow's memory. Whoever made or fetched it calls
// Release when done; a forgotten one is freed when Go's collector finds it,
// which can be far too late. It is safe for concurrent reading.
type Tensor struct {
	t *graft.Tensor
	// strings is the number of strings that this package has allocated in it.
	strings int
}

// graftTensor has the layout of graft's Tensor, whose handle is private. A
// test compares the two.
type graftTensor struct {
	c     *C.TF_Tensor
	shape []int64
}

func (t *Tensor) handle() *C.TF_Tensor {
	c := (*graftTensor)(unsafe.Pointer(t.t)).c
	if c == nil {
		panic("tf: use of a released tensor")
	}
	return c
}

// NewTensor returns a tensor whose contents are undefined, to be filled
// through Bytes, Int32s or Float32s. It panics when the memory cannot be had.
func NewTensor(kind DataType, shape ...int64) *Tensor {
	return newTensor(kind, elementSize(kind), shape)
}

func newTensor(kind DataType, size int, shape []int64) *Tensor {
	shape = slices.Clone(shape)
	c := C.TF_AllocateTensor(C.TF_DataType(kind), (*C.int64_t)(unsafe.SliceData(shape)), C.int(len(shape)),
		C.size_t(elements(shape)*size))
	if c == nil {
		panic(fmt.Sprintf("tf: no memory for a tensor of shape %v", shape))
	}
	return own(&Tensor{t: (*graft.Tensor)(unsafe.Pointer(&graftTensor{c: c, shape: shape}))})
}

// own takes over the freeing of t from graft.
func own(t *Tensor) *Tensor {
	runtime.SetFinalizer(t.t, nil)
	runtime.SetFinalizer(t, (*Tensor).Release)
	return t
}

// Release frees the memory. It can be called more than once, also on nil.
// What the accessors returned without copying must not be used afterwards.
func (t *Tensor) Release() {
	if t == nil || t.t == nil {
		return
	}
	inner := (*graftTensor)(unsafe.Pointer(t.t))
	if inner.c == nil {
		return
	}
	runtime.SetFinalizer(t, nil)
	C.captioner_free(inner.c, C.size_t(t.strings))
	inner.c = nil
}

// ReleaseAll releases every tensor.
func ReleaseAll(tensors []*Tensor) {
	for _, t := range tensors {
		t.Release()
	}
}

// FromBytes returns a uint8 tensor with a copy of data. It panics, as the
// other constructors do, when shape does not hold exactly len(data) elements;
// no shape makes a scalar.
func FromBytes(data []byte, shape ...int64) *Tensor { return from(Uint8, data, shape) }

// FromMemory returns a tensor of any type but string with a copy of data, which
// is what Bytes gives. It panics as the other constructors do.
func FromMemory(kind DataType, data []byte, shape ...int64) *Tensor {
	if elements(shape)*elementSize(kind) != len(data) {
		panic(fmt.Sprintf("tf: %d bytes for shape %v", len(data), shape))
	}
	t := NewTensor(kind, shape...)
	copy(t.Bytes(), data)
	return t
}

// FromInt32 returns an int32 tensor with a copy of data.
func FromInt32(data []int32, shape ...int64) *Tensor { return from(Int32, data, shape) }

// FromInt64 returns an int64 tensor with a copy of data.
func FromInt64(data []int64, shape ...int64) *Tensor { return from(Int64, data, shape) }

// FromFloat32 returns a float32 tensor with a copy of data.
func FromFloat32(data []float32, shape ...int64) *Tensor { return from(Float, data, shape) }

func from[E uint8 | int32 | int64 | float32](kind DataType, data []E, shape []int64) *Tensor {
	if elements(shape) != len(data) {
		panic(fmt.Sprintf("tf: %d elements for shape %v", len(data), shape))
	}
	t := NewTensor(kind, shape...)
	copy(view[E](t, kind), data)
	return t
}

// FromString returns a string tensor of shape [].
func FromString(s string) *Tensor { return FromStrings([]string{s}) }

// FromStrings returns a string tensor with copies of the strings.
func FromStrings(data []string, shape ...int64) *Tensor {
	if elements(shape) != len(data) {
		panic(fmt.Sprintf("tf: %d elements for shape %v", len(data), shape))
	}
	t := newTensor(String, C.sizeof_TF_TString, shape)
	for i, s := range data {
		C.captioner_set_string(t.handle(), C.size_t(i), s)
	}
	t.strings = len(data)
	return t
}

// DataType returns the type of the elements.
func (t *Tensor) DataType() DataType { return DataType(C.TF_TensorType(t.handle())) }

// Shape returns the sizes; empty for a scalar.
func (t *Tensor) Shape() []int64 { return append([]int64{}, t.t.Shape()...) }

// Len returns the number of elements.
func (t *Tensor) Len() int { return elements(t.t.Shape()) }

// Bytes returns the memory of the tensor, of any type but string, without
// copying: it is valid until Release, which the caller must not forget here.
func (t *Tensor) Bytes() []byte {
	kind := t.DataType()
	n := t.Len() * elementSize(kind)
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(C.TF_TensorData(t.handle())), n)
}

// Int32s returns the elements of an int32 tensor without copying.
func (t *Tensor) Int32s() []int32 { return view[int32](t, Int32) }

// Float32s returns the elements of a float32 tensor without copying.
func (t *Tensor) Float32s() []float32 { return view[float32](t, Float) }

// Strings returns copies of the elements of a string tensor.
func (t *Tensor) Strings() []string {
	if t.DataType() != String {
		panic(fmt.Sprintf("tf: strings of a tensor of type %d", t.DataType()))
	}
	values := make([]string, t.Len())
	for i := range values {
		var n C.size_t
		p := C.captioner_string(t.handle(), C.size_t(i), &n)
		values[i] = string(unsafe.Slice((*byte)(unsafe.Pointer(p)), int(n)))
	}
	runtime.KeepAlive(t)
	return values
}

func view[E uint8 | int32 | int64 | float32](t *Tensor, kind DataType) []E {
	if t.DataType() != kind {
		panic(fmt.Sprintf("tf: a tensor of type %d was read as type %d", t.DataType(), kind))
	}
	n := t.Len()
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*E)(C.TF_TensorData(t.handle())), n)
}

func elements(shape []int64) int {
	n := 1
	for _, d := range shape {
		n *= int(d)
	}
	return n
}

// elementSize returns the bytes of one element; it panics for a type that is not in use.
func elementSize(kind DataType) int {
	switch kind {
	case Uint8, Bool:
		return 1
	case Half:
		return 2
	case Int32, Float:
		return 4
	case Int64:
		return 8
	}
	panic(fmt.Sprintf("tf: type %d has no fixed size here", kind))
}
