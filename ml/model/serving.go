package model

import (
	"fmt"
	"maps"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/text"
	"github.com/captioner/captioner/ml/tf"
)

// auxiliaryPrefix begins the names of weights that only training needs.
const auxiliaryPrefix = "auxiliary/"

func isAuxiliary(name string) bool { return strings.HasPrefix(name, auxiliaryPrefix) }

// IsServed says whether the exported model has the variable of that name.
func IsServed(name string) bool {
	return !isAuxiliary(name) && !strings.HasPrefix(name, "adam/")
}

// preprocess turns an encoded picture into the square that is stored and encoded.
//
//	data         string []
//	orientation  [] int32
//	result       [P, P, 3] uint8
func preprocess(s *tf.Scope, data, orientation tf.Output, side int) tf.Output {
	return preprocessPixels(s, nn.DecodeImage(s, data), orientation, side)
}

// preprocessPixels does the same for a decoded picture, [height, width, 3]
// uint8. It is turned after it has become small.
func preprocessPixels(s *tf.Scope, pixels, orientation tf.Output, side int) tf.Output {
	return nn.Reshape(s, nn.Orient(s, nn.ResizeSquare(s, pixels, side), orientation), side, side, 3)
}

// Export writes the model with the given weights as a SavedModel into dir.
// Its signatures:
//
//	preprocess         image_bytes string [], orientation int32 [] → pixels uint8 [P, P, 3]
//	preprocess_pixels  raw_pixels uint8 [height, width, 3], orientation int32 [] → pixels uint8 [P, P, 3]
//	encode             pixels uint8 [B, P, P, 3] → memory float32 [B, L, layers·2·M],
//	                   state float32 [B, layers·2, 0, M]
//	encode_features    features float16 or float32 [B, height, width, D] → as encode
//	step               tokens, parents, rows int32 [K], position, candidates int32 [], memory, state →
//	                   ids int32 [K, C], log_probs float32 [K, C], attention float32 [K, L],
//	                   state float32 [K, layers·2, T+1, M]
//	serving_default    image_bytes string [B] → ids int32 [B, MaxTokens-1], text string [B],
//	                   log_probability float32 [B]
//
// An encoder that was given weights has encode_features, which goes on from its
// output. The weights that it was given are those of the model where they are
// not among weights.
//
// In step, parents[k] is the row of state that hypothesis k continues and
// rows[k] the row of memory that it describes. The sizes of memory and state are
// the decoder's; these are the Transformer's. The padding and start tokens
// are never proposed.
func (m *Model) Export(dir string, weights map[string]*tf.Tensor) error {
	if m.pretrained != nil {
		trained := weights
		weights = maps.Clone(m.pretrained.values)
		maps.Copy(weights, trained)
	}
	graph := tf.NewGraph()
	s := tf.ScopeOf(graph)
	t := &nn.Tower{Scope: s.SubScope("model"), Weights: nn.NewConstants(weights)}
	signatures := map[string]tf.Signature{
		"preprocess":        m.preprocessSignature(s.SubScope("preprocess")),
		"preprocess_pixels": m.pixelsSignature(s.SubScope("preprocess_pixels")),
		"encode":            m.encodeSignature(s.SubScope("encode"), t),
		"step":              m.stepSignature(s.SubScope("step"), t),
		"serving_default":   m.captionSignature(graph, s.SubScope("serving_default"), t),
	}
	if m.pretrained != nil {
		signatures["encode_features"] = m.featuresSignature(s.SubScope("encode_features"), t)
	}
	if _, err := s.Finalize(); err != nil {
		return captioner.Wrap(captioner.Internal, err, "build the serving graph")
	}
	return tf.WriteSavedModel(dir, graph, signatures)
}

func input(s *tf.Scope, name string, kind tf.DataType, dims ...int64) tf.Output {
	return tf.Placeholder(s.SubScope(name), kind, dims...)
}

func (m *Model) preprocessSignature(s *tf.Scope) tf.Signature {
	data, orientation := input(s, "image_bytes", tf.String), input(s, "orientation", tf.Int32)
	return tf.Signature{
		Inputs:  map[string]tf.Output{"image_bytes": data, "orientation": orientation},
		Outputs: map[string]tf.Output{"pixels": tf.Named(s, "pixels", preprocess(s, data, orientation, m.StoredSize()))},
	}
}

func (m *Model) pixelsSignature(s *tf.Scope) tf.Signature {
	raw, orientation := input(s, "raw_pixels", tf.Uint8, -1, -1, 3), input(s, "orientation", tf.Int32)
	return tf.Signature{
		Inputs:  map[string]tf.Output{"raw_pixels": raw, "orientation": orientation},
		Outputs: map[string]tf.Output{"pixels": tf.Named(s, "pixels", preprocessPixels(s, raw, orientation, m.StoredSize()))},
	}
}

