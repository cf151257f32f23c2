package activities

import (
	"context"
	"fmt"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/metrics"
	"github.com/captioner/captioner/ml/text"
)

// sampleScores scores what the model says after an epoch about the few pictures
// of its samples, against all of their references: "sample_bleu1" to
// "sample_bleu4", curves that say whether the captions get better, and no more.
// What counts is the score of the whole test split, by Evaluate.
func (t *training) sampleScores(ctx context.Context, samples []captioner.TrainSample) []namedValue {
	if len(samples) == 0 {
		return nil
	}
	bleu, err := t.scoreSamples(ctx, samples)
	if err != nil {
		logger(ctx).Warn("could not score the sample captions", "error", err)
		return nil
	}
	values := make([]namedValue, len(bleu))
	for i, v := range bleu {
		values[i] = namedValue{fmt.Sprintf("sample_bleu%d", i+1), v}
	}
	return values
}

func (t *training) scoreSamples(ctx context.Context, samples []captioner.TrainSample) (bleu [metrics.MaxOrder]float64, err error) {
	if t.references == nil {
		if t.references, err = t.readReferences(ctx, samples); err != nil {
			return bleu, err
		}
	}
	var hypotheses [][]string
	var references [][][]string
	for _, s := range samples {
		hypotheses = append(hypotheses, text.Fields(s.Caption))
		references = append(references, t.references[s.Image])
	}
	return metrics.CorpusBLEU(hypotheses, references, metrics.NoSmoothing)
}

// readReferences returns the tokens of the samples' references, by image. It is
// done once an attempt: the samples are of the same pictures after every epoch.
func (t *training) readReferences(ctx context.Context, samples []captioner.TrainSample) (map[string][][]string, error) {
	ds, err := t.a.loadDataset(ctx, t.dataset)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, s := range samples {
		wanted[s.Image] = true
	}
	references := map[string][][]string{}
	for _, e := range ds.Examples {
		if !wanted[e.Image] {
			continue
		}
		for _, reference := range e.References {
			references[e.Image] = append(references[e.Image], text.Fields(reference))
		}
	}
	return references, nil
}
