package train

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/text"
	"github.com/captioner/captioner/ml/tf"
)

// imported are files of a model of the original: what its encoder is, makes of
// pictures, and what Keras says about them.
type imported struct {
	dir, weights string
	pictures     []float32 // [2, 299, 299, 3]
}

func newImported(t *testing.T) imported {
	t.Helper()
	encoders := kerastest.Folder(t, filepath.Join("..", "encoder", "testdata", "reference.py"))
	pooled := filepath.Join(encoders, "inceptionv3_reference.h5")
	i := imported{dir: t.TempDir(), weights: filepath.Join(encoders, "inceptionv3.weights.h5"), pictures: kerastest.Dataset(t, pooled, "pictures")}
	kerastest.Run(t, filepath.Join("..", "original", "testdata", "reference.py"), i.dir, pooled)
	return i
}

func (i imported) request(t *testing.T, model string) captioner.ImportRequest {
	return captioner.ImportRequest{
		Model: filepath.Join(i.dir, model), Vocabulary: filepath.Join(i.dir, "wordtoix.json"),
		EncoderWeights: i.weights, OutputDir: t.TempDir(),
	}
}

// An imported model, with its encoder, gives pictures and prefixes the next words
// that Keras gives them, for an archive and for weights alone.
func TestImportEqualsKeras(t *testing.T) {
	files := newImported(t)
	for _, test := range []struct {
		file, reference string
		change          func(*captioner.ImportRequest)
	}{
		{"unmasked.keras", "unmasked", func(*captioner.ImportRequest) {}},
		{"masked.weights.h5", "masked", func(r *captioner.ImportRequest) { r.MaxLength, r.MasksPadding = 12, true }},
	} {
		t.Run(test.file, func(t *testing.T) {
			req := files.request(t, test.file)
			test.change(&req)
			result, err := Import(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			c := result.Model
			if c.Encoder != "InceptionV3" || c.ImageSize != 299 || c.Decoder != "lstm-pooled" || c.Width != 16 || c.Heads != 4 || c.EmbeddingDim != 10 {
				t.Errorf("configuration %+v", c)
			}
			if off := farthest(t, files, req.OutputDir, test.reference); off > 1e-5 {
				t.Errorf("probabilities differ by %g", off)
			} else {
				t.Logf("largest difference of a probability %.2g", off)
			}
		})
	}
}

// farthest drives the SavedModel along the prefixes and returns the largest
// difference of a probability to Keras'. The exported model never proposes
// padding and start, so that the others' probabilities are shares of the rest.
func farthest(t *testing.T, files imported, dir, name string) float64 {
	t.Helper()
	const length, words, start = 12, 61, 2
	reference := filepath.Join(files.dir, "reference.h5")
	prefixes, owners := kerastest.Dataset(t, reference, "prefixes"), kerastest.Dataset(t, reference, "pictures")
	want := kerastest.Dataset(t, reference, "probabilities/"+name)
	loaded, err := tf.LoadSavedModel(filepath.Join(dir, "saved_model"), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer loaded.Close()

	pixels := make([]byte, len(files.pictures))
	for i, v := range files.pictures {
		pixels[i] = byte(v)
	}
	in := tf.FromBytes(pixels, 2, 299, 299, 3)
	defer in.Release()
	encoded, err := loaded.Run("encode", map[string]*tf.Tensor{"pixels": in}, "memory", "state")
	if err != nil {
		t.Fatal(err)
	}
	memory, state := encoded[0], encoded[1]
	defer memory.Release()

	count := len(owners)
	rows, parents := make([]int32, count), make([]int32, count)
	for k := range rows {
		rows[k], parents[k] = int32(owners[k]), int32(owners[k]) // the empty states are the pictures'
	}
	off := 0.0
	for position := range length {
		tokens := make([]int32, count)
		for k := range tokens {
			tokens[k] = int32(prefixes[k*length+position])
		}
		inputs := map[string]*tf.Tensor{
			"tokens": tf.FromInt32(tokens, int64(count)), "parents": tf.FromInt32(parents, int64(count)), "rows": tf.FromInt32(rows, int64(count)),
			"position": tf.FromInt32([]int32{int32(position)}), "candidates": tf.FromInt32([]int32{words}), "memory": memory, "state": state,
		}
		results, err := loaded.Run("step", inputs, "ids", "log_probs", "state")
		if err != nil {
			t.Fatal(err)
		}
		for name, input := range inputs {
			if name != "memory" {
				input.Release()
			}
		}
		ids, logs := results[0].Int32s(), results[1].Float32s()
		for k := range count {
			last := position+1 == length || prefixes[k*length+position+1] == 0
			if !last || tokens[k] == text.Pad {
				continue
			}
			theirs := want[k*words : (k+1)*words]
			rest := 1 - float64(theirs[text.Pad]) - float64(theirs[start])
			for j := range words - 2 {
				at := k*words + j
				off = max(off, math.Abs(math.Exp(float64(logs[at]))-float64(theirs[ids[at]])/rest))
			}
		}
		results[0].Release()
		results[1].Release()
		state = results[2]
		for k := range parents {
			parents[k] = int32(k)
		}
	}
	state.Release()
	return off
}

// What does not belong together is refused with a sentence.
func TestImportRefuses(t *testing.T) {
	files := newImported(t)
	words := filepath.Join(t.TempDir(), "wordtoix.json")
	if err := os.WriteFile(words, []byte(`{"a": 1, "endseq": 2, "startseq": 3}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		file   string
		change func(*captioner.ImportRequest)
		want   string
	}{
		"another vocabulary": {"masked.keras", func(r *captioner.ImportRequest) { r.Vocabulary = words }, "the vocabulary has 3 words, and the model says 60"},
		"no vocabulary":      {"masked.keras", func(r *captioner.ImportRequest) { r.Vocabulary = "none.json" }, "the vocabulary cannot be read"},
		"no length":          {"masked.weights.h5", func(*captioner.ImportRequest) {}, "give the length"},
		"another encoder's weights": {"masked.keras", func(r *captioner.ImportRequest) {
			r.EncoderWeights = filepath.Join(filepath.Dir(files.weights), "efficientnetb3.weights.h5")
		}, "encoder weights: the weights are not this network's"},
		"another model": {"lambda.keras", func(*captioner.ImportRequest) {}, "another model than the original's"},
	} {
		t.Run(name, func(t *testing.T) {
			req := files.request(t, test.file)
			test.change(&req)
			_, err := Import(t.Context(), req)
			if captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want an invalid one with %q", err, test.want)
			}
		})
	}
}
