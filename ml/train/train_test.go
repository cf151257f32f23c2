package train

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/tf"
)

const testThreads = 2

// testRequest makes a data set of plain squares, whose captions name their
// colour, and a small model.
func testRequest(t testing.TB) captioner.TrainRequest {
	t.Helper()
	c := captioner.DefaultConfig()
	c.Model.ImageSize, c.Model.Width, c.Model.Layers, c.Model.Heads, c.Model.FeedForward = 32, 16, 1, 2, 16
	c.Training.Steps, c.Training.BatchSize, c.Training.WarmupSteps = 30, 4, 5
	c.Training.LearningRate = 5e-3
	c.Training.Threads = testThreads
	c.Training.CheckpointInterval = captioner.Duration(time.Hour)
	dir := t.TempDir()
	req := captioner.TrainRequest{
		Config: c, Dataset: filepath.Join(dir, "dataset.json"),
		WorkDir: filepath.Join(dir, "work"), OutputDir: filepath.Join(dir, "out"),
	}
	if err := os.Mkdir(req.WorkDir, 0o755); err != nil {
		t.Fatal(err)
	}

	colours := []struct {
		name string
		rgb  [3]byte
	}{{"red", [3]byte{220, 20, 20}}, {"green", [3]byte{20, 200, 20}}, {"blue", [3]byte{30, 30, 220}}}
	ds := captioner.Dataset{
		Vocabulary: []string{"<pad>", "<unk>", "startseq", "endseq", "a", "square", "one", "red", "green", "blue"},
		MaxTokens:  6,
	}
	side := c.Model.StoredSize()
	r := rand.New(rand.NewPCG(1, 2))
	var shards [2]*features.Writer
	for i := range shards {
		req.Shards = append(req.Shards, filepath.Join(dir, fmt.Sprintf("%d.shard", i)))
		w, err := features.Create(req.Shards[i], features.Pixels(side))
		if err != nil {
			t.Fatal(err)
		}
		shards[i] = w
	}
	for i := range 33 {
		colour := colours[i%3]
		pixels := make([]byte, side*side*3)
		for j := range pixels {
			pixels[j] = byte(int(colour.rgb[j%3]) + r.IntN(30) - 15)
		}
		e := captioner.Example{
			Image: fmt.Sprintf("%02d.png", i), Split: captioner.Train,
			References: []string{"a " + colour.name + " square", "one " + colour.name + " square", "a square"}[:1+i%3],
		}
		if i >= 27 {
			e.Split = captioner.Validation
		}
		ds.Examples = append(ds.Examples, e)
		if err := shards[i%2].Add(e.Image, pixels); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range shards {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	writeJSON(t, req.Dataset, ds)
	return req
}

func writeJSON(t testing.TB, path string, v any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// files returns the contents below dir by path.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	contents := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		contents[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return contents
}

func differing(a, b map[string]string) []string {
	var names []string
	for name := range a {
		if a[name] != b[name] {
			names = append(names, name)
		}
	}
	if len(a) != len(b) {
		names = append(names, fmt.Sprintf("%d and %d files", len(a), len(b)))
	}
	return names
}

func TestRun(t *testing.T) {
	req := testRequest(t)
	req.Config.Training.Steps = 45 // 27 pictures, 4 a step: 6 steps an epoch
	var steps []captioner.TrainStep
	var epochs []captioner.TrainEpoch
	var saved []captioner.CheckpointSaved
	begun := map[string]int{}
	result, err := Run(t.Context(), req, nil, func(e captioner.TrainEvent) {
		switch {
		case e.Phase != nil:
			if e.Phase.Done == 0 {
				begun[e.Phase.Name]++
			}
		case e.Step != nil:
			steps = append(steps, *e.Step)
		case e.Epoch != nil:
			epochs = append(epochs, *e.Epoch)
		default:
			saved = append(saved, *e.Checkpoint)
		}
	})
	if err != nil {
		t.Fatal(err)
	}

	if len(epochs) != 8 || len(saved) != 8 || len(steps) < 8 {
		t.Fatalf("%d epochs, %d checkpoints, %d step events; want 8, 8 and at least 8", len(epochs), len(saved), len(steps))
	}
	if diff := cmp.Diff(map[string]int{captioner.PhaseValidation: 8, captioner.PhaseSamples: 8, captioner.PhaseExport: 1}, begun); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
	last := steps[len(steps)-1]
	if last.Step != 45 || last.Steps != 45 || last.Epoch != 8 || last.Epochs != 8 || last.ImagesPerSecond <= 0 || last.SecondsLeft != 0 {
		t.Errorf("last step event %+v", last)
	}
	best := epochs[0]
	for _, e := range epochs {
		if e.Best != (e.Epoch == 1 || e.ValidationLoss < best.ValidationLoss) {
			t.Errorf("epoch %d with loss %.4f: best %v, after %.4f", e.Epoch, e.ValidationLoss, e.Best, best.ValidationLoss)
		}
		if e.Best {
			best = e
		}
	}
	if best.ValidationLoss > 0.5 || best.ValidationLoss > epochs[0].ValidationLoss/2 {
		t.Errorf("validation loss only fell from %.3f to %.3f", epochs[0].ValidationLoss, best.ValidationLoss)
	}
	want := captioner.TrainResult{
		BestEpoch: best.Epoch, BestValidationLoss: best.ValidationLoss, Steps: 45, Epochs: 8,
		Parameters: result.Parameters, Threads: testThreads, TensorFlow: tf.RequiredVersion,
	}
	if diff := cmp.Diff(want, result); diff != "" || result.Parameters < 1000 {
		t.Errorf("result (-want +got):\n%s", diff)
	}

	// The last two checkpoints are kept.
	left := files(t, req.WorkDir)
	for _, s := range saved[len(saved)-2:] {
		delete(left, filepath.Base(s.Path))
	}
	if len(left) != 0 {
		t.Errorf("left in the work folder: %v", left)
	}

	out := files(t, req.OutputDir)
	var report Report
	var description captioner.ModelDescription
	var vocabulary []string
	for name, into := range map[string]any{trainingFile: &report, modelFile: &description, vocabularyFile: &vocabulary} {
		if err := json.Unmarshal([]byte(out[name]), into); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(report.History) != 8 || report.TrainResult != result || report.History[7].Step != 45 {
		t.Errorf("training.json: %+v", report)
	}
	if description.MaxTokens != 6 || description.Pixels != 36 || description.Model != req.Config.Model || description.Parameters != result.Parameters {
		t.Errorf("model.json: %+v", description)
	}
	if len(vocabulary) != 10 || vocabulary[4] != "a" {
		t.Errorf("vocabulary.json: %v", vocabulary)
	}
	checkColours(t, filepath.Join(req.OutputDir, savedModelDir))
}

// checkColours asks the exported model what colours it sees.
func checkColours(t *testing.T, dir string) {
	m, err := tf.LoadSavedModel(dir, testThreads)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for colour, rgb := range map[string][3]byte{"red": {225, 25, 15}, "green": {15, 205, 25}, "blue": {25, 35, 215}} {
		var ppm bytes.Buffer // BMP, the simplest format that TensorFlow reads
		writeBMP(&ppm, 40, 30, rgb)
		in := tf.FromStrings([]string{ppm.String()}, 1)
		results, err := m.Run("serving_default", map[string]*tf.Tensor{"image_bytes": in}, "text")
		in.Release()
		if err != nil {
			t.Fatal(err)
		}
		text := results[0].Strings()[0]
		tf.ReleaseAll(results)
		if !strings.Contains(text, colour) && text != "a square" {
			t.Errorf("a %s square is captioned %q", colour, text)
		}
	}
}

func writeBMP(w *bytes.Buffer, width, height int, rgb [3]byte) {
	le := func(v, n int) {
		for range n {
			w.WriteByte(byte(v))
			v >>= 8
		}
	}
	w.WriteString("BM")
	row := (width*3 + 3) / 4 * 4
	le(54+row*height, 4)
	le(0, 4)
	le(54, 4)
	le(40, 4)
	le(width, 4)
	le(height, 4)
	le(1, 2)
	le(24, 2)
	le(0, 4)
	le(row*height, 4)
	le(0, 16)
	for range height {
		for range width {
			w.Write([]byte{rgb[2], rgb[1], rgb[0]})
		}
		for range row - width*3 {
			w.WriteByte(0)
		}
	}
}

// straight is a training without interruption, for comparison.
func straight(t *testing.T, req captioner.TrainRequest) map[string]string {
	t.Helper()
	req.OutputDir = filepath.Join(t.TempDir(), "straight")
	req.WorkDir = t.TempDir()
	if _, err := Run(t.Context(), req, nil, nil); err != nil {
		t.Fatal(err)
	}
	return files(t, req.OutputDir)
}

// A training that is stopped after every few steps ends in the same bytes.
func TestStopAndResume(t *testing.T) {
	for _, decoder := range model.Decoders() {
		t.Run(decoder, func(t *testing.T) {
			stopAndResume(t, func(c *captioner.Config) { c.Model.Decoder = decoder })
		})
	}
	t.Run("plateau", func(t *testing.T) {
		stopAndResume(t, func(c *captioner.Config) {
			c.Training.Schedule, c.Training.PlateauPatience, c.Training.PlateauFactor = captioner.SchedulePlateau, 1, 0.1
			c.Training.LearningRate = 0.1 // makes the loss jump, and so the rate fall
		})
	})
}

func stopAndResume(t *testing.T, change func(*captioner.Config)) {
	req := testRequest(t)
	change(&req.Config)
	want := straight(t, req)
	stops := 0
	for {
		stop := make(chan struct{})
		steps := 0
		var saved captioner.CheckpointSaved
		// A short interval makes a checkpoint, and so an event, after each step.
		req.Config.Training.CheckpointInterval = captioner.Duration(time.Nanosecond)
		_, err := Run(t.Context(), req, stop, func(e captioner.TrainEvent) {
			if e.Checkpoint != nil {
				saved = *e.Checkpoint
				if steps++; steps == 8 { // within an epoch of 6 steps, then at its end
					close(stop)
				}
			}
		})
		if err == nil {
			break
		}
		if captioner.CodeOf(err) != CodeStopped || captioner.KindOf(err) != captioner.Unavailable {
			t.Fatal(err)
		}
		stops++
		req.Resume = saved.Path
	}
	if stops != 3 {
		t.Errorf("training was stopped %d times, want 3", stops)
	}
	if names := differing(want, files(t, req.OutputDir)); names != nil {
		t.Errorf("stopped and resumed, these differ: %v", names)
	}
	if left := files(t, req.WorkDir); len(left) != 2 {
		t.Errorf("%d checkpoints are left, want 2", len(left))
	}
}

// continued trains from the last checkpoint of req with a changed configuration.
func continued(t *testing.T, req captioner.TrainRequest, change func(*captioner.TrainingConfig)) (captioner.TrainResult, map[string]string, error) {
	t.Helper()
	var saved captioner.CheckpointSaved
	note := func(e captioner.TrainEvent) {
		if e.Checkpoint != nil {
			saved = *e.Checkpoint
		}
	}
	req.WorkDir, req.OutputDir = t.TempDir(), filepath.Join(t.TempDir(), "first")
	if _, err := Run(t.Context(), req, nil, note); err != nil {
		t.Fatal(err)
	}
	change(&req.Config.Training)
	req.Resume, req.WorkDir, req.OutputDir = saved.Path, t.TempDir(), filepath.Join(t.TempDir(), "then")
	result, err := Run(t.Context(), req, nil, nil)
	if err != nil {
		return result, nil, err
	}
	return result, files(t, req.OutputDir), nil
}

// Two epochs and then two more are the four of one training, bit by bit, where
// the rate does not look at the end.
func TestContinue(t *testing.T) {
	for name, change := range map[string]func(*captioner.Config){
		"constant": func(c *captioner.Config) { c.Training.Schedule = captioner.ScheduleConstant },
		"plateau": func(c *captioner.Config) {
			c.Training.Schedule, c.Training.PlateauPatience, c.Training.LearningRate = captioner.SchedulePlateau, 1, 0.1
		},
		"lstm-attention, accumulated": func(c *captioner.Config) {
			c.Model.Decoder, c.Training.Schedule, c.Training.AccumulationSteps = "lstm-attention", captioner.ScheduleConstant, 2
		},
	} {
		t.Run(name, func(t *testing.T) {
			req := testRequest(t)
			req.Config.Training.EarlyStoppingPatience = 3
			change(&req.Config)
			req.Config.Training.Epochs = 4
			want := straight(t, req)
			req.Config.Training.Epochs = 2
			_, got, err := continued(t, req, func(c *captioner.TrainingConfig) { c.Epochs = 4 })
			if err != nil {
				t.Fatal(err)
			}
			if names := differing(want, got); names != nil {
				t.Errorf("trained in two parts, these differ: %v", names)
			}
		})
	}
}

// What may change does, and what may not is refused.
func TestContinueOtherwise(t *testing.T) {
	req := testRequest(t)
	req.Config.Training.Epochs, req.Config.Training.Schedule = 3, captioner.SchedulePlateau
	report := func(t *testing.T, out map[string]string) (r Report) {
		t.Helper()
		if err := json.Unmarshal([]byte(out[trainingFile]), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	t.Run("a new rate", func(t *testing.T) {
		_, out, err := continued(t, req, func(c *captioner.TrainingConfig) { c.Epochs, c.LearningRate = 5, 1e-3 })
		if err != nil {
			t.Fatal(err)
		}
		history := report(t, out).History
		if len(history) != 5 || history[2].LearningRate != 5e-3 || history[4].LearningRate != 1e-3 {
			t.Errorf("history %+v", history)
		}
	})
	t.Run("after early stopping", func(t *testing.T) {
		stopped := req
		stopped.Config.Training.Epochs, stopped.Config.Training.LearningRate, stopped.Config.Training.MinLearningRate = 20, 1e-9, 0
		stopped.Config.Training.EarlyStoppingPatience = 1
		result, _, err := continued(t, stopped, func(c *captioner.TrainingConfig) { c.Epochs, c.LearningRate = 40, 5e-3 })
		if err != nil || result.BestValidationLoss > 1 || result.Steps < 60 {
			t.Errorf("result %+v, error %v: want one that has learned", result, err)
		}
	})
	for name, change := range map[string]func(*captioner.TrainingConfig){
		"nothing left to do": func(*captioner.TrainingConfig) {},
		"other seed":         func(c *captioner.TrainingConfig) { c.Epochs, c.Seed = 5, 9 },
		"other batch":        func(c *captioner.TrainingConfig) { c.Epochs, c.BatchSize = 5, 3 },
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := continued(t, req, func(c *captioner.TrainingConfig) {
				c.EarlyStoppingPatience++ // another training than the first
				change(c)
			})
			if captioner.KindOf(err) != captioner.Invalid {
				t.Errorf("error %v, want an invalid one", err)
			}
		})
	}
}

// Sample captions show what the model says, and leave the result as it is.
func TestSamples(t *testing.T) {
	req := testRequest(t)
	req.Config.Evaluation.SampleCaptions = 0
	want := straight(t, req)

	req.Config.Evaluation.SampleCaptions = 5
	var epochs []captioner.TrainEpoch
	if _, err := Run(t.Context(), req, nil, func(e captioner.TrainEvent) {
		if e.Epoch != nil {
			epochs = append(epochs, *e.Epoch)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if names := differing(want, files(t, req.OutputDir)); names != nil {
		t.Errorf("with samples, these differ: %v", names)
	}

	colours := []string{"red", "green", "blue"}
	for i, s := range epochs[len(epochs)-1].Samples {
		if want := fmt.Sprintf("%02d.png", 27+i); s.Image != want || s.Reference != "a "+colours[i%3]+" square" {
			t.Errorf("sample %d is of %s, %q", i, s.Image, s.Reference)
		}
		if !strings.Contains(s.Caption, colours[i%3]) && s.Caption != "a square" {
			t.Errorf("%s is captioned %q, want a %s square", s.Image, s.Caption, colours[i%3])
		}
	}
	for _, e := range epochs {
		if len(e.Samples) != 5 {
			t.Errorf("epoch %d has %d samples, want 5", e.Epoch, len(e.Samples))
		}
	}
}

// killedRequest tells the test's own binary to train until it is killed.
const killedRequest = "CAPTIONER_TEST_TRAIN_REQUEST"

// killedWriting has it get stuck while it writes its third checkpoint.
const killedWriting = "CAPTIONER_TEST_TRAIN_WRITING"

// stuckAtThird writes two checkpoints and begins a third as tf.WriteTensors does.
func stuckAtThird() func(string, map[string]*tf.Tensor, map[string]string) error {
	written := 0
	return func(path string, tensors map[string]*tf.Tensor, metadata map[string]string) error {
		if written++; written < 3 {
			return tf.WriteTensors(path, tensors, metadata)
		}
		begun := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".1")
		if err := os.WriteFile(begun, []byte("half a checkp"), 0o600); err != nil {
			return err
		}
		fmt.Println("writing")
		select {}
	}
}

func TestMain(m *testing.M) {
	if raw := os.Getenv(killedRequest); raw != "" {
		var req captioner.TrainRequest
		if err := json.Unmarshal([]byte(raw), &req); err != nil {
			panic(err)
		}
		r := &run{req: req, write: tf.WriteTensors, progress: func(e captioner.TrainEvent) {
			if e.Checkpoint != nil {
				fmt.Println(e.Checkpoint.Path)
			}
		}}
		if os.Getenv(killedWriting) != "" {
			r.write = stuckAtThird()
		}
		_, err := r.run(context.Background(), nil)
		fmt.Println("end", err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A training whose process is killed in the middle goes on from its last
// checkpoint, in another process, to the same bytes.
func TestKillAndResume(t *testing.T) {
	t.Run("training", func(t *testing.T) { killAndResume(t, 2) })
	t.Run("writing a checkpoint", func(t *testing.T) { killAndResume(t, 3, killedWriting+"=1") })
}

// killAndResume kills the training after it has printed so many lines.
func killAndResume(t *testing.T, after int, env ...string) {
	req := testRequest(t)
	want := straight(t, req)
	raw, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(append(os.Environ(), killedRequest+"="+string(raw)), env...)
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	for i := 0; i < after && lines.Scan(); i++ {
		if lines.Text() != "writing" {
			req.Resume = lines.Text()
		}
	}
	child.Process.Kill()
	child.Wait()
	if !strings.HasSuffix(req.Resume, "checkpoint-00000012.safetensors") {
		t.Fatalf("the second checkpoint is %q", req.Resume)
	}
	if _, err := Run(t.Context(), req, nil, nil); err != nil {
		t.Fatal(err)
	}
	if names := differing(want, files(t, req.OutputDir)); names != nil {
		t.Errorf("killed and resumed, these differ: %v", names)
	}
}

// Another seed gives another model: what was compared above does depend on it.
func TestSeedMatters(t *testing.T) {
	req := testRequest(t)
	req.Config.Training.Steps = 3
	first := straight(t, req)
	req.Config.Training.Seed++
	if names := differing(first, straight(t, req)); len(names) == 0 {
		t.Error("two seeds gave the same bytes")
	}
}

func TestCancel(t *testing.T) {
	req := testRequest(t)
	ctx, cancel := context.WithCancel(t.Context())
	epochs := 0
	_, err := Run(ctx, req, nil, func(e captioner.TrainEvent) {
		if e.Epoch != nil {
			epochs++
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || epochs != 1 {
		t.Errorf("Run() error = %v after %d epochs, want cancelled after 1", err, epochs)
	}
}

// What each schedule makes of the rate, as the history shows it.
func TestSchedules(t *testing.T) {
	rates := func(schedule string) (rates []float64) {
		req := testRequest(t)
		c := &req.Config.Training
		c.Schedule, c.PlateauPatience, c.PlateauFactor, c.MinLearningRate = schedule, 1, 0.1, 5e-5
		c.LearningRate, c.Steps, c.Epochs, c.WarmupSteps = 1e-3, 0, 6, 9
		r := &run{req: req}
		defer r.close()
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		for epoch := range c.Epochs {
			r.state.Step = (epoch + 1) * r.stepsPerEpoch
			rates = append(rates, r.rate(r.state.Step))
			// The loss falls once, and then stays.
			r.state.LossSteps = 1
			if _, err := r.noteEpoch(max(2, 3-float64(epoch))); err != nil {
				t.Fatal(err)
			}
		}
		return rates
	}
	peak := 1e-3
	for schedule, want := range map[string][]float64{
		captioner.ScheduleConstant: {peak * 6 / 9, peak, peak, peak, peak, peak},
		captioner.SchedulePlateau:  {peak * 6 / 9, peak, peak, 1e-4, 5e-5, 5e-5},
	} {
		got := rates(schedule)
		for i := range want {
			if math.Abs(got[i]-want[i]) > 1e-9 {
				t.Errorf("%s: the rate of epoch %d is %v, want %v", schedule, i+1, got[i], want[i])
			}
		}
	}
	if got := rates(captioner.ScheduleCosine); got[0] >= got[1] || got[5] != peak*0.01 {
		t.Errorf("cosine: rates %v", got)
	}
}

func TestEarlyStopping(t *testing.T) {
	req := testRequest(t)
	req.Config.Training.Steps, req.Config.Training.Epochs = 0, 40
	req.Config.Training.LearningRate = 1e-9 // learns nothing
	req.Config.Training.WarmupSteps = 0
	req.Config.Training.EarlyStoppingPatience = 2
	result, err := Run(t.Context(), req, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !result.StoppedEarly || result.Epochs-result.BestEpoch != 2 || result.Epochs >= 40 {
		t.Errorf("result %+v, want a stop 2 epochs after the best", result)
	}
}

func TestRefusals(t *testing.T) {
	base := testRequest(t)
	var ds captioner.Dataset
	raw, err := os.ReadFile(base.Dataset)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &ds); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	rewrite := func(name string, change func(*captioner.Dataset)) string {
		copied := ds
		copied.Examples = append([]captioner.Example{}, ds.Examples...)
		change(&copied)
		writeJSON(t, path(name), copied)
		return path(name)
	}
	other := base
	other.Config.Training.Seed++
	other.Config.Training.Steps = 1
	other.WorkDir, other.OutputDir = dir, path("other")
	var checkpoint string
	if _, err := Run(t.Context(), other, nil, func(e captioner.TrainEvent) {
		if e.Checkpoint != nil {
			checkpoint = e.Checkpoint.Path
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path("broken"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}

	tests := map[string]struct {
		change func(*captioner.TrainRequest)
		code   string
	}{
		"checkpoint of another training": {func(r *captioner.TrainRequest) { r.Resume = checkpoint }, "invalid"},
		"broken checkpoint":              {func(r *captioner.TrainRequest) { r.Resume = path("broken") }, "corrupt"},
		"missing checkpoint":             {func(r *captioner.TrainRequest) { r.Resume = path("none") }, "internal"},
		"broken data set":                {func(r *captioner.TrainRequest) { r.Dataset = path("broken") }, "corrupt"},
		"missing data set":               {func(r *captioner.TrainRequest) { r.Dataset = path("none") }, "internal"},
		"picture in no shard":            {func(r *captioner.TrainRequest) { r.Shards = r.Shards[:1] }, "internal"},
		"other picture size":             {func(r *captioner.TrainRequest) { r.Config.Model.ImageSize = 48 }, features.CodeOtherFeatures},
		"unknown encoder":                {func(r *captioner.TrainRequest) { r.Config.Model.Encoder = "none" }, "invalid"},
		"divergence": {func(r *captioner.TrainRequest) {
			r.Config.Training.LearningRate, r.Config.Training.ClipNorm = 1e30, 0
		}, CodeDiverged},
		"no validation": {func(r *captioner.TrainRequest) {
			r.Dataset = rewrite("train only", func(ds *captioner.Dataset) { ds.Examples = ds.Examples[:27] })
		}, "invalid"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			req := base
			req.OutputDir = t.TempDir()
			test.change(&req)
			if _, err := Run(t.Context(), req, nil, nil); captioner.CodeOf(err) != test.code {
				t.Errorf("Run() error = %v (%s), want code %s", err, captioner.CodeOf(err), test.code)
			}
		})
	}
}
