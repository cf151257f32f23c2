// Package model has the caption model whole, from pixels to words: what it
// computes, in this file from top to bottom; the graph that trains it, in
// training.go; and the graph that is exported and served, in serving.go.
//
// The encoder (package encoder) turns a picture into a grid of locations; a
// decoder (decoder.go), here a Transformer decoder (Vaswani et al. 2017, with
// normalisation before each part as in Xiong et al. 2020) says the caption word by
// word, looking at the words so far and at the grid.
package model

import (
	"fmt"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/text"
	"github.com/captioner/captioner/ml/tf"
)

// Model is the sizes of a caption model.
type Model struct {
	captioner.ModelConfig
	// Vocabulary is the number of tokens, V.
	Vocabulary int
	// MaxTokens is the longest token sequence, start and end included.
	MaxTokens int
	// SeesPadding has lstm-pooled go on through padding up to MaxTokens-1 tokens
	// at each step, and look at it, as models of the original do that were
	// trained so. Such a model can be exported and not trained.
	SeesPadding bool

	words      *text.Vocabulary
	encode     encoder.Encoder
	decode     Decoder
	pretrained *pretrained // the encoder's weights; nil without any
}

// New returns the model of the configuration that says the words of a
// vocabulary. What cannot be built is an Invalid error, and so are weights of
// another network. The caller closes it.
func New(config captioner.ModelConfig, words *text.Vocabulary, maxTokens int) (*Model, error) {
	encode, err := encoder.Named(config.Encoder)
	switch {
	case err != nil:
		return nil, err
	case decoders[config.Decoder] == nil:
		return nil, captioner.Errorf(captioner.Invalid, "there is no decoder %q, only %s", config.Decoder, strings.Join(Decoders(), ", "))
	case config.Width < 1 || config.Layers < 1 || config.Heads < 1 || config.FeedForward < 1:
		return nil, captioner.Errorf(captioner.Invalid, "the model's width, layers, heads and feed_forward must be positive")
	case config.SplitsWidth() && config.Width%config.Heads != 0:
		return nil, captioner.Errorf(captioner.Invalid, "the model's heads must divide its width")
	case config.ImageSize < 32:
		return nil, captioner.Errorf(captioner.Invalid, "image_size must be at least 32 pixels")
	case encoder.CheckSide(config.Encoder, config.ImageSize) != nil:
		return nil, encoder.CheckSide(config.Encoder, config.ImageSize)
	case words.Words() < 1 || maxTokens < 3:
		return nil, captioner.Errorf(captioner.Invalid, "a vocabulary of %d words and captions of %d tokens leave nothing to say", words.Words(), maxTokens)
	}
	weights, err := readPretrained(config)
	if err != nil {
		return nil, err
	}
	m := &Model{ModelConfig: config, Vocabulary: words.Size(), MaxTokens: maxTokens, words: words, encode: encode, pretrained: weights}
	m.decode = decoders[config.Decoder](m)
	return m, nil
}

// Close frees the weights that the encoder was given.
func (m *Model) Close() { m.pretrained.release() }

// WeightsDigest is that of the file of weights that the encoder was given; empty
// without one.
func (m *Model) WeightsDigest() captioner.Digest {
	if m.pretrained == nil {
		return ""
	}
	return m.pretrained.digest
}

// Input is the layout of what the model is trained on: the output of an encoder
// that is frozen, or else pixels.
func (m *Model) Input(c captioner.TrainingConfig) features.Layout {
	if m.pretrained != nil && c.FineTuneBlocks == 0 {
		return m.pretrained.layout(m.FeatureType)
	}
	return features.Pixels(m.StoredSize())
}

// The weights' initial limits that are not the layers' own.
var (
	embeddingInit = nn.Uniform(0.05) // Keras' default for embeddings
	positionInit  = nn.Uniform(0.05)
)

// grid turns pixels, or what a frozen encoder has made of them, into the vectors
// that the decoder attends to.
//
//	x       [B, P, P, 3] or [B, S, S, 3] uint8, or records of the layout
//	result  [B, L, M]
func (m *Model) grid(t *nn.Tower, x tf.Output, layout features.Layout) tf.Output {
	t = t.Sub("encoder")
	if layout.Type == features.Uint8 {
		return m.project(t, m.features(t, x))
	}
	return m.project(t, locations(t.Scope, x, layout))
}

