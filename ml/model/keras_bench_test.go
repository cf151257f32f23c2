package model

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/tf"
)

// The sizes that a decoder's step is compared with Keras at: the original
// system's, with EfficientNetB3's grid.
const (
	benchImages     = 64
	benchLength     = 24
	benchVocabulary = 8000
	benchLocations  = 100
	benchFeatures   = 1536
	benchWidth      = 256
	// benchSteps is how many steps are taken at a time, ours and Keras' in turn.
	benchSteps = 3
)

// ready is an encoder that has its grid from the start, so that a step is the
// decoder's alone.
const ready = "bench-ready"

func init() {
	encoder.Register(ready, func(t *nn.Tower, _ tf.Output) tf.Output {
		const images = benchImages / 2 // a tower's share
		r := rand.New(rand.NewPCG(1, 2))
		values := make([]float32, images*benchLocations*benchFeatures)
		for i := range values {
			values[i] = r.Float32()
		}
		return tf.Floats(t.Scope, values, images, benchLocations, benchFeatures)
	})
}

// benchCaptions are captions as long as those of Flickr8k, or all of the full
// length: the lengths, and the tokens with a start and an end.
func benchCaptions(full bool) (lengths []int32, captions [][]int32) {
	r := rand.New(rand.NewPCG(3, 4))
	for range benchImages {
		n := benchLength
		if !full {
			n = min(benchLength, 8+r.IntN(9)) // 12 words on average
		}
		caption := make([]int32, benchLength+1)
		for i := range n + 1 {
			caption[i] = int32(4 + r.IntN(benchVocabulary-4))
		}
		lengths, captions = append(lengths, int32(n)), append(captions, caption)
	}
	return lengths, captions
}

// halves are the captions as the batches of two towers.
func halves(lengths []int32, captions [][]int32) []Batch {
	batches := make([]Batch, 2)
	const share = benchImages / 2
	for i := range batches {
		b := Batch{Images: share, Captions: 1, Length: benchLength, Pixels: make([]byte, share*32*32*3)}
		for j, caption := range captions[i*share : (i+1)*share] {
			b.Tokens = append(b.Tokens, caption[:benchLength]...)
			for k := range int(lengths[i*share+j]) {
				b.Rows, b.Targets = append(b.Rows, int32(j*benchLength+k)), append(b.Targets, caption[k+1])
			}
		}
		batches[i] = b
	}
	return batches
}

// kerasTrainer is tools/bench/decoders.py, waiting for steps to take.
type kerasTrainer struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func startKeras(b *testing.B, decoder, precision string, lengths []int32, captions [][]int32) *kerasTrainer {
	b.Helper()
	cmd := exec.Command(kerastest.Python(b), "../../tools/bench/decoders.py", decoder, precision)
	for _, n := range []int{testThreads, benchImages, benchLength, benchVocabulary, benchLocations, benchFeatures, benchWidth} {
		cmd.Args = append(cmd.Args, fmt.Sprint(n))
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	k := &kerasTrainer{in, bufio.NewReader(out)}
	b.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	for _, data := range append([][]int32{lengths}, captions...) {
		if err := binary.Write(in, binary.LittleEndian, data); err != nil {
			b.Fatal(err)
		}
	}
	var parameters int
	if _, err := fmt.Fscanf(k.out, "ready %d\n", &parameters); err != nil {
		b.Fatal(err)
	}
	return k
}

// steps returns the seconds and processor seconds of a step, and the last loss.
func (k *kerasTrainer) steps(b *testing.B) (wall, processor, loss float64) {
	b.Helper()
	fmt.Fprintln(k.in, benchSteps)
	if _, err := fmt.Fscanf(k.out, "%g %g %g\n", &wall, &processor, &loss); err != nil {
		b.Fatal(err)
	}
	return wall / benchSteps, processor / benchSteps, loss
}

// processorSeconds is what this process has used so far.
func processorSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(u.Utime) + seconds(u.Stime)
}

// BenchmarkAgainstKeras takes steps of every decoder that tools/bench/decoders.py
// has too, in turn with Keras in another process, with as many threads and the
// batch at hand. It reports the best of each, and how many times as fast ours is
// by the clock and by the processor's time, which other work disturbs less.
func BenchmarkAgainstKeras(b *testing.B) {
	for _, decoder := range []string{"transformer", "lstm-attention"} {
		for _, precision := range []string{captioner.PrecisionFloat32, captioner.PrecisionBfloat16} {
			for _, captions := range []string{"padded", "full"} {
				b.Run(decoder+"/"+precision+"/"+captions, func(b *testing.B) {
					if err := tf.Supports(precision); err != nil {
						b.Skip(err)
					}
					againstKeras(b, decoder, precision, captions == "full")
				})
			}
		}
	}
}

func againstKeras(b *testing.B, decoder, precision string, full bool) {
	c := captioner.DefaultConfig()
	c.Model.Encoder, c.Model.ImageSize, c.Model.Decoder = ready, 32, decoder
	c.Model.Width, c.Model.FeedForward = benchWidth, 4*benchWidth
	if decoder != "transformer" {
		c.Model.Layers = 1
	}
	c.Training.LabelSmoothing, c.Training.AuxiliaryWeight = 0, 0
	words := slices.Clone(testWords[:4])
	for len(words) < benchVocabulary {
		words = append(words, fmt.Sprint(len(words)))
	}
	m, err := New(c.Model, vocabulary(words), benchLength+1)
	if err != nil {
		b.Fatal(err)
	}
	g, err := NewTraining(m, c.Training, 0, 2)
	if err != nil {
		b.Fatal(err)
	}
	session, err := tf.OpenSession(g.Graph, tf.Options{Threads: testThreads, Precision: precision})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { session.Close() })
	initial := g.Initial()
	defer tf.ReleaseMap(initial)
	if err := g.Weights.All().Assign(session, initial); err != nil {
		b.Fatal(err)
	}
	lengths, captions := benchCaptions(full)
	batches := halves(lengths, captions)
	step, loss := 0, 0.0
	ours := func() (wall, processor float64) {
		start, used := time.Now(), processorSeconds()
		for range benchSteps {
			step++
			if loss, err = g.Step(session, batches, step, 1e-4); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(start).Seconds() / benchSteps, (processorSeconds() - used) / benchSteps
	}
	keras := startKeras(b, decoder, precision, lengths, captions)
	ours()

	var wall, processor, kerasWall, kerasProcessor []float64
	kerasLoss := 0.0
	for b.Loop() {
		w, p := ours()
		wall, processor = append(wall, w), append(processor, p)
		w, p, kerasLoss = keras.steps(b)
		kerasWall, kerasProcessor = append(kerasWall, w), append(kerasProcessor, p)
	}
	if math.Abs(loss-kerasLoss) > 1 {
		b.Errorf("our loss is %.2f, Keras' %.2f: not the same work", loss, kerasLoss)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(slices.Min(wall)*1e3, "ms")
	b.ReportMetric(slices.Min(kerasWall)*1e3, "keras-ms")
	b.ReportMetric(slices.Min(kerasWall)/slices.Min(wall), "times-as-fast")
	b.ReportMetric(slices.Min(processor)*1e3, "processor-ms")
	b.ReportMetric(slices.Min(kerasProcessor)*1e3, "keras-processor-ms")
	b.ReportMetric(slices.Min(kerasProcessor)/slices.Min(processor), "times-by-processor")
}
