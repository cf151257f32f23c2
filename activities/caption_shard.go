package activities

import (
	"context"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/decode"
	"github.com/captioner/captioner/ml/features"
)

// captionBatch is how many pictures are captioned in one request: enough to
// fill the processor, few enough to see progress and to stop in time.
const captionBatch = 64

// CaptionShardInput names a model and the pictures to caption: those that are
// scored and lie in the shard.
type CaptionShardInput struct {
	Model   captioner.Digest `json:"model"`
	Dataset captioner.Digest `json:"dataset"`
	Shard   captioner.Digest `json:"shard"`
	// Evaluation says how to decode.
	Evaluation captioner.EvaluationConfig `json:"evaluation"`
}

// CaptionShardResult is what the model says.
type CaptionShardResult struct {
	Provenance
	// Captions is the blob of a list of captioner.CaptionedImage, in the shard's order.
	Captions captioner.Digest `json:"captions"`
	Images   int              `json:"images"`
}

// CaptionShard captions the test pictures of one shard through the exported
// model with every search algorithm: what is scored is what is served.
func (a *Activities) CaptionShard(ctx context.Context, in CaptionShardInput) (CaptionShardResult, error) {
	return step[CaptionShardResult, *CaptionShardResult]{
		Name: StepCaptionShard,
		Inputs: struct {
			Model         captioner.Digest `json:"model"`
			Dataset       captioner.Digest `json:"dataset"`
			Shard         captioner.Digest `json:"shard"`
			BeamWidth     int              `json:"beam_width"`
			LengthPenalty float64          `json:"length_penalty"`
			NoRepeatNGram int              `json:"no_repeat_ngram"`
			Others        []string         `json:"others,omitempty"`
			Sample        int              `json:"sample_pictures,omitempty"`
		}{
			in.Model, in.Dataset, in.Shard, in.Evaluation.BeamWidth, in.Evaluation.LengthPenalty, in.Evaluation.NoRepeatNGram,
			decode.Others(), in.Evaluation.SamplePictures,
		},
		Present: func(ctx context.Context, out CaptionShardResult) (bool, error) {
			return a.present(ctx, out.Captions)
		},
		Compute: func(ctx context.Context, _ string) (CaptionShardResult, error) {
			return a.captionShard(ctx, in)
		},
	}.run(ctx, a)
}

func (a *Activities) captionShard(ctx context.Context, in CaptionShardInput) (CaptionShardResult, error) {
	ds, err := a.loadDataset(ctx, in.Dataset)
	if err != nil {
		return CaptionShardResult{}, err
	}
	inputs, names, err := a.scoredPictures(ctx, ds, in)
	if err != nil {
		return CaptionShardResult{}, err
	}
	captions := make([]captioner.CaptionedImage, len(names))
	for i, name := range names {
		captions[i].Image = name
	}
	if len(inputs) > 0 {
		err = a.withModel(ctx, in.Model, func(model captioner.Captioner) error {
			return captionAll(ctx, model, in.Evaluation, inputs, captions)
		})
		if err != nil {
			return CaptionShardResult{}, err
		}
	}
	digest, err := a.putJSON(ctx, captions)
	return CaptionShardResult{Captions: digest, Images: len(captions)}, err
}

// scoredPictures returns the shard's pictures that are scored.
func (a *Activities) scoredPictures(ctx context.Context, ds captioner.Dataset, in CaptionShardInput) (
	inputs []captioner.ImageInput, names []string, err error,
) {
	path, err := a.Blobs.Local(ctx, in.Shard)
	if err != nil {
		return nil, nil, err
	}
	reader, err := features.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer closing(reader, &err)
	wanted := map[string]bool{}
	for _, e := range scoredExamples(ds, in.Evaluation) {
		wanted[e.Image] = true
	}
	for i := range reader.Len() {
		if wanted[reader.Image(i)] {
			inputs = append(inputs, captioner.ImageInput{Shard: path, Index: i})
			names = append(names, reader.Image(i))
		}
	}
	return inputs, names, nil
}

// captionAll fills captions, batch by batch, with every algorithm.
func captionAll(ctx context.Context, model captioner.Captioner, cfg captioner.EvaluationConfig,
	inputs []captioner.ImageInput, captions []captioner.CaptionedImage,
) error {
	for from := 0; from < len(inputs); from += captionBatch {
		to := min(from+captionBatch, len(inputs))
		for _, algorithm := range decode.Scored() {
			best, err := captionBatchOf(ctx, model, cfg, algorithm, inputs[from:to])
			if err != nil {
				return err
			}
			for i, h := range best {
				captions[from+i].Say(algorithm, h.Text)
			}
		}
		report(ctx, ShardProgress{Done: to, Total: len(inputs)})
	}
	return nil
}

// captionBatchOf returns the best hypothesis for each picture.
func captionBatchOf(ctx context.Context, model captioner.Captioner, cfg captioner.EvaluationConfig,
	algorithm string, inputs []captioner.ImageInput,
) ([]captioner.Hypothesis, error) {
	reply, err := model.Caption(ctx, captioner.CaptionRequest{
		Images: inputs, Algorithm: algorithm, BeamWidth: cfg.BeamWidth,
		LengthPenalty: cfg.LengthPenalty, NoRepeatNGram: cfg.NoRepeatNGram,
	})
	if err != nil {
		return nil, err
	}
	if len(reply.Results) != len(inputs) {
		return nil, captioner.Errorf(captioner.Internal, "the engine answered %d of %d pictures", len(reply.Results), len(inputs))
	}
	best := make([]captioner.Hypothesis, len(inputs))
	for i, r := range reply.Results {
		if r.Err != nil {
			return nil, r.Err
		}
		if len(r.Hypotheses) == 0 {
			return nil, captioner.Errorf(captioner.Internal, "the engine gave no caption for a picture")
		}
		best[i] = r.Hypotheses[0]
	}
	return best, nil
}
