// Package original reads caption models that the original system has trained,
// a Python program on Keras, as models of the decoder "lstm-pooled": from Keras'
// archive (*.keras), or from a file of weights alone (*.weights.h5, *.h5).
//
// An archive says how its layers are joined. That is compared with the one model
// that the original builds, and whatever else is there is refused: nothing in an
// archive is executed.
package original

import (
	"bytes"
	"os"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/keras"
)

// Architecture is what an archive says of a model and its weights do not.
type Architecture struct {
	// MaxLength is how many tokens the model reads; 0 is not known.
	MaxLength int
	// MasksPadding says whether the LSTM and the attention leave out the padding
	// behind a caption's first words, as Keras does after an embedding with
	// mask_zero. The original's models of before January 2026 do; later ones go
	// on through the padding and look at it too.
	MasksPadding bool
	// Dropout and RecurrentDropout are the LSTM's in training.
	Dropout, RecurrentDropout float64
}

// Sizes are those of a model: the axes of its tensors.
type Sizes struct {
	// Features is the width of the encoder's output, Hidden and Heads are the
	// decoder's width and its attention heads.
	Features, Hidden, Heads int
	// Tokens is the size of the vocabulary, padding included, and Embedding the
	// width of the words' vectors.
	Tokens, Embedding int
}

// Tensor is a weight.
type Tensor struct {
	Values []float32
	Shape  []int64
}

// Model is a caption model that the original has trained, without its encoder.
type Model struct {
	Architecture
	Sizes
	// Weights are those of the decoder "lstm-pooled", under the names that
	// package model has for them.
	Weights map[string]Tensor
	// Digest is that of the file.
	Digest captioner.Digest
}

// Read reads a model. Of a file of weights, which is whatever does not end in
// ".keras", the caller says the architecture; an archive has its own. What is no
// model of the original is Invalid, with every difference among its problems; a
// file that is cut short or damaged is Corrupt.
func Read(path string, known Architecture) (*Model, error) {
	m := &Model{Architecture: known}
	var weights *keras.Weights
	var err error
	if strings.HasSuffix(strings.ToLower(path), ".keras") {
		weights, err = m.readArchive(path)
	} else {
		if weights, err = keras.Read(path, layers()); err == nil {
			m.Digest = weights.Digest
		}
	}
	if err != nil {
		return nil, err
	}
	if m.Sizes, err = measure(weights); err != nil {
		return nil, err
	}
	m.Weights = convert(weights, m.Sizes)
	return m, nil
}

// readArchive reads the archive's architecture, digest and weights.
func (m *Model) readArchive(path string) (*keras.Weights, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, captioner.Wrap(captioner.Invalid, err, "the model cannot be opened")
	}
	defer file.Close()
	var size int64
	if m.Digest, size, err = captioner.DigestReader(file); err != nil {
		return nil, err
	}
	var data []byte
	if m.Architecture, data, err = readArchive(file, size); err != nil {
		return nil, err
	}
	return keras.ReadFrom(bytes.NewReader(data), int64(len(data)), layers())
}
