package activities_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image/color"
	"image/png"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/activities/activitiestest"
	"github.com/captioner/captioner/deploy"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/tracking"
	"github.com/captioner/captioner/ml/metrics"
)

// prepared runs the steps before training.
type prepared struct {
	cfg    captioner.Config
	data   activities.PreparedData
	shards []captioner.Digest
}

func prepare(t *testing.T, f *activitiestest.Fixture) prepared {
	t.Helper()
	ctx := t.Context()
	config, err := json.Marshal(f.Config())
	if err != nil {
		t.Fatal(err)
	}
	valid, err := f.Activities.ValidateConfig(ctx, activities.ValidateConfigInput{Config: config, RunID: "run"})
	if err != nil {
		t.Fatalf("ValidateConfig: %v", err)
	}
	data, err := f.Activities.PrepareData(ctx, activities.PrepareDataInput{Data: valid.Config.Data})
	if err != nil {
		t.Fatalf("PrepareData: %v", err)
	}
	p := prepared{cfg: valid.Config, data: data.PreparedData}
	for shard := range 3 {
		out, err := f.Activities.ExtractFeatures(ctx, extractInput(p, shard))
		if err != nil {
			t.Fatalf("ExtractFeatures of shard %d: %v", shard, err)
		}
		p.shards = append(p.shards, out.Shard)
	}
	return p
}

func extractInput(p prepared, shard int) activities.ExtractFeaturesInput {
	return activities.ExtractFeaturesInput{
		Dataset: p.data.Dataset, Shard: shard, ShardSize: p.cfg.Data.ShardSize, ImagesDir: p.cfg.Data.Images,
		MaxPixels: p.cfg.Data.MaxPixels, Model: p.cfg.Model, Threads: 1,
	}
}

func (p prepared) train() activities.TrainInput {
	return activities.TrainInput{Dataset: p.data.Dataset, Shards: p.shards, Config: p.cfg}
}

// execute runs an activity as a worker does.
func execute[In, Out any](t *testing.T, f *activitiestest.Fixture, activity func(context.Context, In) (Out, error), in In) (out Out, err error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{&activities.Interceptor{}}})
	env.RegisterActivity(f.Activities)
	value, err := env.ExecuteActivity(activity, in)
	if err != nil {
		return out, err
	}
	return out, value.Get(&out)
}

func TestPureStepIsFound(t *testing.T) {
	f := activitiestest.New(t)
	p := prepare(t, f)
	before := f.Engine.Log()
	for shard := range 3 {
		out, err := f.Activities.ExtractFeatures(t.Context(), extractInput(p, shard))
		if err != nil {
			t.Fatal(err)
		}
		if !out.Cached || out.Shard != p.shards[shard] {
			t.Errorf("shard %d: cached %v, digest %s; want it found as %s", shard, out.Cached, out.Shard.Short(), p.shards[shard].Short())
		}
	}
	if diff := cmp.Diff(before, f.Engine.Log()); diff != "" {
		t.Errorf("the engine was asked again (-before +after):\n%s", diff)
	}
}

// TestPureStepMissingBlob: a result whose blob is gone or damaged is made again.
func TestPureStepMissingBlob(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(path string) error
	}{
		{"gone", os.Remove},
		{"damaged", func(path string) error {
			return errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, []byte("rubbish"), 0o644))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := activitiestest.New(t)
			p := prepare(t, f)
			path, err := f.Blobs.Local(t.Context(), p.shards[1])
			if err != nil {
				t.Fatal(err)
			}
			if err := test.spoil(path); err != nil {
				t.Fatal(err)
			}
			out, err := f.Activities.ExtractFeatures(t.Context(), extractInput(p, 1))
			if err != nil {
				t.Fatal(err)
			}
			if out.Cached || out.Shard != p.shards[1] {
				t.Errorf("cached %v, digest %s; want it made again as %s", out.Cached, out.Shard.Short(), p.shards[1].Short())
			}
			if _, err := f.Blobs.Local(t.Context(), out.Shard); err != nil {
				t.Errorf("the blob is not whole again: %v", err)
			}
		})
	}
}

