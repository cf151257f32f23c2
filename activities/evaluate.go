package activities

import (
	"context"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/dataset"
	"github.com/captioner/captioner/ml/decode"
	"github.com/captioner/captioner/ml/metrics"
)

// DemonstrationScorer measures captions of demonstration pictures against the
// truth beside them: hypotheses and references by picture, results by name. It
// returns none, without an error, where there is no truth.
type DemonstrationScorer func(imagesDir string, hypotheses map[string]string, references map[string][]string) (map[string]float64, error)

// EvaluateInput names captions of the test split.
type EvaluateInput struct {
	Dataset captioner.Digest `json:"dataset"`
	// Captions are blobs of lists of captioner.CaptionedImage, one a shard.
	Captions   []captioner.Digest         `json:"captions"`
	Evaluation captioner.EvaluationConfig `json:"evaluation"`
	// ImagesDir is where the truth about demonstration pictures is looked for;
	// part of no key.
	ImagesDir string `json:"images_dir"`
}

// EvaluateResult holds the scores.
type EvaluateResult struct {
	Provenance
	Evaluation captioner.Evaluation `json:"evaluation"`
}

// Evaluate scores the captions of the test split, or of the sample of it, against
// the references.
func (a *Activities) Evaluate(ctx context.Context, in EvaluateInput) (EvaluateResult, error) {
	return step[EvaluateResult, *EvaluateResult]{
		Name: StepEvaluate,
		Inputs: struct {
			Dataset    captioner.Digest           `json:"dataset"`
			Captions   []captioner.Digest         `json:"captions"`
			Evaluation captioner.EvaluationConfig `json:"evaluation"`
			Metrics    []string                   `json:"metrics,omitempty"`
		}{in.Dataset, in.Captions, in.Evaluation, metrics.Others()},
		Compute: func(ctx context.Context, _ string) (EvaluateResult, error) {
			evaluation, err := a.evaluate(ctx, in)
			return EvaluateResult{Evaluation: evaluation}, err
		},
	}.run(ctx, a)
}

func (a *Activities) evaluate(ctx context.Context, in EvaluateInput) (captioner.Evaluation, error) {
	ds, err := a.loadDataset(ctx, in.Dataset)
	if err != nil {
		return captioner.Evaluation{}, err
	}
	captions, err := a.loadCaptions(ctx, in.Captions)
	if err != nil {
		return captioner.Evaluation{}, err
	}
	test := scoredExamples(ds, in.Evaluation)
	split := dataset.SplitDigest(ds, captioner.Test)
	if len(test) == len(testExamples(ds)) {
		in.Evaluation.SamplePictures = 0 // scores of all pictures are scores of all
	}

	var evaluation captioner.Evaluation
	for _, algorithm := range decode.Scored() {
		hypotheses, err := hypothesesOf(test, captions, algorithm)
		if err != nil {
			return captioner.Evaluation{}, err
		}
		scores, err := metrics.Score(algorithm, split, in.Evaluation, hypotheses, referencesOf(test))
		if err != nil {
			return captioner.Evaluation{}, err
		}
		evaluation.Scores = append(evaluation.Scores, scores)
	}
	evaluation.Samples = samples(test, captions, in.Evaluation.SampleCaptions)
	evaluation.Demonstration, err = a.scoreDemonstration(in.ImagesDir, test, captions)
	return evaluation, err
}

// loadCaptions reads the shards' captions, by picture.
func (a *Activities) loadCaptions(ctx context.Context, blobs []captioner.Digest) (map[string]captioner.CaptionedImage, error) {
	captions := map[string]captioner.CaptionedImage{}
	for _, blob := range blobs {
		var part []captioner.CaptionedImage
		if err := captioner.ReadJSON(ctx, a.Blobs, blob, &part); err != nil {
			return nil, err
		}
		for _, c := range part {
			captions[c.Image] = c
		}
	}
	return captions, nil
}

// hypothesesOf returns one caption a picture, in the order of the examples.
func hypothesesOf(examples []captioner.Example, captions map[string]captioner.CaptionedImage, algorithm string) ([]string, error) {
	texts := make([]string, len(examples))
	for i, e := range examples {
		c, ok := captions[e.Image]
		if !ok {
			return nil, captioner.Errorf(captioner.Internal, "picture %q of the test split was not captioned", e.Image)
		}
		texts[i] = c.Caption(algorithm)
	}
	return texts, nil
}

// referencesOf returns each picture's references, in the order of the examples.
func referencesOf(examples []captioner.Example) [][]string {
	references := make([][]string, len(examples))
	for i, e := range examples {
		references[i] = e.References
	}
	return references
}

// samples shows what the model says about the first test pictures.
func samples(examples []captioner.Example, captions map[string]captioner.CaptionedImage, count int) []captioner.SampleCaption {
	shown := make([]captioner.SampleCaption, 0, count)
	for _, e := range examples[:min(count, len(examples))] {
		s := captioner.SampleCaption{Image: e.Image, Greedy: captions[e.Image].Greedy, Beam: captions[e.Image].Beam}
		if len(e.References) > 0 {
			s.Reference = e.References[0]
		}
		shown = append(shown, s)
	}
	return shown
}

// scoreDemonstration measures both algorithms against the truth, where there is
// any: greedy under the plain names, beam search under names with "beam_".
func (a *Activities) scoreDemonstration(imagesDir string, examples []captioner.Example, captions map[string]captioner.CaptionedImage) (map[string]float64, error) {
	if a.ScoreDemonstration == nil {
		return nil, nil
	}
	references := map[string][]string{}
	greedy, beam := map[string]string{}, map[string]string{}
	for _, e := range examples {
		references[e.Image] = e.References
		greedy[e.Image], beam[e.Image] = captions[e.Image].Greedy, captions[e.Image].Beam
	}
	numbers, err := a.ScoreDemonstration(imagesDir, greedy, references)
	if err != nil || len(numbers) == 0 {
		return nil, err
	}
	withBeam, err := a.ScoreDemonstration(imagesDir, beam, references)
	if err != nil {
		return nil, err
	}
	for name, value := range withBeam {
		if !strings.HasSuffix(name, "images") { // counts are the same
			numbers["beam_"+name] = value
		}
	}
	return numbers, nil
}
