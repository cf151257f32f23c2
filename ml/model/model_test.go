package model

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/decode"
	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/text"
	"github.com/captioner/captioner/ml/tf"
)

const testThreads = 2

var testWords = []string{"<pad>", "<unk>", "startseq", "endseq", "a", "red", "blue", "dot", "on"}

var testVocabulary = vocabulary(testWords)

func vocabulary(tokens []string) *text.Vocabulary {
	v, err := text.NewVocabulary(tokens)
	if err != nil {
		panic(err)
	}
	return v
}

func testConfig() captioner.Config {
	c := captioner.DefaultConfig()
	c.Model.ImageSize, c.Model.Width, c.Model.Heads, c.Model.FeedForward = 32, 8, 2, 16
	c.Training.Seed = 3
	return c
}

func testModel(t testing.TB, config captioner.ModelConfig) *Model {
	t.Helper()
	m, err := New(config, testVocabulary, 7)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestNewRefuses(t *testing.T) {
	good := testConfig().Model
	tests := map[string]func(c *captioner.ModelConfig){
		"encoder":       func(c *captioner.ModelConfig) { c.Encoder = "none" },
		"decoder":       func(c *captioner.ModelConfig) { c.Decoder = "none" },
		"heads":         func(c *captioner.ModelConfig) { c.Heads = 3 },
		"no layers":     func(c *captioner.ModelConfig) { c.Layers = 0 },
		"small picture": func(c *captioner.ModelConfig) { c.ImageSize = 16 },
		"other side":    func(c *captioner.ModelConfig) { c.Encoder, c.ImageSize = "InceptionV3", 300 },
	}
	for name, change := range tests {
		c := good
		change(&c)
		if _, err := New(c, testVocabulary, 10); captioner.KindOf(err) != captioner.Invalid {
			t.Errorf("%s: error %v, want an invalid one", name, err)
		}
	}
	if _, err := New(good, vocabulary(testWords[:4]), 10); captioner.KindOf(err) != captioner.Invalid {
		t.Errorf("a vocabulary of special tokens only: error %v", err)
	}
}

// The published encoders train from the seed too, with all that belongs to it:
// a step changes their weights and moves their averages.
func TestPretrainedEncodersTrain(t *testing.T) {
	for _, p := range encoder.Pretraineds() {
		t.Run(p.Name, func(t *testing.T) {
			c := testConfig()
			c.Model.Encoder, c.Model.ImageSize = strings.ToLower(p.Name), p.Side
			g := newTrainer(t, c)
			batch := captionsBatch(32)
			batch.Pixels = make([]byte, 2*p.Side*p.Side*3)
			for i := range batch.Pixels {
				batch.Pixels[i] = byte(i * i >> 8)
			}
			before := g.Initial()
			defer tf.ReleaseMap(before)
			loss, err := g.Step(g.session, []Batch{batch, batch}, 1, 1e-3)
			if err != nil || math.IsNaN(loss) || math.IsInf(loss, 0) {
				t.Fatalf("loss %v, error %v", loss, err)
			}
			after, err := g.Weights.All().Read(g.session)
			if err != nil {
				t.Fatal(err)
			}
			defer tf.ReleaseMap(after)
			encoders, same := 0, 0
			for name, v := range before {
				if strings.HasPrefix(name, "encoder/") && !strings.HasPrefix(name, "encoder/normalization/") {
					encoders++
					if bytes.Equal(v.Bytes(), after[name].Bytes()) {
						same++
					}
				}
			}
			if encoders < 300 || same > 0 {
				t.Errorf("%d of %d weights and averages stayed as they were", same, encoders)
			}
		})
	}
}

// pixelsOf returns n squares that differ. Those of side 32 are the middle of
// those of side 36.
func pixelsOf(n, side int) []byte {
	pixels := make([]byte, 0, n*side*side*3)
	margin := (36 - side) / 2
	for i := range n {
		for y := margin; y < 36-margin; y++ {
			for x := margin; x < 36-margin; x++ {
				pixels = append(pixels, byte(x*7+i*90), byte(y*5), byte(x*y+i))
			}
		}
	}
	return pixels
}

// captionsBatch lays out captions by hand: 2 pictures, 2 captions of at most 4
// tokens; the last picture has one caption only.
func captionsBatch(side int) Batch {
	return Batch{
		Images: 2, Captions: 2, Length: 4, Pixels: pixelsOf(2, side),
		Tokens:  []int32{2, 4, 5, 7, 2, 5, 7, 0, 2, 6, 0, 0, 0, 0, 0, 0},
		Rows:    []int32{0, 1, 2, 3, 4, 5, 6, 8, 9},
		Targets: []int32{4, 5, 7, 3, 5, 7, 3, 6, 3},
		Labels:  []float32{1, 0, 0, 1},
	}
}

type trainer struct {
	*Training
	session *tf.Session
}

func newTrainer(t testing.TB, c captioner.Config) trainer {
	t.Helper()
	return newTrainerOf(t, testModel(t, c.Model), c)
}

func newTrainerOf(t testing.TB, m *Model, c captioner.Config) trainer {
	t.Helper()
	return opened(t, m, c, 2, 2, tf.Options{})
}

// opened is a training graph with its initial weights in a session.
func opened(t testing.TB, m *Model, c captioner.Config, labels, towers int, o tf.Options) trainer {
	t.Helper()
	g, err := NewTraining(m, c.Training, labels, towers)
	if err != nil {
		t.Fatal(err)
	}
	o.Threads = testThreads
	session, err := tf.OpenSession(g.Graph, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	initial := g.Initial()
	defer tf.ReleaseMap(initial)
	if err := g.Weights.All().Assign(session, initial); err != nil {
		t.Fatal(err)
	}
	return trainer{g, session}
}

// An untrained model knows nothing; one batch can be learned by heart.
func TestTrainingLearnsOneBatch(t *testing.T) {
	for name, smoothing := range map[string]float64{"sharp": 0, "smoothed": 0.1} {
		t.Run(name, func(t *testing.T) {
			c := testConfig()
			c.Training.LabelSmoothing = smoothing
			g := newTrainer(t, c)
			validation := captionsBatch(36)
			start, err := g.Validate(g.session, validation)
			if err != nil {
				t.Fatal(err)
			}
			// Nearly uniform over 9 words: ln 9 nats per token, give or take.
			if mean := start / 9; math.Abs(mean-math.Log(9)) > 0.7 {
				t.Errorf("untrained loss %.3f nats per token, want about %.3f", mean, math.Log(9))
			}
			var loss float64
			for step := 1; step <= 120; step++ {
				if loss, err = g.Step(g.session, []Batch{captionsBatch(32), captionsBatch(32)}, step, 1e-2); err != nil {
					t.Fatal(err)
				}
			}
			end, err := g.Validate(g.session, validation)
			if err != nil {
				t.Fatal(err)
			}
			// The two captions of the first picture part at their first word:
			// 2·ln 2 nats cannot be learned, spread over 9 tokens.
			if floor := 2 * math.Ln2; end > floor+1.5 {
				t.Errorf("loss after 120 steps: training %.3f, validation sum %.3f, want near %.3f", loss, end, floor)
			}
		})
	}
}

// exported writes and loads the model with the weights that it has now.
func exported(t testing.TB, g trainer) (*tf.SavedModel, string) {
	t.Helper()
	all, err := g.Weights.All().Read(g.session)
	if err != nil {
		t.Fatal(err)
	}
	defer tf.ReleaseMap(all)
	weights := make(map[string]*tf.Tensor)
	for name, v := range all {
		if IsServed(name) {
			weights[name] = tf.FromFloat32(v.Float32s(), v.Shape()...)
		}
	}
	defer tf.ReleaseMap(weights)
	if err := g.Weights.All().Assign(g.session, weights); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "saved_model")
	if err := g.model.Export(dir, weights); err != nil {
		t.Fatal(err)
	}
	loaded, err := tf.LoadSavedModel(dir, testThreads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loaded.Close() })
	return loaded, dir
}

