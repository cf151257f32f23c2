// Package predicttest writes a model that needs no training and whose captions
// can be worked out by hand, for tests of what drives a SavedModel.
package predicttest

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// Side is that of the model's squares, MaxTokens its longest sequence.
const (
	Side      = 8
	MaxTokens = 8
)

// Tokens is the model's vocabulary.
var Tokens = []string{"<pad>", "<unk>", "startseq", "endseq", "red", "green", "blue", "picture"}

// colourWeight is how much a colour's share, 0 to 1, counts for its word at
// position 0. The other words' scores are those of positionScores.
const colourWeight = 4

// repeatPenalty is taken off a colour's score at position 2 for each time that
// the sequence so far holds the token red: it shows that state is handed on.
const repeatPenalty = 1

// positionScores are the scores of each token by position, before softmax.
var positionScores = [MaxTokens][]float32{
	{0, 0, 0, -2, 0, 0, 0, -1}, // a colour comes first
	{0, 0, 0, 0, -3, -3, -3, 3},
	{0, 0, 0, 3, 0, 0, 0, -1},
	{0, 0, 0, 5, 0, 0, 0, 0},
	{0, 0, 0, 5, 0, 0, 0, 0},
	{0, 0, 0, 5, 0, 0, 0, 0},
	{0, 0, 0, 5, 0, 0, 0, 0},
	{0, 0, 0, 5, 0, 0, 0, 0},
}

// LogProbability returns the natural logarithm of the probability that the
// model gives to tokens, its end included, for a picture of one colour, whose
// shares of red, green and blue are 0 to 1.
func LogProbability(rgb [3]float64, tokens []int32) float64 {
	sum, reds := 0.0, 0
	for position, token := range tokens {
		scores := make([]float64, len(Tokens))
		total := 0.0
		for i, s := range positionScores[position] {
			scores[i] = float64(s)
			if position == 0 && i >= 4 && i <= 6 {
				scores[i] += colourWeight * rgb[i-4]
			}
			if position == 2 && i >= 4 && i <= 6 {
				scores[i] -= repeatPenalty * float64(reds)
			}
			if i != 0 && i != 2 { // padding and start are never proposed
				total += math.Exp(scores[i])
			}
		}
		sum += scores[token] - math.Log(total)
		if token == 4 {
			reds++
		}
	}
	return sum
}

// WriteModel writes a model's folder: saved_model/, vocabulary.json and
// model.json. It captions a picture "red picture", "green picture" or "blue
// picture", by its strongest colour.
func WriteModel(t testing.TB, dir string) {
	t.Helper()
	s := tf.NewScope()
	signatures := map[string]tf.Signature{
		"preprocess":        preprocess(s.SubScope("preprocess")),
		"preprocess_pixels": preprocessPixels(s.SubScope("preprocess_pixels")),
		"encode":            encode(s.SubScope("encode")),
		"step":              step(s.SubScope("step")),
	}
	graph, err := s.Finalize()
	if err != nil {
		t.Fatalf("build the test model: %v", err)
	}
	if err := tf.WriteSavedModel(filepath.Join(dir, "saved_model"), graph, signatures); err != nil {
		t.Fatal(err)
	}
	writeJSON(t, filepath.Join(dir, "vocabulary.json"), Tokens)
	writeJSON(t, filepath.Join(dir, "model.json"), captioner.ModelDescription{
		Model:     captioner.ModelConfig{Encoder: "mean", Decoder: "table", ImageSize: Side},
		MaxTokens: MaxTokens, Pixels: Side, TensorFlow: tf.Version(),
	})
}

