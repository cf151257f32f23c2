package original

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/captioner/captioner"
)

// The parts of an archive, and how large they may be: a model of the original
// has some ten million numbers.
const (
	configName  = "config.json"
	weightsName = "model.weights.h5"

	maxConfigBytes  = 16 << 20
	maxWeightsBytes = 2 << 30
)

// readArchive returns the architecture in an archive and its file of weights.
func readArchive(file io.ReaderAt, size int64) (Architecture, []byte, error) {
	z, err := zip.NewReader(file, size)
	if err != nil {
		return Architecture{}, nil, captioner.Wrap(captioner.Corrupt, err, "the model is no archive of Keras 3, or one that is cut short")
	}
	config, err := readPart(z, configName, maxConfigBytes)
	if err != nil {
		return Architecture{}, nil, err
	}
	a, err := parseArchitecture(config)
	if err != nil {
		return Architecture{}, nil, err
	}
	weights, err := readPart(z, weightsName, maxWeightsBytes)
	return a, weights, err
}

// readPart reads a file of the archive, which must not be larger than limit
// whatever the archive says of its size.
func readPart(z *zip.Reader, name string, limit int64) ([]byte, error) {
	i := slices.IndexFunc(z.File, func(f *zip.File) bool { return f.Name == name })
	if i < 0 {
		return nil, captioner.Errorf(captioner.Invalid, "the archive has no %s: it is no model that Keras 3 has saved", name)
	}
	file, err := z.File[i].Open()
	if err != nil {
		return nil, captioner.Wrap(captioner.Corrupt, err, "the archive's %s cannot be read", name)
	}
	defer file.Close()
	var content bytes.Buffer
	n, err := io.Copy(&content, io.LimitReader(file, limit+1))
	switch {
	case err != nil:
		return nil, captioner.Wrap(captioner.Corrupt, err, "the archive's %s cannot be read", name)
	case n > limit:
		return nil, captioner.Errorf(captioner.Invalid, "the archive's %s is larger than %d MB", name, limit>>20)
	}
	return content.Bytes(), nil
}

// layer is a layer in an archive's configuration.
type layer struct {
	Class  string         `json:"class_name"`
	Name   string         `json:"name"`
	Config map[string]any `json:"config"`
	Calls  []struct {
		Args   []any          `json:"args"`
		Kwargs map[string]any `json:"kwargs"`
	} `json:"inbound_nodes"`
}

// known are the classes of the layers that the original's model has. NotEqual
// makes the mask of an embedding with mask_zero.
var known = []string{
	"Concatenate", "Dense", "Dropout", "Embedding", "GlobalAveragePooling1D", "InputLayer", "LSTM",
	"LayerNormalization", "MultiHeadAttention", "NotEqual", "Reshape",
}

// network follows the layers of an archive from its output to its inputs, and
// collects what the original's model has not.
type network struct {
	layers   map[string]*layer
	problems []captioner.Problem
}

// parseArchitecture reads the configuration of a functional model. One that is
// not the original's is Invalid, with every difference among the problems.
func parseArchitecture(data []byte) (Architecture, error) {
	var model struct {
		Class  string `json:"class_name"`
		Config struct {
			Layers  []layer `json:"layers"`
			Outputs []any   `json:"output_layers"`
		} `json:"config"`
	}
	if err := json.Unmarshal(data, &model); err != nil {
		return Architecture{}, captioner.Wrap(captioner.Invalid, err, "the archive's %s is not that of a model of Keras 3", configName)
	}
	n := &network{layers: map[string]*layer{}}
	if model.Class != "Functional" {
		n.differ(model.Class, "is no functional model, which the original saves")
	}
	for i, l := range model.Config.Layers {
		if !slices.Contains(known, l.Class) {
			n.differ(l.Name, "is a layer of the class %s, which the original's model does not have", l.Class)
		}
		n.layers[l.Name] = &model.Config.Layers[i]
	}
	if len(n.problems) > 0 {
		return Architecture{}, n.err()
	}
	a := n.follow(histories(model.Config.Outputs))
	return a, n.err()
}

func (n *network) err() error {
	if len(n.problems) == 0 {
		return nil
	}
	return &captioner.Error{
		Kind: captioner.Invalid, Code: "not_the_original", Problems: n.problems,
		Message: fmt.Sprintf("the archive holds another model than the original's, %d differences", len(n.problems)),
	}
}

func (n *network) differ(layer, format string, args ...any) {
	n.problems = append(n.problems, captioner.Problem{Field: layer, Message: fmt.Sprintf(format, args...)})
}

