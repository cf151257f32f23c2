package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob"
	"github.com/captioner/captioner/internal/cputime"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/tf"
)

// epochSteps is the number of steps of an epoch of the demonstration, at whose end
// a checkpoint is written; in longer epochs the interval of a minute brings fewer.
const epochSteps = 94

// BenchmarkCheckpoint compares what a checkpoint costs with a step, on the decoder
// of the defaults: what training waits for it, and the processor's time of all that
// is done behind its back, by the engine and by the control plane, which stores the
// file as a blob. The shares are those of an epoch of the demonstration and of a
// minute.
func BenchmarkCheckpoint(b *testing.B) {
	req := testRequest(b)
	m := &req.Config.Model
	m.Width, m.Layers, m.Heads, m.FeedForward = 128, 2, 4, 256
	req.Config.Training.Steps, req.Config.Training.BatchSize = 1_000_000, 16
	r := &run{req: req, write: tf.WriteTensors}
	defer r.close()
	if err := r.open(); err != nil {
		b.Fatal(err)
	}
	blobs, err := blob.NewDisk(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	var steps, stepsUsed, saves, savesUsed time.Duration
	for range 10 { // the first ones prepare what later ones find
		if err := errors.Join(r.step(), r.save()); err != nil {
			b.Fatal(err)
		}
	}
	if err := r.finishSave(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		start, used := time.Now(), cputime.Used()
		if err := r.step(); err != nil {
			b.Fatal(err)
		}
		steps, stepsUsed = steps+time.Since(start), stepsUsed+cputime.Used()-used
		start, used = time.Now(), cputime.Used()
		if err := r.save(); err != nil {
			b.Fatal(err)
		}
		saves += time.Since(start)
		if err := r.finishSave(); err != nil {
			b.Fatal(err)
		}
		if _, _, err := blobs.Put(b.Context(), bytes.NewReader(readFile(b, r.saved[len(r.saved)-1]))); err != nil {
			b.Fatal(err)
		}
		savesUsed += cputime.Used() - used
	}
	each := func(d time.Duration) float64 { return d.Seconds() * 1e3 / float64(b.N) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(each(steps), "step-ms")
	b.ReportMetric(each(stepsUsed), "step-cpu-ms")
	b.ReportMetric(each(saves), "save-ms")
	b.ReportMetric(each(savesUsed), "save-cpu-ms")
	b.ReportMetric(100*saves.Seconds()/steps.Seconds()/epochSteps, "%-of-epoch")
	b.ReportMetric(100*savesUsed.Seconds()/stepsUsed.Seconds()/epochSteps, "%-of-epoch-cpu")
	b.ReportMetric(100*each(saves)/60e3, "%-of-minute")
}

// BenchmarkLoop trains on a shard of features with all that a step needs: captions
// drawn, features read and fed. In turn with it Keras' fit trains on the same file,
// in float32 and with as many threads. It reports the best of each, as
// BenchmarkAgainstKeras of ml/model does for the steps alone.
func BenchmarkLoop(b *testing.B) {
	for _, decoder := range []string{"transformer", "lstm-attention", "lstm-pooled"} {
		b.Run(decoder, func(b *testing.B) { benchmarkLoop(b, decoder) })
	}
}

func benchmarkLoop(b *testing.B, decoder string) {
	const pictures, batch, length, words, width, steps = 400, 64, 24, 8000, 256, 5
	req := featuresRequest(b, pictures)
	lengths, captions := longCaptions(b, &req, length, words)
	m, c := &req.Config.Model, &req.Config.Training
	m.Decoder, m.Width, m.Layers, m.Heads, m.FeedForward = decoder, width, 1, 4, 4*width
	switch decoder {
	case "transformer":
		m.Layers = 2
	case "lstm-pooled": // as the original has it
		m.Dropout, m.RecurrentDropout, m.EmbeddingDim, m.EmbeddingFrozen = 0.3, 0.2, 200, true
	}
	c.Precision, c.Steps, c.BatchSize, c.CaptionsPerImage = captioner.PrecisionFloat32, 1_000_000, batch, 1
	c.LabelSmoothing, c.AuxiliaryWeight = 0, 0

	r := &run{req: req, write: tf.WriteTensors}
	defer r.close()
	if err := r.open(); err != nil {
		b.Fatal(err)
	}
	r.meter = newMeter(time.Now(), 0)
	ours := func() (wall, processor float64) {
		start, used := time.Now(), cputime.Used()
		for range steps {
			if err := r.step(); err != nil {
				b.Fatal(err)
			}
			r.report(false)
		}
		return time.Since(start).Seconds() / steps, (cputime.Used() - used).Seconds() / steps
	}
	shape := captioner.PretrainedShape(m.Encoder)
	const header = 64 // of a shard without its source, which follows the records
	keras := kerastest.StartTrainer(b, "../..", lengths, captions, decoder, captioner.PrecisionFloat32, testThreads,
		batch, length, words, shape.Grid*shape.Grid, shape.Width, width, req.Shards[0], header, pictures)
	ours() // optimises the graph

	var wall, processor, kerasWall, kerasProcessor float64
	best := func(best *float64, value float64) {
		if *best == 0 || value < *best {
			*best = value
		}
	}
	for b.Loop() {
		w, p := ours()
		best(&wall, w)
		best(&processor, p)
		w, p, _ = keras.Steps(b, steps)
		best(&kerasWall, w)
		best(&kerasProcessor, p)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(wall*1e3, "ms")
	b.ReportMetric(kerasWall*1e3, "keras-ms")
	b.ReportMetric(kerasWall/wall, "times-as-fast")
	b.ReportMetric(kerasProcessor/processor, "times-by-processor")
}

// longCaptions gives the pictures of a request captions as long as Flickr8k's, of a
// large vocabulary. It returns as many of that kind, as tokens with a start and an
// end, and their lengths.
func longCaptions(b *testing.B, req *captioner.TrainRequest, length, words int) (lengths []int32, captions [][]int32) {
	b.Helper()
	var ds captioner.Dataset
	if err := json.Unmarshal(readFile(b, req.Dataset), &ds); err != nil {
		b.Fatal(err)
	}
	ds.MaxTokens = length + 1
	for len(ds.Vocabulary) < words {
		ds.Vocabulary = append(ds.Vocabulary, fmt.Sprint("w", len(ds.Vocabulary)))
	}
	r := rand.New(rand.NewPCG(3, 4))
	for i := range ds.Examples {
		caption := []int32{2}
		var text []string
		for range 7 + r.IntN(9) {
			word := 4 + r.IntN(words-4)
			caption, text = append(caption, int32(word)), append(text, ds.Vocabulary[word])
		}
		caption = append(caption, 3)
		lengths = append(lengths, int32(len(caption)-1))
		captions = append(captions, append(caption, make([]int32, length+1-len(caption))...))
		ds.Examples[i].References = []string{strings.Join(text, " ")}
	}
	writeJSON(b, req.Dataset, ds)
	return lengths, captions
}
