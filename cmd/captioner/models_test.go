package main

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wamuir/graft/tensorflow/core/framework/attr_value_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/graph_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/node_def_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/tensor_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/tensor_shape_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
	"github.com/wamuir/graft/tensorflow/core/protobuf/for_core_protos_go_proto"
	"google.golang.org/protobuf/proto"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/app"
	"github.com/captioner/captioner/internal/registry"
)

// TestExportWeights writes the weights of a version, found in the registry and
// in a folder, to a file; it comes out the same.
func TestExportWeights(t *testing.T) {
	dir := t.TempDir()
	storage, err := app.OpenStorage(t.Context(), app.StorageOptions{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	bundle := t.TempDir()
	for name, content := range map[string]string{
		"config.yaml": "evaluation: {}\n", "vocabulary.json": "[]", "model.json": "{}", "saved_model/saved_model.pb": oneWeight(t),
	} {
		path := filepath.Join(bundle, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, version, err := registry.StoreTree(t.Context(), storage.Blobs, bundle)
	if err != nil {
		t.Fatal(err)
	}
	if err := storage.Store.PutModelVersion(t.Context(), captioner.ModelVersion{Version: version, RunID: "train-1"}); err != nil {
		t.Fatal(err)
	}
	export := func(args ...string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "weights.safetensors")
		var out, errs bytes.Buffer
		args = append([]string{"models", "export", "--data-dir", dir, "--output", path}, args...)
		if code := run(args, strings.NewReader(""), &out, &errs); code != 0 || !strings.Contains(out.String(), ": 1 weights of version "+version.Short()) {
			t.Fatalf("captioner %s: exit code %d, printed %s%s", strings.Join(args, " "), code, &out, &errs)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}

	got := export(version.Short())
	header, data := got[8:8+binary.LittleEndian.Uint64([]byte(got))], got[8+binary.LittleEndian.Uint64([]byte(got)):]
	for _, want := range []string{`"decoder/norm/scale":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}`, `"version":"` + string(version) + `"`, `evaluation: {}`} {
		if !strings.Contains(header, want) {
			t.Errorf("the header has no %s: %s", want, header)
		}
	}
	for i, want := range []float32{1, 2, 2} { // a constant's last value stands for the rest
		if value := math.Float32frombits(binary.LittleEndian.Uint32([]byte(data[4*i:]))); value != want {
			t.Errorf("value %d is %v, want %v", i, value, want)
		}
	}
	if export(filepath.Join(dir, "cache", "models", string(version))) != got {
		t.Error("the folder of the version gives another file")
	}
	if code := run([]string{"models", "export", version.Short(), "--data-dir", dir, "--format", "onnx"}, strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}); code != 2 {
		t.Errorf("another format gave exit code %d, want 2", code)
	}
}

// oneWeight is a SavedModel with a weight and another constant.
func oneWeight(t *testing.T) string {
	t.Helper()
	values := func(v ...float32) *attr_value_go_proto.AttrValue {
		return &attr_value_go_proto.AttrValue{Value: &attr_value_go_proto.AttrValue_Tensor{Tensor: &tensor_go_proto.TensorProto{
			Dtype: types_go_proto.DataType_DT_FLOAT, FloatVal: v,
			TensorShape: &tensor_shape_go_proto.TensorShapeProto{Dim: []*tensor_shape_go_proto.TensorShapeProto_Dim{{Size: 3}}},
		}}}
	}
	name := &attr_value_go_proto.AttrValue{Value: &attr_value_go_proto.AttrValue_S{S: []byte("decoder/norm/scale")}}
	data, err := proto.Marshal(&for_core_protos_go_proto.SavedModel{MetaGraphs: []*for_core_protos_go_proto.MetaGraphDef{{
		GraphDef: &graph_go_proto.GraphDef{Node: []*node_def_go_proto.NodeDef{
			{Name: "a", Op: "Const", Attr: map[string]*attr_value_go_proto.AttrValue{"value": values(1, 2), captioner.WeightAttribute: name}},
			{Name: "b", Op: "Const", Attr: map[string]*attr_value_go_proto.AttrValue{"value": values(7)}},
		}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