// within returns the tower with its operations in s.
func within(t *nn.Tower, s *tf.Scope) *nn.Tower {
	moved := *t
	moved.Scope = s
	return &moved
}

// encoded returns memory and empty state of pixels [B, P, P, 3], or of other
// records.
func (m *Model) encoded(t *nn.Tower, x tf.Output, layout features.Layout) (memory, state tf.Output) {
	s := t.Scope
	memory = m.decode.Memory(t.Sub("decoder"), m.grid(t, x, layout))
	_, axes := m.decode.Sizes()
	shape := []tf.Output{nn.Size(s, x, 0)}
	for _, axis := range axes {
		shape = append(shape, tf.Int(s, int32(max(0, axis)))) // what grows begins empty
	}
	return memory, tf.Out(s, "Fill", nil, nn.Pack(s, shape...), tf.Scalar(s, 0))
}

func (m *Model) encodeSignature(s *tf.Scope, t *nn.Tower) tf.Signature {
	layout := features.Pixels(m.StoredSize())
	pixels := records(s.SubScope("pixels"), layout)
	memory, state := m.encoded(within(t, s), pixels, layout)
	return tf.Signature{
		Inputs:  map[string]tf.Output{"pixels": pixels},
		Outputs: map[string]tf.Output{"memory": tf.Named(s, "memory", memory), "state": tf.Named(s, "state", state)},
	}
}

// featuresSignature is encode behind the encoder.
func (m *Model) featuresSignature(s *tf.Scope, t *nn.Tower) tf.Signature {
	layout := m.pretrained.layout(m.FeatureType)
	in := records(s.SubScope("features"), layout)
	memory, state := m.encoded(within(t, s), in, layout)
	return tf.Signature{
		Inputs:  map[string]tf.Output{"features": in},
		Outputs: map[string]tf.Output{"memory": tf.Named(s, "memory", memory), "state": tf.Named(s, "state", state)},
	}
}

func (m *Model) stepSignature(s *tf.Scope, t *nn.Tower) tf.Signature {
	width, axes := m.decode.Sizes()
	inputs := map[string]tf.Output{
		"tokens": input(s, "tokens", tf.Int32, -1), "parents": input(s, "parents", tf.Int32, -1),
		"rows": input(s, "rows", tf.Int32, -1), "position": input(s, "position", tf.Int32),
		"candidates": input(s, "candidates", tf.Int32),
		"memory":     input(s, "memory", tf.Float, -1, -1, width),
		"state":      input(s, "state", tf.Float, append([]int64{-1}, axes...)...),
	}
	logProbs, seen, next := m.proposals(within(t, s), inputs["tokens"], inputs["position"],
		nn.Gather(s, inputs["memory"], inputs["rows"]), nn.Gather(s, inputs["state"], inputs["parents"]))
	count := tf.Out(s, "Minimum", nil, inputs["candidates"], tf.Int(s, int32(m.Vocabulary)))
	top := tf.Add(s, "TopKV2", nil, logProbs, count)
	return tf.Signature{Inputs: inputs, Outputs: map[string]tf.Output{
		"ids": tf.Named(s, "ids", top.Output(1)), "log_probs": tf.Named(s, "log_probs", top.Output(0)),
		"attention": tf.Named(s, "attention", seen), "state": tf.Named(s, "state", next),
	}}
}

// proposals returns the log-probability of every token as the next one, [K, V].
func (m *Model) proposals(t *nn.Tower, tokens, position, memory, state tf.Output) (logProbs, seen, next tf.Output) {
	s := t.Scope
	logits, seen, next := m.decode.Step(t.Sub("decoder"), tokens, position, memory, state)
	never := make([]float32, m.Vocabulary)
	never[text.Pad], never[m.words.Start()] = -1e9, -1e9
	return tf.Out(s, "LogSoftmax", nil, nn.Add(s, logits, tf.Floats(s, never))), seen, next
}

