// Package modeltest holds what every encoder and decoder must keep to, in the
// manner of testing/fstest: it learns, and what is served is what was trained.
package modeltest

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/text"
	"github.com/captioner/captioner/ml/tf"
)

const threads = 2

// words are the vocabulary; of two pictures one is of a red dot and one of a
// blue, and each has one caption.
var (
	words    = []string{"<pad>", "<unk>", "startseq", "endseq", "a", "red", "blue", "dot"}
	captions = [][]int32{{start, 4, 5, 7, end}, {start, 6, 7, end}}
)

const (
	start, end      int32 = 2, 3
	side, maxTokens       = 48, 7
)

// Run trains a small model with the encoder and the decoder of c on two
// pictures, exports it, and compares.
func Run(t *testing.T, c captioner.Config) {
	c.Model.ImageSize, c.Model.Width, c.Model.Heads, c.Model.FeedForward, c.Model.Layers = side, 16, 2, 32, 2
	vocabulary, err := text.NewVocabulary(words)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.New(c.Model, vocabulary, maxTokens)
	if err != nil {
		t.Fatal(err)
	}
	g, err := model.NewTraining(m, c.Training, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	session, err := tf.NewSession(g.Graph, threads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	initial := g.Initial()
	defer tf.ReleaseMap(initial)
	if err := g.Weights.All().Assign(session, initial); err != nil {
		t.Fatal(err)
	}
	learns(t, m, g, session)
	served := export(t, m, g, session)
	stepsEqualTraining(t, g, session, served)
}

// learns checks that two captions can be learned by heart.
func learns(t *testing.T, m *model.Model, g *model.Training, session *tf.Session) {
	t.Helper()
	loss := func() float64 { // nats per token, without what training adds
		all := batch(m.StoredSize())
		sum, err := g.Validate(session, all)
		if err != nil {
			t.Fatal(err)
		}
		return sum / float64(len(all.Targets))
	}
	first := loss()
	for step := 1; step <= 80; step++ {
		if _, err := g.Step(session, []model.Batch{batch(side)}, step, 5e-3); err != nil {
			t.Fatal(err)
		}
	}
	if last := loss(); math.IsNaN(last) || last > first/3 {
		t.Errorf("the loss went from %.3f to %.3f in 80 steps on two pictures, want less than a third", first, last)
	}
}

// export writes the model as it is served and loads it. Padding and start get
// next to no probability first: steps rule them out, training does not.
func export(t *testing.T, m *model.Model, g *model.Training, session *tf.Session) *tf.SavedModel {
	t.Helper()
	all, err := g.Weights.All().Read(session)
	if err != nil {
		t.Fatal(err)
	}
	defer tf.ReleaseMap(all)
	weights := map[string]*tf.Tensor{}
	for name, v := range all {
		if model.IsServed(name) {
			weights[name] = v
		}
	}
	bias := weights["decoder/logits/bias"]
	if bias == nil {
		t.Fatal("the decoder does not make its logits with Model.Logits")
	}
	bias.Float32s()[text.Pad], bias.Float32s()[start] = -100, -100
	if err := g.Weights.All().Assign(session, weights); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "saved_model")
	if err := m.Export(dir, weights); err != nil {
		t.Fatal(err)
	}
	served, err := tf.LoadSavedModel(dir, threads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { served.Close() })
	return served
}

// stepsEqualTraining compares what single steps give the captions with what the
// training graph gives them in one pass. The hypotheses change places after
// the first step, as they do in a search.
func stepsEqualTraining(t *testing.T, g *model.Training, session *tf.Session, served *tf.SavedModel) {
	t.Helper()
	stored := storedSide(t, served)
	b := batch(stored)
	want, err := g.Validate(session, b)
	if err != nil {
		t.Fatal(err)
	}
	pixels := tf.FromBytes(b.Pixels, 2, int64(stored), int64(stored), 3)
	defer pixels.Release()
	encoded, err := served.Run("encode", map[string]*tf.Tensor{"pixels": pixels}, "memory", "state")
	if err != nil {
		t.Fatal(err)
	}
	defer tf.ReleaseAll(encoded)

	got, state := 0.0, encoded[1]
	live, rows := []int{0, 1}, []int32{0, 1} // which captions, and their pictures
	parents := []int32{0, 1}
	for position := 0; len(live) > 0; position++ {
		var tokens []int32
		for _, c := range live {
			tokens = append(tokens, captions[c][position])
		}
		logProbs, next := step(t, served, position, tokens, parents, rows, encoded[0], state)
		defer next.Release()
		state = next
		for k, c := range live {
			got -= float64(logProbs[k][captions[c][position+1]])
		}
		live, rows, parents = swap(live, rows, position)
	}
	if math.Abs(got-want) > 1e-3*math.Max(1, want) {
		t.Errorf("steps give the captions %.5f nats, training %.5f", got, want)
	}
}

// storedSide returns the side of the squares that the model takes, which is
// larger than what its encoder sees.
func storedSide(t *testing.T, m *tf.SavedModel) int {
	t.Helper()
	inputs := map[string]*tf.Tensor{"raw_pixels": tf.NewTensor(tf.Uint8, 1, 1, 3), "orientation": tf.FromInt32([]int32{1})}
	defer tf.ReleaseMap(inputs)
	out, err := m.Run("preprocess_pixels", inputs, "pixels")
	if err != nil {
		t.Fatal(err)
	}
	defer tf.ReleaseAll(out)
	return int(out[0].Shape()[0])
}

// swap returns the hypotheses that go on, in the other order.
func swap(live []int, rows []int32, position int) (nextLive []int, nextRows, parents []int32) {
	for k := len(live) - 1; k >= 0; k-- {
		if position+2 < len(captions[live[k]]) {
			nextLive, nextRows, parents = append(nextLive, live[k]), append(nextRows, rows[k]), append(parents, int32(k))
		}
	}
	return nextLive, nextRows, parents
}

// step calls the signature step and returns each hypothesis' log-probabilities
// by token, and the state.
func step(t *testing.T, m *tf.SavedModel, position int, tokens, parents, rows []int32, memory, state *tf.Tensor) ([][]float32, *tf.Tensor) {
	t.Helper()
	k := int64(len(tokens))
	own := map[string]*tf.Tensor{
		"tokens": tf.FromInt32(tokens, k), "parents": tf.FromInt32(parents, k), "rows": tf.FromInt32(rows, k),
		"position": tf.FromInt32([]int32{int32(position)}), "candidates": tf.FromInt32([]int32{int32(len(words))}),
	}
	defer tf.ReleaseMap(own)
	inputs := map[string]*tf.Tensor{"memory": memory, "state": state}
	for name, tensor := range own {
		inputs[name] = tensor
	}
	out, err := m.Run("step", inputs, "ids", "log_probs", "attention", "state")
	if err != nil {
		t.Fatal(err)
	}
	defer tf.ReleaseAll(out[:3])
	logProbs := make([][]float32, k)
	for i := range logProbs {
		logProbs[i] = make([]float32, len(words))
		for j := range words {
			logProbs[i][out[0].Int32s()[i*len(words)+j]] = out[1].Float32s()[i*len(words)+j]
		}
		seen, locations := 0.0, out[2].Len()/int(k)
		for _, w := range out[2].Float32s()[i*locations : (i+1)*locations] {
			seen += float64(w)
		}
		if math.Abs(seen-1) > 1e-3 {
			t.Errorf("position %d: the locations were looked at %.4f in all, want 1", position, seen)
		}
	}
	return logProbs, out[3]
}

// batch is the two pictures, of a side, and what follows each token.
func batch(side int) model.Batch {
	b := model.Batch{Images: 2, Captions: 1, Length: 4}
	for i, caption := range captions {
		for j, token := range caption[:len(caption)-1] {
			b.Rows = append(b.Rows, int32(i*b.Length+j))
			b.Targets = append(b.Targets, caption[j+1])
			b.Tokens = append(b.Tokens, token)
		}
		for len(b.Tokens) < (i+1)*b.Length {
			b.Tokens = append(b.Tokens, text.Pad)
		}
		for range side * side {
			b.Pixels = append(b.Pixels, byte(220-180*i), 30, byte(40+180*i)) // red, then blue
		}
	}
	return b
}
