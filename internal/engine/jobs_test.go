package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/engine"
	"github.com/captioner/captioner/internal/processor"
)

func newJobs(t *testing.T) *engine.Jobs {
	t.Helper()
	o, _ := options(t, "")
	j := engine.NewJobs(o)
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func TestExtractFeatures(t *testing.T) {
	j := newJobs(t)
	var progress []int
	got, err := j.ExtractFeatures(t.Context(), captioner.ExtractRequest{
		Images: []string{"empty.jpg", "good.jpg"}, Model: captioner.ModelConfig{ImageSize: 96},
	}, func(done int) { progress = append(progress, done) })
	if err != nil {
		t.Fatal(err)
	}
	want := captioner.ExtractResult{
		Images:     []string{"good.jpg"},
		Quarantine: []captioner.Quarantined{{Image: "empty.jpg", Reason: "image_empty", Detail: "2 threads, size 96"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{1}, progress); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
}

// train starts a training that waits after its first checkpoint; the channels
// deliver its events and its end.
func train(ctx context.Context, t *testing.T, j *engine.Jobs, req captioner.TrainRequest) (<-chan captioner.TrainEvent, <-chan error) {
	t.Helper()
	if req.WorkDir == "" {
		req.WorkDir = t.TempDir()
	}
	events, result := make(chan captioner.TrainEvent, 10), make(chan error, 1)
	go func() {
		_, err := j.Train(ctx, req, func(e captioner.TrainEvent) { events <- e })
		close(events)
		result <- err
	}()
	return events, result
}

// awaitCheckpoint drains events up to the first checkpoint.
func awaitCheckpoint(t *testing.T, events <-chan captioner.TrainEvent) string {
	t.Helper()
	for e := range events {
		if e.Checkpoint != nil {
			return e.Checkpoint.Path
		}
	}
	t.Fatal("the training ended without a checkpoint")
	return ""
}

func TestTrain(t *testing.T) {
	j := newJobs(t)
	var events []captioner.TrainEvent
	got, err := j.Train(t.Context(), captioner.TrainRequest{Dataset: "finish", WorkDir: t.TempDir()}, func(e captioner.TrainEvent) { events = append(events, e) })
	if err != nil {
		t.Fatal(err)
	}
	if want := (captioner.TrainResult{Steps: 2, Threads: 2}); got != want {
		t.Errorf("result %+v, want %+v", got, want)
	}
	want := []captioner.TrainEvent{
		{Step: &captioner.TrainStep{Step: 1, Steps: 2, Loss: 0.5}},
		{Checkpoint: &captioner.CheckpointSaved{Path: "first", Step: 1}},
		{Epoch: &captioner.TrainEpoch{Epoch: 1, Step: 2, Best: true}},
	}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestTrainCancelled: once Train has returned, the engine has stopped writing.
func TestImportModel(t *testing.T) {
	j := newJobs(t)
	result, err := j.ImportModel(t.Context(), captioner.ImportRequest{Model: "m.keras"})
	if want := captioner.DigestOf([]byte("m.keras")); err != nil || result.Imported.Model != want {
		t.Errorf("imported %+v, %v, want the model %s", result, err, want)
	}
	_, err = j.ImportModel(t.Context(), captioner.ImportRequest{})
	if captioner.KindOf(err) != captioner.Invalid || captioner.CodeOf(err) != "not_the_original" {
		t.Errorf("error %v, want the engine's", err)
	}
}

func TestTrainCancelled(t *testing.T) {
	j := newJobs(t)
	ctx, cancel := context.WithCancel(t.Context())
	work := t.TempDir()
	events, result := train(ctx, t, j, captioner.TrainRequest{WorkDir: work})
	awaitCheckpoint(t, events)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if _, err := os.Stat(filepath.Join(work, "ended")); err != nil {
		t.Errorf("the engine had not stopped when Train returned: %v", err)
	}
}

func TestCheckpointStopsTraining(t *testing.T) {
	j := newJobs(t)
	events, result := train(t.Context(), t, j, captioner.TrainRequest{})
	awaitCheckpoint(t, events)
	j.Checkpoint()
	if got := awaitCheckpoint(t, events); got != "last" {
		t.Errorf("checkpoint %q, want the one made for the stop", got)
	}
	if err := <-result; captioner.KindOf(err) != captioner.Unavailable || captioner.CodeOf(err) != "stopped" {
		t.Errorf("got %v, want Unavailable with code stopped", err)
	}
}

// TestCloseStopsTraining: the checkpoint of a training that runs arrives
// before the engine ends; later jobs are refused.
func TestCloseStopsTraining(t *testing.T) {
	j := newJobs(t)
	events, result := train(t.Context(), t, j, captioner.TrainRequest{})
	awaitCheckpoint(t, events)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if got := awaitCheckpoint(t, events); got != "last" {
		t.Errorf("checkpoint %q, want the one made for the stop", got)
	}
	if err := <-result; captioner.CodeOf(err) != "stopped" {
		t.Errorf("got %v, want code stopped", err)
	}
	if _, err := j.ExtractFeatures(t.Context(), captioner.ExtractRequest{}, nil); captioner.KindOf(err) != captioner.Unavailable {
		t.Errorf("job after Close: %v, want Unavailable", err)
	}
}

// TestEngineEndsByItself: a training whose engine is told to end saves its
// state, and the next one does not trip over the engine that is going away.
func TestEngineEndsByItself(t *testing.T) {
	j := newJobs(t)
	for range 5 {
		events, result := train(t.Context(), t, j, captioner.TrainRequest{})
		awaitCheckpoint(t, events)
		if err := syscall.Kill(j.PID(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		saved := awaitCheckpoint(t, events)
		if err := <-result; captioner.CodeOf(err) != "stopped" {
			t.Errorf("got %v, want code stopped", err)
		}
		if _, err := j.Train(t.Context(), captioner.TrainRequest{Resume: "first", WorkDir: t.TempDir()}, nil); err != nil {
			t.Errorf("resumed from %q: %v", saved, err)
		}
	}
}

// TestKilledTrainingResumes: a training whose engine is killed fails as
// Unavailable, and the next one gets a new engine.
func TestKilledTrainingResumes(t *testing.T) {
	j := newJobs(t)
	if pid := j.PID(); pid != 0 {
		t.Errorf("process %d before the first job, want none", pid)
	}
	events, result := train(t.Context(), t, j, captioner.TrainRequest{})
	saved := awaitCheckpoint(t, events)
	if err := syscall.Kill(j.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-result; captioner.KindOf(err) != captioner.Unavailable || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("got %v, want Unavailable because it was killed", err)
	}
	if _, err := j.Train(t.Context(), captioner.TrainRequest{Resume: saved, WorkDir: t.TempDir()}, nil); err != nil {
		t.Errorf("resumed: %v", err)
	}
}

// modelDir makes a folder that looks like a model from outside.
func modelDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "saved_model"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "saved_model", "saved_model.pb"), []byte("graph"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestWarmEngine(t *testing.T) {
	j := newJobs(t)
	dir := modelDir(t)
	open := func(dir string) int {
		t.Helper()
		model, release, err := j.OpenModel(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		if _, err := model.Caption(t.Context(), request("x")); err != nil {
			t.Fatal(err)
		}
		return model.(*engine.Model).PID()
	}
	first := open(dir)
	if again := open(dir); again != first {
		t.Errorf("the same model again: process %d, want %d", again, first)
	}
	if _, err := j.Train(t.Context(), captioner.TrainRequest{Dataset: "finish", WorkDir: t.TempDir()}, nil); err != nil {
		t.Fatal(err)
	}
	if again := open(dir); again != first {
		t.Errorf("after a training with as many threads: process %d, want %d", again, first)
	}
	if other := open(modelDir(t)); other == first {
		t.Error("another model was opened in the same process")
	}
	bundle, copied := modelDir(t), modelDir(t)
	for _, dir := range []string{bundle, copied} {
		if err := os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if open(bundle) != open(copied) {
		t.Error("a copy of a bundle was opened in another process")
	}
	req := captioner.TrainRequest{Dataset: "finish", WorkDir: t.TempDir()}
	req.Config.Training.Threads = 1
	result, err := j.Train(t.Context(), req, nil)
	if err != nil || result.Threads != 1 {
		t.Errorf("training with one thread: %+v, %v", result, err)
	}
	if _, _, err := j.OpenModel(t.Context(), t.TempDir()); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("a folder without a model: %v, want NotFound", err)
	}
}

// TestOneDNN: the engine that extracts a pretrained encoder's features is told to
// use oneDNN where TensorFlow would not, the next job's is not, and the user's own
// setting holds for both.
func TestOneDNN(t *testing.T) {
	extract := captioner.ExtractRequest{Images: []string{"good.jpg"}, Model: captioner.ModelConfig{ImageSize: 96, Weights: "weights.h5"}}
	for _, users := range []string{"", "0"} {
		t.Setenv("TF_ENABLE_ONEDNN_OPTS", users)
		j := newJobs(t)
		told := func() bool {
			t.Helper()
			environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", j.PID()))
			if err != nil {
				t.Fatal(err)
			}
			return strings.Contains(string(environment), "TF_ENABLE_ONEDNN_OPTS=1")
		}
		if _, err := j.ExtractFeatures(t.Context(), extract, nil); err != nil {
			t.Fatal(err)
		}
		if want := users == "" && !processor.OneDNN(); told() != want {
			t.Errorf("variable %q: told for the extraction: %t, want %t", users, told(), want)
		}
		if _, err := j.Train(t.Context(), captioner.TrainRequest{Dataset: "finish", WorkDir: t.TempDir()}, nil); err != nil {
			t.Fatal(err)
		}
		if told() {
			t.Errorf("variable %q: told for the training", users)
		}
	}
}

// TestIdleEngineEnds: an engine without a job gives its memory back, and the
// next job gets another one.
func TestIdleEngineEnds(t *testing.T) {
	o, _ := options(t, "")
	o.Idle = time.Millisecond
	j := engine.NewJobs(o)
	defer j.Close()
	model, release, err := j.OpenModel(t.Context(), modelDir(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	<-model.(*engine.Model).Done()
	if _, err := j.Train(t.Context(), captioner.TrainRequest{Dataset: "finish", WorkDir: t.TempDir()}, nil); err != nil {
		t.Errorf("the next job: %v", err)
	}
}

// TestOneJobAtATime: a job waits for the one that runs, and its wait ends with
// its context or, for a training, with Checkpoint.
func TestOneJobAtATime(t *testing.T) {
	j := newJobs(t)
	_, release, err := j.OpenModel(t.Context(), modelDir(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if _, err := j.ExtractFeatures(ctx, captioner.ExtractRequest{}, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while waiting: %v, want context.Canceled", err)
		}
	})
	cancel()
	waiting.Wait()
	_, result := train(t.Context(), t, j, captioner.TrainRequest{})
	for done := false; !done; {
		j.Checkpoint() // until the training has begun to wait
		select {
		case err := <-result:
			if captioner.CodeOf(err) != "stopped" {
				t.Errorf("stopped while waiting: %v, want code stopped", err)
			}
			done = true
		default:
		}
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if _, err := j.Train(t.Context(), captioner.TrainRequest{Dataset: "finish", WorkDir: t.TempDir()}, nil); err != nil {
		t.Errorf("after the release: %v", err)
	}
}

// TestCheck: the engine is started before the first job, and what does not fit
// is told.
func TestCheck(t *testing.T) {
	j := newJobs(t)
	version, devices, err := j.Check(t.Context())
	if err != nil || version != engine.TensorFlowVersion || len(devices) == 0 {
		t.Errorf("got %q on %q, %v", version, devices, err)
	}
	if j.PID() == 0 {
		t.Error("the engine is not kept for the first job")
	}
	for mode, want := range map[string]string{"old": "needs exactly " + engine.TensorFlowVersion, "crash": "the library is broken"} {
		o, _ := options(t, mode)
		broken := engine.NewJobs(o)
		if _, _, err := broken.Check(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", mode, err, want)
		}
		if err := broken.Close(); err != nil {
			t.Error(err)
		}
	}
}
