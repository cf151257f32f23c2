package predict_test

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/cputime"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/predict"
	"github.com/captioner/captioner/ml/tf"
)

// BenchmarkExtract extracts the features of a folder of JPEGs, and in turn with
// it has the encoder alone encode as many pictures. Decoding and resizing are
// hidden where the one is as fast as the other: their share is 1. That of the
// processor's time tells the same where other programs run beside. The original's
// extractor, in Keras, takes its turn too: keras-ratio is how many times as fast
// ours is until the last picture is done, keras-returns-ratio until the call has
// returned, for which it waits as extract.py says.
func BenchmarkExtract(b *testing.B) {
	const images, threads = 64, 2
	weights := kerastest.Folder(b, filepath.Join("..", "encoder", "testdata", "reference.py"))
	dir := b.TempDir()
	names := writePhotos(b, dir, images)
	p := kerastest.Start(b, "../../tools/bench/extract.py", threads, dir)
	keras := func(encoder string) (c cost, waited float64) {
		p.Ask(b, encoder, &c.wall, &c.cpu, &waited)
		return c, waited
	}
	variants := []string{"EfficientNetB3", "InceptionV3"}
	if tf.Supports(captioner.PrecisionBfloat16) == nil {
		variants = append(variants, "EfficientNetB3/bfloat16", "InceptionV3/bfloat16")
	}
	for _, variant := range variants {
		b.Run(variant, func(b *testing.B) {
			name, precision, _ := strings.Cut(variant, "/")
			config := captioner.DefaultConfig().Model
			config.Encoder, config.ImageSize = name, captioner.PretrainedShape(name).Side
			config.Weights = filepath.Join(weights, strings.ToLower(name)+"_notop.h5")
			p, err := model.NewPreprocessor(config, threads)
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			e, err := model.NewExtractor(config, tf.Options{Threads: threads, Precision: precision})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			alone := func() { encodeAlone(b, e, p.Side(), images) }
			extract := func() {
				_, err := predict.ExtractFeatures(b.Context(), p, e, captioner.ExtractRequest{
					ImagesDir: dir, Images: names, MaxPixels: 1_000_000,
					Threads: threads, Output: filepath.Join(b.TempDir(), "shard"),
				}, nil)
				if err != nil {
					b.Fatal(err)
				}
			}
			alone() // optimises the graph
			var encoding, extraction, original cost
			keras(name) // prepares the model
			rounds, waits := 0, 0.0
			for b.Loop() {
				encoding.add(alone)
				extraction.add(extract)
				theirs, waited := keras(name)
				original.wall, original.cpu, waits = original.wall+theirs.wall, original.cpu+theirs.cpu, waits+waited
				rounds++
			}
			pictures := float64(rounds * images)
			b.ReportMetric(pictures/encoding.wall, "encoded/s")
			b.ReportMetric(pictures/extraction.wall, "extracted/s")
			b.ReportMetric(encoding.wall/extraction.wall, "share")
			b.ReportMetric(pictures/encoding.cpu, "encoded/cpu-s")
			b.ReportMetric(encoding.cpu/extraction.cpu, "cpu-share")
			b.ReportMetric(pictures/original.wall, "keras-extracted/s")
			b.ReportMetric(original.wall/extraction.wall, "keras-ratio")
			b.ReportMetric((original.wall+waits)/extraction.wall, "keras-returns-ratio")
			b.ReportMetric(original.cpu/extraction.cpu, "keras-cpu-ratio")
		})
	}
}

// writePhotos writes JPEGs of the size of Flickr8k's pictures, and about as many
// bytes, and returns their names.
func writePhotos(b *testing.B, dir string, images int) []string {
	b.Helper()
	r := rand.New(rand.NewPCG(7, 8))
	names := make([]string, images)
	for i := range names {
		photo := image.NewRGBA(image.Rect(0, 0, 500, 375))
		for j := range photo.Pix {
			photo.Pix[j] = byte(j/400+i*16) + byte(r.IntN(24))
		}
		var file bytes.Buffer
		if err := jpeg.Encode(&file, photo, &jpeg.Options{Quality: 95}); err != nil {
			b.Fatal(err)
		}
		names[i] = fmt.Sprintf("%03d.jpg", i)
		if err := os.WriteFile(filepath.Join(dir, names[i]), file.Bytes(), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return names
}

// cost is what work has taken, in seconds of the clock and of this process'
// processors.
type cost struct{ wall, cpu float64 }

func (c *cost) add(work func()) {
	begun, before := time.Now(), cputime.Used()
	work()
	c.wall += time.Since(begun).Seconds()
	c.cpu += (cputime.Used() - before).Seconds()
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