// captionSignature is greedy decoding with all its steps in the graph, for
// programs that know nothing of this one.
func (m *Model) captionSignature(g *tf.Graph, s *tf.Scope, t *nn.Tower) tf.Signature {
	data := input(s, "image_bytes", tf.String, -1)
	pixels := tf.Map(g, s, data, func(s *tf.Scope, data tf.Output) tf.Output {
		return preprocess(s, data, tf.Int(s, 1), m.StoredSize())
	}) // [B, P, P, 3]
	memory, state := m.encoded(within(t, s), pixels, features.Pixels(m.StoredSize()))

	batch := nn.Pack(s, nn.Size(s, data, 0))
	fill := func(value tf.Output) tf.Output { return tf.Out(s, "Fill", nil, batch, value) }
	token, done, total := fill(tf.Int(s, m.words.Start())), fill(tf.Int(s, 0)), fill(tf.Scalar(s, 0)) // [B] each
	guard := repeatGuard{order: tf.Int(s.SubScope("no_repeat_ngram"), int32(captioner.DefaultConfig().Evaluation.NoRepeatNGram))}
	ids := make([]tf.Output, m.MaxTokens-1)
	for i := range ids {
		t := within(t, s.SubScope(fmt.Sprintf("step%d", i)))
		var logProbs tf.Output
		logProbs, _, state = m.proposals(t, token, tf.Int(t.Scope, int32(i)), memory, state) // [B, V]
		logProbs = guard.lower(t.Scope, logProbs, ids[:i])
		token = nn.Cast(t.Scope, tf.Out(t.Scope, "ArgMax", nil, logProbs, tf.Int(t.Scope, 1)), tf.Int32)
		open := nn.Sub(t.Scope, tf.Int(t.Scope, 1), done) // 1 until the end token has come
		best := tf.Out(t.Scope, "Max", nil, logProbs, tf.Ints(t.Scope, 1))
		total = nn.Add(t.Scope, total, nn.Mul(t.Scope, best, nn.Cast(t.Scope, open, tf.Float)))
		ids[i] = nn.ExpandDims(t.Scope, nn.Mul(t.Scope, token, open), 1) // [B, 1]; the padding token is 0
		ended := nn.Cast(t.Scope, tf.Out(t.Scope, "Equal", nil, token, tf.Int(t.Scope, m.words.End())), tf.Int32)
		done = tf.Out(t.Scope, "Maximum", nil, done, ended)
	}
	sequence := nn.Concat(s, 1, ids...)

	// Padding and end become empty words, whose spaces are stripped.
	words := m.words.Tokens()
	words[text.Pad], words[m.words.Start()], words[m.words.End()] = "", "", ""
	table := tf.FromStrings(words, int64(len(words)))
	defer table.Release()
	joined := tf.Out(s, "ReduceJoin", tf.Attrs{"separator": " "}, nn.Gather(s, tf.Const(s, table), sequence), tf.Int(s, 1))
	return tf.Signature{
		Inputs: map[string]tf.Output{"image_bytes": data},
		Outputs: map[string]tf.Output{
			"ids":             tf.Named(s, "ids", sequence),
			"text":            tf.Named(s, "text", tf.Out(s, "StringStrip", nil, joined)),
			"log_probability": tf.Named(s, "log_probability", total),
		},
	}
}

// repeatGuard keeps captions from saying an n-gram twice, as package decode does.
type repeatGuard struct {
	order  tf.Output // of the n-grams, int32 []; 0 allows all
	common tf.Output // see lower
}

// lower takes tokens that would complete an n-gram of the caption so far out of
// what can be chosen next.
//
//	logProbs, result  [B, V]
//	ids               [B, 1] int32 each, the caption so far
func (g *repeatGuard) lower(s *tf.Scope, logProbs tf.Output, ids []tf.Output) tf.Output {
	if len(ids) == 0 {
		return logProbs
	}
	// common [B, T] counts how many of the last tokens stand before each token too.
	last := ids[len(ids)-1]
	first := nn.Sub(s, last, last) // nothing stands before the first one
	before := g.common
	g.common = first
	if len(ids) > 1 {
		same := nn.Cast(s, tf.Out(s, "Equal", nil, nn.Concat(s, 1, ids[:len(ids)-1]...), last), tf.Int32)
		g.common = nn.Concat(s, 1, first, nn.Mul(s, same, nn.Add(s, before, tf.Int(s, 1))))
	}
	// A token is out when all of an n-gram but that token has just been said.
	said := tf.Out(s, "GreaterEqual", nil, g.common, nn.Sub(s, g.order, tf.Int(s, 1)))
	said = tf.Out(s, "LogicalAnd", nil, said, tf.Out(s, "Greater", nil, g.order, tf.Int(s, 0)))
	which := tf.Out(s, "OneHot", nil, nn.Concat(s, 1, ids...), nn.Gather(s, tf.Out(s, "Shape", nil, logProbs), tf.Int(s, 1)), tf.Scalar(s, -1e9), tf.Scalar(s, 0))
	out := nn.Mul(s, which, nn.ExpandDims(s, nn.Cast(s, said, tf.Float), 2)) // [B, T, V]
	return nn.Add(s, logProbs, tf.Out(s, "Min", nil, out, tf.Ints(s, 1)))
}
