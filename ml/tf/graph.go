package tf

import (
	"bytes"
	"fmt"

	graft "github.com/wamuir/graft/tensorflow"
	"github.com/wamuir/graft/tensorflow/core/framework/graph_go_proto"
	"github.com/wamuir/graft/tensorflow/op"
	"google.golang.org/protobuf/proto"

	"github.com/captioner/captioner"
)

// The words of graft that graph code needs, so that it imports this package alone.
type (
	// Scope collects the operations of a graph under construction, and the
	// first error.
	Scope = op.Scope
	// Graph is a finished graph.
	Graph = graft.Graph
	// Operation is a node of a graph.
	Operation = graft.Operation
	// Output is one output of an operation.
	Output = graft.Output
	// OutputList is a list of outputs that enters an operation as one input.
	OutputList = graft.OutputList
	// Input is an Output or an OutputList.
	Input = graft.Input
	// DataType is the type of a tensor's elements.
	DataType = graft.DataType
	// Shape is a possibly partial shape; -1 stands for an unknown size.
	Shape = graft.Shape
	// Attrs are the attributes of an operation, by name.
	Attrs = map[string]any
)

// Data types in use.
const (
	Float  = graft.Float
	Half   = graft.Half
	Int32  = graft.Int32
	Int64  = graft.Int64
	Uint8  = graft.Uint8
	Bool   = graft.Bool
	String = graft.String
)

// NewScope returns a scope with an empty graph.
func NewScope() *Scope { return op.NewScope() }

// MakeShape returns a shape; -1 stands for a size that is not known.
func MakeShape(dims ...int64) Shape {
	if len(dims) == 0 {
		return graft.ScalarShape()
	}
	return graft.MakeShape(dims...)
}

// Add adds an operation of the given type, under a name that is unique in s,
// and returns it. After an error in s it adds nothing and returns nil, whose
// Output method gives an empty Output that Add in turn takes.
func Add(s *Scope, kind string, attrs Attrs, inputs ...Input) *Operation {
	if s.Err() != nil {
		return nil
	}
	for i, in := range inputs {
		if list, ok := in.(OutputList); ok {
			for _, o := range list {
				if o.Op == nil {
					s.UpdateErr(kind, fmt.Errorf("input %d is empty", i))
					return nil
				}
			}
			continue
		}
		if o, ok := in.(Output); !ok || o.Op == nil {
			s.UpdateErr(kind, fmt.Errorf("input %d is empty", i))
			return nil
		}
	}
	// SubScope makes the name unique; a Scope alone does not.
	return s.SubScope(kind).AddOperation(graft.OpSpec{Type: kind, Input: inputs, Attrs: attrs})
}

// Out adds an operation as [Add] does and returns its first output.
func Out(s *Scope, kind string, attrs Attrs, inputs ...Input) Output {
	return Add(s, kind, attrs, inputs...).Output(0)
}

// Dims returns the sizes of x, -1 where unknown, and nil after an error in s
// or when the rank is unknown.
func Dims(s *Scope, x Output) []int64 {
	if s.Err() != nil || x.Op == nil {
		return nil
	}
	shape := x.Shape()
	if shape.NumDimensions() < 0 {
		return nil
	}
	dims := make([]int64, shape.NumDimensions())
	for i := range dims {
		dims[i] = shape.Size(i)
	}
	return dims
}

// Const adds a constant with t's value. t can be released afterwards.
func Const(s *Scope, t *Tensor) Output {
	return Out(s, "Const", Attrs{"dtype": t.DataType(), "value": t.t})
}

// Weight adds a constant that says which weight of a model it is, for whoever
// reads the graph.
func Weight(s *Scope, name string, t *Tensor) Output {
	return Out(s, "Const", Attrs{"dtype": t.DataType(), "value": t.t, captioner.WeightAttribute: name})
}

// Scalar adds a float32 constant of shape [].
func Scalar(s *Scope, v float32) Output { return constOf(s, FromFloat32([]float32{v})) }

// Int adds an int32 constant of shape [].
func Int(s *Scope, v int32) Output { return constOf(s, FromInt32([]int32{v})) }

// Ints adds an int32 constant of shape [len(v)].
func Ints(s *Scope, v ...int32) Output { return constOf(s, FromInt32(v, int64(len(v)))) }

// Floats adds a float32 constant of the shape; without one, of shape [len(v)].
func Floats(s *Scope, v []float32, shape ...int64) Output {
	if len(shape) == 0 {
		shape = []int64{int64(len(v))}
	}
	return constOf(s, FromFloat32(v, shape...))
}

func constOf(s *Scope, t *Tensor) Output {
	defer t.Release()
	return Const(s, t)
}

// Placeholder adds an input of the graph; -1 stands for a size that is not known.
func Placeholder(s *Scope, kind DataType, dims ...int64) Output {
	return Out(s, "Placeholder", Attrs{"dtype": kind, "shape": MakeShape(dims...)})
}

// Named gives x a name of its own directly below s, for signatures and for
// whoever reads the graph.
func Named(s *Scope, name string, x Output) Output {
	if s.Err() != nil {
		return Output{}
	}
	if x.Op == nil {
		s.UpdateErr("Identity", fmt.Errorf("%s is empty", name))
		return Output{}
	}
	return s.AddOperation(graft.OpSpec{Type: "Identity", Name: name, Input: []Input{x}}).Output(0)
}

// Gradients returns the derivatives of the sum of ys by each of the xs. With
// dys, the derivatives of a loss by ys, it returns the loss' by the xs. Every
// x must have been used on the way to some y.
func Gradients(s *Scope, ys, xs []Output, dys ...Output) []Output {
	if s.Err() != nil {
		return make([]Output, len(xs))
	}
	for _, list := range [][]Output{ys, xs, dys} {
		for i, o := range list {
			if o.Op == nil {
				s.UpdateErr("Gradients", fmt.Errorf("argument %d of %d is empty", i, len(list)))
				return make([]Output, len(xs))
			}
		}
	}
	grads := op.Gradients(s.SubScope("gradients"), ys, xs, dys...)
	if s.Err() != nil {
		return make([]Output, len(xs))
	}
	for i, g := range grads {
		if g.Op == nil || g.Op.Name() == "" {
			s.UpdateErr("Gradients", fmt.Errorf("no path leads from %s to the outputs", xs[i].Op.Name()))
			return make([]Output, len(xs))
		}
	}
	return grads
}

// GraphDef returns the graph's description as TensorFlow has it.
func GraphDef(g *Graph) (*graph_go_proto.GraphDef, error) {
	var buf bytes.Buffer
	if _, err := g.WriteTo(&buf); err != nil {
		return nil, fmt.Errorf("write graph: %w", err)
	}
	def := new(graph_go_proto.GraphDef)
	if err := proto.Unmarshal(buf.Bytes(), def); err != nil {
		return nil, fmt.Errorf("read graph: %w", err)
	}
	return def, nil
}

// MarshalGraph returns the graph as a GraphDef. Attributes are a map, which
// TensorFlow writes in any order: here the same graph gives the same bytes.
func MarshalGraph(g *Graph) ([]byte, error) {
	def, err := GraphDef(g)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(def)
}
