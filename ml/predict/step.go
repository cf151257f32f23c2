package predict

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/decode"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/tf"
)

// The signatures of the SavedModel and their tensors; see docs/architecture.md.
const (
	signaturePreprocess       = "preprocess"
	signaturePreprocessPixels = "preprocess_pixels"
	signatureEncode           = "encode"
	signatureEncodeFeatures   = "encode_features"
	signatureStep             = "step"
)

// stepper is a batch that is being decoded: what the encoder made of the
// pictures, and the decoder's state, which stays in TensorFlow's memory.
//
//	memory  [B, L, M] float32
//	state   [K, layers*2, T, width] float32, the keys and values so far
type stepper struct {
	model         *tf.SavedModel
	memory, state *tf.Tensor
	begun         []time.Time // of each step
}

// encode gives the stepper of a batch of records of the layout.
func (p *Predictor) encode(records [][]byte, layout features.Layout) (*stepper, error) {
	for _, record := range records {
		if len(record) != layout.Size() {
			return nil, captioner.Errorf(captioner.Internal, "a prepared picture has %d bytes instead of %d", len(record), layout.Size())
		}
	}
	batch := model.Records(layout, slices.Concat(records...), len(records))
	defer batch.Release()
	signature, name := signatureEncode, "pixels"
	if layout.Type != features.Uint8 {
		signature, name = signatureEncodeFeatures, "features"
	}
	out, err := p.model.Run(signature, map[string]*tf.Tensor{name: batch}, "memory", "state")
	if err != nil {
		return nil, err
	}
	return &stepper{model: p.model, memory: out[0], state: out[1]}, nil
}

func (s *stepper) release() {
	s.memory.Release()
	s.state.Release()
}

// Step implements decode.Stepper.
func (s *stepper) Step(ctx context.Context, tokens, parents, rows []int32, position, candidates int) (decode.Candidates, error) {
	if err := ctx.Err(); err != nil {
		return decode.Candidates{}, err
	}
	s.begun = append(s.begun, time.Now())
	live := len(tokens)
	tokens, parents, rows = padded(tokens), padded(parents), padded(rows)
	k := int64(len(tokens))
	inputs := map[string]*tf.Tensor{
		"tokens":     tf.FromInt32(tokens, k),
		"parents":    tf.FromInt32(parents, k),
		"rows":       tf.FromInt32(rows, k),
		"position":   tf.FromInt32([]int32{int32(position)}),
		"candidates": tf.FromInt32([]int32{int32(candidates)}),
	}
	defer func() {
		for name, t := range inputs {
			if name != "memory" && name != "state" {
				t.Release()
			}
		}
	}()
	inputs["memory"], inputs["state"] = s.memory, s.state
	out, err := s.model.Run(signatureStep, inputs, "ids", "log_probs", "state")
	if err != nil {
		return decode.Candidates{}, err
	}
	s.state.Release()
	s.state = out[2]
	defer tf.ReleaseAll(out[:2])
	return rowsOf(out[0], out[1], live)
}

// minRows is the least number of rows in a step. TensorFlow has a kernel of its
// own for the product of a single row, which on two threads takes longer than
// the one for two rows: 0.45 ms instead of 0.29 for a whole step, idle, and
// twice as long on a busy machine.
const minRows = 2

// padded repeats the only row of a step, to minRows.
func padded(values []int32) []int32 {
	if len(values) != 1 {
		return values
	}
	return slices.Repeat(values, minRows)
}

// rowsOf copies the first k rows of ids and log-probabilities, both [K, C].
func rowsOf(ids, logProbs *tf.Tensor, k int) (decode.Candidates, error) {
	shape := ids.Shape()
	if len(shape) != 2 || int(shape[0]) < k || logProbs.Len() != ids.Len() {
		return decode.Candidates{}, fmt.Errorf("the model's step gave token IDs of shape %v for %d hypotheses", shape, k)
	}
	c := int(shape[1])
	allIDs := append([]int32(nil), ids.Int32s()...)
	allLogProbs := append([]float32(nil), logProbs.Float32s()...)
	result := decode.Candidates{IDs: make([][]int32, k), LogProbs: make([][]float32, k)}
	for i := range k {
		result.IDs[i] = allIDs[i*c : (i+1)*c]
		result.LogProbs[i] = allLogProbs[i*c : (i+1)*c]
	}
	return result, nil
}
