package predict_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/demodata"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/predict"
)

// BenchmarkExtract extracts the features of a folder of JPEGs, and in turn with
// it has the encoder alone encode as many pictures. Decoding and resizing are
// hidden where the one is as fast as the other: their share is 1. That of the
// processor's time tells the same where other programs run beside.
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
			var encoding, extraction cost
			rounds := 0
			for b.Loop() {
				encoding.add(alone)
				extraction.add(extract)
				rounds++
			}
			pictures := float64(rounds * images)
			b.ReportMetric(pictures/encoding.wall, "encoded/s")
			b.ReportMetric(pictures/extraction.wall, "extracted/s")
			b.ReportMetric(encoding.wall/extraction.wall, "share")
			b.ReportMetric(pictures/encoding.cpu, "encoded/cpu-s")
			b.ReportMetric(encoding.cpu/extraction.cpu, "cpu-share")
		})
	}
}

// cost is what work has taken, in seconds of the clock and of this process'
// processors.
type cost struct{ wall, cpu float64 }

func (c *cost) add(work func()) {
	begun, before := time.Now(), processorSeconds()
	work()
	c.wall += time.Since(begun).Seconds()
	c.cpu += processorSeconds() - before
}

func processorSeconds() float64 {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // fails for no process
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
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
