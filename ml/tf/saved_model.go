package tf

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	graft "github.com/wamuir/graft/tensorflow"
	"github.com/wamuir/graft/tensorflow/core/framework/tensor_shape_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
	"github.com/wamuir/graft/tensorflow/core/protobuf/for_core_protos_go_proto"
	"google.golang.org/protobuf/proto"

	"github.com/captioner/captioner/internal/atomicfile"
)

// predictMethod is what TensorFlow Serving looks for in a signature.
const predictMethod = "tensorflow/serving/predict"

// serveTag names the graph to be served in a SavedModel.
const serveTag = "serve"

// SavedModel is a loaded SavedModel. It is safe for concurrent use.
type SavedModel struct {
	session    *Session
	signatures map[string]boundSignature
}

// boundSignature is a signature whose names are resolved in the loaded graph.
type boundSignature struct {
	inputs, outputs map[string]Output
}

// LoadSavedModel loads the graph tagged "serve" from the folder dir. threads
// is as in [NewSession].
func LoadSavedModel(dir string, threads int) (*SavedModel, error) {
	// A decoding step is a chain of small operations: handing them from thread
	// to thread costs more than what runs side by side saves.
	options, err := sessionOptions(Options{Threads: threads}, callersThread)
	if err != nil {
		return nil, err
	}
	loaded, err := graft.LoadSavedModel(dir, []string{serveTag}, options)
	if err != nil {
		return nil, fmt.Errorf("load SavedModel: %w", err)
	}
	m := &SavedModel{session: &Session{s: loaded.Session}, signatures: make(map[string]boundSignature)}
	for name, signature := range loaded.Signatures {
		if strings.HasPrefix(name, "__") {
			continue // Python's internal ones, such as "__saved_model_init_op"
		}
		bound := boundSignature{}
		if bound.inputs, err = bind(loaded.Graph, signature.Inputs); err == nil {
			bound.outputs, err = bind(loaded.Graph, signature.Outputs)
		}
		if err != nil {
			m.Close()
			return nil, fmt.Errorf("load SavedModel: signature %q: %w", name, err)
		}
		m.signatures[name] = bound
	}
	return m, nil
}

func bind(graph *Graph, infos map[string]graft.TensorInfo) (map[string]Output, error) {
	outputs := make(map[string]Output, len(infos))
	for name, info := range infos {
		node, index, _ := strings.Cut(info.Name, ":")
		i, err := strconv.Atoi(index)
		operation := graph.Operation(node)
		if err != nil || operation == nil || i >= operation.NumOutputs() {
			return nil, fmt.Errorf("%q names no tensor of the graph: %q", name, info.Name)
		}
		outputs[name] = operation.Output(i)
	}
	return outputs, nil
}

// Signatures returns the names of the signatures, sorted.
func (m *SavedModel) Signatures() []string {
	return slices.Sorted(maps.Keys(m.signatures))
}

// Run computes the named outputs of a signature, in their order. The caller
// releases them; the inputs stay the caller's.
func (m *SavedModel) Run(signature string, inputs map[string]*Tensor, outputs ...string) ([]*Tensor, error) {
	bound, ok := m.signatures[signature]
	if !ok {
		return nil, fmt.Errorf("the model has no signature %q, only %v", signature, m.Signatures())
	}
	feeds := make(Feeds, len(inputs))
	for name, t := range inputs {
		o, ok := bound.inputs[name]
		if !ok {
			return nil, fmt.Errorf("signature %q has no input %q", signature, name)
		}
		feeds[o] = t
	}
	if len(feeds) != len(bound.inputs) {
		return nil, fmt.Errorf("signature %q takes %d inputs, and %d were given", signature, len(bound.inputs), len(feeds))
	}
	fetches := make([]Output, len(outputs))
	for i, name := range outputs {
		o, ok := bound.outputs[name]
		if !ok {
			return nil, fmt.Errorf("signature %q has no output %q", signature, name)
		}
		fetches[i] = o
	}
	results, err := m.session.Run(feeds, fetches)
	if err != nil {
		return nil, fmt.Errorf("run signature %q: %w", signature, err)
	}
	return results, nil
}

// Devices returns TensorFlow's names of what the model computes on.
func (m *SavedModel) Devices() ([]string, error) { return m.session.Devices() }

// Close waits for running calls and frees the model.
func (m *SavedModel) Close() error { return m.session.Close() }

// Signature names inputs and outputs of a graph for whoever loads it.
type Signature struct {
	Inputs, Outputs map[string]Output
}

// WriteSavedModel writes a graph without variables (its weights are constants)
// and its signatures as a SavedModel into the new folder dir. Equal graphs
// give equal bytes. TensorFlow Serving and Python load it too.
func WriteSavedModel(dir string, graph *Graph, signatures map[string]Signature) error {
	def, err := GraphDef(graph)
	if err != nil {
		return err
	}
	meta := &for_core_protos_go_proto.MetaGraphDef{
		MetaInfoDef: &for_core_protos_go_proto.MetaGraphDef_MetaInfoDef{
			Tags: []string{serveTag}, TensorflowVersion: Version(), StrippedDefaultAttrs: false,
		},
		GraphDef:     def,
		SignatureDef: make(map[string]*for_core_protos_go_proto.SignatureDef, len(signatures)),
	}
	for name, signature := range signatures {
		meta.SignatureDef[name] = &for_core_protos_go_proto.SignatureDef{
			Inputs: tensorInfos(signature.Inputs), Outputs: tensorInfos(signature.Outputs), MethodName: predictMethod,
		}
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(&for_core_protos_go_proto.SavedModel{
		SavedModelSchemaVersion: 1,
		MetaGraphs:              []*for_core_protos_go_proto.MetaGraphDef{meta},
	})
	if err != nil {
		return fmt.Errorf("write SavedModel: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write SavedModel: %w", err)
	}
	err = os.WriteFile(filepath.Join(dir, "saved_model.pb"), data, 0o644)
	return atomicfile.Classify(err, "write SavedModel", dir, int64(len(data)))
}

func tensorInfos(outputs map[string]Output) map[string]*for_core_protos_go_proto.TensorInfo {
	infos := make(map[string]*for_core_protos_go_proto.TensorInfo, len(outputs))
	for name, o := range outputs {
		infos[name] = &for_core_protos_go_proto.TensorInfo{
			Encoding:    &for_core_protos_go_proto.TensorInfo_Name{Name: fmt.Sprintf("%s:%d", o.Op.Name(), o.Index)},
			Dtype:       types_go_proto.DataType(o.DataType()),
			TensorShape: shapeProto(o.Shape()),
		}
	}
	return infos
}

func shapeProto(shape Shape) *tensor_shape_go_proto.TensorShapeProto {
	if shape.NumDimensions() < 0 {
		return &tensor_shape_go_proto.TensorShapeProto{UnknownRank: true}
	}
	p := &tensor_shape_go_proto.TensorShapeProto{}
	for i := range shape.NumDimensions() {
		p.Dim = append(p.Dim, &tensor_shape_go_proto.TensorShapeProto_Dim{Size: shape.Size(i)})
	}
	return p
}
