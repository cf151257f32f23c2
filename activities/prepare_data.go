package activities

import (
	"context"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
	"github.com/captioner/captioner/ml/dataset"
)

// PrepareDataInput says where the data lies and how to prepare it.
type PrepareDataInput struct {
	Data captioner.DataConfig `json:"data"`
}

// PreparedData describes a prepared data set.
type PreparedData struct {
	// Dataset is the blob of the captioner.Dataset.
	Dataset captioner.Digest `json:"dataset"`
	// Images counts the usable pictures, Splits those of each split.
	Images int                     `json:"images"`
	Splits map[captioner.Split]int `json:"splits"`
	// Quarantined counts what was left out: pictures and caption lines. LeftOut
	// says why; it is not part of what is kept.
	Quarantined int                `json:"quarantined"`
	LeftOut     *captioner.LeftOut `json:"left_out,omitempty"`
	// Vocabulary is the number of tokens.
	Vocabulary int `json:"vocabulary"`
}

// PrepareDataResult is the prepared data set.
type PrepareDataResult struct {
	Provenance
	PreparedData
	// WordVectors is nil without data.glove.
	WordVectors *WordVectors `json:"word_vectors,omitempty"`
}

// PrepareData reads captions and pictures and makes the data set's manifest:
// cleaned captions, splits, vocabulary, digests, quarantine. Its key is made of
// a fingerprint of the files, so that unchanged ones are not read again.
func (a *Activities) PrepareData(ctx context.Context, in PrepareDataInput) (PrepareDataResult, error) {
	files, err := dataset.Fingerprint(ctx, in.Data)
	if err != nil {
		return PrepareDataResult{}, err
	}
	vectors, err := digestVectors(in.Data.GloVe)
	if err != nil {
		return PrepareDataResult{}, err
	}
	out, err := step[PrepareDataResult, *PrepareDataResult]{
		Name: StepPrepareData,
		Inputs: struct {
			Files       captioner.Digest     `json:"files"`
			Data        captioner.DataConfig `json:"data"`
			WordVectors captioner.Digest     `json:"word_vectors,omitempty"`
		}{files, withoutPaths(in.Data), vectors},
		Present: func(ctx context.Context, out PrepareDataResult) (bool, error) {
			blobs := []captioner.Digest{out.Dataset}
			if out.WordVectors != nil {
				blobs = append(blobs, out.WordVectors.Vectors)
			}
			return a.present(ctx, blobs...)
		},
		Compute: func(ctx context.Context, _ string) (PrepareDataResult, error) {
			ds, err := dataset.Prepare(ctx, in.Data, func(done, total int) {
				report(ctx, ShardProgress{Done: done, Total: total})
			})
			if err != nil {
				return PrepareDataResult{}, err
			}
			var out PrepareDataResult
			if vectors != "" {
				if out.WordVectors, err = a.putVectors(ctx, in.Data.GloVe, vectors, ds.Vocabulary); err != nil {
					return PrepareDataResult{}, err
				}
				logger(ctx).Info("word vectors: " + out.WordVectors.String())
			}
			out.PreparedData, err = a.putDataset(ctx, ds)
			return out, err
		},
	}.run(ctx, a)
	if err != nil {
		return PrepareDataResult{}, err
	}
	out.LeftOut, err = a.leftOut(ctx, out.PreparedData)
	return out, err
}

// putDataset stores a data set and describes it.
func (a *Activities) putDataset(ctx context.Context, ds captioner.Dataset) (PreparedData, error) {
	digest, err := a.putJSON(ctx, ds)
	if err != nil {
		return PreparedData{}, err
	}
	p := PreparedData{
		Dataset: digest, Images: len(ds.Examples), Splits: map[captioner.Split]int{},
		Quarantined: len(ds.Quarantine), Vocabulary: len(ds.Vocabulary),
	}
	for _, e := range ds.Examples {
		p.Splits[e.Split]++
	}
	return p, nil
}

// withoutPaths is what of the section data changes a prepared data set.
func withoutPaths(data captioner.DataConfig) captioner.DataConfig {
	data = config.WithoutPaths(captioner.Config{Data: data}).Data
	data.ShardSize = 0
	return data
}
