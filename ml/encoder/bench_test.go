package encoder_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/cputime"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// BenchmarkEncode encodes pictures as an exported graph does, weights frozen,
// a batch in each of as many threads as there are processors, and in turns with
// it the frozen graph of Keras, driven from Python. Processor's time counts
// where other work shares the machine: cpu-ratio is how many times as many
// pictures the same seconds of it do, and peak is the share of what products of
// matrices reach in them.
func BenchmarkEncode(b *testing.B) {
	keras := startKeras(b)
	for _, p := range encoder.Pretraineds() {
		for _, batch := range []int64{1, 8, 16, 32} {
			b.Run(fmt.Sprintf("%s/batch=%d", p.Name, batch), func(b *testing.B) {
				benchmarkEncode(b, p, batch, keras)
			})
		}
	}
}

func benchmarkEncode(b *testing.B, p encoder.Pretrained, batch int64, keras func(string, int64) usage) {
	graph, in, grid := frozen(b, p)
	pixels := tf.NewTensor(tf.Uint8, batch, int64(p.Side), int64(p.Side), 3)
	defer pixels.Release()
	for i := range pixels.Bytes() {
		pixels.Bytes()[i] = byte(i * 7)
	}
	encode := func(precision string) func() usage {
		session, err := tf.OpenSession(graph, tf.Options{Precision: precision})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { session.Close() })
		run := func() usage { return parallel(b, session, tf.Feeds{in: pixels}, grid) }
		run() // optimises the graph
		return run
	}
	full, multiply := encode(captioner.PrecisionFloat32), matMul(b)
	half, precision := func() usage { return usage{} }, halfPrecision(b)
	if precision != "" {
		half = encode(precision)
	}
	var ours, halved, theirs, product usage
	for b.Loop() {
		ours = ours.add(full())
		halved = halved.add(half())
		theirs = theirs.add(keras(p.Name, batch))
		product = product.add(multiply())
	}
	callers := float64(runtime.NumCPU())
	once := float64(b.N) * float64(batch) // Keras has one caller, whose operations take all threads
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(callers*once/ours.wall.Seconds(), "pictures/s")
	b.ReportMetric(once/theirs.wall.Seconds(), "keras-pictures/s")
	b.ReportMetric(1e3*ours.cpu.Seconds()/once/callers, "cpu-ms/picture")
	b.ReportMetric(1e3*theirs.cpu.Seconds()/once, "keras-cpu-ms/picture")
	peak := callers * float64(b.N) * matMulOps / product.cpu.Seconds()
	b.ReportMetric(peak/1e9, "peak-GFLOP/s")
	b.ReportMetric(callers*once*operations(b, graph)/ours.cpu.Seconds()/peak, "peak")
	if precision != "" {
		b.ReportMetric(callers*once/halved.wall.Seconds(), precision+"-pictures/s")
		b.ReportMetric(1e3*halved.cpu.Seconds()/once/callers, precision+"-cpu-ms/picture")
	}
}

// halfPrecision returns the numbers of 16 bits that the device computes with,
// empty where it has none.
func halfPrecision(b *testing.B) string {
	devices, err := tf.Devices(0)
	if err != nil {
		b.Fatal(err)
	}
	switch {
	case strings.Contains(strings.Join(devices, " "), "device:GPU:"):
		return captioner.PrecisionFloat16
	case tf.Supports(captioner.PrecisionBfloat16) == nil:
		return captioner.PrecisionBfloat16
	}
	return ""
}

// usage is what something took: time on the clock, and of all processors.
type usage struct{ wall, cpu time.Duration }

func (u usage) add(v usage) usage { return usage{u.wall + v.wall, u.cpu + v.cpu} }

// parallel runs the session once in each processor's thread.
func parallel(b *testing.B, session *tf.Session, feeds tf.Feeds, fetch tf.Output) usage {
	begun, used := time.Now(), cputime.Used()
	var group errgroup.Group
	for range runtime.NumCPU() {
		group.Go(func() error {
			results, err := session.Run(feeds, []tf.Output{fetch})
			tf.ReleaseAll(results)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return usage{time.Since(begun), cputime.Used() - used}
}

// frozen returns the graph of an encoder with random weights, from the bytes of
// pixels to the feature map.
func frozen(b testing.TB, p encoder.Pretrained) (graph *tf.Graph, in, grid tf.Output) {
	s := tf.NewScope()
	weights := nn.NewVariables(s, 1)
	side := int64(p.Side)
	p.Encode(&nn.Tower{Scope: s, Weights: weights}, tf.Placeholder(s, tf.Float, -1, side, side, 3))
	values := weights.Initial()
	defer tf.ReleaseMap(values)
	for name, v := range values { // TensorFlow leaves out what adds 0
		if strings.HasSuffix(name, "/offset") || strings.HasSuffix(name, "/mean") || strings.HasSuffix(name, "/bias") {
			for i := range v.Float32s() {
				v.Float32s()[i] += 0.01 * float32(i%7)
			}
		}
	}

	s = tf.NewScope()
	in = tf.Placeholder(s, tf.Uint8, -1, side, side, 3)
	grid = p.Encode(&nn.Tower{Scope: s, Weights: nn.NewConstants(values)}, nn.Cast(s, in, tf.Float))
	graph, err := s.Finalize()
	if err != nil {
		b.Fatal(err)
	}
	return graph, in, grid
}

// operations returns the floating-point operations of the graph's convolutions
// for one picture: a multiplication and an addition for each weight of a
// channel and each location.
func operations(b *testing.B, graph *tf.Graph) float64 {
	def, err := tf.GraphDef(graph)
	if err != nil {
		b.Fatal(err)
	}
	total := 0.0
	for _, node := range def.GetNode() {
		if node.GetOp() != "Conv2D" && node.GetOp() != "DepthwiseConv2dNative" {
			continue
		}
		out := graph.Operation(node.GetName()).Output(0).Shape()
		kernel := graph.Operation(node.GetInput()[1]).Output(0).Shape()
		window := float64(kernel.Size(0) * kernel.Size(1))
		if node.GetOp() == "Conv2D" {
			window *= float64(kernel.Size(2))
		}
		total += 2 * window * float64(out.Size(1)*out.Size(2)*out.Size(3))
	}
	return total
}

const (
	matMulSide = 2048
	matMulOps  = 2.0 * matMulSide * matMulSide * matMulSide
)

// matMul returns a product of large matrices in each processor's thread.
func matMul(b *testing.B) func() usage {
	s := tf.NewScope()
	in := tf.Placeholder(s, tf.Float)
	ones := tf.Out(s, "Fill", nil, tf.Ints(s, matMulSide, matMulSide), in)
	product := nn.Sum(s, tf.Out(s, "MatMul", nil, ones, ones), 0, 1)
	graph, err := s.Finalize()
	if err != nil {
		b.Fatal(err)
	}
	session, err := tf.NewSession(graph, runtime.NumCPU())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { session.Close() })
	one := tf.FromFloat32([]float32{1})
	b.Cleanup(one.Release)
	return func() usage { return parallel(b, session, tf.Feeds{in: one}, product) }
}

// startKeras starts the Python side and returns what encodes a batch with it.
func startKeras(b *testing.B) func(name string, batch int64) usage {
	p := kerastest.Start(b, "../../tools/bench/encoder.py", runtime.NumCPU())
	return func(name string, batch int64) usage {
		var wall, cpu float64
		p.Ask(b, fmt.Sprint(name, " ", batch), &wall, &cpu)
		return usage{time.Duration(wall * float64(time.Second)), time.Duration(cpu * float64(time.Second))}
	}
}
