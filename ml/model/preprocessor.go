package model

import (
	"fmt"
	"slices"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/tf"
)

// Preprocessor turns pictures into the squares that a model stores and
// encodes, before there is a trained model. An exported model has the same
// graph in its own signatures. It is safe for concurrent use.
type Preprocessor struct {
	session *tf.Session
	side    int

	data, dataOrientation, dataPixels tf.Output
	raw, rawOrientation, rawPixels    tf.Output
}

// NewPreprocessor opens a preprocessor for the model's picture size. threads
// is as in [tf.NewSession].
func NewPreprocessor(config captioner.ModelConfig, threads int) (*Preprocessor, error) {
	p := &Preprocessor{side: config.StoredSize()}
	s := tf.NewScope()
	p.data, p.dataOrientation = input(s, "image_bytes", tf.String), input(s, "orientation", tf.Int32)
	p.dataPixels = preprocess(s.SubScope("bytes"), p.data, p.dataOrientation, p.side)
	p.raw, p.rawOrientation = input(s, "raw_pixels", tf.Uint8, -1, -1, 3), input(s, "raw_orientation", tf.Int32)
	p.rawPixels = preprocessPixels(s.SubScope("pixels"), p.raw, p.rawOrientation, p.side)
	graph, err := s.Finalize()
	if err != nil {
		return nil, fmt.Errorf("build the preprocessing graph: %w", err)
	}
	if p.session, err = tf.NewSession(graph, threads); err != nil {
		return nil, err
	}
	return p, nil
}

// Side returns the side of the squares in pixels, P.
func (p *Preprocessor) Side() int { return p.side }

// Bytes decodes a JPEG, PNG, GIF or BMP file and returns its pixels, P·P·3
// bytes, turned the way up that the EXIF orientation (1 to 8) says. What
// TensorFlow cannot decode is an Invalid error with code image_corrupt. The
// caller has bounded the picture's size by its header: TensorFlow allocates
// what the header says.
func (p *Preprocessor) Bytes(data []byte, orientation int) ([]byte, error) {
	in := tf.FromString(string(data))
	defer in.Release()
	pixels, err := p.run(p.data, in, p.dataOrientation, orientation, p.dataPixels)
	if err != nil {
		return nil, &captioner.Error{Kind: captioner.Invalid, Code: "image_corrupt", Message: "the picture cannot be decoded", Err: err}
	}
	return pixels, nil
}

// Pixels does the same for a picture that is decoded already: width·height·3
// bytes, RGB, row by row.
func (p *Preprocessor) Pixels(raw []byte, width, height, orientation int) ([]byte, error) {
	if width < 1 || height < 1 || len(raw) != width*height*3 {
		return nil, captioner.Errorf(captioner.Internal, "%d bytes are no picture of %d × %d", len(raw), width, height)
	}
	in := tf.FromBytes(raw, int64(height), int64(width), 3)
	defer in.Release()
	return p.run(p.raw, in, p.rawOrientation, orientation, p.rawPixels)
}

func (p *Preprocessor) run(at tf.Output, in *tf.Tensor, orientationAt tf.Output, orientation int, fetch tf.Output) ([]byte, error) {
	turn := tf.FromInt32([]int32{int32(orientation)})
	defer turn.Release()
	results, err := p.session.Run(tf.Feeds{at: in, orientationAt: turn}, []tf.Output{fetch})
	if err != nil {
		return nil, err
	}
	defer tf.ReleaseAll(results)
	return slices.Clone(results[0].Bytes()), nil
}

// Close waits for running calls and frees the session.
func (p *Preprocessor) Close() error { return p.session.Close() }
