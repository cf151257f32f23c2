package predict_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/predict"
	"github.com/captioner/captioner/ml/safetensors"
	"github.com/captioner/captioner/ml/text"
	"github.com/captioner/captioner/ml/tf"
)

// An exported model says in Python, from the bytes of JPEG files as TensorFlow
// Serving's REST API sends them, what it says here: with the guard against
// repetition that training gives it, and with another version's.
func TestInterchange(t *testing.T) {
	python := kerastest.Python(t)
	const pictures = 100
	var files [][]byte
	for i := range pictures {
		files = append(files, waves(t, i))
	}
	for i, decoder := range model.Decoders() {
		noRepeat := []int{captioner.DefaultConfig().Evaluation.NoRepeatNGram, 1, 2}[i%3]
		t.Run(fmt.Sprintf("%s/no_repeat_ngram=%d", decoder, noRepeat), func(t *testing.T) {
			dir := exportRandom(t, decoder)
			if noRepeat != captioner.DefaultConfig().Evaluation.NoRepeatNGram {
				if err := registry.SetNoRepeatNGram(dir, noRepeat); err != nil {
					t.Fatal(err)
				}
			}
			p, err := predict.Open(dir, threads)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			want, err := p.Caption(t.Context(), captioner.CaptionRequest{
				Algorithm: "greedy", NoRepeatNGram: noRepeat, Images: inputs(files...),
			})
			if err != nil {
				t.Fatal(err)
			}
			got := served(t, python, dir, files)
			texts := map[string]bool{}
			for i, r := range want.Results {
				h := r.Hypotheses[0]
				ids := slices.Clone(h.Tokens)
				if len(ids) < maxTokens-1 {
					ids = append(ids, 3) // the end token
				}
				ids = append(ids, make([]int32, maxTokens-1-len(ids))...)
				// Batches of another size round otherwise, of which the large weights make more.
				if diff := cmp.Diff(prediction{ids, h.Text, h.LogProbability}, got[i], approximately(5e-3)); diff != "" {
					t.Errorf("picture %d (-here +Python):\n%s", i, diff)
				}
				texts[h.Text] = true
			}
			if len(texts) < 10 {
				t.Errorf("%d pictures have only %d captions: %v", pictures, len(texts), texts)
			}
		})
	}
}

// The weights that are exported are the graph's constants, all of them.
func TestExportedWeights(t *testing.T) {
	dir := exportRandom(t, "transformer")
	weights, err := registry.Weights(dir)
	if err != nil {
		t.Fatal(err)
	}
	vocabulary, err := os.ReadFile(filepath.Join(dir, "vocabulary.json"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "weights.safetensors")
	if err := safetensors.Write(path, weights, map[string]string{"vocabulary.json": string(vocabulary)}); err != nil {
		t.Fatal(err)
	}
	read, _, err := tf.ReadTensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer tf.ReleaseMap(read)
	if shape := read["decoder/words/table"].Shape(); !slices.Equal(shape, []int64{22, 32}) {
		t.Errorf("the words' table has shape %v, want [22 32]: %v", shape, slices.Sorted(maps.Keys(read)))
	}
	out := kerastest.Run(t, "testdata/weights.py", filepath.Join(dir, "saved_model"), path)
	if got := strings.TrimSpace(string(out)); got != fmt.Sprint(len(read)) || len(read) < 50 {
		t.Errorf("Python found %s weights, want %d, more than 50", got, len(read))
	}
}

// prediction is what TensorFlow Serving would reply for an instance.
type prediction struct {
	IDs            []int32 `json:"ids"`
	Text           string  `json:"text"`
	LogProbability float64 `json:"log_probability"`
}

// served has Python caption the files, the first alone and the others together.
func served(t *testing.T, python, dir string, files [][]byte) []prediction {
	t.Helper()
	type instance struct {
		ImageBytes struct {
			B64 []byte `json:"b64"` // in JSON, base64
		} `json:"image_bytes"`
	}
	var requests bytes.Buffer
	for _, part := range [][][]byte{files[:1], files[1:]} {
		instances := make([]instance, len(part))
		for i, file := range part {
			instances[i].ImageBytes.B64 = file
		}
		if err := json.NewEncoder(&requests).Encode(map[string]any{"instances": instances}); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/interchange.py", filepath.Join(dir, "saved_model"))
	cmd.Stdin, cmd.Stderr = &requests, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []prediction
	for line := range strings.Lines(string(out)) {
		var reply struct {
			Predictions []prediction `json:"predictions"`
		}
		if err := json.Unmarshal([]byte(line), &reply); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, reply.Predictions...)
	}
	if len(all) != len(files) {
		t.Fatalf("%d predictions for %d pictures", len(all), len(files))
	}
	return all
}

const maxTokens = 12

// exportRandom writes a model with random weights, larger than those that a
// training begins with: it has much to say, and of each picture something else.
func exportRandom(t *testing.T, decoder string) string {
	t.Helper()
	tokens := strings.Fields("<pad> <unk> startseq endseq a red green blue dog cat runs on the grass with two large balls beside an old house")
	c := captioner.DefaultConfig()
	c.Model.Decoder, c.Model.ImageSize, c.Model.Width, c.Model.Heads, c.Model.FeedForward = decoder, 48, 32, 2, 64
	words, err := text.NewVocabulary(tokens)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.New(c.Model, words, maxTokens)
	if err != nil {
		t.Fatal(err)
	}
	g, err := model.NewTraining(m, c.Training, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	weights := g.Initial()
	defer tf.ReleaseMap(weights)
	for name, w := range weights {
		if strings.HasPrefix(name, "decoder/") || strings.HasPrefix(name, "encoder/project") {
			for i := range w.Float32s() {
				w.Float32s()[i] *= 3
			}
		}
	}
	dir := t.TempDir()
	if err := m.Export(filepath.Join(dir, "saved_model"), weights); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]any{
		"vocabulary.json": tokens,
		"model.json":      captioner.ModelDescription{Model: c.Model, MaxTokens: maxTokens, Pixels: c.Model.StoredSize()},
	} {
		data, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// waves draws a picture of coloured waves, each number another.
func waves(t *testing.T, number int) []byte {
	t.Helper()
	n := float64(number)
	picture := image.NewRGBA(image.Rect(0, 0, 60+number, 90-number/2))
	for y := range picture.Rect.Dy() {
		for x := range picture.Rect.Dx() {
			wave := func(shift float64) byte {
				return byte(128 + 127*math.Sin(shift+float64(x)*(0.05+n/300)+float64(y)*math.Cos(n+shift)/5))
			}
			picture.SetRGBA(x, y, color.RGBA{wave(n), wave(2 * n), wave(3 * n), 255})
		}
	}
	var file bytes.Buffer
	if err := jpeg.Encode(&file, picture, nil); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}
