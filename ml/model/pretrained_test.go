package model

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/internal/processor"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/tf"
)

// reference has the weights of random encoders that Keras has made, pictures,
// and what Keras' encoders make of them.
func reference(t testing.TB) string {
	t.Helper()
	return kerastest.Folder(t, filepath.Join("..", "encoder", "testdata", "reference.py"))
}

// frozenConfig is a model whose encoder has weights of Keras'.
func frozenConfig(t testing.TB, name string) captioner.Config {
	t.Helper()
	c := testConfig()
	c.Model.Encoder, c.Model.ImageSize = name, captioner.PretrainedShape(name).Side
	c.Model.Weights = filepath.Join(reference(t), strings.ToLower(name)+".weights.h5")
	return c
}

// referenceData returns a data set of the encoder's reference.
func referenceData(t testing.TB, name, data string) []float32 {
	t.Helper()
	return kerastest.Dataset(t, filepath.Join(reference(t), strings.ToLower(name)+"_reference.h5"), data)
}

// referenceSquares returns the reference's two pictures as bytes.
func referenceSquares(t testing.TB, name string) [][]byte {
	t.Helper()
	values := referenceData(t, name, "pictures")
	pixels := make([]byte, len(values))
	for i, v := range values {
		pixels[i] = byte(v)
	}
	return [][]byte{pixels[:len(pixels)/2], pixels[len(pixels)/2:]}
}

