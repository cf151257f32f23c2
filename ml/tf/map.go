package tf

// #include "tensorflow/c/c_api.h"
import "C"

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	graft "github.com/wamuir/graft/tensorflow"
	"github.com/wamuir/graft/tensorflow/core/framework/attr_value_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/function_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/graph_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/node_def_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/op_def_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/tensor_shape_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
	"github.com/wamuir/graft/tensorflow/op"
	"google.golang.org/protobuf/proto"
)

// NewGraph returns an empty graph.
func NewGraph() *Graph { return graft.NewGraph() }

// ScopeOf returns a scope that adds to a graph.
func ScopeOf(g *Graph) *Scope { return op.NewScopeWithGraph(g) }

// Map adds to s, a scope of g, what f makes of each row of x, side by side: for
// what TensorFlow does to one thing at a time, such as decoding a picture. f
// gets a row and returns a tensor whose shape is known.
//
//	x       [B, ...]
//	result  [B, ...]
func Map(g *Graph, s *Scope, x Output, f func(s *Scope, row Output) Output) Output {
	if s.Err() != nil {
		return Output{}
	}
	result, err := mapRows(g, Named(s, "rows", x), f)
	if err != nil {
		s.UpdateErr("MapDefun", err)
		return Output{}
	}
	return result
}

// mapRows imports what the wrappers of graft cannot add: a function, and an
// operation that has it as an attribute.
func mapRows(g *Graph, x Output, f func(s *Scope, row Output) Output) (Output, error) {
	var row []int64
	for i := 1; i < x.Shape().NumDimensions(); i++ {
		row = append(row, x.Shape().Size(i))
	}
	s := NewScope()
	in := Placeholder(s, x.DataType(), row...)
	out := f(s.SubScope("row"), in)
	body, err := s.Finalize()
	if err != nil {
		return Output{}, err
	}
	name := x.Op.Name() + "_mapped"
	function, err := functionOf(strings.ReplaceAll(name, "/", "_"), body, in, out)
	if err != nil {
		return Output{}, err
	}
	def := &graph_go_proto.GraphDef{
		Library: &function_go_proto.FunctionDefLibrary{Function: []*function_go_proto.FunctionDef{function}},
		Node: []*node_def_go_proto.NodeDef{{Name: "row", Op: "MapDefun", Input: []string{"rows"}, Attr: map[string]*attr_value_go_proto.AttrValue{
			"f":             {Value: &attr_value_go_proto.AttrValue_Func{Func: &attr_value_go_proto.NameAttrList{Name: function.GetSignature().GetName()}}},
			"Targuments":    types(in.DataType()),
			"Tcaptured":     types(),
			"output_types":  types(out.DataType()),
			"output_shapes": {Value: &attr_value_go_proto.AttrValue_List{List: &attr_value_go_proto.AttrValue_ListValue{Shape: []*tensor_shape_go_proto.TensorShapeProto{shapeProto(out.Shape())}}}},
		}}, {Name: "rows", Op: "Placeholder", Attr: map[string]*attr_value_go_proto.AttrValue{"dtype": dataType(x.DataType())}}},
	}
	data, err := proto.Marshal(def)
	if err != nil {
		return Output{}, err
	}
	options := graft.GraphImportOptions{Prefix: name}
	options.AddInputMapping("rows", 0, x)
	if err := g.ImportWithOptions(data, options); err != nil {
		return Output{}, err
	}
	return g.Operation(name + "/row").Output(0), nil
}

func types(kinds ...DataType) *attr_value_go_proto.AttrValue {
	list := &attr_value_go_proto.AttrValue_ListValue{}
	for _, k := range kinds {
		list.Type = append(list.Type, types_go_proto.DataType(k))
	}
	return &attr_value_go_proto.AttrValue{Value: &attr_value_go_proto.AttrValue_List{List: list}}
}

func dataType(kind DataType) *attr_value_go_proto.AttrValue {
	return &attr_value_go_proto.AttrValue{Value: &attr_value_go_proto.AttrValue_Type{Type: types_go_proto.DataType(kind)}}
}

// functionOf makes a function of a graph from in to out.
func functionOf(name string, g *Graph, in, out Output) (*function_go_proto.FunctionDef, error) {
	def, err := GraphDef(g)
	if err != nil {
		return nil, err
	}
	outputs, err := outputNames()
	if err != nil {
		return nil, err
	}
	// A function's body names outputs in words where a graph numbers them.
	kinds := make(map[string]string)
	for _, node := range def.GetNode() {
		kinds[node.GetName()] = node.GetOp()
	}
	rename := func(tensor string) (string, error) {
		node, number, _ := strings.Cut(tensor, ":")
		if node == in.Op.Name() {
			return "row", nil
		}
		if strings.HasPrefix(node, "^") {
			return node, nil
		}
		i, _ := strconv.Atoi(number) // a name without a number is of output 0
		names := outputs[kinds[node]]
		if i >= len(names) {
			return "", fmt.Errorf("%s has no output %d in a function", node, i)
		}
		return node + ":" + names[i] + ":0", nil
	}
	function := &function_go_proto.FunctionDef{Ret: make(map[string]string), Signature: &op_def_go_proto.OpDef{
		Name:      name,
		InputArg:  []*op_def_go_proto.OpDef_ArgDef{{Name: "row", Type: types_go_proto.DataType(in.DataType())}},
		OutputArg: []*op_def_go_proto.OpDef_ArgDef{{Name: "result", Type: types_go_proto.DataType(out.DataType())}},
	}}
	for _, node := range def.GetNode() {
		if node.GetName() == in.Op.Name() {
			continue
		}
		for i, tensor := range node.GetInput() {
			if node.Input[i], err = rename(tensor); err != nil {
				return nil, err
			}
		}
		function.NodeDef = append(function.NodeDef, node)
	}
	if function.Ret["result"], err = rename(fmt.Sprintf("%s:%d", out.Op.Name(), out.Index)); err != nil {
		return nil, err
	}
	return function, nil
}

// outputNames returns what TensorFlow calls the outputs of its operations. An
// output that is a list ends the names: what follows has no fixed number.
var outputNames = sync.OnceValues(func() (map[string][]string, error) {
	buffer := C.TF_GetAllOpList()
	defer C.TF_DeleteBuffer(buffer)
	list := new(op_def_go_proto.OpList)
	if err := proto.Unmarshal(unsafe.Slice((*byte)(buffer.data), int(buffer.length)), list); err != nil {
		return nil, fmt.Errorf("read TensorFlow's operations: %w", err)
	}
	names := make(map[string][]string, len(list.GetOp()))
	for _, o := range list.GetOp() {
		for _, arg := range o.GetOutputArg() {
			if arg.GetNumberAttr() != "" || arg.GetTypeListAttr() != "" {
				break
			}
			names[o.GetName()] = append(names[o.GetName()], arg.GetName())
		}
	}
	return names, nil
})