// run calls a signature and returns its outputs, released with the test.
func run(t testing.TB, m *tf.SavedModel, signature string, inputs map[string]*tf.Tensor, outputs ...string) []*tf.Tensor {
	t.Helper()
	results, err := m.Run(signature, inputs, outputs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tf.ReleaseAll(results)
		tf.ReleaseMap(inputs)
	})
	return results
}

func ints(v ...int32) *tf.Tensor { return tf.FromInt32(v, int64(len(v))) }
func scalar(v int32) *tf.Tensor  { return tf.FromInt32([]int32{v}) }

// step calls the signature step for all tokens of the vocabulary and returns
// each hypothesis' log-probabilities by token ID, and the state.
func step(t testing.TB, m *tf.SavedModel, position int32, tokens, parents, rows []int32, memory, state *tf.Tensor) ([][]float32, *tf.Tensor) {
	t.Helper()
	results, err := m.Run("step", map[string]*tf.Tensor{
		"tokens": ints(tokens...), "parents": ints(parents...), "rows": ints(rows...),
		"position": scalar(position), "candidates": scalar(1000), "memory": memory, "state": state,
	}, "ids", "log_probs", "attention", "state")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tf.ReleaseAll(results) })
	byID := make([][]float32, len(tokens))
	for k := range byID {
		byID[k] = make([]float32, len(testWords))
		sum, seen := 0.0, 0.0
		for j := range testWords {
			at := k*len(testWords) + j
			p := results[1].Float32s()[at]
			byID[k][results[0].Int32s()[at]] = p
			sum += math.Exp(float64(p))
			if j > 0 && p > results[1].Float32s()[at-1] {
				t.Errorf("position %d: proposals are not sorted", position)
			}
		}
		locations := int(results[2].Shape()[1])
		for _, w := range results[2].Float32s()[k*locations : (k+1)*locations] {
			seen += float64(w)
		}
		if math.Abs(sum-1) > 1e-4 || math.Abs(seen-1) > 1e-4 {
			t.Errorf("position %d: probabilities sum to %.5f, attention to %.5f", position, sum, seen)
		}
		if byID[k][text.Pad] > -1e6 || byID[k][testVocabulary.Start()] > -1e6 {
			t.Errorf("position %d: padding or start was proposed", position)
		}
	}
	return byID, results[3]
}

