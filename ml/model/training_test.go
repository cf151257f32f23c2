package model

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// alone is an encoder whose pictures do not know of each other, as those of a
// batch do in batch normalisation.
const alone = "test-alone"

func init() {
	encoder.Register(alone, func(t *nn.Tower, pixels tf.Output) tf.Output {
		x := nn.Conv2D(t.Sub("cells"), nn.Scale(t.Scope, pixels, 1.0/255), 8, 8, 8) // [B, 4, 4, 8]
		return nn.Reshape(t.Scope, nn.Tanh(t.Scope, x), -1, 16, 8)
	})
}

// pieces are n batches of two pictures, no two with the same words.
func pieces(n int) []Batch {
	batches := make([]Batch, n)
	for i := range batches {
		b := captionsBatch(32)
		for j := range b.Pixels {
			b.Pixels[j] += byte(40 * i)
		}
		for j, target := range b.Targets {
			b.Targets[j] = (target+int32(i)-3)%6 + 3
		}
		b.Rows, b.Targets = b.Rows[i%3:], b.Targets[i%3:] // not all have as many
		batches[i] = b
	}
	return batches
}

// together joins batches to one.
func together(batches []Batch) Batch {
	all := Batch{Captions: batches[0].Captions, Length: batches[0].Length}
	for _, b := range batches {
		for _, row := range b.Rows {
			all.Rows = append(all.Rows, row+int32(len(all.Tokens)))
		}
		all.Images += b.Images
		all.Pixels, all.Tokens = append(all.Pixels, b.Pixels...), append(all.Tokens, b.Tokens...)
		all.Targets, all.Labels = append(all.Targets, b.Targets...), append(all.Labels, b.Labels...)
	}
	return all
}

// withTowers is the test's model with so many towers.
func withTowers(t testing.TB, c captioner.Config, towers int, o tf.Options) trainer {
	t.Helper()
	return opened(t, testModel(t, c.Model), c, 2, towers, o)
}

// losses takes steps on the same batches.
func (g trainer) losses(t *testing.T, batches []Batch, steps int) []float64 {
	t.Helper()
	losses := make([]float64, steps)
	for i := range losses {
		var err error
		if losses[i], err = g.Step(g.session, batches, i+1, 1e-3); err != nil {
			t.Fatal(err)
		}
	}
	return losses
}

// compareLosses wants two curves of the same training: 1e-5 is what single
// precision leaves of sums in another order after some steps of Adam.
func compareLosses(t *testing.T, got, want []float64) {
	t.Helper()
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-5 {
			t.Errorf("loss of step %d is %.7f, want %.7f", i+1, got[i], want[i])
			return
		}
	}
	if last := want[len(want)-1]; last > want[0]-0.05 {
		t.Errorf("the loss only fell from %.4f to %.4f: nothing was learned that could differ", want[0], last)
	}
}

// However a batch is cut, by towers or by turns, and wherever the towers are, it
// is the same training, as far as its pictures do not see each other and nothing
// is random.
func TestBatchesHoweverCut(t *testing.T) {
	c := testConfig()
	c.Model.Encoder, c.Model.Dropout = alone, 0
	whole := withTowers(t, c, 1, tf.Options{})
	want := whole.losses(t, []Batch{together(pieces(4))}, 50)

	turns := c
	turns.Training.AccumulationSteps = 4
	two := turns
	two.Training.AccumulationSteps = 2
	devices := []string{"/device:CPU:0", "/device:CPU:1"}
	for name, g := range map[string]trainer{
		"four towers":                          withTowers(t, c, 4, tf.Options{}),
		"four turns of one tower":              withTowers(t, turns, 1, tf.Options{}),
		"two turns of two towers":              withTowers(t, two, 2, tf.Options{}),
		"four towers on two devices":           withTowers(t, c, 4, tf.Options{CPUs: 2, Placement: Placement(devices)}),
		"two turns of two towers, two devices": withTowers(t, two, 2, tf.Options{CPUs: 2, Placement: Placement(devices)}),
	} {
		t.Run(name, func(t *testing.T) { compareLosses(t, g.losses(t, pieces(4), 50), want) })
	}
}

// With all that a training has, batch normalisation and dropout too, towers on
// two devices compute what they compute on one.
func TestTowersOnTwoDevices(t *testing.T) {
	for _, decoder := range Decoders() {
		t.Run(decoder, func(t *testing.T) {
			c := testConfig()
			c.Model.Decoder = decoder
			c.Training.Epsilon = 1e-7 // what is nothing but rounding moves no weight
			want := withTowers(t, c, 2, tf.Options{}).losses(t, pieces(2), 50)
			two := withTowers(t, c, 2, tf.Options{CPUs: 2, Placement: Placement([]string{"/device:CPU:0", "/device:CPU:1"})})
			compareLosses(t, two.losses(t, pieces(2), 50), want)
		})
	}
}

