package tf

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func finalize(t testing.TB, s *Scope) *Graph {
	t.Helper()
	g, err := s.Finalize()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func session(t testing.TB, s *Scope) *Session {
	t.Helper()
	sess, err := NewSession(finalize(t, s), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sess.Close() })
	return sess
}

func TestVersion(t *testing.T) {
	if err := CheckVersion(); err != nil {
		t.Error(err)
	}
	if err := checkVersion("2.17.1"); err == nil || !strings.Contains(err.Error(), "2.17.1") {
		t.Errorf("another version was accepted: %v", err)
	}
	devices, err := Devices(2)
	if err != nil || len(devices) == 0 || !strings.Contains(devices[0], "CPU:0") {
		t.Errorf("Devices() = %v, %v", devices, err)
	}
}

// residentBytes returns the resident set size of this process.
func residentBytes(t *testing.T) int {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("needs /proc")
	}
	pages, _ := strconv.Atoi(strings.Fields(string(data))[1])
	return pages * os.Getpagesize()
}

// 10,000 steps feed and fetch 1.6 GB of numbers and 0.6 GB of strings; with
// the collector off only Release can give them back.
func TestMemoryStaysFlat(t *testing.T) {
	s := NewScope()
	x := Placeholder(s, Float, 1, -1)
	text := Placeholder(s, String)
	y := Out(s, "AddV2", nil, x, Scalar(s, 1))
	echo := Out(s, "StringUpper", nil, text)
	sess := session(t, s)

	data := make([]float32, 20_000)
	long := strings.Repeat("x", 30_000)
	step := func() {
		feeds := Feeds{x: FromFloat32(data, 1, int64(len(data))), text: FromString(long)}
		results, err := sess.Run(feeds, []Output{y, echo})
		if err != nil {
			t.Fatal(err)
		}
		if got := results[0].Float32s()[5]; got != 1 {
			t.Fatalf("step computed %v, want 1", got)
		}
		ReleaseAll(results)
		for _, f := range feeds {
			f.Release()
		}
	}
	for range 500 {
		step()
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	before := residentBytes(t)
	for range 10_000 {
		step()
	}
	if grown := residentBytes(t) - before; grown > 60<<20 {
		t.Errorf("memory grew by %d MB in 10,000 steps", grown>>20)
	}
}

func TestErrorsStick(t *testing.T) {
	s := NewScope()
	bad := Out(s, "MatMul", nil, Scalar(s, 1), Scalar(s, 2)) // matrices are wanted
	later := Out(s, "Relu", nil, bad)
	Named(s, "name", later)
	Gradients(s, []Output{later}, []Output{bad})
	if later.Op != nil || Dims(s, later) != nil {
		t.Error("an operation was added after an error")
	}
	if _, err := s.Finalize(); err == nil || !strings.Contains(err.Error(), "MatMul") {
		t.Errorf("Finalize() error = %v, want one that names MatMul", err)
	}
}

func TestGradients(t *testing.T) {
	s := NewScope()
	x := Placeholder(s, Float, 2)
	y := Out(s, "Mul", nil, x, Out(s, "Square", nil, x))
	dx := Gradients(s, []Output{y}, []Output{x})
	scaled := Gradients(s, []Output{y}, []Output{x}, Floats(s, []float32{10, 1}))
	sess := session(t, s)

	in := FromFloat32([]float32{2, -1}, 2)
	defer in.Release()
	results, err := sess.Run(Feeds{x: in}, []Output{dx[0], scaled[0]})
	if err != nil {
		t.Fatal(err)
	}
	defer ReleaseAll(results)
	if diff := cmp.Diff([]float32{12, 3}, results[0].Float32s()); diff != "" { // 3x²
		t.Errorf("gradient (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]float32{120, 3}, results[1].Float32s()); diff != "" {
		t.Errorf("gradient with dy (-want +got):\n%s", diff)
	}
}

func TestGradientOfUnusedInput(t *testing.T) {
	s := NewScope()
	x, unused := Placeholder(s, Float, 2), Placeholder(s, Float, 2)
	Gradients(s, []Output{Out(s, "Square", nil, x)}, []Output{x, unused})
	if _, err := s.Finalize(); err == nil {
		t.Error("no error for an input that does not reach the output")
	}
}