// Captioning in the middle of training gives what the exported model would say.
func TestGreedyEqualsExport(t *testing.T) {
	for _, decoder := range Decoders() {
		t.Run(decoder, func(t *testing.T) { greedyEqualsExport(t, decoder) })
	}
}

func greedyEqualsExport(t *testing.T, decoder string) {
	c := testConfig()
	c.Model.Decoder = decoder
	g := newTrainer(t, c)
	const pictures = 3
	pixels := pixelsOf(pictures, 36)
	taken := 0
	for at := range 4 {
		got, err := g.Greedy(g.session, pixels, pictures)
		if err != nil {
			t.Fatal(err)
		}
		m, _ := exported(t, g)
		encoded := run(t, m, "encode", map[string]*tf.Tensor{"pixels": tf.FromBytes(pixels, pictures, 36, 36, 3)}, "memory", "state")
		memory, state := encoded[0], encoded[1]
		want := make([][]int32, pictures)
		tokens, rows, ended := []int32{2, 2, 2}, []int32{0, 1, 2}, [pictures]bool{}
		for position := range int32(g.model.MaxTokens - 1) {
			var logProbs [][]float32
			logProbs, state = step(t, m, position, tokens, rows, rows, memory, state)
			for i, p := range logProbs {
				tokens[i] = best(p, testVocabulary.Start())
				if ended[i] = ended[i] || tokens[i] == testVocabulary.End(); !ended[i] {
					want[i] = append(want[i], tokens[i])
				}
			}
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("round %d (-exported +training):\n%s", at, diff)
		}
		for range 25 {
			taken++
			if _, err := g.Step(g.session, []Batch{captionsBatch(32), captionsBatch(32)}, taken, 5e-3); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func pngOf(t testing.TB, width, height int) string {
	t.Helper()
	picture := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			picture.Set(x, y, color.NRGBA{byte(x * 5), byte(y * 3), byte(x * y), 255})
		}
	}
	var file bytes.Buffer
	if err := png.Encode(&file, picture); err != nil {
		t.Fatal(err)
	}
	return file.String()
}

// serving_default does in one graph, for each picture, what greedy search does
// step by step, and keeps from repeating itself as it does.
func TestServingDefault(t *testing.T) {
	for _, decoder := range Decoders() {
		t.Run(decoder, func(t *testing.T) { servingDefault(t, decoder) })
	}
}

func servingDefault(t *testing.T, decoder string) {
	c := testConfig()
	c.Model.Decoder = decoder
	g := newTrainer(t, c)
	files := []string{pngOf(t, 50, 40), pngOf(t, 20, 90)}
	for round := range 3 { // from the initial weights, which say one word, away
		m, _ := exported(t, g)
		all := run(t, m, "serving_default", map[string]*tf.Tensor{"image_bytes": tf.FromStrings(files, 2)}, "ids", "text", "log_probability")
		var pixels []byte
		for _, file := range files {
			square := run(t, m, "preprocess", map[string]*tf.Tensor{"image_bytes": tf.FromString(file), "orientation": scalar(1)}, "pixels")[0]
			pixels = append(pixels, square.Bytes()...)
		}
		encoded := run(t, m, "encode", map[string]*tf.Tensor{"pixels": tf.FromBytes(pixels, 2, 36, 36, 3)}, "memory", "state")
		want, err := decode.Decode(t.Context(), &stepper{t, m, encoded[0], encoded[1]}, 2, decode.Options{
			Algorithm: "greedy", MaxTokens: g.model.MaxTokens, NoRepeatNGram: c.Evaluation.NoRepeatNGram,
			Start: testVocabulary.Start(), End: testVocabulary.End(),
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, h := range want {
			ids := make([]int32, g.model.MaxTokens-1)
			if n := copy(ids, h[0].Tokens); n < len(ids) {
				ids[n] = testVocabulary.End()
			}
			var words []string
			for _, id := range h[0].Tokens {
				words = append(words, testWords[id])
			}
			if diff := cmp.Diff(ids, all[0].Int32s()[i*len(ids):(i+1)*len(ids)]); diff != "" {
				t.Errorf("round %d, picture %d: ids (-steps +serving_default):\n%s", round, i, diff)
			}
			if got := all[1].Strings()[i]; got != strings.Join(words, " ") {
				t.Errorf("round %d, picture %d: text %q, want %q", round, i, got, words)
			}
			if got := float64(all[2].Float32s()[i]); math.Abs(got-h[0].LogProbability) > 1e-3 {
				t.Errorf("round %d, picture %d: log-probability %.5f, want %.5f", round, i, got, h[0].LogProbability)
			}
		}
		for i := range 20 {
			if _, err := g.Step(g.session, []Batch{captionsBatch(32), captionsBatch(32)}, 20*round+i+1, 1e-2); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// stepper is the signature step as a decode.Stepper.
type stepper struct {
	*testing.T
	model         *tf.SavedModel
	memory, state *tf.Tensor
}

func (s *stepper) Step(_ context.Context, tokens, parents, rows []int32, position, _ int) (c decode.Candidates, err error) {
	c.LogProbs, s.state = step(s, s.model, int32(position), tokens, parents, rows, s.memory, s.state)
	for _, logProbs := range c.LogProbs {
		ids := make([]int32, len(logProbs))
		for id := range ids {
			ids[id] = int32(id)
		}
		c.IDs = append(c.IDs, ids)
	}
	return c, nil
}

func TestExportNamesTheGuard(t *testing.T) {
	_, dir := exported(t, newTrainer(t, testConfig()))
	data, err := os.ReadFile(filepath.Join(dir, "saved_model.pb"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(captioner.NoRepeatNGramNode)) {
		t.Errorf("the graph has no constant %s", captioner.NoRepeatNGramNode)
	}
}

func TestExportIsDeterministic(t *testing.T) {
	g := newTrainer(t, testConfig())
	var files [2][]byte
	for i := range files {
		_, dir := exported(t, g)
		data, err := os.ReadFile(filepath.Join(dir, "saved_model.pb"))
		if err != nil {
			t.Fatal(err)
		}
		files[i] = data
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("equal weights gave different files")
	}
	if bytes.Contains(files[0], []byte("auxiliary")) || bytes.Contains(files[0], []byte("VarHandleOp")) {
		t.Error("the export holds what only training needs")
	}
}

// A grey model cannot tell two colours of one brightness apart; the usual one can.
func TestGrayscale(t *testing.T) {
	for _, grey := range []bool{true, false} {
		c := testConfig()
		c.Model.Grayscale = grey
		m, _ := exported(t, newTrainer(t, c))
		pixels := make([]byte, 2*36*36*3)
		for i := range 36 * 36 {
			pixels[3*i] = 100          // 0.299 · 100 = 29.9
			pixels[3*(36*36+i)+1] = 51 // 0.587 · 51 = 29.9…
			pixels[3*(36*36+i)+2] = byte(0)
		}
		memory := run(t, m, "encode", map[string]*tf.Tensor{"pixels": tf.FromBytes(pixels, 2, 36, 36, 3)}, "memory")[0].Float32s()
		half := len(memory) / 2
		same := cmp.Equal(memory[:half], memory[half:], cmpopts.EquateApprox(0, 5e-3))
		if same != grey {
			t.Errorf("grayscale %v: red and green look the same: %v", grey, same)
		}
	}
}

func TestPreprocessor(t *testing.T) {
	c := testConfig()
	p, err := NewPreprocessor(c.Model, testThreads)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	m, _ := exported(t, newTrainer(t, c))

	file := pngOf(t, 50, 40)
	upright, err := p.Bytes([]byte(file), 1)
	if err != nil || len(upright) != p.Side()*p.Side()*3 {
		t.Fatalf("Bytes() = %d bytes, %v", len(upright), err)
	}
	for orientation := int32(1); orientation <= 8; orientation++ {
		got, err := p.Bytes([]byte(file), int(orientation))
		if err != nil {
			t.Fatal(err)
		}
		served := run(t, m, "preprocess", map[string]*tf.Tensor{"image_bytes": tf.FromString(file), "orientation": scalar(orientation)}, "pixels")[0]
		if !bytes.Equal(got, served.Bytes()) {
			t.Errorf("orientation %d: the exported model prepares other pixels", orientation)
		}
		if same := bytes.Equal(got, upright); same != (orientation == 1) {
			t.Errorf("orientation %d: same as upright: %v", orientation, same)
		}
	}
	raw := make([]byte, 0, 50*40*3)
	for y := range 40 {
		for x := range 50 {
			raw = append(raw, byte(x*5), byte(y*3), byte(x*y))
		}
	}
	decoded, err := p.Pixels(raw, 50, 40, 6)
	if err != nil {
		t.Fatal(err)
	}
	turned, _ := p.Bytes([]byte(file), 6)
	if !bytes.Equal(decoded, turned) {
		t.Error("decoded pixels are prepared otherwise than the file")
	}
	served := run(t, m, "preprocess_pixels", map[string]*tf.Tensor{"raw_pixels": tf.FromBytes(raw, 40, 50, 3), "orientation": scalar(6)}, "pixels")[0]
	if !bytes.Equal(decoded, served.Bytes()) {
		t.Error("preprocess_pixels prepares other pixels")
	}

	if _, err := p.Bytes([]byte("no picture"), 1); captioner.CodeOf(err) != "image_corrupt" {
		t.Errorf("garbage: %v, want code image_corrupt", err)
	}
	if _, err := p.Bytes([]byte(file[:60]), 1); captioner.CodeOf(err) != "image_corrupt" {
		t.Errorf("a cut file: %v, want code image_corrupt", err)
	}
	if _, err := p.Pixels(raw, 50, 41, 1); err == nil {
		t.Error("too few pixels were taken")
	}
}

// A model with the original system's vocabulary, in which startseq and endseq
// are words among words, begins and ends its captions with them, in training
// and as it is served.
func TestOriginalVocabulary(t *testing.T) {
	words := text.BuildOriginalVocabulary([]string{"a red dot", "blue dot on a red dot", "zebra"}, 1)
	c := testConfig()
	m, err := New(c.Model, words, 8)
	if err != nil {
		t.Fatal(err)
	}
	caption := words.Encode("blue dot on a dot", 0)
	batch := Batch{Images: 1, Captions: 1, Length: len(caption) - 1, Pixels: pixelsOf(1, 32), Tokens: caption[:len(caption)-1], Targets: caption[1:], Labels: []float32{1, 0}}
	for i := range batch.Targets {
		batch.Rows = append(batch.Rows, int32(i))
	}
	g := newTrainerOf(t, m, c)
	for i := range 40 {
		if _, err := g.Step(g.session, []Batch{batch, batch}, i+1, 1e-2); err != nil {
			t.Fatal(err)
		}
	}
	served, _ := exported(t, g)
	file := pngOf(t, 50, 40)
	pixels := run(t, served, "preprocess", map[string]*tf.Tensor{"image_bytes": tf.FromString(file), "orientation": scalar(1)}, "pixels")[0]
	greedy, err := g.Greedy(g.session, pixels.Bytes(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := words.Decode(greedy[0]), "blue dot on a dot"; got != want {
		t.Errorf("the model says %q, and has learned %q", got, want)
	}
	out := run(t, served, "serving_default", map[string]*tf.Tensor{"image_bytes": tf.FromStrings([]string{file}, 1)}, "ids", "text")
	want := append(slices.Clone(greedy[0]), words.End())
	if diff := cmp.Diff(want, out[0].Int32s()[:len(want)]); diff != "" {
		t.Errorf("ids (-training +serving_default):\n%s", diff)
	}
	if got := out[1].Strings()[0]; got != words.Decode(greedy[0]) {
		t.Errorf("text %q, want %q", got, words.Decode(greedy[0]))
	}
}
