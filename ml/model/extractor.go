package model

import (
	"fmt"
	"slices"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// extractorBatch is how many pictures an Extractor encodes at a time. It is a
// constant, also for the last pictures of a shard, so that what it makes of a
// picture does not depend on how a data set is cut. BenchmarkEncode of ml/encoder
// has the speeds of others: on two cores they differ by a tenth.
const extractorBatch = 8

// Extractor is the frozen encoder of a model on its own, before there is a
// trained model. An exported model has the same graph with the same weights in
// its signatures. It is safe for concurrent use.
type Extractor struct {
	session          *tf.Session
	pixels, features tf.Output
	side             int
	layout           features.Layout
}

// NewExtractor opens the encoder that the configuration names with its weights.
// Weights of another network are Invalid, with every difference among the
// problems. How it computes is up to options.
func NewExtractor(config captioner.ModelConfig, options tf.Options) (*Extractor, error) {
	weights, err := readPretrained(config)
	if err != nil {
		return nil, err
	}
	if weights == nil {
		return nil, captioner.Errorf(captioner.Invalid, "%s has no weights: what it made of a picture would mean nothing", config.Encoder)
	}
	defer weights.release()
	m := Model{ModelConfig: config, encode: weights.Encode}
	e := &Extractor{side: config.StoredSize(), layout: weights.layout(config.FeatureType)}
	s := tf.NewScope()
	t := &nn.Tower{Scope: s, Weights: nn.NewConstants(weights.values)}
	e.pixels = input(s, "pixels", tf.Uint8, -1, int64(e.side), int64(e.side), 3)
	e.features = m.features(t.Sub("encoder"), e.pixels)
	if e.layout.Type == features.Float16 {
		e.features = nn.Cast(s, e.features, tf.Half)
	}
	graph, err := s.Finalize()
	if err != nil {
		return nil, fmt.Errorf("build the encoder's graph: %w", err)
	}
	if e.session, err = tf.OpenSession(graph, options); err != nil {
		return nil, err
	}
	return e, nil
}

// Layout is that of what Encode makes of a picture.
func (e *Extractor) Layout() features.Layout { return e.layout }

// Batch is how many pictures Encode takes at most.
func (e *Extractor) Batch() int { return extractorBatch }

// Encode returns the encoder's output for each of the squares, which are those
// of the model's [Preprocessor].
func (e *Extractor) Encode(squares [][]byte) ([][]byte, error) {
	size := e.side * e.side * 3
	batch := tf.NewTensor(tf.Uint8, extractorBatch, int64(e.side), int64(e.side), 3)
	defer batch.Release()
	data := batch.Bytes()
	if len(squares) > extractorBatch {
		return nil, captioner.Errorf(captioner.Internal, "%d pictures are more than %d", len(squares), extractorBatch)
	}
	for i, square := range squares {
		if len(square) != size {
			return nil, captioner.Errorf(captioner.Internal, "a prepared picture has %d bytes instead of %d", len(square), size)
		}
		copy(data[i*size:], square)
	}
	clear(data[len(squares)*size:])
	results, err := e.session.Run(tf.Feeds{e.pixels: batch}, []tf.Output{e.features})
	if err != nil {
		return nil, err
	}
	defer tf.ReleaseAll(results)
	records := make([][]byte, len(squares))
	for i := range records {
		records[i] = slices.Clone(results[0].Bytes()[i*e.layout.Size() : (i+1)*e.layout.Size()])
	}
	return records, nil
}

// Close waits for running calls and frees the session.
func (e *Extractor) Close() error { return e.session.Close() }
