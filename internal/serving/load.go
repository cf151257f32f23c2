package serving

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/captioner/captioner"
)

// goldenTolerance is how far a golden picture's log-probability may lie from
// the recorded one: well above what another CPU's order of summation changes,
// well below what a wrong weight does.
const goldenTolerance = 1e-3

// deployment is a version that an engine was started for.
type deployment struct {
	info       captioner.ModelInfo
	generation int64 // guarded by the server's mutex
	decoding   captioner.EvaluationConfig
}

// load materialises, verifies, starts and warms up a version. The engine it
// returns is ready to answer; on an error nothing is left running.
func (s *Server) load(ctx context.Context, version captioner.Digest) (*process, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.LoadTimeout)
	defer cancel()

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
	if err := warmUp(ctx, engine, dir, decoding); err != nil {
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

// golden is an entry of a bundle's golden/golden.json: a picture and what
// greedy search must say about it.
type golden struct {
	File           string  `json:"file"`
	LogProbability float64 `json:"log_probability"`
}

// warmUp sends the engine its first requests, so that no client pays for lazy
// initialisation, and checks the answers to the bundle's golden pictures.
func warmUp(ctx context.Context, engine Engine, dir string, decoding captioner.EvaluationConfig) error {
	pictures, want, err := readGolden(dir)
	if err != nil {
		return err
	}
	if len(pictures) == 0 {
		pictures = [][]byte{plainPicture()}
	}

	greedy, err := captionAll(ctx, engine, decoding, "greedy", pictures)
	if err != nil {
		return err
	}
	for i, g := range want {
		if err := checkGolden(g, greedy[i]); err != nil {
			return err
		}
	}
	_, err = captionAll(ctx, engine, decoding, "beam", pictures[:1])
	return err
}

// checkGolden compares log-probabilities only. Where two words are equally
// likely another CPU may pick the other one; the number then stays the same.
func checkGolden(want golden, got captioner.CaptionResult) error {
	if got.Err != nil {
		return captioner.Wrap(captioner.Corrupt, got.Err, "the golden picture %s could not be captioned", want.File)
	}
	if len(got.Hypotheses) == 0 {
		return captioner.Errorf(captioner.Corrupt, "the golden picture %s got no caption", want.File)
	}
	p := got.Hypotheses[0].LogProbability
	if d := math.Abs(p - want.LogProbability); d > goldenTolerance || math.IsNaN(d) {
		return captioner.Errorf(captioner.Corrupt, "the golden picture %s got log-probability %.5f instead of %.5f",
			want.File, p, want.LogProbability)
	}
	return nil
}

// captionAll captions the pictures in one request.
func captionAll(ctx context.Context, engine Engine, decoding captioner.EvaluationConfig, algorithm string, pictures [][]byte) (
	[]captioner.CaptionResult, error,
) {
	req := captioner.CaptionRequest{
		Algorithm: algorithm, BeamWidth: decoding.BeamWidth,
		LengthPenalty: decoding.LengthPenalty, NoRepeatNGram: decoding.NoRepeatNGram,
	}
	for _, p := range pictures {
		req.Images = append(req.Images, captioner.ImageInput{Data: p})
	}
	reply, err := engine.Caption(ctx, req)
	if err != nil {
		return nil, err
	}
	if len(reply.Results) != len(pictures) {
		return nil, captioner.Errorf(captioner.Internal, "the engine answered %d of %d pictures", len(reply.Results), len(pictures))
	}
	return reply.Results, nil
}

// readGolden reads the golden pictures of a bundle; none without an error where
// it has no such folder. The bundle has been verified: a file that is named and
// missing is an error.
func readGolden(dir string) (pictures [][]byte, want []golden, err error) {
	root, err := os.OpenRoot(filepath.Join(dir, "golden"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()

	data, err := root.ReadFile("golden.json")
	if err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(data, &want); err != nil {
		return nil, nil, captioner.Wrap(captioner.Corrupt, err, "the bundle's golden.json cannot be read")
	}
	for _, g := range want {
		picture, err := root.ReadFile(filepath.FromSlash(g.File))
		if err != nil {
			return nil, nil, err
		}
		pictures = append(pictures, picture)
	}
	return pictures, want, nil
}

// plainPicture is a small JPEG to warm up with where a bundle has no golden one.
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