func writeJSON(t testing.TB, path string, v any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func preprocess(s *tf.Scope) tf.Signature {
	data := tf.Placeholder(s, tf.String)
	orientation := tf.Placeholder(s, tf.Int32)
	square := nn.Orient(s, nn.ResizeSquare(s, nn.DecodeImage(s, data), Side), orientation)
	return tf.Signature{
		Inputs:  map[string]tf.Output{"image_bytes": data, "orientation": orientation},
		Outputs: map[string]tf.Output{"pixels": square},
	}
}

func preprocessPixels(s *tf.Scope) tf.Signature {
	raw := tf.Placeholder(s, tf.Uint8, -1, -1, 3)
	orientation := tf.Placeholder(s, tf.Int32)
	square := nn.Orient(s, nn.ResizeSquare(s, raw, Side), orientation)
	return tf.Signature{
		Inputs:  map[string]tf.Output{"raw_pixels": raw, "orientation": orientation},
		Outputs: map[string]tf.Output{"pixels": square},
	}
}

// encode gives the mean colour as the only location.
func encode(s *tf.Scope) tf.Signature {
	pixels := tf.Placeholder(s, tf.Uint8, -1, Side, Side, 3)
	mean := nn.Mean(s, nn.Scale(s, nn.Cast(s, pixels, tf.Float), 1.0/255), false, 1, 2) // [B, 3]
	batch := nn.Sizes(s, mean)[0]
	memory := nn.ExpandDims(s, mean, 1)                                                               // [B, 1, 3]
	state := nn.Reshape(s, nn.Slice(s, memory, []int32{0, 0, 0}, []int32{-1, 0, -1}), batch, 2, 0, 1) // [B, 2, 0, 1]
	return tf.Signature{
		Inputs:  map[string]tf.Output{"pixels": pixels},
		Outputs: map[string]tf.Output{"memory": memory, "state": state},
	}
}

// step looks scores up and keeps, as its state, which tokens were red.
func step(s *tf.Scope) tf.Signature {
	tokens, parents, rows := tf.Placeholder(s, tf.Int32, -1), tf.Placeholder(s, tf.Int32, -1), tf.Placeholder(s, tf.Int32, -1)
	position, candidates := tf.Placeholder(s, tf.Int32), tf.Placeholder(s, tf.Int32)
	memory, state := tf.Placeholder(s, tf.Float, -1, 1, 3), tf.Placeholder(s, tf.Float, -1, 2, -1, 1)

	k := nn.Sizes(s, tokens)[0]
	red := nn.Cast(s, tf.Out(s, "Equal", nil, tokens, tf.Int(s, 4)), tf.Float)
	both := tf.Out(s, "Tile", nil, nn.Reshape(s, red, k, 1, 1, 1), tf.Ints(s, 1, 2, 1, 1)) // [K, 2, 1, 1]
	next := nn.Concat(s, 2, nn.Gather(s, state, parents), both)
	reds := nn.Reshape(s, nn.Mean(s, nn.Sum(s, next, 2, 3), false, 1), k, 1) // [K, 1]

	colours := nn.Reshape(s, nn.Gather(s, memory, rows), k, 3)
	toWords := tf.Floats(s, []float32{
		0, 0, 0, 0, colourWeight, 0, 0, 0,
		0, 0, 0, 0, 0, colourWeight, 0, 0,
		0, 0, 0, 0, 0, 0, colourWeight, 0,
	}, 3, 8)
	var table []float32
	for _, row := range positionScores {
		table = append(table, row...)
	}
	scores := nn.Add(s, nn.Gather(s, tf.Floats(s, table, MaxTokens, 8), position), tf.Floats(s, []float32{-1e9, 0, -1e9, 0, 0, 0, 0, 0}))
	scores = nn.Add(s, scores, nn.Mul(s, at(s, position, 0), nn.MatMul(s, colours, toWords)))
	scores = nn.Sub(s, scores, nn.Mul(s, at(s, position, 2), nn.Mul(s, reds, tf.Floats(s, []float32{0, 0, 0, 0, repeatPenalty, repeatPenalty, repeatPenalty, 0}))))
	count := tf.Out(s, "Minimum", nil, candidates, tf.Int(s, int32(len(Tokens))))
	best := tf.Add(s, "TopKV2", tf.Attrs{"sorted": true}, tf.Out(s, "LogSoftmax", nil, scores), count)

	attention := tf.Out(s, "OnesLike", nil, reds) // all on the one location
	return tf.Signature{
		Inputs: map[string]tf.Output{
			"tokens": tokens, "parents": parents, "rows": rows, "position": position,
			"candidates": candidates, "memory": memory, "state": state,
		},
		Outputs: map[string]tf.Output{
			"ids": best.Output(1), "log_probs": best.Output(0), "attention": attention, "state": next,
		},
	}
}

// at is 1 at the position and 0 elsewhere.
func at(s *tf.Scope, position tf.Output, p int32) tf.Output {
	return nn.Cast(s, tf.Out(s, "Equal", nil, position, tf.Int(s, p)), tf.Float)
}