// features turns pixels into the encoder's output. t is the encoder's part of
// the tower, as it is for project.
//
//	pixels  [B, P, P, 3] or [B, S, S, 3] uint8
//	result  [B, L, D]
func (m *Model) features(t *nn.Tower, pixels tf.Output) tf.Output {
	s := t.Scope
	if dims := tf.Dims(s, pixels); len(dims) == 4 && dims[1] != int64(m.ImageSize) {
		pixels = nn.CropCentre(s, pixels, int(dims[1]), m.ImageSize)
	}
	x := nn.Cast(s, pixels, tf.Float) // [B, S, S, 3]
	if m.Grayscale {
		x = nn.Grey(s, x)
	}
	return m.encode(t, x)
}

// project turns the encoder's output into what the decoder looks at.
//
//	features  [B, L, D]
//	result    [B, L, M], or what else the decoder makes of it
func (m *Model) project(t *nn.Tower, features tf.Output) tf.Output { return m.decode.Grid(t, features) }

// Grid is the grid of the decoders that look at locations: each has a vector of
// what is there and where it is.
//
//	features  [B, L, D]
//	result    [B, L, M]
func (m *Model) Grid(t *nn.Tower, features tf.Output) tf.Output {
	s := t.Scope
	x := nn.Dense(t.Sub("project"), features, m.Width, nn.Glorot) // [B, L, M]
	locations := int64(0)
	if dims := tf.Dims(s, x); len(dims) == 3 {
		locations = dims[1]
	}
	x = nn.Add(s, x, nn.Table(t, "positions", positionInit, locations, int64(m.Width)))
	return nn.LayerNorm(t.Sub("norm"), x)
}

// embedding gives every token its vector.
//
//	tokens  [...] int32
//	result  [..., E]
func (m *Model) embedding(t *nn.Tower, tokens tf.Output) tf.Output {
	t = t.Sub("words")
	size := m.EmbeddingSize()
	if m.EmbeddingFrozen {
		return nn.Gather(t.Scope, t.Constant("table", 0, int64(m.Vocabulary), int64(size)), tokens)
	}
	return nn.Embedding(t, tokens, m.Vocabulary, size, embeddingInit)
}

// Embed gives every token a vector of the model's width, for decoders.
//
//	tokens  [...] int32
//	result  [..., M]
func (m *Model) Embed(t *nn.Tower, tokens tf.Output) tf.Output {
	x := m.embedding(t, tokens)
	if m.EmbeddingSize() == m.Width {
		return x
	}
	return nn.Dense(t.Sub("words").Sub("project"), x, m.Width, nn.Glorot)
}

// Memory turns the grid into the keys and values of every decoder layer: one
// product serves all of them, and decoding computes it once a picture.
//
//	grid    [B, L, M]
//	result  [B, L, layers·2·M]
func (m transformer) Memory(t *nn.Tower, grid tf.Output) tf.Output {
	return nn.Dense(t.Sub("memory"), grid, m.Layers*2*m.Width, nn.Glorot)
}

// Words turns the memory and the tokens so far into a vector per token.
//
//	tokens  [B, C, T] int32      C captions a picture, each from the start token
//	memory  [B, L, layers·2·M]
//	result  [B·C, T, M]
func (m transformer) Words(t *nn.Tower, tokens, memory tf.Output) tf.Output {
	s := t.Scope
	sizes := nn.Sizes(s, tokens)
	if len(sizes) != 3 {
		s.UpdateErr("decoder", fmt.Errorf("tokens have %d axes, want 3", len(sizes)))
		return tf.Output{}
	}
	length := sizes[2]
	flat := nn.Reshape(s, tokens, -1, length) // [B·C, T]
	x := m.Embed(t, flat)                     // [B·C, T, M]
	positions := nn.Table(t, "positions", positionInit, int64(m.MaxTokens), int64(m.Width))
	x = nn.Add(s, x, first(s, positions, length))
	x = nn.Dropout(t.Sub("embedding"), x, m.Dropout)

	mask := nn.CausalMask(s, length)
	keysValues := nn.SplitHeads(s, memory, m.Layers*2, m.Heads) // [B, N, L, H] each
	for i := range m.Layers {
		t := t.Sub(fmt.Sprintf("layer%d", i+1))
		y := nn.SelfAttention(t.Sub("self"), nn.LayerNorm(t.Sub("self_norm"), x), mask, m.Heads)
		x = nn.Add(s, x, nn.Dropout(t.Sub("self"), y, m.Dropout))
		// All captions of a picture look at it together: [B, C·T, M].
		queries := nn.Reshape(s, nn.LayerNorm(t.Sub("cross_norm"), x), sizes[0], -1, m.Width)
		y, _ = nn.CrossAttention(t.Sub("cross"), queries, keysValues[2*i], keysValues[2*i+1], m.Heads)
		y = nn.Reshape(s, y, -1, length, m.Width) // [B·C, T, M]
		x = nn.Add(s, x, nn.Dropout(t.Sub("cross"), y, m.Dropout))
		x = m.feedForward(t, x)
	}
	return nn.LayerNorm(t.Sub("norm"), x)
}

