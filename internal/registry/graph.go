package registry

import (
	"os"
	"path/filepath"

	"github.com/wamuir/graft/tensorflow/core/framework/attr_value_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/tensor_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/tensor_shape_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
	"github.com/wamuir/graft/tensorflow/core/protobuf/for_core_protos_go_proto"
	"google.golang.org/protobuf/proto"

	"github.com/captioner/captioner"
)

// SetNoRepeatNGram makes the signature serving_default of a bundle's SavedModel,
// which other programs call, search as captioner does with the version: the
// order of its guard against repetition is the version's, not the training's.
// A graph that has no such constant is Corrupt.
func SetNoRepeatNGram(bundle string, order int) error {
	path := filepath.Join(bundle, "saved_model", "saved_model.pb")
	data, err := os.ReadFile(path)
	if err != nil {
		return classify(err, "read the SavedModel")
	}
	model := new(for_core_protos_go_proto.SavedModel)
	if err := proto.Unmarshal(data, model); err != nil {
		return captioner.Wrap(captioner.Corrupt, err, "the SavedModel cannot be read")
	}
	found := false
	for _, graph := range model.GetMetaGraphs() {
		for _, node := range graph.GetGraphDef().GetNode() {
			if node.GetName() != captioner.NoRepeatNGramNode {
				continue
			}
			found = true
			node.Attr["value"] = &attr_value_go_proto.AttrValue{Value: &attr_value_go_proto.AttrValue_Tensor{Tensor: &tensor_go_proto.TensorProto{
				Dtype: types_go_proto.DataType_DT_INT32, TensorShape: &tensor_shape_go_proto.TensorShapeProto{}, IntVal: []int32{int32(order)},
			}}}
		}
	}
	if !found {
		return captioner.Errorf(captioner.Corrupt, "the SavedModel has no constant %s", captioner.NoRepeatNGramNode)
	}
	if data, err = (proto.MarshalOptions{Deterministic: true}).Marshal(model); err != nil {
		return captioner.Wrap(captioner.Internal, err, "write the SavedModel")
	}
	// The file is a read-only copy: a new one takes its place.
	if err := os.Remove(path); err != nil {
		return classify(err, "write the SavedModel")
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return classify(err, "write the SavedModel")
	}
	return nil
}
