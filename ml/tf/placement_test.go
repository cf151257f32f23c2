package tf

import (
	"strings"
	"testing"

	"github.com/wamuir/graft/tensorflow/core/protobuf/for_core_protos_go_proto"
	"google.golang.org/protobuf/proto"

	"github.com/captioner/captioner"
)

// What a session is asked for, read back as TensorFlow reads it.
func TestSessionOptions(t *testing.T) {
	read := func(o Options) *for_core_protos_go_proto.ConfigProto {
		t.Helper()
		options, err := sessionOptions(o, 3)
		if err != nil {
			t.Fatal(err)
		}
		config := &for_core_protos_go_proto.ConfigProto{}
		if err := proto.Unmarshal(options.Config, config); err != nil {
			t.Fatal(err)
		}
		return config
	}

	plain := read(Options{Threads: 4})
	if plain.IntraOpParallelismThreads != 2 || plain.InterOpParallelismThreads != 3 {
		t.Errorf("threads: %v", plain)
	}
	if !plain.GetGpuOptions().GetAllowGrowth() || !plain.GetAllowSoftPlacement() {
		t.Errorf("a GPU's memory would be taken whole, or an operation without a kernel refused: %v", plain)
	}
	if plain.GraphOptions != nil || plain.DeviceCount != nil {
		t.Errorf("more than asked for: %v", plain)
	}

	if got := read(Options{CPUs: 3}).GetDeviceCount()["CPU"]; got != 3 {
		t.Errorf("%d CPUs, want 3", got)
	}
	const on = for_core_protos_go_proto.RewriterConfig_ON
	rewriter := func(precision string) *for_core_protos_go_proto.RewriterConfig {
		return read(Options{Precision: precision}).GetGraphOptions().GetRewriteOptions()
	}
	if r := rewriter(captioner.PrecisionBfloat16); r.GetAutoMixedPrecisionOnednnBfloat16() != on || r.GetAutoMixedPrecision() == on {
		t.Errorf("bfloat16: %v", r)
	}
	if r := rewriter(captioner.PrecisionFloat16); r.GetAutoMixedPrecision() != on || r.GetAutoMixedPrecisionOnednnBfloat16() == on {
		t.Errorf("float16: %v", r)
	}
	if _, err := sessionOptions(Options{Precision: "float8"}, 1); captioner.KindOf(err) != captioner.Invalid {
		t.Errorf("an unknown precision: %v", err)
	}
}

// A graph is placed as it was asked for, and its session takes the handles of
// the graph that it was made of.
func TestPlacement(t *testing.T) {
	s := NewScope()
	x := Placeholder(s.SubScope("here"), Float, 2)
	doubled := Out(s.SubScope("there"), "AddV2", nil, x, x)
	v := NewVariables(s).Get("v", 2)
	update := Add(s, "AssignAddVariableOp", Attrs{"dtype": Float}, v.Handle, doubled)
	graph := finalize(t, s)
	placement := func(operation string) string {
		if strings.HasPrefix(operation, "there/") {
			return "/device:CPU:1"
		}
		return ""
	}
	sess, err := OpenSession(graph, Options{Threads: 2, CPUs: 2, Placement: placement})
	if err != nil {
		t.Fatal(err)
	}
	defer sess.Close()
	if devices, err := sess.Devices(); err != nil || len(devices) != 2 {
		t.Errorf("devices %v, %v; want two", devices, err)
	}
	def, err := GraphDef(sess.placed)
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range def.GetNode() {
		if node.GetDevice() != placement(node.GetName()) {
			t.Errorf("%s is on %q", node.GetName(), node.GetDevice())
		}
	}

	in := FromFloat32([]float32{1, 2}, 2)
	defer in.Release()
	if _, err := sess.Run(Feeds{v.feed: in}, nil, v.assign); err != nil {
		t.Fatal(err)
	}
	if _, err := sess.Run(Feeds{x: in}, nil, update); err != nil {
		t.Fatal(err)
	}
	results, err := sess.Run(nil, []Output{v.Value})
	if err != nil {
		t.Fatal(err)
	}
	defer ReleaseAll(results)
	if got := results[0].Float32s(); got[0] != 3 || got[1] != 6 {
		t.Errorf("the variable is %v, want [3 6]", got)
	}
}
