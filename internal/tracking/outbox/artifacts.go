package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/tracking"
	"github.com/captioner/captioner/internal/tracking/mlflow"
)

// bundleDir is the folder of a run's artifacts that holds the bundle of its
// version.
const bundleDir = "bundle"

// uploadFiles uploads what a run leaves for people to read.
func (r *run) uploadFiles(ctx context.Context) error {
	var config bytes.Buffer
	if json.Indent(&config, r.record.Config, "", "  ") == nil {
		if err := r.upload(ctx, "config.json", config.Bytes()); err != nil {
			return err
		}
	}
	if r.record.Progress == nil {
		return nil
	}
	if len(r.record.Progress.Captions) > 0 {
		scores, err := tracking.PictureScores(ctx, r.outbox.opts.Blobs, *r.record.Progress)
		if err = r.lost("bleu_scores.csv", err); err != nil {
			return err
		}
		if err := r.upload(ctx, "bleu_scores.csv", scores); err != nil {
			return err
		}
	}
	samples, _, err := r.outbox.opts.Store.Samples(ctx, r.runKey(), 0, 0)
	if err != nil || len(samples) == 0 {
		return err
	}
	return r.upload(ctx, "samples.json", sampleTable(samples))
}

// sampleTable is a table as MLflow shows it.
func sampleTable(samples []captioner.Sample) []byte {
	table := struct {
		Columns []string `json:"columns"`
		Data    [][]any  `json:"data"`
	}{Columns: []string{"epoch", "step", "image", "caption", "reference"}}
	for _, s := range samples {
		table.Data = append(table.Data, []any{s.Epoch, s.Step, s.Image, s.Caption, s.Reference})
	}
	data, _ := json.Marshal(table) // numbers and texts
	return data
}

func (r *run) upload(ctx context.Context, name string, content []byte) error {
	if content == nil {
		return nil
	}
	err := r.outbox.opts.Server.Upload(ctx, r.tracked, name, int64(len(content)), bytes.NewReader(content))
	return r.lost(name, err)
}

// lost turns the error of an artifact that cannot be had, or that the server
// does not take, into a warning: the run is worth more.
func (r *run) lost(name string, err error) error {
	switch captioner.KindOf(err) {
	case captioner.NotFound, captioner.Corrupt:
		r.outbox.opts.Logger.Warn("MLflow does not get an artifact", "run", r.record.ID, "artifact", name, "error", err)
		return nil
	}
	return err
}

// register adds the run's version to the model registry, with its bundle as
// artifacts of the run that has made it first, and names it by its digest.
func (r *run) register(ctx context.Context) error {
	if r.record.Result == nil || !r.record.Result.Version.Valid() {
		return nil
	}
	o, digest := r.outbox, r.record.Result.Version
	version, err := o.opts.Server.ModelVersionTagged(ctx, o.opts.Model, tagVersion, string(digest))
	if captioner.KindOf(err) == captioner.NotFound {
		if err := r.lost(bundleDir, r.uploadBundle(ctx, digest)); err != nil {
			return err
		}
		version, err = o.opts.Server.CreateModelVersion(ctx, r.modelVersion(digest))
	}
	if err != nil {
		return err
	}
	o.unknown = 0 // the alias may be waiting for it
	return o.opts.Server.SetAlias(ctx, o.opts.Model, digest.Short(), version.Version)
}

func (r *run) modelVersion(digest captioner.Digest) mlflow.ModelVersion {
	v := mlflow.ModelVersion{
		Name: r.outbox.opts.Model, RunID: r.tracked.ID, Source: "runs:/" + r.tracked.ID + "/" + bundleDir,
		Description: fmt.Sprintf("captioner version %s, made by run %s", digest, r.record.ID),
		Tags:        []mlflow.Tag{{Key: tagVersion, Value: string(digest)}, {Key: tagRun, Value: r.record.ID}},
	}
	if link := r.outbox.opts.link("models", string(digest)); link != "" {
		v.Tags = append(v.Tags, mlflow.Tag{Key: "captioner.url", Value: link})
		v.Description = fmt.Sprintf("[captioner version %s](%s), made by run %s", digest, link, r.record.ID)
	}
	return v
}

// uploadBundle uploads the files of a version, and its manifest last.
func (r *run) uploadBundle(ctx context.Context, digest captioner.Digest) error {
	manifest, err := registry.LoadManifest(ctx, r.outbox.opts.Blobs, digest)
	if err != nil {
		return err
	}
	for _, f := range manifest.Files {
		if err := r.uploadBlob(ctx, bundleDir+"/"+f.Path, f.SHA256, f.Size); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	content, err := manifest.Encode()
	if err != nil {
		return err
	}
	return r.outbox.opts.Server.Upload(ctx, r.tracked, bundleDir+"/"+registry.ManifestName, int64(len(content)), bytes.NewReader(content))
}

func (r *run) uploadBlob(ctx context.Context, name string, digest captioner.Digest, size int64) error {
	blob, err := r.outbox.opts.Blobs.Open(ctx, digest)
	if err != nil {
		return err
	}
	defer blob.Close()
	// The last Read tells whether the bytes are those of the digest.
	return r.outbox.opts.Server.Upload(ctx, r.tracked, name, size, io.NopCloser(blob))
}
