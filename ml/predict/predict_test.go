package predict_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/predict"
	"github.com/captioner/captioner/ml/predict/predicttest"
)

const threads = 2

func open(t testing.TB) *predict.Predictor {
	t.Helper()
	dir := t.TempDir()
	predicttest.WriteModel(t, dir)
	p, err := predict.Open(dir, threads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// plain returns a PNG of one colour, 20 × 10.
func plain(t testing.TB, c color.RGBA) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := png.Encode(&file, picture(20, 10, c)); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func picture(w, h int, c color.RGBA) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		img.SetRGBA(i%w, i/w, c)
	}
	return img
}

var (
	red   = color.RGBA{255, 0, 0, 255}
	green = color.RGBA{0, 204, 0, 255}
	blue  = color.RGBA{51, 0, 255, 255}
)

func shares(c color.RGBA) [3]float64 {
	return [3]float64{float64(c.R) / 255, float64(c.G) / 255, float64(c.B) / 255}
}

func inputs(files ...[]byte) []captioner.ImageInput {
	var in []captioner.ImageInput
	for _, f := range files {
		in = append(in, captioner.ImageInput{Data: f})
	}
	return in
}

func TestGreedy(t *testing.T) {
	p := open(t)
	reply, err := p.Caption(t.Context(), captioner.CaptionRequest{
		Algorithm: "greedy", Images: inputs(plain(t, red), []byte("no picture"), plain(t, green), plain(t, blue)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if code := captioner.CodeOf(reply.Results[1].Err); code != "image_unsupported" {
		t.Errorf("result 1: error code %q, want image_unsupported", code)
	}
	for _, test := range []struct {
		i     int
		c     color.RGBA
		text  string
		token int32
	}{{0, red, "red picture", 4}, {2, green, "green picture", 5}, {3, blue, "blue picture", 6}} {
		r := reply.Results[test.i]
		if r.Err != nil || len(r.Hypotheses) != 1 || r.Width != 20 || r.Height != 10 {
			t.Fatalf("result %d: %+v, want one hypothesis for 20 × 10 pixels", test.i, r)
		}
		want := captioner.Hypothesis{
			Text: test.text, Tokens: []int32{test.token, 7},
			LogProbability: predicttest.LogProbability(shares(test.c), []int32{test.token, 7, 3}),
		}
		if diff := cmp.Diff(want, r.Hypotheses[0], approximately(1e-5)); diff != "" {
			t.Errorf("result %d (-want +got):\n%s", test.i, diff)
		}
	}
}

// A seed draws the same captions again, alone and among other pictures, with
// the probability that the model's arithmetic gives to their tokens.
func TestSample(t *testing.T) {
	p := open(t)
	texts := map[string]bool{}
	for seed := range uint64(20) {
		request := captioner.CaptionRequest{
			Algorithm: "sample", NumCaptions: 2, Sampling: captioner.Sampling{Temperature: 2, TopK: 6, Seed: seed},
			Images: inputs(plain(t, red)),
		}
		alone, err := p.Caption(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		request.Images = inputs(plain(t, blue), plain(t, red))
		among, err := p.Caption(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		got := among.Results[1].Hypotheses
		if diff := cmp.Diff(alone.Results[0].Hypotheses, got, approximately(1e-5)); diff != "" {
			t.Fatalf("seed %d, alone (-) and among others (+):\n%s", seed, diff)
		}
		for _, h := range got {
			tokens := h.Tokens
			if len(tokens) < predicttest.MaxTokens-1 {
				tokens = append(slices.Clone(tokens), 3)
			}
			if want := predicttest.LogProbability(shares(red), tokens); math.Abs(h.LogProbability-want) > 1e-4 {
				t.Errorf("seed %d: %v has log-probability %.5f, want %.5f", seed, h.Tokens, h.LogProbability, want)
			}
			texts[h.Text] = true
		}
	}
	if len(texts) < 10 {
		t.Errorf("20 seeds drew %d captions, want more: %v", len(texts), texts)
	}
}

func approximately(tolerance float64) cmp.Option {
	return cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) <= tolerance })
}

// TestBeam: every hypothesis has the probability that the model's arithmetic
// gives to its tokens, so that parents and state are handed on correctly.
func TestBeam(t *testing.T) {
	p := open(t)
	colours := []color.RGBA{blue, red, green}
	var files [][]byte
	for _, c := range colours {
		files = append(files, plain(t, c))
	}
	reply, err := p.Caption(t.Context(), captioner.CaptionRequest{
		Algorithm: "beam", BeamWidth: 5, NumCaptions: 5, LengthPenalty: 0.7, Images: inputs(files...),
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range reply.Results {
		if r.Err != nil || len(r.Hypotheses) != 5 {
			t.Fatalf("picture %d: %d hypotheses, error %v; want 5", i, len(r.Hypotheses), r.Err)
		}
		seen := make(map[string]bool)
		for _, h := range r.Hypotheses {
			seen[h.Text] = true
			want := predicttest.LogProbability(shares(colours[i]), append(append([]int32{}, h.Tokens...), 3))
			if math.Abs(h.LogProbability-want) > 1e-5 {
				t.Errorf("picture %d, %q: log-probability %.6f, want %.6f", i, h.Text, h.LogProbability, want)
			}
		}
		if len(seen) != 5 {
			t.Errorf("picture %d: %d different captions of 5", i, len(seen))
		}
	}
}

func TestInvalidRequests(t *testing.T) {
	p := open(t)
	good := inputs(plain(t, red))
	for name, req := range map[string]captioner.CaptionRequest{
		"algorithm":    {Algorithm: "magic", Images: good},
		"beam width":   {Algorithm: "beam", Images: good},
		"num captions": {Algorithm: "beam", BeamWidth: 2, NumCaptions: 3, Images: good},
	} {
		if _, err := p.Caption(t.Context(), req); captioner.KindOf(err) != captioner.Invalid {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Caption(ctx, captioner.CaptionRequest{Algorithm: "greedy", Images: good}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, want context.Canceled", err)
	}
	if reply, err := p.Caption(t.Context(), captioner.CaptionRequest{Algorithm: "greedy"}); err != nil || len(reply.Results) != 0 {
		t.Errorf("no pictures: %+v, %v; want no results", reply, err)
	}
}

func TestModel(t *testing.T) {
	dir := t.TempDir()
	predicttest.WriteModel(t, dir)
	manifest := []byte(`{"files":[]}`)
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), manifest, 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := predict.Open(dir, threads)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	got := p.Model()
	if len(got.Devices) == 0 || !strings.Contains(got.Devices[0], "CPU") {
		t.Errorf("devices %v, want a CPU first", got.Devices)
	}
	got.Devices = nil
	want := captioner.ModelInfo{
		Version: captioner.DigestOf(manifest), VocabularySize: 8, MaxTokens: 8,
		Encoder: "mean", Decoder: "table", ImageSize: 8, TensorFlow: "2.18.0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("model (-want +got):\n%s", diff)
	}
}

// TestPictures captions ml/images' collection of formats: each is what it is
// whatever decodes it.
func TestPictures(t *testing.T) {
	p := open(t)
	files, err := filepath.Glob("../images/testdata/*.*")
	if err != nil {
		t.Fatal(err)
	}
	decoded := 0
	for _, file := range files {
		if ext := filepath.Ext(file); ext == ".json" || ext == ".py" {
			continue
		}
		decoded++
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := p.Caption(t.Context(), captioner.CaptionRequest{Algorithm: "greedy", Images: inputs(data)})
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if r := reply.Results[0]; r.Err != nil || len(r.Hypotheses) != 1 || r.Width == 0 {
			t.Errorf("%s: %+v, want one caption", file, r)
		}
		for _, cut := range []int{0, 1, len(data) / 3, len(data) / 2} {
			reply, err := p.Caption(t.Context(), captioner.CaptionRequest{Algorithm: "greedy", Images: inputs(data[:cut])})
			if err != nil {
				t.Fatalf("%s cut at %d: %v", file, cut, err)
			}
			if r := reply.Results[0]; r.Err == nil && cut < 2 || r.Err != nil && captioner.KindOf(r.Err) != captioner.Invalid {
				t.Errorf("%s cut at %d: %+v, want an Invalid error", file, cut, r)
			}
		}
	}
	if decoded < 10 {
		t.Errorf("only %d pictures were found", decoded)
	}
}

// TestOrientation: a picture that lies on its side counts as the upright one.
func TestOrientation(t *testing.T) {
	p := open(t)
	data, err := os.ReadFile("../images/testdata/orientation6.jpg")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := jpeg.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	reply, err := p.Caption(t.Context(), captioner.CaptionRequest{Algorithm: "greedy", Images: inputs(data)})
	if err != nil {
		t.Fatal(err)
	}
	if r := reply.Results[0]; r.Width != stored.Height || r.Height != stored.Width {
		t.Errorf("%d × %d, want %d × %d", r.Width, r.Height, stored.Height, stored.Width)
	}
}

func TestShardInput(t *testing.T) {
	p := open(t)
	path := filepath.Join(t.TempDir(), "shard")
	w, err := features.Create(path, features.Pixels(predicttest.Side))
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []color.RGBA{red, blue} {
		pixels := bytes.Repeat([]byte{c.R, c.G, c.B}, predicttest.Side*predicttest.Side)
		if err := w.Add(fmt.Sprint(i), pixels); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	reply, err := p.Caption(t.Context(), captioner.CaptionRequest{Algorithm: "greedy", Images: []captioner.ImageInput{
		{Shard: path, Index: 1}, {Data: plain(t, green)}, {Shard: path, Index: 0},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range reply.Results {
		got = append(got, r.Hypotheses[0].Text)
	}
	if diff := cmp.Diff([]string{"blue picture", "green picture", "red picture"}, got); diff != "" {
		t.Errorf("captions (-want +got):\n%s", diff)
	}
	_, err = p.Caption(t.Context(), captioner.CaptionRequest{Algorithm: "greedy", Images: []captioner.ImageInput{{Shard: path, Index: 2}}})
	if captioner.KindOf(err) != captioner.Invalid {
		t.Errorf("beyond the shard: %v, want Invalid", err)
	}
	_, err = p.Caption(t.Context(), captioner.CaptionRequest{Algorithm: "greedy", Images: []captioner.ImageInput{{Shard: path + "x"}}})
	if captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("no shard: %v, want NotFound", err)
	}
}

// TestManyAtOnce: requests of many clients, which share batches, and requests
// of more pictures than fit in one.
func TestManyAtOnce(t *testing.T) {
	p := open(t)
	files := [][]byte{plain(t, red), plain(t, green), plain(t, blue)}
	texts := []string{"red picture", "green picture", "blue picture"}
	var clients sync.WaitGroup
	for client := range 16 {
		clients.Go(func() {
			req := captioner.CaptionRequest{Algorithm: []string{"greedy", "beam"}[client%2], BeamWidth: 2 + client%4/2}
			var want []string
			for i := range 1 + client*5 {
				req.Images = append(req.Images, captioner.ImageInput{Data: files[(client+i)%3]})
				want = append(want, texts[(client+i)%3])
			}
			reply, err := p.Caption(t.Context(), req)
			if err != nil {
				t.Errorf("client %d: %v", client, err)
				return
			}
			var got []string
			for _, r := range reply.Results {
				got = append(got, r.Hypotheses[0].Text)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("client %d (-want +got):\n%s", client, diff)
			}
		})
	}
	clients.Wait()
}

// writeGolden makes a bundle's golden folder from what the model says.
func writeGolden(t *testing.T, dir string, change func(entry map[string]any)) {
	t.Helper()
	golden := filepath.Join(dir, "golden")
	if err := os.MkdirAll(golden, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(golden, "1.png"), plain(t, blue), 0o644); err != nil {
		t.Fatal(err)
	}
	entry := map[string]any{
		"file": "1.png", "tokens": []int32{6, 7},
		"log_probability": predicttest.LogProbability(shares(blue), []int32{6, 7, 3}),
	}
	change(entry)
	data, err := json.Marshal([]any{entry})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(golden, "golden.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestGolden(t *testing.T) {
	tests := []struct {
		name   string
		change func(entry map[string]any)
		want   string
	}{
		{"as it should be", func(map[string]any) {}, ""},
		{"rounded", func(e map[string]any) { e["log_probability"] = e["log_probability"].(float64) + 9e-4 }, ""},
		{"another probability", func(e map[string]any) { e["log_probability"] = e["log_probability"].(float64) + 2e-3 }, "golden picture 1 gets the log-probability"},
		{"another token", func(e map[string]any) { e["tokens"] = []int32{5, 7} }, "golden picture 1 gets the tokens [6 7] instead of [5 7]"},
		{"a missing picture", func(e map[string]any) { e["file"] = "2.png" }, "a golden picture cannot be read"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			predicttest.WriteModel(t, dir)
			writeGolden(t, dir, test.change)
			if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("evaluation:\n  beam_width: 3\n  no_repeat_ngram: 3\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			p, err := predict.Open(dir, threads)
			if err == nil {
				p.Close()
			}
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got %v, want a loaded model", err)
			case test.want != "" && (captioner.KindOf(err) != captioner.Corrupt || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want Corrupt with %q", err, test.want)
			}
		})
	}
}

func TestOpenFails(t *testing.T) {
	tests := []struct {
		name   string
		damage func(dir string) error
		kind   captioner.Kind
	}{
		{"no vocabulary", func(dir string) error { return os.Remove(filepath.Join(dir, "vocabulary.json")) }, captioner.NotFound},
		{"no description", func(dir string) error { return os.Remove(filepath.Join(dir, "model.json")) }, captioner.NotFound},
		{"broken description", func(dir string) error { return os.WriteFile(filepath.Join(dir, "model.json"), []byte("{"), 0o644) }, captioner.Corrupt},
		{"empty description", func(dir string) error { return os.WriteFile(filepath.Join(dir, "model.json"), []byte("{}"), 0o644) }, captioner.Corrupt},
		{"another vocabulary", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "vocabulary.json"), []byte(`["a"]`), 0o644)
		}, captioner.Corrupt},
		{"no graph", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "saved_model")) }, captioner.Corrupt},
		{"broken graph", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "saved_model", "saved_model.pb"), []byte("no graph"), 0o644)
		}, captioner.Corrupt},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			predicttest.WriteModel(t, dir)
			if err := test.damage(dir); err != nil {
				t.Fatal(err)
			}
			p, err := predict.Open(dir, threads)
			if err == nil {
				p.Close()
			}
			if captioner.KindOf(err) != test.kind {
				t.Errorf("got %v, want kind %q", err, test.kind)
			}
		})
	}
}

