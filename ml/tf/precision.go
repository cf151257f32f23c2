package tf

import (
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/processor"
)

// Supports returns an Invalid error if it can be told without trying that this
// processor does not compute in the precision.
func Supports(precision string) error {
	if precision == captioner.PrecisionBfloat16 && !processor.Bfloat16() {
		return captioner.Errorf(captioner.Invalid, "training.precision bfloat16 needs a processor with AVX512-BF16 or AMX, and this one has neither: use float32")
	}
	return nil
}

// keptInFloat32 are operations that TensorFlow would compute in bfloat16 for being
// between products, and that are slower there: with them in float32 a step of
// lstm-attention takes 0.86 of the time; see docs/decisions/0013.
const keptInFloat32 = "Add,AddN,AddV2,Tanh,TanhGrad"

// keepInFloat32 tells TensorFlow's rewriting of graphs about them. It reads this
// variable of the environment and has no option of a session for it.
func keepInFloat32() error {
	const name = "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_INFERLIST_REMOVE"
	if _, set := os.LookupEnv(name); set {
		return nil
	}
	return os.Setenv(name, keptInFloat32)
}

// Probe computes a product and its gradient in the precision and checks what
// comes out. Instructions that the processor or its hypervisor only claims to
// have end the process: run it in one of its own.
func Probe(precision string, threads int) error {
	const n = 128
	s := NewScope()
	x := Placeholder(s, Float, n, n)
	y := Out(s, "MatMul", nil, x, x)
	dx := Gradients(s, []Output{Out(s, "Mean", nil, Out(s, "Tanh", nil, y), Ints(s, 0, 1))}, []Output{x})
	graph, err := s.Finalize()
	if err != nil {
		return err
	}
	session, err := OpenSession(graph, Options{Threads: threads, Precision: precision})
	if err != nil {
		return err
	}
	defer session.Close()
	in := FromFloat32(make([]float32, n*n), n, n)
	defer in.Release()
	for i := range in.Float32s() {
		in.Float32s()[i] = float32(i%7-3) / 64
	}
	results, err := session.Run(Feeds{x: in}, []Output{y, dx[0]})
	if err != nil {
		return err
	}
	defer ReleaseAll(results)
	for i, got := range results[0].Float32s() {
		want := 0.0
		for k := range n {
			want += float64(in.Float32s()[i/n*n+k]) * float64(in.Float32s()[k*n+i%n])
		}
		if math.Abs(float64(got)-want) > 0.01 {
			return fmt.Errorf("product %d is %v, want %v", i, got, want)
		}
	}
	for _, d := range results[1].Float32s() {
		if math.IsNaN(float64(d)) || math.Abs(float64(d)) > 1 {
			return errors.New("the gradient of a product makes no sense")
		}
	}
	return nil
}
