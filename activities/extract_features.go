package activities

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/captioner/captioner"
)

// ExtractFeaturesInput names one shard of a data set: the pictures from
// Shard × ShardSize on, in the data set's order.
type ExtractFeaturesInput struct {
	Dataset   captioner.Digest `json:"dataset"`
	Shard     int              `json:"shard"`
	ShardSize int              `json:"shard_size"`
	// ImagesDir is where the pictures lie; part of no key.
	ImagesDir string                `json:"images_dir"`
	MaxPixels int                   `json:"max_pixels"`
	Model     captioner.ModelConfig `json:"model"`
	// Weights is the blob of a frozen encoder's weights: the shard then keeps its
	// output. Empty keeps pixels.
	Weights captioner.Digest `json:"weights,omitempty"`
	// Precision is that of its products; empty is float32.
	Precision string `json:"precision,omitempty"`
	Threads   int    `json:"threads"`
}

// ExtractFeaturesResult is a shard.
type ExtractFeaturesResult struct {
	Provenance
	// Shard is the blob of the shard file; Images counts the pictures in it.
	Shard  captioner.Digest `json:"shard"`
	Images int              `json:"images"`
	// Quarantine is the blob of a list of captioner.Quarantined: the pictures
	// that could not be decoded. Empty when there are none.
	Quarantine  captioner.Digest `json:"quarantine,omitempty"`
	Quarantined int              `json:"quarantined,omitempty"`
}

// picture identifies a picture's content in a key.
type picture struct {
	Image  string           `json:"image"`
	SHA256 captioner.Digest `json:"sha256"`
}

// frozen is what the output of a frozen encoder depends on beside the pictures.
type frozen struct {
	Weights captioner.Digest `json:"weights"`
	Type    string           `json:"type"`
	// Precision is empty for float32, as in the keys of before there were others.
	Precision string `json:"precision,omitempty"`
}

func frozenBy(in ExtractFeaturesInput) *frozen {
	if in.Weights == "" {
		return nil
	}
	f := &frozen{Weights: in.Weights, Type: in.Model.FeatureType}
	if in.Precision != captioner.PrecisionFloat32 {
		f.Precision = in.Precision
	}
	return f
}

// ExtractFeatures has the engine decode, orient and resize the pictures of one
// shard, and a frozen encoder encode them, and stores the shard file. Its key names
// the pictures by content and not the data set, so that other captions or another
// vocabulary find it done.
func (a *Activities) ExtractFeatures(ctx context.Context, in ExtractFeaturesInput) (ExtractFeaturesResult, error) {
	ds, err := a.loadDataset(ctx, in.Dataset)
	if err != nil {
		return ExtractFeaturesResult{}, err
	}
	pictures, err := shardPictures(ds, in)
	if err != nil {
		return ExtractFeaturesResult{}, err
	}
	return step[ExtractFeaturesResult, *ExtractFeaturesResult]{
		Name: StepExtractFeatures,
		Inputs: struct {
			Pictures  []picture `json:"pictures"`
			MaxPixels int       `json:"max_pixels"`
			Encoder   string    `json:"encoder"`
			ImageSize int       `json:"image_size"`
			Grayscale bool      `json:"grayscale"`
			Features  *frozen   `json:"features,omitempty"`
		}{pictures, in.MaxPixels, in.Model.Encoder, in.Model.ImageSize, in.Model.Grayscale, frozenBy(in)},
		Present: func(ctx context.Context, out ExtractFeaturesResult) (bool, error) {
			if out.Quarantine == "" {
				return a.present(ctx, out.Shard)
			}
			return a.present(ctx, out.Shard, out.Quarantine)
		},
		Compute: func(ctx context.Context, key string) (ExtractFeaturesResult, error) {
			return a.extract(ctx, key, in, pictures)
		},
	}.run(ctx, a)
}

