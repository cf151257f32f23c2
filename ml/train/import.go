package train

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/original"
	"github.com/captioner/captioner/ml/text"
	"github.com/captioner/captioner/ml/tf"
)

// Import makes a model of one that the original system has trained, in the form
// in which Run leaves what it has trained.
func Import(_ context.Context, req captioner.ImportRequest) (captioner.ImportResult, error) {
	trained, err := original.Read(req.Model, original.Architecture{MaxLength: req.MaxLength, MasksPadding: req.MasksPadding})
	if err != nil {
		return captioner.ImportResult{}, err
	}
	words, digest, err := readWordIndex(req.Vocabulary)
	if err != nil {
		return captioner.ImportResult{}, err
	}
	pretrained, err := encoderOf(trained, words)
	if err != nil {
		return captioner.ImportResult{}, err
	}
	result := captioner.ImportResult{Model: modelConfig(trained, pretrained)}
	weights, encoderDigest, err := pretrained.Read(req.EncoderWeights)
	if err != nil {
		return captioner.ImportResult{}, fmt.Errorf("encoder weights: %w", err)
	}
	all := make(map[string]*tf.Tensor, len(weights))
	defer func() { tf.ReleaseMap(all) }()
	for name, w := range weights {
		all["encoder/"+name] = w
	}
	for name, w := range trained.Weights {
		all[name] = tf.FromFloat32(w.Values, w.Shape...)
	}
	result.Imported = captioner.Imported{Model: trained.Digest, Vocabulary: digest, EncoderWeights: encoderDigest}
	result.Training = captioner.TrainResult{TensorFlow: tf.Version()}
	for w := range maps.Values(all) {
		result.Training.Parameters += w.Len()
	}

	// The original's captions are as long as what the model reads: whatever it
	// reads has a next word.
	m, err := model.New(result.Model, words, trained.MaxLength+1)
	if err != nil {
		return captioner.ImportResult{}, err
	}
	m.SeesPadding = !trained.MasksPadding
	return result, write(req.OutputDir, m, all, exported{
		vocabulary:  words.Tokens(),
		description: captioner.ModelDescription{Model: result.Model, Parameters: result.Training.Parameters},
		report:      Report{TrainResult: result.Training, History: []Epoch{}},
	})
}

func readWordIndex(path string) (*text.Vocabulary, captioner.Digest, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, "", captioner.Wrap(captioner.Invalid, err, "the vocabulary cannot be read")
	}
	words, err := text.ReadWordIndex(bytes.NewReader(data))
	return words, captioner.DigestOf(data), err
}

// encoderOf returns the encoder whose output the model takes. A vocabulary of
// another model and a length that nobody has given are noticed here too.
func encoderOf(trained *original.Model, words *text.Vocabulary) (encoder.Pretrained, error) {
	switch {
	case words.Size() != trained.Tokens:
		return encoder.Pretrained{}, captioner.Errorf(captioner.Invalid,
			"the vocabulary has %d words, and the model says %d: it belongs to another model", words.Size()-1, trained.Tokens-1)
	case trained.MaxLength < 2:
		return encoder.Pretrained{}, captioner.Errorf(captioner.Invalid,
			"a file of weights does not say how many tokens its model reads: give the length that it was trained with")
	}
	var known []string
	for _, p := range encoder.Pretraineds() {
		if p.Width == trained.Features {
			return p, nil
		}
		known = append(known, fmt.Sprintf("%s has %d", p.Name, p.Width))
	}
	return encoder.Pretrained{}, captioner.Errorf(captioner.Invalid,
		"the model reads %d numbers a picture, and no encoder gives so many: %s", trained.Features, strings.Join(known, ", "))
}

// modelConfig is the configuration with which such a model would be trained here.
func modelConfig(trained *original.Model, p encoder.Pretrained) captioner.ModelConfig {
	c := captioner.DefaultConfig().Model
	c.Encoder, c.ImageSize, c.Decoder = p.Name, p.Side, "lstm-pooled"
	c.Width, c.Layers, c.Heads = trained.Hidden, 1, trained.Heads
	c.EmbeddingDim, c.EmbeddingFrozen = trained.Embedding, true
	c.Dropout, c.RecurrentDropout = trained.Dropout, trained.RecurrentDropout
	return c
}
