package nn

import (
	"errors"
	"fmt"

	"github.com/captioner/captioner/ml/tf"
)

// The arithmetic of TensorFlow under short names, with broadcasting as in NumPy.

// Add returns a + b.
func Add(s *tf.Scope, a, b tf.Output) tf.Output { return tf.Out(s, "AddV2", nil, a, b) }

// AddSame returns the sum of tensors of one shape. Its gradient has no
// broadcasting to undo, which makes some six operations fewer than that of Add:
// it counts where a graph is unrolled.
func AddSame(s *tf.Scope, xs ...tf.Output) tf.Output {
	return tf.Out(s, "AddN", nil, tf.OutputList(xs))
}

// Sub returns a - b.
func Sub(s *tf.Scope, a, b tf.Output) tf.Output { return tf.Out(s, "Sub", nil, a, b) }

// Mul returns a · b, element by element.
func Mul(s *tf.Scope, a, b tf.Output) tf.Output { return tf.Out(s, "Mul", nil, a, b) }

// Scale returns a · factor.
func Scale(s *tf.Scope, a tf.Output, factor float32) tf.Output {
	return Mul(s, a, tf.Scalar(s, factor))
}

// ReLU returns max(x, 0).
func ReLU(s *tf.Scope, x tf.Output) tf.Output { return tf.Out(s, "Relu", nil, x) }

// Tanh returns the hyperbolic tangent of x.
func Tanh(s *tf.Scope, x tf.Output) tf.Output { return tf.Out(s, "Tanh", nil, x) }

// MatMul returns the product of the matrices a [R, I] and b [I, O].
func MatMul(s *tf.Scope, a, b tf.Output) tf.Output { return tf.Out(s, "MatMul", nil, a, b) }

// Reshape gives x new sizes. Each is an int, one of which may be -1, or an
// int32 scalar output for a size that is known only when the graph runs.
func Reshape(s *tf.Scope, x tf.Output, sizes ...any) tf.Output {
	fixed, dynamic := make([]int32, len(sizes)), false
	for i, size := range sizes {
		switch size := size.(type) {
		case int:
			fixed[i] = int32(size)
		case tf.Output:
			dynamic = true
		default:
			s.UpdateErr("Reshape", fmt.Errorf("size %d is a %T", i, size))
		}
	}
	if !dynamic {
		return tf.Out(s, "Reshape", nil, x, tf.Ints(s, fixed...))
	}
	scalars := make([]tf.Output, len(sizes))
	for i, size := range sizes {
		if out, ok := size.(tf.Output); ok {
			scalars[i] = out
		} else {
			scalars[i] = tf.Int(s, fixed[i])
		}
	}
	return tf.Out(s, "Reshape", nil, x, Pack(s, scalars...))
}

// Transpose reorders the axes of x.
func Transpose(s *tf.Scope, x tf.Output, axes ...int32) tf.Output {
	return tf.Out(s, "Transpose", nil, x, tf.Ints(s, axes...))
}

// Gather returns the rows of x (along its first axis) at the indices, int32.
func Gather(s *tf.Scope, x, indices tf.Output) tf.Output {
	return tf.Out(s, "GatherV2", nil, x, indices, tf.Int(s, 0))
}

// Sum adds up x over the axes, which it drops.
func Sum(s *tf.Scope, x tf.Output, axes ...int32) tf.Output {
	return tf.Out(s, "Sum", nil, x, tf.Ints(s, axes...))
}

// Mean averages x over the axes, which it drops unless keep is set.
func Mean(s *tf.Scope, x tf.Output, keep bool, axes ...int32) tf.Output {
	return tf.Out(s, "Mean", tf.Attrs{"keep_dims": keep}, x, tf.Ints(s, axes...))
}

// Concat joins the tensors along the axis.
func Concat(s *tf.Scope, axis int32, xs ...tf.Output) tf.Output {
	if len(xs) == 1 {
		return xs[0] // ConcatV2 takes two or more
	}
	return tf.Out(s, "ConcatV2", nil, tf.OutputList(xs), tf.Int(s, axis))
}

