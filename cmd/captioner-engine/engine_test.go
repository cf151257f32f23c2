package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/cputime"
	"github.com/captioner/captioner/internal/engine"
	"github.com/captioner/captioner/ml/dataset"
	"github.com/captioner/captioner/ml/predict/predicttest"
)

// playVariable makes the test binary the engine, so that the tests run the
// engine of the very source that they belong to.
const playVariable = "ENGINE_TEST_PLAY"

// illegalVariable makes the test binary die as one that meets an instruction that
// the processor does not have.
const illegalVariable = "ENGINE_TEST_ILLEGAL"

func TestMain(m *testing.M) {
	if os.Getenv(illegalVariable) != "" {
		_ = syscall.Kill(os.Getpid(), syscall.SIGILL)
		select {}
	}
	if os.Getenv(playVariable) != "" {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// testThreads is one, so that results do not depend on what else is running.
const testThreads = 1

func engineOptions(t testing.TB) engine.Options {
	return engine.Options{
		Binary: os.Args[0], Threads: testThreads, Env: []string{playVariable + "=1"},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func newJobs(t testing.TB) *engine.Jobs {
	j := engine.NewJobs(engineOptions(t))
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

// colours are what the pictures of the tests show.
var colours = []struct {
	name string
	rgb  color.RGBA
}{
	{"red", color.RGBA{200, 30, 30, 255}},
	{"green", color.RGBA{30, 180, 40, 255}},
	{"blue", color.RGBA{40, 40, 210, 255}},
}

// shade returns a JPEG of one colour; n varies size and brightness.
func shade(t testing.TB, c color.RGBA, n int) []byte {
	t.Helper()
	w, h := 60+n%7*10, 50+n%5*10
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		img.SetRGBA(i%w, i/w, color.RGBA{c.R + uint8(n%40), c.G + uint8(n%40), c.B + uint8(n%40), 255})
	}
	var file bytes.Buffer
	if err := jpeg.Encode(&file, img, nil); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// trainSteps are those of the tests' training, some ten epochs.
const trainSteps = 90

// tinyConfig is a training of a few seconds on 60 pictures.
func tinyConfig(dir string) captioner.Config {
	c := captioner.DefaultConfig()
	c.Data.Images, c.Data.Captions = filepath.Join(dir, "Images"), filepath.Join(dir, "captions.txt")
	c.Data.MinWordCount = 1
	c.Model.ImageSize, c.Model.Width, c.Model.Layers, c.Model.Heads, c.Model.FeedForward = 32, 16, 1, 2, 32
	c.Training.Steps, c.Training.BatchSize, c.Training.WarmupSteps = trainSteps, 4, 10
	c.Training.LearningRate = 5e-3
	c.Training.Threads = testThreads
	return c
}

// prepared is a data set ready for training.
type prepared struct {
	config  captioner.Config
	dataset string
	shards  []string
	files   map[string][]byte // pictures by the colour that they show
}

// prepare writes pictures and captions, makes a data set of them and extracts
// its pictures in two shards.
func prepare(t testing.TB, j *engine.Jobs, changes ...func(*captioner.Config)) prepared {
	t.Helper()
	dir := t.TempDir()
	cfg := tinyConfig(dir)
	for _, change := range changes {
		change(&cfg)
	}
	p := prepared{config: cfg, dataset: filepath.Join(dir, "dataset.json"), files: map[string][]byte{}}
	if err := os.Mkdir(p.config.Data.Images, 0o755); err != nil {
		t.Fatal(err)
	}
	var captions strings.Builder
	for i := range 60 {
		c, name := colours[i%len(colours)], fmt.Sprintf("%02d.jpg", i)
		p.files[c.name] = shade(t, c.rgb, i)
		if err := os.WriteFile(filepath.Join(p.config.Data.Images, name), p.files[c.name], 0o644); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&captions, "%s,A %s picture .\n%s,The picture is %s .\n", name, c.name, name, c.name)
	}
	if err := os.WriteFile(p.config.Data.Captions, []byte(captions.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	ds, err := dataset.Prepare(t.Context(), p.config.Data, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(ds)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.dataset, data, 0o644); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range ds.Examples {
		names = append(names, e.Image)
	}
	for i, part := range [][]string{names[:40], names[40:]} {
		shard := filepath.Join(dir, fmt.Sprint("shard", i))
		got, err := j.ExtractFeatures(t.Context(), captioner.ExtractRequest{
			ImagesDir: p.config.Data.Images, Images: part, Model: p.config.Model,
			MaxPixels: p.config.Data.MaxPixels, Output: shard, Threads: testThreads,
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(captioner.ExtractResult{Images: part}, got); diff != "" {
			t.Fatalf("extraction (-want +got):\n%s", diff)
		}
		p.shards = append(p.shards, shard)
	}
	return p
}

func (p prepared) request(t testing.TB) captioner.TrainRequest {
	return captioner.TrainRequest{
		Config: p.config, Dataset: p.dataset, Shards: p.shards, WorkDir: t.TempDir(), OutputDir: t.TempDir(),
	}
}

// digests lists the files of a folder with their contents' digests.
func digests(t testing.TB, dir string) map[string]captioner.Digest {
	t.Helper()
	all := make(map[string]captioner.Digest)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		all[path] = captioner.DigestOf(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestTraining goes the whole way with a real engine: extract, train, caption.
// Then it interrupts the same training in every way there is, resumes it, and
// expects the same bytes.
func TestTraining(t *testing.T) {
	j := newJobs(t)
	p := prepare(t, j)
	straight := p.request(t)
	result, err := j.Train(t.Context(), straight, nil)
	if err != nil {
		t.Fatal(err)
	}
	if result.Steps != trainSteps || result.Threads != testThreads || result.TensorFlow != engine.TensorFlowVersion {
		t.Errorf("result %+v, want %d steps on %d thread", result, trainSteps, testThreads)
	}
	want := digests(t, straight.OutputDir)

	t.Run("captions", func(t *testing.T) { checkCaptions(t, j, p, straight.OutputDir) })
	t.Run("engine killed", func(t *testing.T) {
		interrupt := func(j *engine.Jobs, _ context.CancelFunc) { _ = syscall.Kill(j.PID(), syscall.SIGKILL) }
		err := resumed(t, p, want, interrupt)
		if captioner.KindOf(err) != captioner.Unavailable {
			t.Errorf("interrupted training: %v, want Unavailable", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		interrupt := func(_ *engine.Jobs, cancel context.CancelFunc) { cancel() }
		if err := resumed(t, p, want, interrupt); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted training: %v, want context.Canceled", err)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		interrupt := func(j *engine.Jobs, _ context.CancelFunc) { j.Checkpoint() }
		if err := resumed(t, p, want, interrupt); captioner.CodeOf(err) != "stopped" {
			t.Errorf("interrupted training: %v, want code stopped", err)
		}
	})
	t.Run("engine terminated", func(t *testing.T) {
		interrupt := func(j *engine.Jobs, _ context.CancelFunc) { _ = syscall.Kill(j.PID(), syscall.SIGTERM) }
		if err := resumed(t, p, want, interrupt); captioner.CodeOf(err) != "stopped" {
			t.Errorf("interrupted training: %v, want code stopped", err)
		}
	})
}

// resumed interrupts a training after its second checkpoint, resumes it from
// the last one that it reported, and compares the result with want. It returns
// how the interrupted one ended.
func resumed(t *testing.T, p prepared, want map[string]captioner.Digest, interrupt func(*engine.Jobs, context.CancelFunc)) error {
	t.Helper()
	j := newJobs(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req := p.request(t)
	var saved []captioner.CheckpointSaved
	_, interrupted := j.Train(ctx, req, func(e captioner.TrainEvent) {
		if e.Checkpoint != nil {
			if saved = append(saved, *e.Checkpoint); len(saved) == 2 {
				interrupt(j, cancel)
			}
		}
	})
	if len(saved) < 2 {
		t.Fatalf("%d checkpoints, and the end: %v", len(saved), interrupted)
	}
	last := saved[len(saved)-1]
	if interrupted == nil {
		t.Fatalf("the training was not interrupted; last checkpoint at step %d", last.Step)
	}
	req.Resume = last.Path
	result, err := j.Train(t.Context(), req, nil)
	if err != nil {
		t.Fatalf("resumed at step %d: %v", last.Step, err)
	}
	if result.Steps != trainSteps {
		t.Errorf("resumed at step %d: %d steps, want %d", last.Step, result.Steps, trainSteps)
	}
	if diff := cmp.Diff(want, digests(t, req.OutputDir)); diff != "" {
		t.Errorf("resumed at step %d, the result differs from the uninterrupted training's (-want +got):\n%s", last.Step, diff)
	}
	return interrupted
}

// checkCaptions: the model names the colours, from files and from a shard,
// greedily and with a beam.
func checkCaptions(t *testing.T, j *engine.Jobs, p prepared, modelDir string) {
	model, release, err := j.OpenModel(t.Context(), modelDir)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	req := captioner.CaptionRequest{Images: []captioner.ImageInput{{Shard: p.shards[0], Index: 1}}} // 01.jpg is green
	want := []string{"green"}
	for _, c := range colours {
		req.Images, want = append(req.Images, captioner.ImageInput{Data: p.files[c.name]}), append(want, c.name)
	}
	for _, algorithm := range []string{"greedy", "beam"} {
		req.Algorithm, req.BeamWidth = algorithm, 3
		reply, err := model.Caption(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range reply.Results {
			if r.Err != nil || !slices.Contains(strings.Fields(r.Hypotheses[0].Text), want[i]) {
				t.Errorf("%s, picture %d: %+v, want a caption with %q", algorithm, i, r, want[i])
			}
		}
	}
}

// tinyModel writes a model that needs no training, as a bundle with a golden
// picture, and returns its folder and the picture.
func tinyModel(t testing.TB) (dir string, picture []byte) {
	t.Helper()
	dir, picture = t.TempDir(), shade(t, colours[0].rgb, 0)
	predicttest.WriteModel(t, dir)
	return dir, picture
}

func openModel(t testing.TB, dir string) *engine.Model {
	t.Helper()
	m, err := engine.OpenModel(t.Context(), engineOptions(t), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// TestKilledWhileCaptioning: the call fails as Unavailable at once, and a new
// engine is ready soon enough to answer the request within five seconds.
func TestKilledWhileCaptioning(t *testing.T) {
	dir, picture := tinyModel(t)
	m := openModel(t, dir)
	long := captioner.CaptionRequest{Algorithm: "beam", BeamWidth: 5}
	for range 20_000 {
		long.Images = append(long.Images, captioner.ImageInput{Data: picture})
	}
	time.AfterFunc(100*time.Millisecond, func() { _ = syscall.Kill(m.PID(), syscall.SIGKILL) })
	_, err := m.Caption(t.Context(), long)
	if captioner.KindOf(err) != captioner.Unavailable {
		t.Fatalf("got %v, want Unavailable", err)
	}
	killed := time.Now()
	short := captioner.CaptionRequest{Algorithm: "greedy", Images: long.Images[:1]}
	reply, err := openModel(t, dir).Caption(t.Context(), short)
	if err != nil || reply.Results[0].Hypotheses[0].Text != "red picture" {
		t.Errorf("a new engine: %+v, %v", reply, err)
	}
	if took := time.Since(killed); took > 5*time.Second {
		t.Errorf("the answer took %v after the death, want at most 5 s", took)
	}
}

// TestFlippedGolden: what the engine finds wrong with a model reaches the
// control plane as it is.
func TestFlippedGolden(t *testing.T) {
	dir, picture := tinyModel(t)
	golden := filepath.Join(dir, "golden")
	if err := os.Mkdir(golden, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(golden, "1.jpg"), picture, 0o644); err != nil {
		t.Fatal(err)
	}
	entries := []byte(`[{"file": "1.jpg", "tokens": [5, 7], "log_probability": -0.5}]`)
	if err := os.WriteFile(filepath.Join(golden, "golden.json"), entries, 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := engine.OpenModel(t.Context(), engineOptions(t), dir)
	if err == nil {
		_ = m.Close()
	}
	if captioner.KindOf(err) != captioner.Corrupt || captioner.CodeOf(err) != "golden_mismatch" {
		t.Errorf("got %v, want Corrupt with code golden_mismatch", err)
	}
}

// TestServingMemory: what a serving engine costs, in proportional set size.
func TestServingMemory(t *testing.T) {
	dir, picture := tinyModel(t)
	m := openModel(t, dir)
	for range 50 {
		if _, err := m.Caption(t.Context(), captioner.CaptionRequest{Algorithm: "greedy", Images: []captioner.ImageInput{{Data: picture}}}); err != nil {
			t.Fatal(err)
		}
	}
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", m.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(rollup)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kib); n == 1 {
			t.Logf("serving engine: %d MiB", kib>>10)
			if kib > 700<<10 {
				t.Errorf("the serving engine takes %d MiB, want at most 700", kib>>10)
			}
			return
		}
	}
	t.Error("no Pss in smaps_rollup")
}

// engineProcess starts the engine without the control plane's supervision.
func engineProcess(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), playVariable+"=1")
	cmd.Stderr = t.Output()
	return cmd
}

func TestEndsWithItsInput(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	cmd := engineProcess(t, "--socket", socket)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the engine ended with %v, want status 0", err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there (%v)", err)
	}
}

func TestCommandLine(t *testing.T) {
	tests := []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"version", []string{"--version"}, 0, "TensorFlow 2.18.0", ""},
		{"info", []string{"--info"}, 0, `"tensorflow": "2.18.0"`, ""},
		{"devices", []string{"--info"}, 0, "device:CPU:0", ""},
		{"probe", []string{"--probe", "float32"}, 0, "", ""},
		{"probe of no precision", []string{"--probe", "float8"}, 1, "", "there is no precision"},
		{"help", []string{"--help"}, 0, "", "started by captioner"},
		{"no socket", nil, 2, "", "--socket is missing"},
		{"unknown flag", []string{"--sock", "x"}, 2, "", "-sock"},
		{"argument", []string{"--socket", "x", "y"}, 2, "", `there is no argument "y"`},
		{"threads", []string{"--socket", "x", "--threads", "-1"}, 2, "", "cannot be -1"},
		{"no folder for the socket", []string{"--socket", "/nonexistent/s"}, 1, "", "listen on the engine's socket"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cmd := engineProcess(t, test.args...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			_ = cmd.Run()
			if cmd.ProcessState.ExitCode() != test.code || !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d, %q, %q",
					cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), test.code, test.stdout, test.stderr)
			}
		})
	}
}

// A precision that ends the process that tries it ends no engine.
func TestProbe(t *testing.T) {
	t.Setenv(playVariable, "1")
	if err := probe(t.Context(), captioner.PrecisionFloat32); err != nil {
		t.Errorf("float32: %v", err)
	}
	t.Setenv(illegalVariable, "1")
	err := probe(t.Context(), captioner.PrecisionBfloat16)
	if captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), "does not work on this machine") {
		t.Errorf("a probe that dies: %v, want an invalid configuration", err)
	}
}

// BenchmarkStart measures an engine from its start to the first caption, with the
// tiny model of the tests, one with EfficientNetB3, and the trained model whose
// folder CAPTIONER_BENCH_MODEL names: the clock, and the processor's time of the
// engine.
func BenchmarkStart(b *testing.B) {
	b.Run("tiny", func(b *testing.B) {
		dir, _ := tinyModel(b)
		benchmarkStart(b, dir)
	})
	b.Run("EfficientNetB3", func(b *testing.B) {
		j := newJobs(b)
		p := prepare(b, j, frozenB3(b)).request(b)
		if _, err := j.Train(b.Context(), p, nil); err != nil {
			b.Fatal(err)
		}
		benchmarkStart(b, p.OutputDir)
	})
	if dir := os.Getenv("CAPTIONER_BENCH_MODEL"); dir != "" {
		b.Run("given", func(b *testing.B) { benchmarkStart(b, dir) })
	}
}

func benchmarkStart(b *testing.B, dir string) {
	o := engineOptions(b)
	o.Threads = 0
	req := captioner.CaptionRequest{Algorithm: "greedy", Images: []captioner.ImageInput{{Data: shade(b, colours[0].rgb, 1)}}}
	before := cputime.UsedByChildren()
	for b.Loop() {
		m, err := engine.OpenModel(b.Context(), o, dir)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := m.Caption(b.Context(), req); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric((cputime.UsedByChildren()-before).Seconds()/float64(b.N), "cpu-s/op")
}

// BenchmarkCaption measures a greedy caption of a 500 × 375 JPEG through the
// socket, with the folder of a trained model in CAPTIONER_BENCH_MODEL or else
// the tiny model of the tests.
func BenchmarkCaption(b *testing.B) {
	dir := os.Getenv("CAPTIONER_BENCH_MODEL")
	if dir == "" {
		dir, _ = tinyModel(b)
	}
	img := image.NewRGBA(image.Rect(0, 0, 500, 375))
	for i := range 500 * 375 {
		x, y := i%500, i/500
		img.SetRGBA(x, y, color.RGBA{uint8(x / 2), uint8(y / 2), uint8(x * y), 255})
	}
	var file bytes.Buffer
	if err := jpeg.Encode(&file, img, nil); err != nil {
		b.Fatal(err)
	}
	o := engineOptions(b)
	o.Threads = 0
	m, err := engine.OpenModel(b.Context(), o, dir)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	req := captioner.CaptionRequest{Algorithm: "greedy", Images: []captioner.ImageInput{{Data: file.Bytes()}}}
	var durations []time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := m.Caption(b.Context(), req); err != nil {
			b.Fatal(err)
		}
		durations = append(durations, time.Since(start))
	}
	slices.Sort(durations)
	b.ReportMetric(float64(durations[len(durations)/2].Microseconds())/1000, "p50-ms")
}