// TestMemoryStaysFlat captions 10,000 pictures. C's heap is invisible to Go's
// collector: a tensor forgotten in each step would add hundreds of megabytes.
func TestMemoryStaysFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("10,000 captions take some seconds")
	}
	p := open(t)
	var file bytes.Buffer
	if err := jpeg.Encode(&file, picture(100, 75, red), nil); err != nil {
		t.Fatal(err)
	}
	caption := func(n int) {
		for range n {
			_, err := p.Caption(t.Context(), captioner.CaptionRequest{Algorithm: "greedy", Images: inputs(file.Bytes())})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	caption(1000)
	before := residentBytes(t)
	caption(10_000)
	if grown := residentBytes(t) - before; grown > 30<<20 {
		t.Errorf("10,000 captions added %d MiB to the process, want at most 30", grown>>20)
	}
}

// residentBytes is the memory of this process that is not shared with a file.
func residentBytes(t testing.TB) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	t.Fatal("no RssAnon in /proc/self/status")
	return 0
}

func BenchmarkGreedy(b *testing.B) {
	p := open(b)
	var file bytes.Buffer
	if err := jpeg.Encode(&file, picture(500, 375, red), nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		_, err := p.Caption(b.Context(), captioner.CaptionRequest{Algorithm: "greedy", Images: inputs(file.Bytes())})
		if err != nil {
			b.Fatal(err)
		}
	}
}