// follow goes from the output up to both inputs.
func (n *network) follow(outputs []string) (a Architecture) {
	out := n.one(outputs, "the output", "Dense", with("activation", "softmax"), with("use_bias", true))
	merged := n.one(n.inputs(out), "what the output reads", "Dense", with("activation", "relu"), with("use_bias", true))
	joined := n.one(n.inputs(merged), "what that layer reads", "Concatenate", with("axis", -1.0))
	parts := n.inputs(joined)
	if joined != nil && len(parts) != 2 {
		n.differ(joined.Name, "joins %d tensors, the original's 2", len(parts))
	}
	if len(parts) != 2 {
		return a
	}
	pooled := n.one(parts[:1], "the first half of that", "GlobalAveragePooling1D")
	attention := n.one(n.inputs(pooled), "what is pooled", "MultiHeadAttention",
		with("use_bias", true), without("output_shape"), without("sliding_window"), without("use_gate"))
	image := n.one(parts[1:], "the second half of that", "LayerNormalization",
		with("epsilon", 1e-3), with("center", true), with("scale", true), without("rms_scaling"))
	projected := n.one(n.inputs(image), "what is normalised", "Dense", with("activation", "relu"), with("use_bias", true))
	n.one(n.inputs(projected), "what is projected", "InputLayer")

	looks := n.inputs(attention)
	if attention != nil && len(looks) != 2 {
		n.differ(attention.Name, "reads %d tensors, the original's a query and values", len(looks))
	}
	if len(looks) != 2 {
		return a
	}
	query := n.one(looks[:1], "the query", "Reshape")
	if from := n.one(n.inputs(query), "what becomes the query", "LayerNormalization"); from != nil && image != nil && from != image {
		n.differ(query.Name, "reads %s, and the original's query is %s", from.Name, image.Name)
	}
	lstm := n.one(looks[1:], "the values", "LSTM", with("return_sequences", true), with("activation", "tanh"),
		with("recurrent_activation", "sigmoid"), with("use_bias", true), without("go_backwards"), without("stateful"))
	embedding := n.one(n.inputs(lstm), "what the LSTM reads", "Embedding")
	text := n.one(n.inputs(embedding), "what is embedded", "InputLayer")
	if lstm == nil || embedding == nil || text == nil {
		return a
	}
	a.MasksPadding, _ = embedding.Config["mask_zero"].(bool)
	a.Dropout, _ = lstm.Config["dropout"].(float64)
	a.RecurrentDropout, _ = lstm.Config["recurrent_dropout"].(float64)
	if shape, _ := text.Config["batch_shape"].([]any); len(shape) == 2 {
		length, _ := shape[1].(float64)
		a.MaxLength = int(length)
	}
	if a.MaxLength < 1 {
		n.differ(text.Name, "has no fixed number of tokens")
	}
	return a
}

// want is a setting that a layer must have.
type want struct {
	name  string
	value any
}

func with(name string, value any) want { return want{name, value} }

// without wants a setting to be off: null, false, or of a later Keras.
func without(name string) want { return want{name, nil} }

// one returns the only layer of a list. It must be of the class, with the
// settings; where it is not, that is noted, and the result nil.
func (n *network) one(names []string, what, class string, settings ...want) *layer {
	if len(names) == 0 {
		return nil // noted already
	}
	l := n.layers[names[0]]
	switch {
	case len(names) > 1:
		n.differ(names[1], "is one tensor too many: %s is one", what)
		return nil
	case l == nil:
		n.differ(names[0], "is not among the layers")
		return nil
	case l.Class != class:
		n.differ(l.Name, "is a layer of the class %s, and %s is a %s", l.Class, what, class)
		return nil
	}
	for _, w := range settings {
		got := l.Config[w.name]
		if list, ok := got.([]any); ok && len(list) == 1 {
			got = list[0]
		}
		off := w.value == nil && got == false
		if got != w.value && !off {
			n.differ(l.Name, "has %s %v, the original's %v", w.name, got, w.value)
		}
	}
	return l
}

// inputs returns the names of the layers that a layer reads, those before a
// dropout in the place of the dropout, since that is off.
func (n *network) inputs(l *layer) []string {
	if l == nil {
		return nil
	}
	if len(l.Calls) != 1 {
		n.differ(l.Name, "is used %d times", len(l.Calls))
		return nil
	}
	call := l.Calls[0]
	for name, value := range call.Kwargs {
		switch read := histories(value); {
		case name == "mask" && l.Class == "LSTM" && len(read) == 1 && n.layers[read[0]] != nil && n.layers[read[0]].Class == "NotEqual":
		case len(read) > 0:
			n.differ(l.Name, "reads a tensor as %s, which the original's does not", name)
		case value == true && name != "training":
			n.differ(l.Name, "is used with %s, the original's is not", name)
		}
	}
	read := histories(call.Args)
	for i, name := range read {
		for range len(n.layers) { // a chain of dropouts cannot be longer
			before := n.layers[name]
			if before == nil || before.Class != "Dropout" || len(before.Calls) != 1 {
				break
			}
			from := histories(before.Calls[0].Args)
			if len(from) != 1 {
				break
			}
			name = from[0]
		}
		read[i] = name
	}
	if len(read) == 0 {
		n.differ(l.Name, "reads nothing")
	}
	return read
}

// histories returns the names of the layers that tensors come from, in order: a
// tensor is an object with a keras_history, an output a list of a name and two
// numbers.
func histories(v any) []string {
	switch v := v.(type) {
	case map[string]any:
		config, _ := v["config"].(map[string]any)
		if history, ok := config["keras_history"].([]any); ok && len(history) > 0 {
			if name, ok := history[0].(string); ok {
				return []string{name}
			}
		}
	case []any:
		if len(v) == 3 {
			if name, ok := v[0].(string); ok {
				return []string{name}
			}
		}
		var names []string
		for _, element := range v {
			names = append(names, histories(element)...)
		}
		return names
	}
	return nil
}
