package tf

import (
	"fmt"
	"os"
	"runtime"
	"slices"

	graft "github.com/wamuir/graft/tensorflow"
	"github.com/wamuir/graft/tensorflow/core/protobuf/for_core_protos_go_proto"
	"google.golang.org/protobuf/proto"

	"github.com/captioner/captioner"
)

// RequiredVersion is the one version of libtensorflow that this program runs
// with: graft's release is generated from its headers.
const RequiredVersion = "2.18.0"

// Settings that TensorFlow reads from the environment when it first needs
// them. A value that the user has set wins.
func init() {
	for name, value := range map[string]string{
		// Kernels whose result depends on the order of threads use one that does not.
		"TF_DETERMINISTIC_OPS": "1",
		// Only errors: the rest is chatter about CPU features.
		"TF_CPP_MIN_LOG_LEVEL": "2",
	} {
		if _, ok := os.LookupEnv(name); !ok {
			os.Setenv(name, value)
		}
	}
}

// Version returns the version of the TensorFlow library in use.
func Version() string { return graft.Version() }

// CheckVersion returns an error, with what to do about it, unless the library
// is exactly RequiredVersion.
func CheckVersion() error { return checkVersion(Version()) }

func checkVersion(version string) error {
	if version == RequiredVersion {
		return nil
	}
	return &captioner.Error{
		Kind: captioner.Internal, Code: "tensorflow_version",
		Message: fmt.Sprintf("the TensorFlow library has version %s, and this program needs exactly %s: set CAPTIONER_TENSORFLOW to that version's folder and build again", version, RequiredVersion),
	}
}

// Session runs a graph and holds its variables. It is safe for concurrent use.
type Session struct {
	s *graft.Session
	// placed is the copy of the graph that runs instead, nil for none.
	placed *Graph
}

// Options are how a session computes.
type Options struct {
	// Threads is the number of CPU threads, 0 for the machine's; the first
	// session of the process decides it for all.
	Threads int
	// Precision is that of the matrix products: the captioner.Precision…
	// constants; empty for float32. Float16 is only for graphs on a GPU.
	Precision string
	// CPUs is the number of devices that the CPU is split into, 0 for one.
	CPUs int
	// Placement, where given, puts operations on devices.
	Placement Placement
}

// NewSession opens a session that computes in float32 wherever TensorFlow puts
// the operations. threads is that of [Options].
func NewSession(graph *Graph, threads int) (*Session, error) {
	return OpenSession(graph, Options{Threads: threads})
}

// OpenSession opens a session.
func OpenSession(graph *Graph, o Options) (*Session, error) {
	options, err := sessionOptions(o, Threads(o.Threads))
	if err != nil {
		return nil, err
	}
	session := &Session{}
	if o.Placement != nil {
		if session.placed, err = place(graph, o.Placement); err != nil {
			return nil, err
		}
		graph = session.placed
	}
	if session.s, err = graft.NewSession(graph, options); err != nil {
		return nil, fmt.Errorf("open TensorFlow session: %w", err)
	}
	return session, nil
}

// Threads returns n, or the machine's number of CPUs for 0.
func Threads(n int) int {
	if n <= 0 {
		return runtime.NumCPU()
	}
	return n
}

// callersThread, as the number of operations that run side by side, has each
// Run execute them one by one in its caller's thread.
const callersThread = -1

// sessionOptions limits the threads within an operation and the number of
// operations side by side, and says how precisely to compute. GPU memory is
// taken as it is needed: other programs use the GPU too.
func sessionOptions(o Options, operations int) (*graft.SessionOptions, error) {
	config := &for_core_protos_go_proto.ConfigProto{
		// Training computes two halves of a batch side by side, which leaves an
		// operation half of the threads. All sessions of a process share their
		// pool, so all ask for the same.
		IntraOpParallelismThreads: int32(max(1, Threads(o.Threads)/2)),
		InterOpParallelismThreads: int32(operations),
		GpuOptions:                &for_core_protos_go_proto.GPUOptions{AllowGrowth: true},
		// What a GPU has no kernel for runs on the CPU.
		AllowSoftPlacement: true,
	}
	if o.CPUs > 1 {
		config.DeviceCount = map[string]int32{"CPU": int32(o.CPUs)}
	}
	rewrite := &for_core_protos_go_proto.RewriterConfig{}
	switch o.Precision {
	case "", captioner.PrecisionFloat32:
		rewrite = nil
	case captioner.PrecisionBfloat16:
		if err := keepInFloat32(); err != nil {
			return nil, fmt.Errorf("session options: %w", err)
		}
		rewrite.AutoMixedPrecisionOnednnBfloat16 = for_core_protos_go_proto.RewriterConfig_ON
	case captioner.PrecisionFloat16:
		rewrite.AutoMixedPrecision = for_core_protos_go_proto.RewriterConfig_ON
	default:
		return nil, captioner.Errorf(captioner.Invalid, "there is no precision %q", o.Precision)
	}
	if rewrite != nil {
		config.GraphOptions = &for_core_protos_go_proto.GraphOptions{RewriteOptions: rewrite}
	}
	data, err := proto.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("session options: %w", err)
	}
	return &graft.SessionOptions{Config: data}, nil
}

// Feeds are the values of placeholders in one Run.
type Feeds map[Output]*Tensor

// Run computes the fetches and runs the targets. The caller releases the
// tensors that it returns; those fed stay the caller's too.
func (s *Session) Run(feeds Feeds, fetches []Output, targets ...*Operation) ([]*Tensor, error) {
	inner := make(map[Output]*graft.Tensor, len(feeds))
	for o, t := range feeds {
		t.handle() // panics on a released tensor, where TensorFlow would crash
		inner[s.output(o)] = t.t
	}
	if s.placed != nil {
		fetches, targets = slices.Clone(fetches), slices.Clone(targets)
		for i := range fetches {
			fetches[i] = s.output(fetches[i])
		}
		for i := range targets {
			targets[i] = s.placed.Operation(targets[i].Name())
		}
	}
	results, err := s.s.Run(inner, fetches, targets)
	runtime.KeepAlive(feeds)
	if err != nil {
		return nil, err
	}
	tensors := make([]*Tensor, len(results))
	for i, r := range results {
		tensors[i] = own(&Tensor{t: r})
	}
	return tensors, nil
}

// output returns what stands for o in the graph that runs.
func (s *Session) output(o Output) Output {
	if s.placed == nil {
		return o
	}
	return s.placed.Operation(o.Op.Name()).Output(o.Index)
}

// Devices returns TensorFlow's names of what the session computes on, such as
// "/job:localhost/replica:0/task:0/device:CPU:0".
func (s *Session) Devices() ([]string, error) {
	devices, err := s.s.ListDevices()
	if err != nil {
		return nil, fmt.Errorf("list TensorFlow devices: %w", err)
	}
	names := make([]string, len(devices))
	for i, d := range devices {
		names[i] = d.Name
	}
	return names, nil
}

// Close waits for running calls and frees the session and its variables.
func (s *Session) Close() error { return s.s.Close() }

// Devices returns TensorFlow's names of what it computes on. It opens a
// session, hence the number of threads: see [NewSession].
func Devices(threads int) ([]string, error) {
	s, err := NewSession(graft.NewGraph(), threads)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Devices()
}
