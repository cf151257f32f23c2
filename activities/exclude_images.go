package activities

import (
	"context"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/dataset"
)

// ExcludeImagesInput names what extraction could not decode.
type ExcludeImagesInput struct {
	Dataset captioner.Digest `json:"dataset"`
	// Quarantine are blobs of lists of captioner.Quarantined, one a shard.
	Quarantine []captioner.Digest   `json:"quarantine"`
	Data       captioner.DataConfig `json:"data"`
}

// ExcludeImagesResult is the data set without those pictures.
type ExcludeImagesResult struct {
	Provenance
	PreparedData
}

// ExcludeImages takes the pictures that could not be decoded out of the data
// set, and checks that enough of it is left. It runs only when there are some.
func (a *Activities) ExcludeImages(ctx context.Context, in ExcludeImagesInput) (ExcludeImagesResult, error) {
	out, err := step[ExcludeImagesResult, *ExcludeImagesResult]{
		Name: StepExcludeImages,
		Inputs: struct {
			Dataset    captioner.Digest     `json:"dataset"`
			Quarantine []captioner.Digest   `json:"quarantine"`
			Data       captioner.DataConfig `json:"data"`
		}{in.Dataset, in.Quarantine, withoutPaths(in.Data)},
		Present: func(ctx context.Context, out ExcludeImagesResult) (bool, error) {
			return a.present(ctx, out.Dataset)
		},
		Compute: func(ctx context.Context, _ string) (ExcludeImagesResult, error) {
			prepared, err := a.exclude(ctx, in)
			return ExcludeImagesResult{PreparedData: prepared}, err
		},
	}.run(ctx, a)
	if err != nil {
		return ExcludeImagesResult{}, err
	}
	out.LeftOut, err = a.leftOut(ctx, out.PreparedData)
	return out, err
}

func (a *Activities) exclude(ctx context.Context, in ExcludeImagesInput) (PreparedData, error) {
	ds, err := a.loadDataset(ctx, in.Dataset)
	if err != nil {
		return PreparedData{}, err
	}
	var quarantine []captioner.Quarantined
	for _, digest := range in.Quarantine {
		var part []captioner.Quarantined
		if err := captioner.ReadJSON(ctx, a.Blobs, digest, &part); err != nil {
			return PreparedData{}, err
		}
		quarantine = append(quarantine, part...)
	}
	ds = dataset.Drop(ds, quarantine)
	// A split that is empty only now was made so by its pictures.
	source := func(captioner.Split) string { return "data.images" }
	if err := dataset.CheckUsable(ds, in.Data.MinUsable, source); err != nil {
		return PreparedData{}, err
	}
	return a.putDataset(ctx, ds)
}
