package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"io"

	"github.com/captioner/captioner"
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

// loadJSON reads a blob of JSON into v.
func (a *Activities) loadJSON(ctx context.Context, digest captioner.Digest, v any) (err error) {
	r, err := a.Blobs.Open(ctx, digest)
	if err != nil {
		return err
	}
	defer closing(r, &err)
	// Read to the end first: only then are the bytes verified.
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return captioner.Wrap(captioner.Corrupt, err, "decode blob %s", digest.Short())
	}
	return nil
}

// loadDataset reads a prepared data set.
func (a *Activities) loadDataset(ctx context.Context, digest captioner.Digest) (captioner.Dataset, error) {
	var ds captioner.Dataset
	err := a.loadJSON(ctx, digest, &ds)
	return ds, err
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