func newExtractor(t testing.TB, c captioner.ModelConfig) *Extractor {
	t.Helper()
	e, err := NewExtractor(c, tf.Options{Threads: testThreads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func encode(t testing.TB, e *Extractor, squares ...[]byte) [][]byte {
	t.Helper()
	records, err := e.Encode(squares)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// floats reads records of float16 or float32.
func floats(layout features.Layout, records [][]byte) []float32 {
	var values []float32
	for data := slices.Concat(records...); len(data) > 0; {
		if layout.Type == features.Float32 {
			values, data = append(values, math.Float32frombits(binary.LittleEndian.Uint32(data))), data[4:]
			continue
		}
		half := binary.LittleEndian.Uint16(data)
		value := math.Ldexp(float64(half&0x3ff), -24) // subnormal
		if exponent := int(half >> 10 & 0x1f); exponent > 0 {
			value = math.Ldexp(float64(half&0x3ff|0x400), exponent-25)
		}
		if half>>15 == 1 {
			value = -value
		}
		values, data = append(values, float32(value)), data[2:]
	}
	return values
}

// difference returns the largest one, as a share of the largest value.
func difference(t testing.TB, got, want []float32) float64 {
	t.Helper()
	if len(got) != len(want) || len(want) == 0 {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	var largest, apart float64
	for i := range want {
		largest = max(largest, math.Abs(float64(want[i])))
		apart = max(apart, math.Abs(float64(got[i]-want[i])))
	}
	return apart / largest
}

// asExtracted reports whether this process computes convolutions as the engine that
// extracts does, with oneDNN. If not it runs the test in one that does.
func asExtracted(t *testing.T) bool {
	t.Helper()
	if processor.OneDNN() || os.Getenv(processor.OneDNNVariable) == "1" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), processor.OneDNNVariable+"=1")
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v in a process with oneDNN:\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP: "+t.Name())):
		t.Skipf("%s", out)
	default:
		t.Logf("%s", out)
	}
	return false
}

// What is kept of a picture is what Keras' encoder makes of it, and does not
// depend on what is encoded beside it, which with oneDNN is so to the last bit.
func TestExtractor(t *testing.T) {
	if !asExtracted(t) {
		return
	}
	for _, name := range []string{"EfficientNetB3", "InceptionV3"} {
		for kind, tolerance := range map[string]float64{"float32": 1e-4, "float16": 6e-4} { // half a unit of 11 bits
			t.Run(name+"/"+kind, func(t *testing.T) {
				c := frozenConfig(t, name).Model
				c.FeatureType = kind
				e := newExtractor(t, c)
				squares := referenceSquares(t, name)
				records := encode(t, e, squares...)
				got := difference(t, floats(e.Layout(), records), referenceData(t, name, "features"))
				if got > tolerance {
					t.Errorf("features differ by %.1e of the largest value, want at most %g", got, tolerance)
				}
				t.Logf("features differ by %.1e of the largest value", got)
				alone := encode(t, e, squares[1])
				full := encode(t, e, slices.Repeat(squares, extractorBatch/2)...)
				for i := range full {
					if !bytes.Equal(full[i], records[i%2]) {
						t.Errorf("picture %d of %d is another than among 2", i, len(full))
					}
				}
				if !bytes.Equal(alone[0], records[1]) {
					t.Error("a picture alone is another than beside one")
				}
			})
		}
	}
}

// Features in bfloat16, which has 8 bits, are others, and no further away than a
// network of random weights takes such a difference: TestBfloat16 of ml/encoder
// compares that with noise in the pictures.
func TestExtractorPrecision(t *testing.T) {
	if err := tf.Supports(captioner.PrecisionBfloat16); err != nil {
		t.Skip(err)
	}
	for name, most := range map[string]float64{"EfficientNetB3": 0.1, "InceptionV3": 0.5} {
		c := frozenConfig(t, name).Model
		e, err := NewExtractor(c, tf.Options{Threads: testThreads, Precision: captioner.PrecisionBfloat16})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		got := floats(e.Layout(), encode(t, e, referenceSquares(t, name)...))
		want := referenceData(t, name, "features")
		apart, length := 0.0, 0.0
		for i := range want {
			apart += math.Pow(float64(got[i]-want[i]), 2)
			length += math.Pow(float64(want[i]), 2)
		}
		share := math.Sqrt(apart / length)
		if !(share > 1e-3 && share < most) {
			t.Errorf("%s: features differ by %.2f %% of their length, want between 0.1 and %.0f", name, 100*share, 100*most)
		}
		t.Logf("%s: features differ by %.2f %% of their length", name, 100*share)
	}
}

// A model is trained on the kept features, and its export makes the same of the
// pictures themselves.
func TestFrozenEncoder(t *testing.T) {
	for _, name := range []string{"EfficientNetB3", "InceptionV3"} {
		t.Run(name, func(t *testing.T) {
			c := frozenConfig(t, name)
			e, g := newExtractor(t, c.Model), newTrainer(t, c)
			if g.input != e.Layout() {
				t.Fatalf("the model is trained on %v, and extraction gives %v", g.input, e.Layout())
			}
			for _, w := range g.Weights.Trained() {
				if g.model.pretrained.values[w.Name] != nil {
					t.Errorf("%s is trained", w.Name)
				}
			}
			squares := referenceSquares(t, name)
			batch := captionsBatch(32)
			batch.Pixels = slices.Concat(encode(t, e, squares...)...)
			first, last := 0.0, 0.0
			for i := 1; i <= 40; i++ {
				loss, err := g.Step(g.session, []Batch{batch, batch}, i, 1e-2)
				if err != nil {
					t.Fatal(err)
				}
				if last = loss; i == 1 {
					first = loss
				}
			}
			if !(last < 0.8*first) {
				t.Errorf("the loss went from %.3f to %.3f: nothing was learned", first, last)
			}
			served, _ := exported(t, g)
			sameMemory(t, served, e.Layout(), squares, batch.Pixels)
		})
	}
}

// sameMemory compares what the decoder gets of pictures and of kept features.
func sameMemory(t *testing.T, served *tf.SavedModel, layout features.Layout, squares [][]byte, records []byte) {
	t.Helper()
	side := int64(math.Sqrt(float64(len(squares[0]) / 3)))
	pixels := tf.FromBytes(slices.Concat(squares...), int64(len(squares)), side, side, 3)
	defer pixels.Release()
	kept := Records(layout, records, len(squares))
	defer kept.Release()
	fromPixels := run(t, served, "encode", map[string]*tf.Tensor{"pixels": pixels}, "memory", "state")
	fromFeatures := run(t, served, "encode_features", map[string]*tf.Tensor{"features": kept}, "memory", "state")
	if got := difference(t, fromFeatures[0].Float32s(), fromPixels[0].Float32s()); got > 2e-3 {
		t.Errorf("memory from features differs by %.1e of the largest value", got)
	}
	if !slices.Equal(fromFeatures[1].Shape(), fromPixels[1].Shape()) {
		t.Errorf("state has shape %v from features and %v from pixels", fromFeatures[1].Shape(), fromPixels[1].Shape())
	}
}

// Of an encoder that is fine-tuned the last blocks change, at a rate of their
// own, and all else and the statistics stay what they were in the file.
func TestFineTuning(t *testing.T) {
	for _, test := range []struct {
		encoder string
		blocks  int
		moves   []string // what begins the names of what is trained, below encoder/
		stays   []string
	}{
		{"EfficientNetB3", 2, []string{"block7b_", "top_"}, []string{"block7a_", "stem_"}},
		{"InceptionV3", 1, []string{"mixed10"}, []string{"mixed9", "stem1"}},
		{"InceptionV3", -1, []string{"mixed10", "mixed0", "stem1"}, nil},
	} {
		t.Run(test.encoder, func(t *testing.T) {
			c := frozenConfig(t, test.encoder)
			c.Training.FineTuneBlocks, c.Model.FeatureType = test.blocks, ""
			g := newTrainer(t, c)
			if want := features.Pixels(c.Model.ImageSize); g.input != want {
				t.Fatalf("trained on %v, want %v", g.input, want)
			}
			given := g.model.pretrained.values
			before := g.Initial()
			defer tf.ReleaseMap(before)
			trained := map[string]bool{}
			for _, w := range g.Weights.Trained() {
				trained[w.Name] = true
				if given[w.Name] != nil && !bytes.Equal(before[w.Name].Bytes(), given[w.Name].Bytes()) {
					t.Errorf("%s does not start as the file has it", w.Name)
				}
			}
			for _, v := range g.Weights.All().All() {
				name := strings.TrimPrefix(strings.TrimPrefix(v.Name, "adam/m/"), "adam/v/")
				if given[name] != nil && !trained[name] {
					t.Errorf("%s takes memory and is not trained", v.Name)
				}
			}
			for name := range given {
				layer := strings.TrimPrefix(name, encoderPrefix)
				begins := func(prefix string) bool { return strings.HasPrefix(layer, prefix) }
				statistic := strings.HasSuffix(name, "/mean") || strings.HasSuffix(name, "/variance")
				if slices.ContainsFunc(test.moves, begins) && trained[name] == statistic || slices.ContainsFunc(test.stays, begins) && trained[name] {
					t.Errorf("%s: trained is %v", name, trained[name])
				}
			}

			squares := referenceSquares(t, test.encoder)
			batch := captionsBatch(32)
			batch.Pixels = slices.Concat(squares...)
			const rate = 1e-3
			if _, err := g.Step(g.session, []Batch{batch, batch}, 1, rate); err != nil {
				t.Fatal(err)
			}
			after, err := g.Weights.All().Read(g.session)
			if err != nil {
				t.Fatal(err)
			}
			defer tf.ReleaseMap(after)
			largest := map[bool]float64{} // step of the encoder's weights, and of the others
			for name := range trained {
				now := after[name].Float32s()
				for i, was := range before[name].Float32s() {
					own := given[name] != nil
					largest[own] = max(largest[own], math.Abs(float64(now[i]-was)))
				}
			}
			// The first step of Adam is as long as the rate, whatever the gradient.
			if math.Abs(largest[true]-0.1*rate) > 1e-2*rate || math.Abs(largest[false]-rate) > 1e-1*rate {
				t.Errorf("the encoder's weights moved by %.3g and the others by %.3g, want %.3g and %.3g",
					largest[true], largest[false], 0.1*rate, rate)
			}
			exported(t, g)
		})
	}
}

func TestWeightsOfAnother(t *testing.T) {
	right := frozenConfig(t, "InceptionV3").Model
	other, short, none := right, right, right
	other.Weights = frozenConfig(t, "EfficientNetB3").Model.Weights
	whole, err := os.ReadFile(right.Weights)
	if err != nil {
		t.Fatal(err)
	}
	short.Weights = filepath.Join(t.TempDir(), "short.h5")
	if err := os.WriteFile(short.Weights, whole[:len(whole)*9/10], 0o600); err != nil {
		t.Fatal(err)
	}
	none.Weights = ""
	for what, test := range map[string]struct {
		model    captioner.ModelConfig
		kind     captioner.Kind
		code     string
		problems int
	}{
		"another network": {other, captioner.Invalid, "weights_mismatch", 50},
		"cut short":       {short, captioner.Corrupt, "", 0},
		"none":            {none, captioner.Invalid, "", 0},
	} {
		_, err := NewExtractor(test.model, tf.Options{Threads: testThreads})
		if captioner.KindOf(err) != test.kind || test.code != "" && captioner.CodeOf(err) != test.code || len(captioner.ProblemsOf(err)) < test.problems {
			t.Errorf("%s: %d problems, %v", what, len(captioner.ProblemsOf(err)), err)
		}
	}
}