// feedForward is the last part of a decoder layer, for any number of tokens.
//
//	x, result  [..., M]
func (m *Model) feedForward(t *nn.Tower, x tf.Output) tf.Output {
	s := t.Scope
	y := nn.Dense(t.Sub("widen"), nn.LayerNorm(t.Sub("widen_norm"), x), m.FeedForward, nn.He)
	y = nn.Dense(t.Sub("narrow"), nn.ReLU(s, y), m.Width, nn.Glorot)
	return nn.Add(s, x, nn.Dropout(t.Sub("narrow"), y, m.Dropout))
}

// Logits scores the vocabulary for every vector.
//
//	x       [R, M]
//	result  [R, V]
func (m *Model) Logits(t *nn.Tower, x tf.Output) tf.Output {
	return nn.Dense(t.Sub("logits"), x, m.Vocabulary, nn.Glorot)
}

// Step is Words and Logits for one more token of each hypothesis.
//
//	tokens    [K] int32                 the newest tokens
//	position  [] int32                  how many came before, the same for all
//	memory    [K, L, layers·2·M]        of each hypothesis' picture
//	state     [K, layers·2, T, M]       keys and values of the tokens before
//	logits    [K, V]
//	seen      [K, L]                    attention, mean over heads and layers
//	next      [K, layers·2, T+1, M]
func (m transformer) Step(t *nn.Tower, tokens, position, memory, state tf.Output) (logits, seen, next tf.Output) {
	s := t.Scope
	x := m.Embed(t, tokens) // [K, M]
	positions := nn.Table(t, "positions", positionInit, int64(m.MaxTokens), int64(m.Width))
	x = nn.Add(s, x, nn.Gather(s, positions, position))
	x = nn.ExpandDims(s, x, 1) // [K, 1, M]

	keysValues := nn.SplitHeads(s, memory, m.Layers*2, m.Heads)
	states, weights := make([]tf.Output, m.Layers), make([]tf.Output, m.Layers)
	for i := range m.Layers {
		t := t.Sub(fmt.Sprintf("layer%d", i+1))
		past := nn.Slice(s, state, []int32{0, int32(2 * i), 0, 0}, []int32{-1, 2, -1, -1})
		y, now := nn.SelfAttentionStep(t.Sub("self"), nn.LayerNorm(t.Sub("self_norm"), x), past, m.Heads)
		states[i] = now
		x = nn.Add(s, x, y)
		y, weights[i] = nn.CrossAttention(t.Sub("cross"), nn.LayerNorm(t.Sub("cross_norm"), x),
			keysValues[2*i], keysValues[2*i+1], m.Heads)
		x = m.feedForward(t, nn.Add(s, x, y))
	}
	x = nn.Reshape(s, nn.LayerNorm(t.Sub("norm"), x), -1, m.Width)
	seen = nn.Mean(s, nn.Concat(s, 1, weights...), false, 1, 2) // [K, layers·N, 1, L] → [K, L]
	return m.Logits(t, x), seen, nn.Concat(s, 1, states...)
}

// first returns the first rows of x, as many as count says, a size for Reshape.
func first(s *tf.Scope, x tf.Output, count any) tf.Output {
	switch count := count.(type) {
	case int:
		return nn.Slice(s, x, []int32{0, 0}, []int32{int32(count), -1})
	case tf.Output:
		return tf.Out(s, "Slice", nil, x, tf.Ints(s, 0, 0), nn.Pack(s, count, tf.Int(s, -1)))
	}
	return tf.Output{}
}