// shardPictures returns the pictures of the shard.
func shardPictures(ds captioner.Dataset, in ExtractFeaturesInput) ([]picture, error) {
	from, to := in.Shard*in.ShardSize, min((in.Shard+1)*in.ShardSize, len(ds.Examples))
	if in.ShardSize < 1 || from < 0 || from >= to {
		return nil, captioner.Errorf(captioner.Invalid, "shard %d of %d pictures each is beyond the data set's %d",
			in.Shard, in.ShardSize, len(ds.Examples))
	}
	pictures := make([]picture, 0, to-from)
	for _, e := range ds.Examples[from:to] {
		pictures = append(pictures, picture{e.Image, e.SHA256})
	}
	return pictures, nil
}

func (a *Activities) extract(ctx context.Context, key string, in ExtractFeaturesInput, pictures []picture) (ExtractFeaturesResult, error) {
	dir, release, err := a.workspace(key)
	if err != nil {
		return ExtractFeaturesResult{}, err
	}
	defer release()

	request := captioner.ExtractRequest{
		ImagesDir: in.ImagesDir, Model: in.Model, MaxPixels: in.MaxPixels, Threads: in.Threads,
		Precision: in.Precision,
		Output:    filepath.Join(dir, "shard"),
	}
	if request.Model.Weights, err = a.localIfAny(ctx, in.Weights); err != nil {
		return ExtractFeaturesResult{}, err
	}
	for _, p := range pictures {
		request.Images = append(request.Images, p.Image)
	}
	extracted, err := a.Extractor.ExtractFeatures(ctx, request, func(done int) {
		report(ctx, ShardProgress{Done: done, Total: len(pictures)})
	})
	if err != nil {
		return ExtractFeaturesResult{}, engineFailed(err)
	}
	// The key promises these contents.
	if err := checkUnchanged(ctx, in.ImagesDir, pictures); err != nil {
		return ExtractFeaturesResult{}, err
	}

	out := ExtractFeaturesResult{Images: len(extracted.Images), Quarantined: len(extracted.Quarantine)}
	if out.Shard, err = a.putFile(ctx, request.Output); err != nil {
		return ExtractFeaturesResult{}, err
	}
	if out.Quarantined > 0 {
		out.Quarantine, err = a.putJSON(ctx, extracted.Quarantine)
	}
	return out, err
}

// localIfAny returns the file of a blob, empty where there is none.
func (a *Activities) localIfAny(ctx context.Context, blob captioner.Digest) (string, error) {
	if blob == "" {
		return "", nil
	}
	return a.Blobs.Local(ctx, blob)
}

// checkUnchanged compares the pictures with the digests that PrepareData took.
func checkUnchanged(ctx context.Context, dir string, pictures []picture) error {
	for _, p := range pictures {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := readPicture(dir, p); err != nil {
			return err
		}
	}
	return nil
}

// readPicture reads a picture that must still be what PrepareData has seen. A
// link that leads out of the folder is not followed.
func readPicture(dir string, p picture) (data []byte, err error) {
	f, err := os.OpenInRoot(dir, filepath.FromSlash(p.Image))
	if err != nil {
		return nil, captioner.Wrap(captioner.Invalid, err, "picture %q can no longer be read", p.Image)
	}
	defer closing(f, &err)
	if data, err = io.ReadAll(f); err != nil {
		return nil, captioner.Wrap(captioner.Unavailable, err, "picture %q cannot be read", p.Image)
	}
	if captioner.DigestOf(data) != p.SHA256 {
		return nil, &captioner.Error{
			Kind: captioner.Invalid, Code: "data_changed",
			Message: "picture " + strconv.Quote(p.Image) + " was changed during the run: start it again",
		}
	}
	return data, nil
}

// putFile stores a file as a blob.
func (a *Activities) putFile(ctx context.Context, path string) (d captioner.Digest, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", captioner.Wrap(captioner.Internal, err, "open a result of the engine")
	}
	defer closing(f, &err)
	d, _, err = a.Blobs.Put(ctx, f)
	return d, err
}
