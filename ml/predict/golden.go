package predict

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/jpeg"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/goccy/go-yaml"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/decode"
)

// goldenTolerance is how far a golden log-probability may be off: other
// processors round differently, while a damaged weight that matters is far
// outside.
const goldenTolerance = 1e-3

// golden is an entry of golden/golden.json: a picture of a bundle and what
// greedy search must say about it.
type golden struct {
	File           string  `json:"file"`
	Tokens         []int32 `json:"tokens"`
	LogProbability float64 `json:"log_probability"`
}

// checkGolden compares the golden pictures of dir, if there are any, with what
// the model says now. A difference is Corrupt.
func (p *Predictor) checkGolden(dir string) error {
	var entries []golden
	err := readJSON(filepath.Join(dir, "golden", "golden.json"), &entries)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	noRepeat, err := noRepeatNGram(dir)
	if err != nil {
		return err
	}
	req := captioner.CaptionRequest{Algorithm: "greedy", NoRepeatNGram: noRepeat}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, "golden", filepath.Base(e.File)))
		if err != nil {
			return captioner.Wrap(captioner.Corrupt, err, "a golden picture cannot be read")
		}
		req.Images = append(req.Images, captioner.ImageInput{Data: data})
	}
	reply, err := p.Caption(context.Background(), req)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if err := e.compare(i, reply.Results[i]); err != nil {
			return err
		}
	}
	return nil
}

func (g golden) compare(i int, got captioner.CaptionResult) error {
	if got.Err != nil {
		return goldenMismatch("golden picture %d cannot be decoded", i+1)
	}
	h := got.Hypotheses[0]
	if !slices.Equal(h.Tokens, g.Tokens) {
		return goldenMismatch("golden picture %d gets the tokens %v instead of %v", i+1, h.Tokens, g.Tokens)
	}
	if !(math.Abs(h.LogProbability-g.LogProbability) <= goldenTolerance) {
		return goldenMismatch("golden picture %d gets the log-probability %.6f instead of %.6f", i+1, h.LogProbability, g.LogProbability)
	}
	return nil
}

func goldenMismatch(format string, args ...any) error {
	err := captioner.Errorf(captioner.Corrupt, format, args...)
	var e *captioner.Error
	if errors.As(err, &e) {
		e.Code = "golden_mismatch"
	}
	return err
}

// noRepeatNGram reads the one decoding option that greedy search obeys from
// the bundle's configuration, under which its golden captions were made.
func noRepeatNGram(dir string) (int, error) {
	data, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, captioner.Wrap(captioner.Internal, err, "the bundle's configuration cannot be read")
	}
	var config struct {
		Evaluation struct {
			NoRepeatNGram int `yaml:"no_repeat_ngram"`
		} `yaml:"evaluation"`
	}
	if err := yaml.Unmarshal(data, &config); err != nil {
		return 0, captioner.Wrap(captioner.Corrupt, err, "the bundle's configuration cannot be read")
	}
	return config.Evaluation.NoRepeatNGram, nil
}

// warmUp captions a grey picture once each way. The first run of a signature
// takes a tenth of a second more than the next ones, which no client should
// have to wait for, and a model that cannot run at all is found out here.
func (p *Predictor) warmUp() error {
	grey := image.NewGray(image.Rect(0, 0, 64, 48))
	for i := range grey.Pix {
		grey.Pix[i] = 0x80
	}
	var file bytes.Buffer
	if err := jpeg.Encode(&file, grey, nil); err != nil {
		return captioner.Wrap(captioner.Internal, err, "the picture for the warm-up cannot be made")
	}
	raw := signatures{p.model}
	if _, err := raw.Pixels(make([]byte, 2*2*3), 2, 2, 1); err != nil {
		return captioner.Wrap(captioner.Corrupt, err, "the model cannot resize a picture")
	}
	for _, algorithm := range decode.Algorithms() {
		reply, err := p.Caption(context.Background(), captioner.CaptionRequest{
			Images: []captioner.ImageInput{{Data: file.Bytes()}}, Algorithm: algorithm, BeamWidth: 3,
		})
		if err == nil {
			err = reply.Results[0].Err
		}
		if err != nil {
			return captioner.Wrap(captioner.Corrupt, err, "the model cannot caption a picture")
		}
	}
	return nil
}
