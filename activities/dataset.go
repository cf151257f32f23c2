package activities

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/dataset"
)

// putJSON stores v as a blob of canonical JSON.
func (a *Activities) putJSON(ctx context.Context, v any) (captioner.Digest, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", captioner.Wrap(captioner.Internal, err, "encode a %T", v)
	}
	digest, _, err := a.Blobs.Put(ctx, bytes.NewReader(data))
	return digest, err
}

// loadDataset reads a prepared data set.
func (a *Activities) loadDataset(ctx context.Context, digest captioner.Digest) (captioner.Dataset, error) {
	var ds captioner.Dataset
	err := captioner.ReadJSON(ctx, a.Blobs, digest, &ds)
	return ds, err
}

// scoredExamples returns the pictures that a run captions and scores: those of
// the test split, or a sample of them.
func scoredExamples(ds captioner.Dataset, cfg captioner.EvaluationConfig) []captioner.Example {
	return dataset.Sample(testExamples(ds), cfg.SamplePictures)
}

// testExamples returns the pictures of the test split, in order.
func testExamples(ds captioner.Dataset) []captioner.Example {
	var examples []captioner.Example
	for _, e := range ds.Examples {
		if e.Split == captioner.Test {
			examples = append(examples, e)
		}
	}
	return examples
}