// TestKeysHoldNoPath: the same data at another path, in another data directory,
// gives the same keys and the same version.
func TestKeysHoldNoPath(t *testing.T) {
	type outcome struct {
		train   string
		shards  []captioner.Digest
		dataset captioner.Digest
		version captioner.Digest
	}
	var outcomes []outcome
	for range 2 {
		f := activitiestest.New(t)
		p := prepare(t, f)
		version, trained := register(t, f, p, "run-"+t.Name())
		outcomes = append(outcomes, outcome{trained.Key, p.shards, p.data.Dataset, version})
	}
	if diff := cmp.Diff(outcomes[0], outcomes[1], cmp.AllowUnexported(outcome{})); diff != "" {
		t.Errorf("the second outcome differs (-first +second):\n%s", diff)
	}
}

// register trains, evaluates and registers.
func register(t *testing.T, f *activitiestest.Fixture, p prepared, runID string) (captioner.Digest, activities.TrainResult) {
	t.Helper()
	ctx := t.Context()
	trained, err := f.Activities.Train(ctx, p.train())
	if err != nil {
		t.Fatalf("Train: %v", err)
	}
	evaluation := evaluate(t, f, p, trained.Model)
	out, err := f.Activities.RegisterVersion(ctx, activities.RegisterVersionInput{
		RunID: runID, Model: trained.Model, Training: trained.Training, Evaluation: evaluation,
		Dataset: p.data.Dataset, Config: p.cfg, ConfigDigest: "c", ResultVersions: map[string]int{"Train": 1},
	})
	if err != nil {
		t.Fatalf("RegisterVersion: %v", err)
	}
	return out.Version, trained
}

func evaluate(t *testing.T, f *activitiestest.Fixture, p prepared, model captioner.Digest) captioner.Evaluation {
	t.Helper()
	var captions []captioner.Digest
	for _, shard := range p.shards {
		out, err := f.Activities.CaptionShard(t.Context(), activities.CaptionShardInput{
			Model: model, Dataset: p.data.Dataset, Shard: shard, Evaluation: p.cfg.Evaluation,
		})
		if err != nil {
			t.Fatalf("CaptionShard: %v", err)
		}
		captions = append(captions, out.Captions)
	}
	out, err := f.Activities.Evaluate(t.Context(), activities.EvaluateInput{
		Dataset: p.data.Dataset, Captions: captions, Evaluation: p.cfg.Evaluation, ImagesDir: p.cfg.Data.Images,
	})
	if err != nil {
		t.Fatalf("Evaluate: %v", err)
	}
	return out.Evaluation
}

// A sample of the test split is captioned and scored, and its scores say so.
func TestEvaluateSample(t *testing.T) {
	f := activitiestest.New(t)
	p := prepare(t, f)
	trained, err := f.Activities.Train(t.Context(), p.train())
	if err != nil {
		t.Fatal(err)
	}
	all := evaluate(t, f, p, trained.Model)
	n := p.data.Splits[captioner.Test]
	for sample, want := range map[int]string{1: "|sample:1|", n: "", n + 1: ""} {
		p.cfg.Evaluation.SamplePictures = sample
		scores := evaluate(t, f, p, trained.Model).Scores
		for i, s := range scores {
			if s.Images != min(sample, n) || !strings.Contains(s.Signature, want) || (want == "") != (s.Signature == all.Scores[i].Signature) {
				t.Errorf("a sample of %d of %d: %d pictures, signature %q; of all %q", sample, n, s.Images, s.Signature, all.Scores[i].Signature)
			}
		}
	}
}

func TestRegisterVersion(t *testing.T) {
	f := activitiestest.New(t)
	p := prepare(t, f)
	version, _ := register(t, f, p, "run-1")

	dir, err := registry.Materialise(t.Context(), f.Blobs, version, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(dir, path)
			files = append(files, name)
			checkNoTraces(t, path, p.cfg.Data.Images, f.Activities.DataDir, "run-1")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"config.yaml", "evaluation.json", "golden/1.png", "golden/2.png", "golden/3.png", "golden/golden.json",
		"lineage.json", "manifest.json", "model.json", "saved_model/saved_model.pb", "training.json", "vocabulary.json",
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files of the bundle (-want +got):\n%s", diff)
	}

	row, err := f.Store.ModelVersion(t.Context(), string(version))
	if err != nil {
		t.Fatal(err)
	}
	if row.RunID != "run-1" || row.Lineage.Dataset != p.data.Dataset || row.Lineage.TensorFlow != "2.18.0" {
		t.Errorf("row of the registry: %+v", row)
	}
}

func checkNoTraces(t *testing.T, path string, traces ...string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, trace := range traces {
		if strings.Contains(string(data), trace) {
			t.Errorf("%s of the bundle mentions %q", filepath.Base(path), trace)
		}
	}
}

