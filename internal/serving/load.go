package serving

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/telemetry/span"
	"github.com/captioner/captioner/ml/decode"
)

// deployment is a version that an engine was started for.
type deployment struct {
	info       captioner.ModelInfo
	generation int64 // guarded by the server's mutex
	decoding   captioner.EvaluationConfig
}

// load materialises, verifies, starts and warms up a version. The engine it
// returns is ready to answer; on an error nothing is left running.
func (s *Server) load(ctx context.Context, version captioner.Digest) (_ *process, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.LoadTimeout)
	defer cancel()
	ctx, loading := s.opts.TracerProvider.Tracer(span.Scope).Start(ctx, "load version",
		trace.WithAttributes(attribute.String("captioner.version", string(version))))
	defer func() { span.End(loading, err) }()

	dir, err := s.opts.Materialise(ctx, version)
	if err != nil {
		return nil, fmt.Errorf("materialise version %s: %w", version.Short(), err)
	}
	if err := s.opts.Verify(dir, version); err != nil {
		return nil, fmt.Errorf("verify version %s: %w", version.Short(), err)
	}
	decoding, err := readDecoding(dir)
	if err != nil {
		return nil, fmt.Errorf("read configuration of version %s: %w", version.Short(), err)
	}

	engine, err := s.opts.Start(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("start an engine for version %s: %w", version.Short(), err)
	}
	if err := warmUp(ctx, engine, decoding); err != nil {
		return nil, errors.Join(fmt.Errorf("warm up version %s: %w", version.Short(), err), engine.Close())
	}
	info := engine.Model()
	info.Version = version
	return &process{
		engine:     engine,
		deployment: &deployment{info: info, decoding: decoding},
		started:    time.Now(),
		idle:       make(chan struct{}),
	}, nil
}

// readDecoding reads how a bundle's captions are decoded from its config.yaml.
// The rest of the file is of no concern here, and a bundle made by another
// release may know other fields, so the file is not read strictly.
func readDecoding(dir string) (captioner.EvaluationConfig, error) {
	file := struct {
		Evaluation captioner.EvaluationConfig `yaml:"evaluation"`
	}{Evaluation: captioner.DefaultConfig().Evaluation}
	data, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
	if err != nil {
		return file.Evaluation, err
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return file.Evaluation, captioner.Wrap(captioner.Invalid, err, "the bundle's config.yaml cannot be read")
	}
	return file.Evaluation, nil
}

// warmUp sends the engine its first requests, so that no client pays for lazy
// initialisation. Whether the model says what it should about the bundle's
// golden pictures is the engine's own test when it loads.
func warmUp(ctx context.Context, engine Engine, decoding captioner.EvaluationConfig) error {
	for _, algorithm := range decode.Scored() {
		reply, err := engine.Caption(ctx, captioner.CaptionRequest{
			Images:    []captioner.ImageInput{{Data: plainPicture()}},
			Algorithm: algorithm, BeamWidth: decoding.BeamWidth,
			LengthPenalty: decoding.LengthPenalty, NoRepeatNGram: decoding.NoRepeatNGram,
		})
		if err != nil {
			return err
		}
		if len(reply.Results) != 1 {
			return captioner.Errorf(captioner.Internal, "the engine answered %d pictures instead of 1", len(reply.Results))
		}
		if err := reply.Results[0].Err; err != nil {
			return captioner.Wrap(captioner.Internal, err, "the engine cannot caption a plain picture")
		}
	}
	return nil
}

// plainPicture is a small JPEG to warm up with.
func plainPicture() []byte {
	img := image.NewRGBA(image.Rect(0, 0, 128, 96))
	for y := range 96 {
		for x := range 128 {
			img.SetRGBA(x, y, color.RGBA{R: uint8(2 * x), G: uint8(2 * y), B: 128, A: 255})
		}
	}
	var b bytes.Buffer
	// Encoding an in-memory picture into a buffer cannot fail.
	_ = jpeg.Encode(&b, img, nil)
	return b.Bytes()
}
