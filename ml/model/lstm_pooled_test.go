package model

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/original"
	"github.com/captioner/captioner/ml/text"
	"github.com/captioner/captioner/ml/tf"
)

// captionLoss is the decoder above given features, with the mean loss of its
// words and the gradients of all weights.
type captionLoss struct {
	session                         *tf.Session
	weights                         *nn.Variables
	locations, width                int64
	features, tokens, rows, targets tf.Output
	results                         []tf.Output // the loss, then the gradients
}

// newCaptionLoss builds the decoder for encoders of that grid. The weights have
// no values yet.
func newCaptionLoss(t *testing.T, m *Model, locations, width int64) *captionLoss {
	t.Helper()
	s := tf.NewScope()
	c := &captionLoss{weights: nn.NewVariables(s, 9), locations: locations, width: width}
	c.features = tf.Placeholder(s.SubScope("features"), tf.Float, -1, locations, width)
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
	return c
}

// randomise gives all weights random values, biases too.
func (c *captionLoss) randomise(t *testing.T) {
	t.Helper()
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
		c.features: tf.FromFloat32(features, b, c.locations, c.width),
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
	const locations, width = 3, 5
	loss := newCaptionLoss(t, m, locations, width)
	loss.randomise(t)

	features := make([]float32, 2*locations*width)
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
		const size = locations * width
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
		sameGradient(t, name, gradients[name], want)
	}
}

// sameGradient allows for sums in another order.
func sameGradient(t *testing.T, name string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("gradient of %s has %d elements, want %d", name, len(got), len(want))
		return
	}
	scale, off := 0.0, 0.0
	for i := range want {
		scale = max(scale, math.Abs(float64(want[i])))
		off = max(off, math.Abs(float64(want[i]-got[i])))
	}
	if scale == 0 || off > 2e-5*scale {
		t.Errorf("gradient of %s: differs by %g of %g", name, off, scale)
	}
}