// Pack stacks scalars or tensors of one shape along a new first axis.
func Pack(s *tf.Scope, xs ...tf.Output) tf.Output {
	return tf.Out(s, "Pack", tf.Attrs{"axis": int64(0)}, tf.OutputList(xs))
}

// Split cuts x into n equal parts along the axis.
func Split(s *tf.Scope, x tf.Output, axis int32, n int) []tf.Output {
	split := tf.Add(s, "Split", tf.Attrs{"num_split": int64(n)}, tf.Int(s, axis), x)
	parts := make([]tf.Output, n)
	for i := range parts {
		parts[i] = split.Output(i)
	}
	return parts
}

// SplitSizes cuts x along the axis into n parts of the sizes, int32 [n]. A part
// may be empty.
func SplitSizes(s *tf.Scope, x tf.Output, axis int32, n int, sizes tf.Output) []tf.Output {
	split := tf.Add(s, "SplitV", tf.Attrs{"num_split": int64(n)}, x, sizes, tf.Int(s, axis))
	parts := make([]tf.Output, n)
	for i := range parts {
		parts[i] = split.Output(i)
	}
	return parts
}

// Slice returns the box of x that starts at begin and has the sizes; -1 takes
// all that is left along that axis.
func Slice(s *tf.Scope, x tf.Output, begin, size []int32) tf.Output {
	return tf.Out(s, "Slice", nil, x, tf.Ints(s, begin...), tf.Ints(s, size...))
}

// Cast converts x to the type.
func Cast(s *tf.Scope, x tf.Output, to tf.DataType) tf.Output {
	return tf.Out(s, "Cast", tf.Attrs{"DstT": to}, x)
}

// ExpandDims adds an axis of size 1 before the axis.
func ExpandDims(s *tf.Scope, x tf.Output, axis int32) tf.Output {
	return tf.Out(s, "ExpandDims", nil, x, tf.Int(s, axis))
}

// Unpack returns the n parts of x along its first axis, which they lose.
func Unpack(s *tf.Scope, x tf.Output, n int) []tf.Output {
	unpack := tf.Add(s, "Unpack", tf.Attrs{"num": int64(n), "axis": int64(0)}, x)
	parts := make([]tf.Output, n)
	for i := range parts {
		parts[i] = unpack.Output(i)
	}
	return parts
}

// Sizes returns the sizes of x for use in Reshape: an int where the size is
// known while the graph is built, an int32 scalar output where it is not. The
// rank must be known.
func Sizes(s *tf.Scope, x tf.Output) []any {
	dims := tf.Dims(s, x)
	sizes := make([]any, len(dims))
	var shape tf.Output
	for i, d := range dims {
		if d >= 0 {
			sizes[i] = int(d)
			continue
		}
		if shape.Op == nil {
			shape = tf.Out(s, "Shape", nil, x)
		}
		sizes[i] = Gather(s, shape, tf.Int(s, int32(i)))
	}
	return sizes
}

// lead returns the sizes of x without its last axis.
func lead(s *tf.Scope, x tf.Output) []any {
	sizes := Sizes(s, x)
	if len(sizes) == 0 {
		return nil
	}
	return sizes[:len(sizes)-1]
}

// width returns the size of x's last axis; an unknown one is an error in the scope.
func width(s *tf.Scope, x tf.Output) int {
	dims := tf.Dims(s, x)
	if len(dims) == 0 || dims[len(dims)-1] < 0 {
		s.UpdateErr("shape", errors.New("the last axis of a layer's input has no known size"))
		return 1
	}
	return int(dims[len(dims)-1])
}

// Size returns the size of x along the axis when the graph runs, int32 [].
func Size(s *tf.Scope, x tf.Output, axis int32) tf.Output {
	return Gather(s, tf.Out(s, "Shape", nil, x), tf.Int(s, axis))
}
