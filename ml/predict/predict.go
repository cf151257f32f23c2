// Package predict captions pictures with a loaded model version: it reads a
// model's folder, turns pictures into pixels and pixels into ranked hypotheses
// through the SavedModel's signatures, and checks itself against the golden
// pictures of a bundle before it answers anyone. The search itself is
// ml/decode's, the formats are ml/images'.
//
// It also prepares pictures for training ([ExtractFeatures]), in the very way
// in which it prepares those that are to be captioned.
package predict

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/telemetry/span"
	"github.com/captioner/captioner/ml/decode"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/text"
	"github.com/captioner/captioner/ml/tf"
)

// The files of a model's folder.
const (
	savedModelDir   = "saved_model"
	vocabularyFile  = "vocabulary.json"
	descriptionFile = "model.json"
	manifestFile    = "manifest.json"
)

// Predictor is a loaded model. It implements captioner.Captioner and is safe
// for concurrent use.
type Predictor struct {
	model      *tf.SavedModel
	vocabulary *text.Vocabulary
	info       captioner.ModelInfo
	pixels     int    // side of the squares that encode takes
	features   string // what encode_features takes; empty without it
	maxPixels  int
	// preparing bounds how many pictures are decoded at a time: each can take
	// three bytes a pixel, and more would not be faster.
	preparing chan struct{}
	batches   *batcher
}

// Open loads the model in dir, runs every signature once and compares the
// golden pictures, if the folder has any, with what the model says about them.
// threads is the number of CPU threads, 0 for the machine's; the first model or
// training of a process decides it for all. The caller closes the Predictor.
//
// A folder or a file of it that is missing is NotFound; one that cannot be
// read, and a golden picture with another caption, are Corrupt.
func Open(dir string, threads int) (*Predictor, error) {
	p := &Predictor{maxPixels: captioner.DefaultConfig().Data.MaxPixels, preparing: make(chan struct{}, tf.Threads(threads))}
	if err := p.readDescription(dir); err != nil {
		return nil, err
	}
	model, err := tf.LoadSavedModel(filepath.Join(dir, savedModelDir), threads)
	if err != nil {
		return nil, captioner.Wrap(captioner.Corrupt, err, "the SavedModel cannot be loaded")
	}
	p.model = model
	p.batches = newBatcher(p.run)
	if p.info.Devices, err = model.Devices(); err != nil {
		p.Close()
		return nil, err
	}
	if err := p.warmUp(); err != nil {
		p.Close()
		return nil, err
	}
	if err := p.checkGolden(dir); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// readDescription reads what lies beside the SavedModel.
func (p *Predictor) readDescription(dir string) error {
	var tokens []string
	if err := readJSON(filepath.Join(dir, vocabularyFile), &tokens); err != nil {
		return err
	}
	var err error
	if p.vocabulary, err = text.NewVocabulary(tokens); err != nil {
		return captioner.Wrap(captioner.Corrupt, err, "the vocabulary cannot be used")
	}
	var description captioner.ModelDescription
	if err := readJSON(filepath.Join(dir, descriptionFile), &description); err != nil {
		return err
	}
	if description.MaxTokens < 2 || description.Pixels < 1 {
		return captioner.Errorf(captioner.Corrupt, "the model's description names %d tokens and %d pixels", description.MaxTokens, description.Pixels)
	}
	p.pixels, p.features = description.Pixels, description.Features
	p.info = captioner.ModelInfo{
		VocabularySize: p.vocabulary.Size(),
		MaxTokens:      description.MaxTokens,
		Encoder:        description.Model.Encoder,
		Decoder:        description.Model.Decoder,
		ImageSize:      description.Model.ImageSize,
		TensorFlow:     tf.Version(),
	}
	manifest, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err == nil { // a model that is not a bundle yet has no version
		p.info.Version = captioner.DigestOf(manifest)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return captioner.Wrap(captioner.Internal, err, "the bundle's manifest cannot be read")
	}
	return nil
}

// readJSON reads a file of the model's folder.
func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return captioner.Wrap(captioner.NotFound, err, "the model has no %s", filepath.Base(path))
	}
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "the model's %s cannot be read", filepath.Base(path))
	}
	if err := json.Unmarshal(data, v); err != nil {
		return captioner.Wrap(captioner.Corrupt, err, "the model's %s cannot be read", filepath.Base(path))
	}
	return nil
}

// Model describes the loaded version.
func (p *Predictor) Model() captioner.ModelInfo { return p.info }

// Close frees the model. No call may run or follow.
func (p *Predictor) Close() error {
	if p.batches != nil {
		p.batches.close()
	}
	return p.model.Close()
}