// Operations of the second tower, those of its gradients included, are on the
// second device, and those of nobody are nowhere.
func TestPlacementOfTowers(t *testing.T) {
	g, err := NewTraining(testModel(t, testConfig().Model), testConfig().Training, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	def, err := tf.GraphDef(g.Graph)
	if err != nil {
		t.Fatal(err)
	}
	placement := Placement([]string{"a", "b"})
	products := map[string]int{}
	for _, node := range def.GetNode() {
		if op := node.GetOp(); op == "MatMul" || op == "Conv2DBackpropFilter" {
			products[placement(node.GetName())]++
		} else if op == "ResourceApplyAdam" && placement(node.GetName()) != "" {
			t.Errorf("%s is on a device of a tower", node.GetName())
		}
	}
	// The third tower shares the first device; the validating one has a forward
	// pass alone.
	if products["b"] == 0 || products["a"] != 2*products["b"] || products[""] == 0 || products[""] >= products["b"] {
		t.Errorf("products by device: %v", products)
	}
	if one := Placement([]string{"a"}); one("tower0/MatMul") != "" {
		t.Error("a single device is named")
	}
}

// A float16 training whose gradients overflow leaves the weights alone and
// halves the scale, until they are finite; then it takes the step that one
// without a scale takes, since a power of two changes no digit.
func TestLossScale(t *testing.T) {
	c := testConfig()
	c.Model.Dropout = 0
	plain := newTrainer(t, c)
	c.Training.Precision = captioner.PrecisionFloat16
	scaled := newTrainer(t, c) // whose session computes in float32
	batches := []Batch{captionsBatch(32), captionsBatch(32)}

	trained := func(g trainer) map[string]*tf.Tensor {
		var names []string
		for _, w := range g.Weights.Trained() {
			names = append(names, w.Name)
		}
		values, err := g.Weights.All().Read(g.session, names...)
		if err != nil {
			t.Fatal(err)
		}
		defer tf.ReleaseMap(values)
		copies := map[string]*tf.Tensor{}
		for name, v := range values {
			copies[name] = tf.FromFloat32(v.Float32s(), v.Shape()...)
		}
		t.Cleanup(func() { tf.ReleaseMap(copies) })
		return copies
	}
	before := trained(scaled)
	const planted = 0x1p127 // the highest power of two there is
	scaled.LossScale.Scale = planted
	if _, err := scaled.Step(scaled.session, batches, 1, 1e-3); err != nil {
		t.Fatal(err)
	}
	if l := scaled.LossScale; l.Scale != planted/2 || l.Skipped != 1 || l.Good != 0 {
		t.Fatalf("after an overflow the scale is %+v", l)
	}
	for name, v := range trained(scaled) {
		if !bytes.Equal(v.Bytes(), before[name].Bytes()) {
			t.Fatalf("%s moved in a step that was skipped", name)
		}
	}
	step := 1
	for ; scaled.LossScale.Good == 0; step++ {
		if step > 140 {
			t.Fatalf("the gradients stay infinite: %+v", scaled.LossScale)
		}
		if _, err := scaled.Step(scaled.session, batches, step+1, 1e-3); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := plain.Step(plain.session, batches, 1, 1e-3); err != nil {
		t.Fatal(err)
	}
	want := trained(plain)
	for name, v := range trained(scaled) {
		for i, got := range v.Float32s() {
			if w := want[name].Float32s()[i]; math.Abs(float64(got-w)) > 1e-6 {
				t.Fatalf("%s[%d] is %v after the first good step, want %v", name, i, got, w)
			}
		}
	}
}

// bfloat16 has 8 bits of precision: a step's loss is the same to 1e-2, and some
// steps later the two trainings are still close.
func TestBfloat16(t *testing.T) {
	if err := tf.Supports(captioner.PrecisionBfloat16); err != nil {
		t.Skip(err)
	}
	for _, decoder := range Decoders() {
		t.Run(decoder, func(t *testing.T) {
			c := testConfig()
			c.Model.Decoder, c.Model.Dropout = decoder, 0
			const steps = 15
			want := withTowers(t, c, 2, tf.Options{}).losses(t, pieces(2), steps)
			g := withTowers(t, c, 2, tf.Options{Precision: captioner.PrecisionBfloat16})
			got := g.losses(t, pieces(2), steps)
			if math.Abs(got[0]-want[0]) > 0.01*want[0] {
				t.Errorf("the first loss is %.5f, want %.5f to 1 %%", got[0], want[0])
			}
			if last := steps - 1; math.Abs(got[last]-want[last]) > 0.1*want[last] {
				t.Errorf("losses %.3f, want about %.3f", got, want)
			}
			if slices.Equal(got, want) {
				t.Error("all losses are those of float32: nothing was computed in bfloat16")
			}
			// The weights stay what they are.
			values, err := g.Weights.All().Read(g.session)
			if err != nil {
				t.Fatal(err)
			}
			defer tf.ReleaseMap(values)
			for name, v := range values {
				if v.DataType() != tf.Float {
					t.Errorf("%s has type %d", name, v.DataType())
				}
			}
		})
	}
}
