package train

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/features"
)

// featuresRequest is a training on what a frozen encoder has made of that many
// pictures, five captions each.
func featuresRequest(t testing.TB, pictures int) captioner.TrainRequest {
	t.Helper()
	weights := kerastest.Folder(t, filepath.Join("..", "encoder", "testdata", "reference.py"))
	shape, dir := captioner.PretrainedShape("EfficientNetB3"), t.TempDir()
	c := captioner.DefaultConfig()
	c.Model.Encoder, c.Model.ImageSize, c.Model.Decoder = "EfficientNetB3", shape.Side, "lstm-attention"
	c.Model.Weights = filepath.Join(weights, "efficientnetb3_notop.h5")
	c.Training.Steps, c.Training.BatchSize, c.Training.WarmupSteps, c.Training.Threads = 20, 16, 2, testThreads
	req := captioner.TrainRequest{
		Config: c, Dataset: filepath.Join(dir, "dataset.json"), Shards: []string{filepath.Join(dir, "shard")},
		WorkDir: t.TempDir(), OutputDir: filepath.Join(dir, "out"),
	}
	weightsDigest := captioner.DigestOf(readFile(t, c.Model.Weights))
	layout := features.Layout{
		Type: features.Float16, Height: shape.Grid, Width: shape.Grid, Channels: shape.Width, Source: "EfficientNetB3 " + string(weightsDigest),
	}
	w, err := features.Create(req.Shards[0], layout)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	ds := captioner.Dataset{
		Vocabulary: []string{"<pad>", "<unk>", "startseq", "endseq", "a", "square", "one", "red", "green", "blue"}, MaxTokens: 8,
	}
	r, record := rand.New(rand.NewPCG(1, 2)), make([]byte, layout.Size())
	for i := range pictures {
		for j := 0; j < len(record); j += 2 {
			binary.LittleEndian.PutUint16(record[j:], 0x3000|uint16(r.Uint32()&0xfff)) // 0.125 to 2
		}
		e := captioner.Example{Image: fmt.Sprintf("%05d.jpg", i), Split: captioner.Train}
		if i%5 == 0 {
			e.Split = captioner.Validation
		}
		for range 5 {
			e.References = append(e.References, fmt.Sprintf("a %s square", ds.Vocabulary[7+r.IntN(3)]))
		}
		ds.Examples = append(ds.Examples, e)
		if err := w.Add(e.Image, record); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	writeJSON(t, req.Dataset, ds)
	return req
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var anonymousLine = regexp.MustCompile(`RssAnon:\s+(\d+) kB`)

// anonymousBytes returns the memory of this process that is in no file.
func anonymousBytes(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("needs /proc")
	}
	found := anonymousLine.FindSubmatch(data)
	if found == nil {
		t.Skip("the kernel does not tell anonymous memory")
	}
	kilobytes, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// Features stay in their file: three times as many take no more memory. With the
// variable longTests the larger data set is one of 8,000 pictures, 2.5 GB.
func TestFeaturesStayOnDisk(t *testing.T) {
	// With a few hundred a training takes some 100 MB less, and from here on no more.
	few, many := 1600, 4800
	if os.Getenv(longTests) != "" {
		many = 8000
	}
	highest := func(pictures int) int {
		runtime.GC() // graphs are freed by it
		req, highest := featuresRequest(t, pictures), 0
		if _, err := Run(t.Context(), req, nil, func(captioner.TrainEvent) { highest = max(highest, anonymousBytes(t)) }); err != nil {
			t.Fatal(err)
		}
		return highest
	}
	highest(few) // what a first training leaves in the allocator
	small := highest(few)
	large := highest(many)
	t.Logf("anonymous memory: %d MB with %d pictures, %d MB with %d", small>>20, few, large>>20, many)
	// A picture's captions take some memory, its features, 300 KB, none.
	if grown, data := large-small, (many-few)*300_000; grown > data/3 {
		t.Errorf("memory grew by %d MB for %d MB of features", grown>>20, data>>20)
	}
}