// Caption returns one result per picture, in order. A picture that cannot be
// decoded fails alone, in its result; options that make no sense are Invalid.
//
// The pictures of one request are captioned in batches that depend on the
// request alone, unless other requests with equal options come in at the same
// time: those may share a batch, which can move a log-probability in its last
// digits, as batches of another size do.
func (p *Predictor) Caption(ctx context.Context, req captioner.CaptionRequest) (captioner.CaptionReply, error) {
	options := decode.Options{
		Algorithm: req.Algorithm, BeamWidth: req.BeamWidth, LengthPenalty: req.LengthPenalty,
		NoRepeatNGram: req.NoRepeatNGram, NumCaptions: req.NumCaptions, MaxTokens: p.info.MaxTokens,
		Start: p.vocabulary.Start(), End: p.vocabulary.End(),
		Sampling: req.Sampling,
	}
	if _, err := decode.Decode(ctx, nil, 0, options); err != nil {
		return captioner.CaptionReply{}, err // before any picture is looked at
	}
	reply := captioner.CaptionReply{Results: make([]captioner.CaptionResult, len(req.Images))}
	records, err := p.prepareAll(ctx, req.Images, reply.Results)
	if err != nil {
		return captioner.CaptionReply{}, err
	}

	var usable []record
	var owners []int // usable[i] belongs to reply.Results[owners[i]]
	for i, r := range records {
		if r.data != nil {
			usable, owners = append(usable, r), append(owners, i)
		}
	}
	for start := 0; start < len(usable); {
		batch, layout := nextBatch(usable[start:])
		queued := time.Now()
		r, err := p.batches.caption(ctx, batch, job{options, layout})
		if err != nil {
			return captioner.CaptionReply{}, err
		}
		reply.Batch, reply.Waited = max(reply.Batch, r.batch), reply.Waited+r.timing.begun.Sub(queued)
		for i, h := range r.hypotheses {
			reply.Results[owners[start+i]].Hypotheses = h
		}
		start += len(batch)
	}
	return reply, nil
}

// record is a prepared picture: its pixels, or what a shard has of it.
type record struct {
	data   []byte
	layout features.Layout
}

// nextBatch returns the first of the records, as many as share a batch, and
// their layout.
func nextBatch(records []record) (batch [][]byte, layout features.Layout) {
	layout = records[0].layout
	for _, r := range records[:min(maxBatch, len(records))] {
		if r.layout != layout {
			break
		}
		batch = append(batch, r.data)
	}
	return batch, layout
}

// prepareAll turns each input into pixels, or finds what a shard has of it;
// without data where its result has an error.
func (p *Predictor) prepareAll(ctx context.Context, inputs []captioner.ImageInput, results []captioner.CaptionResult) (records []record, err error) {
	ctx, preprocess := span.Start(ctx, "preprocess", trace.WithAttributes(attribute.Int("captioner.images", len(inputs))))
	defer func() { span.End(preprocess, err) }()
	records = make([]record, len(inputs))
	if err := p.readShards(inputs, records); err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(cap(p.preparing))
	for i, input := range inputs {
		if input.Shard != "" {
			continue
		}
		group.Go(func() error {
			select {
			case p.preparing <- struct{}{}:
				defer func() { <-p.preparing }()
			case <-ctx.Done():
				return ctx.Err()
			}
			square, info, err := prepare(signatures{p.model}, input.Data, p.maxPixels)
			results[i].Width, results[i].Height = info.Oriented()
			records[i], results[i].Err = record{square, features.Pixels(p.pixels)}, err
			return nil
		})
	}
	return records, group.Wait()
}

// readShards copies the records of the inputs that name a place in a shard.
func (p *Predictor) readShards(inputs []captioner.ImageInput, records []record) error {
	readers := make(map[string]*features.Reader)
	defer func() {
		for _, r := range readers {
			r.Close()
		}
	}()
	for i, input := range inputs {
		if input.Shard == "" {
			continue
		}
		r := readers[input.Shard]
		if r == nil {
			var err error
			if r, err = features.Open(input.Shard); err != nil {
				return err
			}
			readers[input.Shard] = r
			if err := p.checkLayout(r.Layout()); err != nil {
				return err
			}
		}
		if input.Index < 0 || input.Index >= r.Len() {
			return captioner.Errorf(captioner.Invalid, "there is no picture %d in a shard of %d", input.Index, r.Len())
		}
		records[i] = record{slices.Clone(r.Record(input.Index)), r.Layout()}
	}
	return nil
}

// checkLayout returns an error unless the model takes records of that layout.
func (p *Predictor) checkLayout(layout features.Layout) error {
	if layout == features.Pixels(p.pixels) || layout.Type != features.Uint8 && layout.String() == p.features {
		return nil
	}
	want := features.Pixels(p.pixels).String()
	if p.features != "" {
		want += " or " + p.features
	}
	return layout.Other(want)
}

// run captions a batch of prepared pictures.
func (p *Predictor) run(ctx context.Context, records [][]byte, job job) (_ [][]captioner.Hypothesis, t timing, err error) {
	s, err := p.encode(records, job.layout)
	if err != nil {
		return nil, t, err
	}
	defer s.release()
	t.encoded = time.Now()
	hypotheses, err := decode.Decode(ctx, s, len(records), job.Options)
	t.decoded, t.steps = time.Now(), s.begun
	if err != nil {
		return nil, t, err
	}
	for _, of := range hypotheses {
		for i := range of {
			of[i].Text = p.vocabulary.Decode(of[i].Tokens)
		}
	}
	return hypotheses, t, nil
}
