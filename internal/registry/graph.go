package registry

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"

	"github.com/wamuir/graft/tensorflow/core/framework/attr_value_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/node_def_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/tensor_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/tensor_shape_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
	"github.com/wamuir/graft/tensorflow/core/protobuf/for_core_protos_go_proto"
	"google.golang.org/protobuf/proto"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/safetensors"
)

// graphFile is the SavedModel's one file, in a bundle.
var graphFile = filepath.Join("saved_model", "saved_model.pb")

// SetNoRepeatNGram makes the signature serving_default of a bundle's SavedModel,
// which other programs call, search as captioner does with the version: the
// order of its guard against repetition is the version's, not the training's.
// A graph that has no such constant is Corrupt.
func SetNoRepeatNGram(bundle string, order int) error {
	model, err := readGraph(bundle)
	if err != nil {
		return err
	}
	found := false
	for node := range nodes(model) {
		if node.GetName() == captioner.NoRepeatNGramNode {
			found = true
			node.Attr["value"] = &attr_value_go_proto.AttrValue{Value: &attr_value_go_proto.AttrValue_Tensor{Tensor: &tensor_go_proto.TensorProto{
				Dtype: types_go_proto.DataType_DT_INT32, TensorShape: &tensor_shape_go_proto.TensorShapeProto{}, IntVal: []int32{int32(order)},
			}}}
		}
	}
	if !found {
		return captioner.Errorf(captioner.Corrupt, "the SavedModel has no constant %s", captioner.NoRepeatNGramNode)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(model)
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "write the SavedModel")
	}
	// The file is a read-only copy: a new one takes its place.
	path := filepath.Join(bundle, graphFile)
	if err := os.Remove(path); err != nil {
		return classify(err, "write the SavedModel")
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return classify(err, "write the SavedModel")
	}
	return nil
}

// Weights returns the weights in a bundle's SavedModel by name, float32 all of
// them. Where a batch normalisation has been folded into a convolution they are
// those of the convolution that is left, its kernel and bias. A graph without
// any is Corrupt.
func Weights(bundle string) (map[string]safetensors.Tensor, error) {
	model, err := readGraph(bundle)
	if err != nil {
		return nil, err
	}
	weights := make(map[string]safetensors.Tensor)
	for node := range nodes(model) {
		name := string(node.GetAttr()[captioner.WeightAttribute].GetS())
		if name == "" {
			continue
		}
		if weights[name], err = weightOf(node.GetAttr()["value"].GetTensor()); err != nil {
			return nil, captioner.Wrap(captioner.Corrupt, err, "weight %s of the SavedModel cannot be read", name)
		}
	}
	if len(weights) == 0 {
		return nil, captioner.Errorf(captioner.Corrupt, "the SavedModel names no weights: it was made by an older captioner")
	}
	return weights, nil
}

func weightOf(t *tensor_go_proto.TensorProto) (safetensors.Tensor, error) {
	weight := safetensors.Tensor{DType: "F32", Data: t.GetTensorContent()}
	size := 4
	for _, axis := range t.GetTensorShape().GetDim() {
		weight.Shape = append(weight.Shape, axis.GetSize())
		size *= int(axis.GetSize())
	}
	if values := t.GetFloatVal(); len(values) > 0 { // the last one stands for all that follow
		for i := range size / 4 {
			weight.Data = binary.LittleEndian.AppendUint32(weight.Data, math.Float32bits(values[min(i, len(values)-1)]))
		}
	}
	if t.GetDtype() != types_go_proto.DataType_DT_FLOAT || len(weight.Data) != size {
		return weight, fmt.Errorf("it has type %v and %d bytes for a shape of %v", t.GetDtype(), len(weight.Data), weight.Shape)
	}
	return weight, nil
}

func readGraph(bundle string) (*for_core_protos_go_proto.SavedModel, error) {
	data, err := os.ReadFile(filepath.Join(bundle, graphFile))
	if err != nil {
		return nil, classify(err, "read the SavedModel")
	}
	model := new(for_core_protos_go_proto.SavedModel)
	if err := proto.Unmarshal(data, model); err != nil {
		return nil, captioner.Wrap(captioner.Corrupt, err, "the SavedModel cannot be read")
	}
	return model, nil
}

// nodes goes through the operations of a SavedModel.
func nodes(model *for_core_protos_go_proto.SavedModel) iter.Seq[*node_def_go_proto.NodeDef] {
	return func(yield func(*node_def_go_proto.NodeDef) bool) {
		for _, graph := range model.GetMetaGraphs() {
			for _, node := range graph.GetGraphDef().GetNode() {
				if !yield(node) {
					return
				}
			}
		}
	}
}