func TestWorkFoldersAreRemoved(t *testing.T) {
	f := activitiestest.New(t)
	// What a killed attempt leaves: a folder that nobody holds the lock of.
	p := prepare(t, f)
	key, err := activities.TrainKey(p.train())
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(f.Activities.DataDir, "runs", captioner.Digest(key).Short(), "attempt-1", "work")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	register(t, f, p, "run")
	entries, err := os.ReadDir(filepath.Join(f.Activities.DataDir, "runs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			t.Errorf("folder %s is left", e.Name())
		}
	}
}

// TestRemoveAbandoned: a worker that starts removes what killed ones have left,
// also of steps that nobody tries again, and leaves alone what is in use.
func TestRemoveAbandoned(t *testing.T) {
	f := activitiestest.New(t)
	runs := filepath.Join(f.Activities.DataDir, "runs")
	left, used := filepath.Join(runs, "0123", "attempt-1"), filepath.Join(runs, "4567", "attempt-1")
	for _, dir := range []string{left, used} {
		if err := os.MkdirAll(filepath.Join(dir, "work"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lock := flock.New(filepath.Join(used, ".lock"))
	if err := lock.Lock(); err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := f.Activities.RemoveAbandoned(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(left)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of a dead attempt: %v, want it gone", err)
	}
	if _, err := os.Stat(filepath.Join(used, "work")); err != nil {
		t.Errorf("the folder of a living attempt: %v", err)
	}
}

// TestLateManifest: an attempt that was replaced leaves the files of its successor
// alone.
func TestLateManifest(t *testing.T) {
	f := activitiestest.New(t)
	begun := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	write := func(started time.Time) (activities.WriteDeploymentManifestResult, error) {
		f.Activities.Now = func() time.Time { return started }
		ctx := captioner.WithAttempt(t.Context(), captioner.Attempt{Work: "run/manifest", Started: started})
		return f.Activities.WriteDeploymentManifest(ctx, activities.WriteDeploymentManifestInput{RunID: "run", Version: captioner.DigestOf(nil)})
	}
	second := begun.Add(20 * time.Second)
	if err := f.Store.BeginAttempt(captioner.WithAttempt(t.Context(), captioner.Attempt{Work: "run/manifest", Started: second})); err != nil {
		t.Fatal(err)
	}
	want, err := write(second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := write(begun); captioner.CodeOf(err) != "stale_attempt" {
		t.Errorf("a late attempt: %v, want the conflict stale_attempt", err)
	}
	data, err := os.ReadFile(filepath.Join(f.Activities.DataDir, "runs", "run", "deployment.json"))
	if err != nil || captioner.DigestOf(data) != want.Deployment {
		t.Errorf("deployment.json is not the successor's (%v):\n%s", err, data)
	}
}

// cancelling is a trainer whose attempt is cancelled before it is told of what the
// engine has done.
type cancelling struct {
	captioner.Trainer
	cancel context.CancelFunc
}

func (c cancelling) Train(ctx context.Context, req captioner.TrainRequest, progress func(captioner.TrainEvent)) (captioner.TrainResult, error) {
	return c.Trainer.Train(ctx, req, func(e captioner.TrainEvent) {
		c.cancel()
		progress(e)
	})
}

// TestCancelledTrainingIsRecorded: what comes from the engine after the attempt was
// cancelled is recorded, or the next attempt would leave a gap in the curves when it
// goes on from the last checkpoint.
func TestCancelledTrainingIsRecorded(t *testing.T) {
	f := activitiestest.New(t)
	p := prepare(t, f)
	key, err := activities.TrainKey(p.train())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.Activities.Trainer = cancelling{f.Engine, cancel}
	if _, err := f.Activities.Train(ctx, p.train()); !errors.Is(err, context.Canceled) {
		t.Fatalf("Train() = %v, want the context's error", err)
	}
	latest, err := f.Store.LatestMetrics(t.Context(), key)
	if err != nil || latest["step"] != 1 {
		t.Errorf("the curves end with %v (%v), want step 1", latest, err)
	}
}

func TestTrainResumes(t *testing.T) {
	f := activitiestest.New(t)
	p := prepare(t, f)
	died := captioner.Errorf(captioner.Unavailable, "the engine died")
	f.Engine.OnStep = func(_ context.Context, step int) error {
		if step == 13 {
			return died
		}
		return nil
	}
	if _, err := execute(t, f, f.Activities.Train, p.train()); err == nil {
		t.Fatal("training did not fail")
	}
	f.Engine.OnStep = nil
	out, err := execute(t, f, f.Activities.Train, p.train())
	if err != nil {
		t.Fatal(err)
	}
	log := f.Engine.Log()
	if diff := cmp.Diff([]string{"train 1-20", "train 11-20"}, log[len(log)-2:]); diff != "" {
		t.Errorf("trainings (-want +got):\n%s", diff)
	}
	latest, err := f.Store.LatestMetrics(t.Context(), out.Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"step": 20, "loss": 1. / 20, "validation_loss": 1.5} {
		if math.Abs(latest[name]-want) > 1e-12 {
			t.Errorf("metric %s = %v, want %v", name, latest[name], want)
		}
	}
}

// TestTrainSamples: what the model says after an epoch is kept with the
// pictures that it saw, and the run's record says where.
func TestTrainSamples(t *testing.T) {
	f := activitiestest.New(t)
	p := prepare(t, f)
	in := p.train()
	in.RunID = "run"
	in.Config.Evaluation.SampleCaptions = 3
	for range 2 { // the second time training is found done
		out, err := execute(t, f, f.Activities.Train, in)
		if err != nil {
			t.Fatal(err)
		}
		record, err := f.Store.RunRecord(t.Context(), "run")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&captioner.Progress{RunKey: out.Key, Dataset: in.Dataset}, record.Progress); diff != "" {
			t.Errorf("progress in the record (-want +got):\n%s", diff)
		}
		samples, _, err := f.Store.Samples(t.Context(), out.Key, 0, 0)
		if err != nil || len(samples) != 3 {
			t.Fatalf("samples %+v (%v), want 3", samples, err)
		}
		for _, s := range samples {
			if s.Epoch != 1 || s.Step != 20 || s.Caption == "" || s.Reference == "" {
				t.Errorf("sample %+v", s)
			}
			checkPicture(t, f, s)
		}
		latest, err := f.Store.LatestMetrics(t.Context(), out.Key)
		if want := sampleBLEU(t, f, in.Dataset, samples); err != nil || latest["sample_bleu1"] != want[0] || latest["sample_bleu4"] != want[3] || want[0] == 0 {
			t.Errorf("scores of the samples %v (%v), want %v", latest, err, want)
		}
		if err := f.Store.PutProgress(t.Context(), "run", captioner.Progress{}); err != nil {
			t.Fatal(err)
		}
	}
}

// sampleBLEU scores samples against every reference of their pictures.
func sampleBLEU(t *testing.T, f *activitiestest.Fixture, digest captioner.Digest, samples []captioner.Sample) [4]float64 {
	t.Helper()
	blob, err := f.Blobs.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	var ds captioner.Dataset
	if err := json.NewDecoder(blob).Decode(&ds); err != nil {
		t.Fatal(err)
	}
	var hypotheses [][]string
	var references [][][]string
	for _, s := range samples {
		hypotheses = append(hypotheses, strings.Fields(s.Caption))
		var all [][]string
		for _, e := range ds.Examples {
			if e.Image == s.Image {
				for _, r := range e.References {
					all = append(all, strings.Fields(r))
				}
			}
		}
		references = append(references, all)
	}
	bleu, err := metrics.CorpusBLEU(hypotheses, references, metrics.NoSmoothing)
	if err != nil {
		t.Fatal(err)
	}
	return bleu
}

// checkPicture compares a sample's picture with the pixels that the fixture's
// engine has extracted: the first letters of the name.
func checkPicture(t *testing.T, f *activitiestest.Fixture, s captioner.Sample) {
	t.Helper()
	blob, err := f.Blobs.Open(t.Context(), s.Picture)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	picture, err := png.Decode(blob)
	if err != nil {
		t.Fatal(err)
	}
	want := color.NRGBA{R: s.Image[0], G: s.Image[1], B: s.Image[2], A: 0xff}
	if got := color.NRGBAModel.Convert(picture.At(1, 3)); got != want || picture.Bounds().Dx() != 4 {
		t.Errorf("picture of %s: %v, colour %v; want 4 pixels of %v", s.Image, picture.Bounds(), got, want)
	}
}

// TestTrainCheckpointLost: without the checkpoint's blob training starts over.
func TestTrainCheckpointLost(t *testing.T) {
	f := activitiestest.New(t)
	p := prepare(t, f)
	key, err := activities.TrainKey(p.train())
	if err != nil {
		t.Fatal(err)
	}
	err = f.Store.PutCheckpoint(t.Context(), captioner.Checkpoint{
		RunKey: key, Attempt: 1, Blob: captioner.DigestOf([]byte("gone")), Step: 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := execute(t, f, f.Activities.Train, p.train()); err != nil {
		t.Fatal(err)
	}
	if log := f.Engine.Log(); log[len(log)-1] != "train 1-20" {
		t.Errorf("last training %q, want it to start over", log[len(log)-1])
	}
}

// TestTrainCheckpointDamaged: where the latest checkpoint is damaged training goes
// on from the one before, and two are kept at any time.
func TestTrainCheckpointDamaged(t *testing.T) {
	f := activitiestest.New(t)
	p := prepare(t, f)
	key, err := activities.TrainKey(p.train())
	if err != nil {
		t.Fatal(err)
	}
	died := &captioner.Error{Kind: captioner.Unavailable, Message: "the engine died"}
	f.Engine.OnStep = func(_ context.Context, step int) error {
		if step == 13 { // checkpoints are at 5, 10, 15 and 20
			return died
		}
		return nil
	}
	if _, err := execute(t, f, f.Activities.Train, p.train()); err == nil {
		t.Fatal("a training whose engine died has a result")
	}
	want := func(step, previous int) captioner.Checkpoint {
		t.Helper()
		row, err := f.Store.Checkpoint(t.Context(), key)
		if err != nil || row.Step != step || row.PreviousStep != previous {
			t.Fatalf("checkpoints at %d and %d (%v), want %d and %d", row.Step, row.PreviousStep, err, step, previous)
		}
		return row
	}
	damaged := want(10, 5)
	path, err := f.Blobs.Local(t.Context(), damaged.Blob)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, []byte("step 11"), 0o644)); err != nil {
		t.Fatal(err)
	}
	f.Engine.OnStep = nil
	if _, err := execute(t, f, f.Activities.Train, p.train()); err != nil {
		t.Fatal(err)
	}
	if log := f.Engine.Log(); log[len(log)-1] != "train 6-20" {
		t.Errorf("last training %q, want it to go on from step 5", log[len(log)-1])
	}
	row := want(20, 15)
	for _, blob := range []captioner.Digest{row.Blob, row.PreviousBlob} {
		if _, err := f.Blobs.Local(t.Context(), blob); err != nil {
			t.Error(err)
		}
	}
	if has, err := f.Blobs.Has(t.Context(), damaged.PreviousBlob); has || err != nil {
		t.Errorf("the checkpoint at step 5 is still there (%v)", err)
	}
}

// TestFullDiskIsWaitedFor: a training or an extraction that finds no space is tried
// again for as long as it takes, unlike one whose engine dies again and again.
func TestFullDiskIsWaitedFor(t *testing.T) {
	f := activitiestest.New(t)
	p := prepare(t, f)
	full := &captioner.Error{Kind: captioner.Unavailable, Code: captioner.CodeOutOfSpace, Message: "write a checkpoint: no space left"}
	f.Engine.OnStep = func(context.Context, int) error { return full }
	for range 8 {
		_, err := execute(t, f, f.Activities.Train, p.train())
		var failure *temporal.ApplicationError
		if !errors.As(err, &failure) || failure.NonRetryable() {
			t.Fatalf("%v, want an error that is tried again", err)
		}
		if got := activities.FromFailure(err); captioner.CodeOf(got) != captioner.CodeOutOfSpace {
			t.Fatalf("the failure says %v, want that there is no space", got)
		}
	}
	if err := activities.ToFailure(full, 1000); err.(interface{ NonRetryable() bool }).NonRetryable() {
		t.Error("a full disk is not tried again after many attempts")
	}
	f.Engine.OnStep = nil
	if _, err := execute(t, f, f.Activities.Train, p.train()); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

// TestTrainFenced: an attempt that a newer one has replaced writes nothing more
// and comes back with the other's result.
func TestTrainFenced(t *testing.T) {
	f := activitiestest.New(t)
	p := prepare(t, f)
	key, err := activities.TrainKey(p.train())
	if err != nil {
		t.Fatal(err)
	}
	f.Engine.OnStep = func(ctx context.Context, step int) error {
		if step != 7 {
			return nil
		}
		if _, err := f.Store.ClaimAttempt(ctx, key); err != nil {
			return err
		}
		_, err := f.Store.PutStepResult(ctx, key, "Train", []byte(`{"key":"theirs"}`))
		return err
	}
	_, err = execute(t, f, f.Activities.Train, p.train())
	if got := captioner.CodeOf(activities.FromFailure(err)); got != "superseded" {
		t.Errorf("Train() = %v, code %q; want superseded", err, got)
	}
	checkpoint, err := f.Store.Checkpoint(t.Context(), key)
	if err != nil || checkpoint.Step != 5 {
		t.Errorf("checkpoint at step %d (%v), want the one before the other attempt, 5", checkpoint.Step, err)
	}
}

func TestTrainErrors(t *testing.T) {
	for _, test := range []struct {
		name  string
		err   error
		kind  captioner.Kind
		final bool
	}{
		{"engine died", captioner.Errorf(captioner.Unavailable, "the engine died"), captioner.Unavailable, false},
		{"bad input", captioner.Errorf(captioner.Invalid, "no such layer"), captioner.Invalid, true},
		{"damaged shard", captioner.Errorf(captioner.Corrupt, "shard 1 is damaged"), captioner.Corrupt, true},
		{"unforeseen", errors.New("something"), captioner.Internal, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := activitiestest.New(t)
			p := prepare(t, f)
			f.Engine.OnStep = func(context.Context, int) error { return test.err }
			_, err := execute(t, f, f.Activities.Train, p.train())
			var failure *temporal.ApplicationError
			if !errors.As(err, &failure) {
				t.Fatalf("Train() = %v, want an ApplicationError", err)
			}
			if failure.Type() != string(test.kind) || failure.NonRetryable() != test.final {
				t.Errorf("type %q, final %v; want %q, %v", failure.Type(), failure.NonRetryable(), test.kind, test.final)
			}
		})
	}
}

// TestRetryDelay: what a step says is tried again less and less often.
func TestRetryDelay(t *testing.T) {
	for failures, want := range map[int32]time.Duration{0: time.Second, 1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: 30 * time.Second, 1000: 30 * time.Second} {
		var application *temporal.ApplicationError
		if err := activities.ToFailure(captioner.Errorf(captioner.Unavailable, "away"), failures); !errors.As(err, &application) || application.NextRetryDelay() != want {
			t.Errorf("after %d failures the next attempt comes after %v, want %v", failures, application.NextRetryDelay(), want)
		}
	}
}

func TestFailureRoundTrip(t *testing.T) {
	problems := make([]captioner.Problem, 250)
	for i := range problems {
		problems[i] = captioner.Problem{Field: "data.images", Message: "m"}
	}
	cause := errors.New("open /secret/path: permission denied")
	for _, test := range []struct {
		name     string
		err      error
		attempt  int32
		want     captioner.Error
		problems int
		final    bool
	}{
		{"invalid", &captioner.Error{Kind: captioner.Invalid, Code: "invalid_config", Message: "m", Problems: problems, Err: cause}, 1,
			captioner.Error{Kind: captioner.Invalid, Code: "invalid_config", Message: "m"}, 201, true},
		{"unavailable", captioner.Wrap(captioner.Unavailable, cause, "the database is away"), 100,
			captioner.Error{Kind: captioner.Unavailable, Message: "the database is away"}, 0, false},
		{"internal at first", cause, 1, captioner.Error{Kind: captioner.Internal, Message: "a step failed for a reason that nobody foresaw"}, 0, false},
		{"internal at last", cause, 3, captioner.Error{Kind: captioner.Internal, Message: "a step failed for a reason that nobody foresaw"}, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			failure := activities.ToFailure(test.err, test.attempt)
			var application *temporal.ApplicationError
			if !errors.As(failure, &application) || application.NonRetryable() != test.final {
				t.Errorf("failure %v, final %v; want final %v", failure, application.NonRetryable(), test.final)
			}
			if benign := application.Category() == temporal.ApplicationErrorCategoryBenign; benign != (test.want.Kind == captioner.Invalid) {
				t.Errorf("failure %v of category %v: only what a user wrote is benign", failure, application.Category())
			}
			var got *captioner.Error
			if !errors.As(activities.FromFailure(failure), &got) {
				t.Fatalf("FromFailure() = %v, want a captioner.Error", activities.FromFailure(failure))
			}
			if got.Kind != test.want.Kind || got.Code != test.want.Code || got.Message != test.want.Message || len(got.Problems) != test.problems {
				t.Errorf("got %s %q %q with %d problems, want %s %q %q with %d", got.Kind, got.Code, got.Message, len(got.Problems),
					test.want.Kind, test.want.Code, test.want.Message, test.problems)
			}
		})
	}
}

func TestValidateConfig(t *testing.T) {
	f := activitiestest.New(t)
	images, _ := json.Marshal(f.Data.Images)
	captions, _ := json.Marshal(f.Data.Captions)
	paths := `"images": ` + string(images) + `, "captions": ` + string(captions)
	for _, test := range []struct {
		name   string
		config string
		fields []string // that have problems
	}{
		{"only paths", `{"data": {` + paths + `}}`, nil},
		{"partial", `{"data": {` + paths + `}, "training": {"steps": 500}}`, nil},
		{"no data and no demonstration", `{}`, []string{"data.images", "data.captions"}},
		{"nothing", ``, []string{"data.images", "data.captions"}},
		{"all at once", `{"data": {"images": "/nowhere", "captions": "/nowhere.txt"}, "training": {"batch_size": 0}, "model": {"encodr": "conv"}}`,
			[]string{"training.batch_size", "model.encodr", "data.images", "data.captions"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := f.Activities.ValidateConfig(t.Context(), activities.ValidateConfigInput{Config: json.RawMessage(test.config)})
			var fields []string
			for _, p := range captioner.ProblemsOf(err) {
				fields = append(fields, p.Field)
			}
			slices.Sort(fields)
			slices.Sort(test.fields)
			if diff := cmp.Diff(test.fields, fields); diff != "" {
				t.Errorf("problems in fields (-want +got):\n%s\n%v", diff, err)
			}
			if (err == nil) != out.Digest.Valid() {
				t.Errorf("digest %q with error %v", out.Digest, err)
			}
		})
	}
}

func TestExcludeImages(t *testing.T) {
	f := activitiestest.New(t)
	f.Engine.Undecodable = []string{"007.png"}
	p := prepare(t, f)
	first, err := f.Activities.ExtractFeatures(t.Context(), extractInput(p, 0))
	if err != nil {
		t.Fatal(err)
	}
	if first.Images != 14 || first.Quarantined != 1 {
		t.Fatalf("shard of %d pictures and %d in quarantine, want 14 and 1", first.Images, first.Quarantined)
	}
	in := activities.ExcludeImagesInput{Dataset: p.data.Dataset, Quarantine: []captioner.Digest{first.Quarantine}, Data: p.cfg.Data}
	out, err := f.Activities.ExcludeImages(t.Context(), in)
	if err != nil || out.Images != 39 {
		t.Errorf("ExcludeImages() left %d pictures (%v), want 39", out.Images, err)
	}
	want := &captioner.LeftOut{
		Reasons: []captioner.ReasonCount{{Reason: "corrupt", Count: 1}}, First: []captioner.Quarantined{{Image: "007.png", Reason: "corrupt"}},
	}
	if diff := cmp.Diff(want, out.LeftOut); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	in.Data.MinUsable = 0.99
	_, err = f.Activities.ExcludeImages(t.Context(), in)
	if captioner.KindOf(err) != captioner.Invalid || captioner.CodeOf(err) != "unusable_data" {
		t.Errorf("ExcludeImages() with 99 %% needed = %v, want Invalid, unusable_data", err)
	}

	// A split that loses all its pictures here is a matter of the pictures.
	var ds captioner.Dataset
	if err := captioner.ReadJSON(t.Context(), f.Blobs, p.data.Dataset, &ds); err != nil {
		t.Fatal(err)
	}
	var corrupt []captioner.Quarantined
	for _, e := range ds.Examples {
		if e.Split == captioner.Test {
			corrupt = append(corrupt, captioner.Quarantined{Image: e.Image, Reason: "corrupt"})
		}
	}
	data, err := json.Marshal(corrupt)
	if err != nil {
		t.Fatal(err)
	}
	quarantine, _, err := f.Blobs.Put(t.Context(), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	in.Quarantine, in.Data.MinUsable = []captioner.Digest{quarantine}, 0
	_, err = f.Activities.ExcludeImages(t.Context(), in)
	if problems := captioner.ProblemsOf(err); len(problems) == 0 || problems[0].Field != "data.images" {
		t.Errorf("without a test split: %v, want a problem of data.images", err)
	}
}

// TestLeftOut: what of the captions file is not used is told with its lines,
// also by a result that was kept, and the whole list is left for people.
func TestLeftOut(t *testing.T) {
	f := activitiestest.New(t)
	captions, err := os.OpenFile(f.Data.Captions, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := captions.WriteString(strings.Repeat("000.png,!!!\n", 120) + "no comma\n"); err != nil {
		t.Fatal(err)
	}
	if err := captions.Close(); err != nil {
		t.Fatal(err)
	}
	for _, cached := range []bool{false, true} {
		out, err := f.Activities.PrepareData(t.Context(), activities.PrepareDataInput{Data: f.Config().Data})
		if err != nil || out.Cached != cached || out.Quarantined != 121 || out.LeftOut == nil {
			t.Fatalf("PrepareData() = %+v, %v; want 121 lines left out", out, err)
		}
		if first := out.LeftOut.First; len(first) != 100 || first[0].Reason != "no_comma" || first[0].Line <= first[1].Line || first[1].Image != "000.png" {
			t.Errorf("the first of %d: %+v, want 100 with the line without a picture before those of 000.png", len(first), first[:2])
		}
		if want := "left out: 1 no_comma, 120 no_words"; out.LeftOut.String() != want {
			t.Errorf("%q, want %q", out.LeftOut, want)
		}
		_, err = f.Activities.WriteDeploymentManifest(t.Context(), activities.WriteDeploymentManifestInput{
			RunID: "run", Dataset: out.Dataset, Quarantined: out.Quarantined,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(filepath.Join(f.Activities.DataDir, "runs", "run", "quarantine.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []captioner.Quarantined
	if err := json.Unmarshal(data, &all); err != nil || len(all) != 121 {
		t.Errorf("quarantine.json lists %d (%v), want 121", len(all), err)
	}
}

func TestExtractFeaturesChangedPicture(t *testing.T) {
	f := activitiestest.New(t)
	f.Engine.OnExtract = func(_ context.Context, req captioner.ExtractRequest) error {
		return os.WriteFile(filepath.Join(req.ImagesDir, "003.png"), []byte("other"), 0o644)
	}
	config, _ := json.Marshal(f.Config())
	valid, err := f.Activities.ValidateConfig(t.Context(), activities.ValidateConfigInput{Config: config})
	if err != nil {
		t.Fatal(err)
	}
	data, err := f.Activities.PrepareData(t.Context(), activities.PrepareDataInput{Data: valid.Config.Data})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Activities.ExtractFeatures(t.Context(), extractInput(prepared{cfg: valid.Config, data: data.PreparedData}, 0))
	if captioner.CodeOf(err) != "data_changed" {
		t.Errorf("ExtractFeatures() = %v, want code data_changed", err)
	}
}

func TestWriteDeploymentManifest(t *testing.T) {
	f := activitiestest.New(t)
	f.Activities.Now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	version := captioner.DigestOf([]byte("version"))
	for _, outcome := range []captioner.Outcome{captioner.Promote, captioner.Hold} {
		runID := "runs/" + string(outcome)
		out, err := f.Activities.WriteDeploymentManifest(t.Context(), activities.WriteDeploymentManifestInput{
			RunID: runID, Version: version, Dataset: "d", Config: "c",
			Evaluation: captioner.Evaluation{Scores: []captioner.Scores{{Algorithm: "beam", BLEU4: 0.5}}},
			Decision:   captioner.Decision{Outcome: outcome, Reasons: []string{"why"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		path, err := f.Blobs.Local(t.Context(), out.Deployment)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var got activities.Deployment
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if got.Version != version || got.Decision.Outcome != outcome || got.Scores[0].BLEU4 != 0.5 || got.RunID != runID {
			t.Errorf("deployment.json: %s", data)
		}
		want := map[string]captioner.Digest{}
		if outcome == captioner.Promote {
			rendered, err := deploy.Render(version)
			if err != nil {
				t.Fatal(err)
			}
			for name, content := range rendered {
				want[name] = captioner.DigestOf(content)
				left, err := os.ReadFile(filepath.Join(f.Activities.DataDir, "runs", tracking.Folder(runID), name))
				if err != nil || !bytes.Equal(left, content) {
					t.Errorf("%s is not left for people: %v", name, err)
				}
			}
		}
		if diff := cmp.Diff(want, out.Files, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: deploy files (-want +got):\n%s", outcome, diff)
		}
		if diff := cmp.Diff(out.Files, got.Files); diff != "" {
			t.Errorf("%s: files of deployment.json (-returned +written):\n%s", outcome, diff)
		}
	}
}
