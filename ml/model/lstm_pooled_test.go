package model

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/text"
	"github.com/captioner/captioner/ml/tf"
)

// pooledSizes are those of the tests of lstm-pooled.
const (
	pooledLocations = 3
	pooledFeatures  = 5
)

// captionLoss is the decoder above given features, with the mean loss of its
// words and the gradients of all weights.
type captionLoss struct {
	session                         *tf.Session
	weights                         *nn.Variables
	features, tokens, rows, targets tf.Output
	results                         []tf.Output // the loss, then the gradients
}

// newCaptionLoss builds the decoder with random weights, biases among them.
func newCaptionLoss(t *testing.T, m *Model) *captionLoss {
	t.Helper()
	s := tf.NewScope()
	c := &captionLoss{weights: nn.NewVariables(s, 9)}
	c.features = tf.Placeholder(s.SubScope("features"), tf.Float, -1, pooledLocations, pooledFeatures)
	c.tokens = tf.Placeholder(s.SubScope("tokens"), tf.Int32, -1, -1, -1)
	c.rows = tf.Placeholder(s.SubScope("rows"), tf.Int32, -1)
	c.targets = tf.Placeholder(s.SubScope("targets"), tf.Int32, -1)
	tower := &nn.Tower{Scope: s, Weights: c.weights} // no training tower: dropout is off

	d := tower.Sub("decoder")
	x := m.decode.Words(d, c.tokens, m.decode.Memory(d, m.project(tower.Sub("encoder"), c.features)))
	logits := m.Logits(d, nn.Gather(s, nn.Reshape(s, x, -1, m.Width), c.rows))
	losses, gradient := nn.CrossEntropy(s, logits, c.targets, 0)
	count := nn.Cast(s, nn.Size(s, c.targets, 0), tf.Float)
	var values []tf.Output
	for _, w := range c.weights.Trained() {
		values = append(values, w.Value)
	}
	gradients := tf.Gradients(s, []tf.Output{logits}, values, tf.Out(s, "RealDiv", nil, gradient, count))
	c.results = append([]tf.Output{nn.Mean(s, losses, false, 0)}, gradients...)
	graph, err := s.Finalize()
	if err != nil {
		t.Fatal(err)
	}
	if c.session, err = tf.NewSession(graph, testThreads); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.session.Close() })
	initial := c.weights.Initial()
	defer tf.ReleaseMap(initial)
	r := rand.New(rand.NewPCG(4, 5))
	for _, w := range c.weights.Trained() {
		for i := range initial[w.Name].Float32s() {
			initial[w.Name].Float32s()[i] += 0.3 * float32(r.NormFloat64())
		}
	}
	if err := c.weights.All().Assign(c.session, initial); err != nil {
		t.Fatal(err)
	}
	return c
}

// run returns the mean loss and the gradients by name.
func (c *captionLoss) run(t *testing.T, features []float32, captions [][][]int32, rows, targets []int32) (float64, map[string][]float32) {
	t.Helper()
	var tokens []int32
	for _, picture := range captions {
		for _, caption := range picture {
			tokens = append(tokens, caption...)
		}
	}
	b, each, length := int64(len(captions)), int64(len(captions[0])), int64(len(captions[0][0]))
	feeds := tf.Feeds{
		c.features: tf.FromFloat32(features, b, pooledLocations, pooledFeatures),
		c.tokens:   tf.FromInt32(tokens, b, each, length),
		c.rows:     tf.FromInt32(rows, int64(len(rows))), c.targets: tf.FromInt32(targets, int64(len(targets))),
	}
	defer release(feeds)
	results, err := c.session.Run(feeds, c.results)
	if err != nil {
		t.Fatal(err)
	}
	defer tf.ReleaseAll(results)
	gradients := map[string][]float32{}
	for i, w := range c.weights.Trained() {
		gradients[w.Name] = append([]float32(nil), results[i+1].Float32s()...)
	}
	return float64(results[0].Float32s()[0]), gradients
}

// A caption at once gives the losses and gradients of the original's training,
// which takes every prefix of a caption for a sample, padded to one length.
func TestPooledEqualsOneSamplePerPrefix(t *testing.T) {
	c := testConfig().Model
	c.Decoder, c.EmbeddingDim = "lstm-pooled", 6
	m := testModel(t, c)
	loss := newCaptionLoss(t, m)

	features := make([]float32, 2*pooledLocations*pooledFeatures)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range features {
		features[i] = float32(r.NormFloat64())
	}
	batch := captionsBatch(32)
	captions := [][][]int32{{batch.Tokens[0:4], batch.Tokens[4:8]}, {batch.Tokens[8:12], batch.Tokens[12:16]}}
	whole, gradients := loss.run(t, features, captions, batch.Rows, batch.Targets)

	// Prefixes are as long as the graph goes, and what follows them is padding
	// for every other one, and words for the rest: nothing may look at them.
	var prefixFeatures []float32
	var prefixes [][][]int32
	var rows []int32
	length := m.MaxTokens - 1
	for i, row := range batch.Rows {
		picture, caption, at := int(row)/8, int(row)/4%2, int(row)%4
		prefix := make([]int32, length)
		for j := range prefix {
			prefix[j] = text.Pad
			if i%2 == 1 {
				prefix[j] = int32(4 + j%5)
			}
		}
		copy(prefix, captions[picture][caption][:at+1])
		size := pooledLocations * pooledFeatures
		prefixFeatures = append(prefixFeatures, features[picture*size:(picture+1)*size]...)
		prefixes, rows = append(prefixes, [][]int32{prefix}), append(rows, int32(i*length+at))
	}
	single, singleGradients := loss.run(t, prefixFeatures, prefixes, rows, batch.Targets)

	if math.Abs(whole-single) > 1e-5 {
		t.Errorf("loss of whole captions %.6f, of prefixes %.6f nats per token", whole, single)
	}
	if len(gradients) != 19 {
		t.Errorf("%d gradients", len(gradients))
	}
	for name, want := range singleGradients {
		scale, off := 0.0, 0.0
		for i := range want {
			scale = max(scale, math.Abs(float64(want[i])))
			off = max(off, math.Abs(float64(want[i]-gradients[name][i])))
		}
		if scale == 0 || off > 1e-5*scale+1e-7 {
			t.Errorf("gradient of %s: differs by %g of %g", name, off, scale)
		}
	}
}
