package predict_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/demodata"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/predict"
)

// BenchmarkExtract extracts the features of a folder of JPEGs, and in turn with
// it has the encoder alone encode as many pictures. Decoding and resizing are
// hidden where the one is as fast as the other.
func BenchmarkExtract(b *testing.B) {
	const images, threads = 64, 2
	weights := kerastest.Folder(b, filepath.Join("..", "encoder", "testdata", "reference.py"))
	dir := b.TempDir()
	if err := demodata.Generate(b.Context(), dir, demodata.Options{Images: images, Seed: 7}, nil); err != nil {
		b.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, demodata.ImagesDir, "*.jpg"))
	if err != nil || len(names) != images {
		b.Fatalf("%d pictures, %v", len(names), err)
	}
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	for _, name := range []string{"EfficientNetB3", "InceptionV3"} {
		b.Run(name, func(b *testing.B) {
			config := captioner.DefaultConfig().Model
			config.Encoder, config.ImageSize = name, captioner.PretrainedShape(name).Side
			config.Weights = filepath.Join(weights, strings.ToLower(name)+"_notop.h5")
			p, err := model.NewPreprocessor(config, threads)
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			e, err := model.NewExtractor(config, threads)
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			alone := func() { encodeAlone(b, e, p.Side(), images) }
			extract := func() {
				_, err := predict.ExtractFeatures(b.Context(), p, e, captioner.ExtractRequest{
					ImagesDir: filepath.Join(dir, demodata.ImagesDir), Images: names, MaxPixels: 1_000_000,
					Threads: threads, Output: filepath.Join(b.TempDir(), "shard"),
				}, nil)
				if err != nil {
					b.Fatal(err)
				}
			}
			alone() // optimises the graph
			var aloneTime, extractTime time.Duration
			rounds := 0
			for b.Loop() {
				aloneTime += timed(alone)
				extractTime += timed(extract)
				rounds++
			}
			perSecond := func(d time.Duration) float64 { return float64(rounds*images) / d.Seconds() }
			b.ReportMetric(perSecond(aloneTime), "encoded/s")
			b.ReportMetric(perSecond(extractTime), "extracted/s")
			b.ReportMetric(aloneTime.Seconds()/extractTime.Seconds(), "share")
		})
	}
}

func timed(work func()) time.Duration {
	begun := time.Now()
	work()
	return time.Since(begun)
}

// encodeAlone encodes grey pictures, two batches side by side.
func encodeAlone(b *testing.B, e *model.Extractor, side, images int) {
	squares := make([][]byte, e.Batch())
	for i := range squares {
		squares[i] = make([]byte, side*side*3)
	}
	var group errgroup.Group
	group.SetLimit(2)
	for range images / e.Batch() {
		group.Go(func() error {
			_, err := e.Encode(squares)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}
