package model

import (
	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// encoderPrefix begins the names of the encoder's weights.
const encoderPrefix = "encoder/"

// pretrained are the weights that an encoder is given.
type pretrained struct {
	encoder.Pretrained
	// values are the weights by the names that the model has for them.
	values map[string]*tf.Tensor
	digest captioner.Digest // of the file
}

// readPretrained reads the weights that the configuration names; nil where it
// names none. Those of another network are Invalid, with every difference among
// the problems. The caller releases them.
func readPretrained(config captioner.ModelConfig) (*pretrained, error) {
	if config.Weights == "" {
		return nil, nil
	}
	p, err := encoder.PretrainedNamed(config.Encoder)
	if err != nil {
		return nil, err
	}
	read, digest, err := p.Read(config.Weights)
	if err != nil {
		return nil, err
	}
	values := make(map[string]*tf.Tensor, len(read))
	for name, value := range read {
		values[encoderPrefix+name] = value
	}
	return &pretrained{Pretrained: p, values: values, digest: digest}, nil
}

func (p *pretrained) release() {
	if p != nil {
		tf.ReleaseMap(p.values)
	}
}

// layout is that of the encoder's output in shards: of another encoder, or of
// other weights, it is another.
func (p *pretrained) layout(featureType string) features.Layout {
	kind := features.Float16
	if featureType == "float32" {
		kind = features.Float32
	}
	return features.Layout{
		Type: kind, Height: p.Grid, Width: p.Grid, Channels: p.Width, Source: p.Name + " " + string(p.digest),
	}
}

// numbers returns TensorFlow's type for that of records.
func numbers(kind features.Type) tf.DataType {
	switch kind {
	case features.Float16:
		return tf.Half
	case features.Float32:
		return tf.Float
	default:
		return tf.Uint8
	}
}

// records is an input for a batch of them.
func records(s *tf.Scope, layout features.Layout) tf.Output {
	return tf.Placeholder(s, numbers(layout.Type), -1, int64(layout.Height), int64(layout.Width), int64(layout.Channels))
}

// Records returns a batch of a shard's records, which lie one after the other in
// data, as the input that a graph has for them.
func Records(layout features.Layout, data []byte, count int) *tf.Tensor {
	return tf.FromMemory(numbers(layout.Type), data, int64(count), int64(layout.Height), int64(layout.Width), int64(layout.Channels))
}

// locations makes the encoder's output of records of it.
//
//	x       [B, height, width, D] float16 or float32
//	result  [B, L, D] float32
func locations(s *tf.Scope, x tf.Output, layout features.Layout) tf.Output {
	if layout.Type != features.Float32 {
		x = nn.Cast(s, x, tf.Float)
	}
	return nn.Reshape(s, x, -1, layout.Height*layout.Width, layout.Channels)
}

// tuned gives a tower the weights of an encoder of which a part is fine-tuned.
// That part comes from the variables, and all else of it is constant, the
// statistics of its batch normalisations among it: those are of more pictures
// than a training with its small batches sees.
type tuned struct {
	nn.Weights // variables
	constants  *nn.Constants
	values     map[string]*tf.Tensor
	trains     func(weight string) bool
}

func (w tuned) Weight(s *tf.Scope, name string, init nn.Init, shape ...int64) tf.Output {
	if c := w.Constant(name); c != nil {
		return c.Weight(s, name, init, shape...)
	}
	return w.Weights.Weight(s, name, init, shape...)
}

func (w tuned) Average(s *tf.Scope, name string, initial float32, shape ...int64) tf.Output {
	if w.values[name] != nil {
		return w.constants.Average(s, name, initial, shape...)
	}
	return w.Weights.Average(s, name, initial, shape...)
}

// Constant returns the constants where the weight of that name is one of them.
func (w tuned) Constant(name string) *nn.Constants {
	if w.values[name] == nil || w.trains(name) {
		return nil
	}
	return w.constants
}
