package activities

import (
	"bytes"
	"context"
	"image"
	"image/png"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/features"
)

// samples keeps what the model says at the end of an epoch. Only being fenced
// off is an error: training is worth more than a caption to look at.
func (t *training) samples(ctx context.Context, e captioner.TrainEpoch) error {
	if len(e.Samples) == 0 {
		return nil
	}
	if t.pictures == nil {
		if err := t.keepPictures(ctx, e.Samples); err != nil {
			logger(ctx).Warn("could not keep the pictures of the sample captions", "error", err)
		}
	}
	samples := make([]captioner.Sample, len(e.Samples))
	for i, s := range e.Samples {
		samples[i] = captioner.Sample{
			RunKey: t.key, Epoch: e.Epoch, Step: e.Step, Image: s.Image, Caption: s.Caption, Reference: s.Reference,
			Picture: t.pictures[s.Image], Time: t.a.now(),
		}
	}
	err := t.a.Store.PutSamples(ctx, t.attempt, samples)
	if captioner.KindOf(err) == captioner.Conflict {
		return err
	}
	if err != nil {
		logger(ctx).Warn("could not write sample captions", "epoch", e.Epoch, "error", err)
	}
	return nil
}

// keepPictures stores the samples' pictures, as the model sees them, as blobs:
// any replica can show them, without the data set. It is done once an attempt,
// since the samples are of the same pictures after every epoch.
func (t *training) keepPictures(ctx context.Context, samples []captioner.TrainSample) error {
	t.pictures = map[string]captioner.Digest{}
	wanted := map[string]bool{}
	for _, s := range samples {
		wanted[s.Image] = true
	}
	for _, path := range t.shards {
		if err := t.keepPicturesOf(ctx, path, wanted); err != nil {
			return err
		}
	}
	return nil
}

func (t *training) keepPicturesOf(ctx context.Context, path string, wanted map[string]bool) (err error) {
	shard, err := features.Open(path)
	if err != nil {
		return err
	}
	defer closing(shard, &err)
	layout := shard.Layout()
	if layout.Type != features.Uint8 {
		return nil // what a frozen encoder has made of pictures is none to look at
	}
	for i := range shard.Len() {
		name := shard.Image(i)
		if !wanted[name] {
			continue
		}
		encoded, err := encodePicture(shard.Record(i), layout.Height)
		if err != nil {
			return err
		}
		if t.pictures[name], _, err = t.a.Blobs.Put(ctx, bytes.NewReader(encoded)); err != nil {
			delete(t.pictures, name)
			return err
		}
	}
	return nil
}

// encodePicture returns a square of RGB pixels as a PNG file.
func encodePicture(pixels []byte, side int) ([]byte, error) {
	picture := image.NewNRGBA(image.Rect(0, 0, side, side))
	for i := range side * side {
		copy(picture.Pix[4*i:], pixels[3*i:3*i+3])
		picture.Pix[4*i+3] = 0xff
	}
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "encode a sample's picture")
	}
	return b.Bytes(), nil
}