// kerasModel reads a model of ml/original/testdata/reference.py, and the file of
// what it says.
func kerasModel(t *testing.T, name string) (*Model, *original.Model, func(name string) []float32) {
	t.Helper()
	dir := kerastest.Folder(t, filepath.Join("..", "original", "testdata", "reference.py"))
	trained, err := original.Read(filepath.Join(dir, name+".keras"), original.Architecture{})
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.Open(filepath.Join(dir, "wordtoix.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer index.Close()
	words, err := text.ReadWordIndex(index)
	if err != nil {
		t.Fatal(err)
	}
	c := testConfig().Model
	c.Decoder, c.Width, c.Heads, c.EmbeddingDim = "lstm-pooled", trained.Hidden, trained.Heads, trained.Embedding
	m, err := New(c, words, trained.MaxLength+1)
	if err != nil {
		t.Fatal(err)
	}
	m.SeesPadding = !trained.MasksPadding

	return m, trained, func(name string) []float32 {
		t.Helper()
		return kerastest.Dataset(t, filepath.Join(dir, "reference.h5"), name)
	}
}

func whole(values []float32) []int32 {
	made := make([]int32, len(values))
	for i, v := range values {
		made[i] = int32(v)
	}
	return made
}

// Steps give every prefix of a caption the probabilities of the next word that
// Keras gives, whether the model looks at the padding behind the prefix or not.
func TestPooledStepsEqualKeras(t *testing.T) {
	for _, name := range []string{"masked", "unmasked"} {
		t.Run(name, func(t *testing.T) {
			m, trained, reference := kerasModel(t, name)
			weights := make(map[string]*tf.Tensor)
			defer func() { tf.ReleaseMap(weights) }()
			for name, w := range trained.Weights {
				weights[name] = tf.FromFloat32(w.Values, w.Shape...)
			}
			prefixes, pictures := whole(reference("prefixes")), whole(reference("pictures"))
			features := reference("features")
			want := reference("probabilities/" + name)
			count, length := len(pictures), len(prefixes)/len(pictures)

			s := tf.NewScope()
			tower := &nn.Tower{Scope: s, Weights: nn.NewConstants(weights)}
			d := tower.Sub("decoder")
			width := int64(trained.Features)
			grid := m.project(tower.Sub("encoder"), tf.Floats(s, features, int64(len(features))/width, 1, width))
			memory := nn.Gather(s, m.decode.Memory(d, grid), tf.Ints(s, pictures...))
			_, axes := m.decode.Sizes()
			state := tf.Floats(s, nil, int64(count), 0, axes[1])
			var said []tf.Output
			for i := range length {
				tokens := make([]int32, count)
				for k := range tokens {
					tokens[k] = prefixes[k*length+i]
				}
				var logits tf.Output
				logits, _, state = m.decode.Step(d, tf.Ints(s, tokens...), tf.Int(s, int32(i)), memory, state)
				said = append(said, tf.Out(s, "Softmax", nil, logits))
			}
			graph, err := s.Finalize()
			if err != nil {
				t.Fatal(err)
			}
			session, err := tf.NewSession(graph, testThreads)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			results, err := session.Run(nil, said)
			if err != nil {
				t.Fatal(err)
			}
			defer tf.ReleaseAll(results)
			off := 0.0
			for k := range count {
				n := length
				for n > 0 && prefixes[k*length+n-1] == text.Pad {
					n--
				}
				got := results[n-1].Float32s()[k*m.Vocabulary : (k+1)*m.Vocabulary]
				for i, p := range got {
					off = max(off, math.Abs(float64(p-want[k*m.Vocabulary+i])))
				}
			}
			t.Logf("largest difference of a probability %.2g", off)
			if off > 1e-5 {
				t.Errorf("probabilities differ by %g", off)
			}
		})
	}
}

// Whole captions at once give the loss and the gradients of Keras, which the
// original trains on one sample per prefix.
func TestPooledTrainingEqualsKeras(t *testing.T) {
	m, trained, reference := kerasModel(t, "masked")
	loss := newCaptionLoss(t, m, 1, int64(trained.Features))
	weights := make(map[string]*tf.Tensor)
	defer func() { tf.ReleaseMap(weights) }()
	for name, w := range trained.Weights {
		weights[name] = tf.FromFloat32(w.Values, w.Shape...)
	}
	if err := loss.weights.All().Assign(loss.session, weights); err != nil {
		t.Fatal(err)
	}

	all, tokens := reference("features"), whole(reference("captions"))
	pictures := len(all) / trained.Features
	length := trained.MaxLength
	var features []float32
	var captions [][][]int32
	var rows, targets []int32
	for i := 0; i*length < len(tokens); i++ {
		caption := tokens[i*length : (i+1)*length]
		at := i % pictures * trained.Features
		features = append(features, all[at:at+trained.Features]...)
		captions = append(captions, [][]int32{caption})
		for j := 1; j < length && caption[j] != text.Pad; j++ {
			rows, targets = append(rows, int32(i*length+j-1)), append(targets, caption[j])
		}
	}
	got, gradients := loss.run(t, features, captions, rows, targets)
	if want := float64(reference("loss")[0]); math.Abs(got-want) > 1e-5 {
		t.Errorf("loss %.6f, Keras' %.6f nats per word", got, want)
	}
	hidden := m.Width
	for theirs, ours := range map[string]string{
		"dense/kernel": "encoder/project/kernel", "dense/bias": "encoder/project/bias",
		"layer_normalization/gamma": "encoder/norm/scale", "layer_normalization/beta": "encoder/norm/offset",
		"embedding/embeddings":  "decoder/words/table",
		"lstm/lstm_cell/kernel": "decoder/lstm/kernel", "lstm/lstm_cell/recurrent_kernel": "decoder/lstm/recurrent", "lstm/lstm_cell/bias": "decoder/lstm/bias",
		"multi_head_attention/query/kernel": "decoder/attention/query/kernel", "multi_head_attention/query/bias": "decoder/attention/query/bias",
		"multi_head_attention/key/kernel":   "decoder/attention/key/kernel",
		"multi_head_attention/value/kernel": "decoder/attention/value/kernel", "multi_head_attention/value/bias": "decoder/attention/value/bias",
		"multi_head_attention/attention_output/kernel": "decoder/attention/out/kernel", "multi_head_attention/attention_output/bias": "decoder/attention/out/bias",
		"dense_1/kernel": "decoder/merge/kernel", "dense_1/bias": "decoder/merge/bias",
		"dense_2/kernel": "decoder/logits/kernel", "dense_2/bias": "decoder/logits/bias",
	} {
		want := reference("gradients/" + theirs)
		if strings.HasPrefix(theirs, "lstm/") { // the order of the gates
			var ordered []float32
			for row := 0; row < len(want); row += 4 * hidden {
				for _, gate := range []int{0, 1, 3, 2} {
					ordered = append(ordered, want[row+gate*hidden:row+(gate+1)*hidden]...)
				}
			}
			want = ordered
		}
		sameGradient(t, theirs, gradients[ours], want)
		delete(gradients, ours)
	}
	if len(gradients) > 0 {
		t.Errorf("%d gradients were not compared", len(gradients))
	}
	for _, v := range reference("gradients/multi_head_attention/key/bias") {
		if math.Abs(float64(v)) > 1e-6 {
			t.Errorf("Keras' gradient of the key's bias is %g: the bias has a part in what the model says", v)
		}
	}
}
