package workflows_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/activities/activitiestest"
	"github.com/captioner/captioner/workflows"
)

// harness runs TrainAndDeploy in Temporal's test environment, where timers skip
// ahead, with the activities of a fixture.
type harness struct {
	*testsuite.TestWorkflowEnvironment
	fixture *activitiestest.Fixture

	mu      sync.Mutex
	started []string
}

func newHarness(t *testing.T, f *activitiestest.Fixture, inner ...interceptor.WorkerInterceptor) *harness {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	h := &harness{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), fixture: f}
	h.SetWorkerOptions(worker.Options{
		MaxHeartbeatThrottleInterval: 100 * time.Millisecond,
		Interceptors:                 append([]interceptor.WorkerInterceptor{&activities.Interceptor{}}, inner...),
	})
	h.SetTestTimeout(time.Minute)
	h.RegisterWorkflow(workflows.TrainAndDeploy)
	h.RegisterActivity(f.Activities)
	h.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.started = append(h.started, info.ActivityType.Name+"@"+info.TaskQueue)
	})
	return h
}

// run executes the workflow with the configuration.
func (h *harness) run(t *testing.T, cfg captioner.Config) (captioner.RunResult, error) {
	t.Helper()
	input, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.ExecuteWorkflow(workflows.TrainAndDeploy, json.RawMessage(input))
	if !h.IsWorkflowCompleted() {
		t.Fatal("the workflow has not ended")
	}
	var result captioner.RunResult
	if err := h.GetWorkflowError(); err != nil {
		return result, err
	}
	return result, h.GetWorkflowResult(&result)
}

// progress asks the query.
func (h *harness) progress(t *testing.T) captioner.Progress {
	t.Helper()
	value, err := h.QueryWorkflow(workflows.ProgressQuery)
	if err != nil {
		t.Fatal(err)
	}
	var p captioner.Progress
	if err := value.Get(&p); err != nil {
		t.Fatal(err)
	}
	return p
}

// states lists "Name state" of each stage.
func states(p captioner.Progress) []string {
	var list []string
	for _, s := range p.Stages {
		text := s.Name + " " + s.State
		if s.Cached {
			text += " cached"
		}
		list = append(list, text)
	}
	return list
}

// record returns the run's record; the test environment's workflow ID is fixed.
func (h *harness) record(t *testing.T) captioner.RunRecord {
	t.Helper()
	r, err := h.fixture.Store.RunRecord(t.Context(), "default-test-workflow-id")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// complete runs a fixture's run to its end.
func complete(t *testing.T, f *activitiestest.Fixture, cfg captioner.Config) captioner.RunResult {
	t.Helper()
	result, err := newHarness(t, f).run(t, cfg)
	if err != nil {
		t.Fatalf("the run failed: %v", err)
	}
	return result
}

func TestOrder(t *testing.T) {
	f := activitiestest.New(t)
	h := newHarness(t, f)
	result, err := h.run(t, f.Config())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ValidateConfig@captioner", "PrepareData@captioner",
		"ExtractFeatures@captioner-engine", "ExtractFeatures@captioner-engine", "ExtractFeatures@captioner-engine",
		"Train@captioner-engine",
		"CaptionShard@captioner-engine", "CaptionShard@captioner-engine", "CaptionShard@captioner-engine",
		"Evaluate@captioner", "RegisterVersion@captioner-engine",
		"DecidePromotion@captioner", "WriteDeploymentManifest@captioner", "Deploy@captioner", "RecordRun@captioner",
	}
	if diff := cmp.Diff(want, h.started); diff != "" {
		t.Errorf("activities (-want +got):\n%s", diff)
	}
	for _, s := range h.progress(t).Stages {
		if s.State != "completed" || s.StartedAt == nil || s.FinishedAt == nil || s.Cached {
			t.Errorf("stage %+v, want it completed with its times", s)
		}
		if s.Name == "ExtractFeatures" && (s.Done != 3 || s.Total != 3) {
			t.Errorf("%d of %d shards, want 3 of 3", s.Done, s.Total)
		}
	}
	if !result.Version.Valid() || !result.Deployed || result.Decision.Outcome != captioner.Promote || len(result.Reused) != 0 {
		t.Errorf("result %+v, want a version that is deployed", result)
	}
	if len(result.Evaluation.Scores) != 2 || result.Evaluation.Scores[0].BLEU1 < 0.5 || len(result.Evaluation.Samples) != 8 {
		t.Errorf("evaluation %+v", result.Evaluation)
	}
	alias, err := f.Store.Alias(t.Context(), captioner.Production)
	if err != nil || alias.Version != result.Version {
		t.Errorf("alias %+v (%v), want version %s", alias, err, result.Version.Short())
	}
	if r := h.record(t); r.State != captioner.RunCompleted || r.Actor != "temporal" || r.Result == nil || r.Result.Version != result.Version {
		t.Errorf("record %+v", r)
	}
	if _, err := f.Blobs.Local(t.Context(), result.Deployment); err != nil {
		t.Errorf("deployment.json: %v", err)
	}
}

// TestResume: a run goes on from the training of another that has ended, with
// that one's configuration but for what its input names, and its version says
// from which checkpoint. From a run that was stopped it just goes on.
func TestResume(t *testing.T) {
	f := activitiestest.New(t)
	complete(t, f, f.Config())
	const first = "default-test-workflow-id"
	resume := func(id, input string) (*harness, error) {
		h := newHarness(t, f)
		h.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: id, TaskQueue: workflows.TaskQueue})
		h.ExecuteWorkflow(workflows.TrainAndDeploy, json.RawMessage(input))
		return h, h.GetWorkflowError()
	}
	h, err := resume("second", `{"resume": "`+first+`", "training": {"steps": 40}}`)
	if err != nil {
		t.Fatal(err)
	}
	if log := f.Engine.Log(); !slices.Contains(log, "train 21-40") {
		t.Errorf("the engine was asked for %q, want steps 21 to 40", log)
	}
	key := h.progress(t).RunKey
	record, err := f.Store.RunRecord(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, err := f.Store.Checkpoint(t.Context(), record.Progress.RunKey)
	if err != nil || key == record.Progress.RunKey {
		t.Fatalf("both trainings have the key %s; error %v", key, err)
	}
	var result captioner.RunResult
	if err := h.GetWorkflowResult(&result); err != nil {
		t.Fatal(err)
	}
	version, err := f.Store.ModelVersion(t.Context(), string(result.Version))
	if err != nil || version.Lineage.Continues != checkpoint.Blob {
		t.Errorf("lineage %+v (%v), want it to continue %s", version.Lineage, err, checkpoint.Blob.Short())
	}

	// What was resumed can be resumed.
	if _, err := resume("third", `{"resume": "second", "training": {"steps": 48}}`); err != nil || !slices.Contains(f.Engine.Log(), "train 41-48") {
		t.Errorf("resumed again: %v, %q", err, f.Engine.Log())
	}
	// A run that failed goes on as itself.
	f.Engine.OnStep = func(_ context.Context, step int) error {
		if step == 13 {
			return captioner.Errorf(captioner.Invalid, "the training cannot go on")
		}
		return nil
	}
	cfg := f.Config()
	cfg.Training.Seed++
	input, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resume("failed", string(input)); err == nil {
		t.Fatal("the training did not fail")
	}
	f.Engine.OnStep = nil
	if _, err := resume("fourth", `{"resume": "failed"}`); err != nil || !slices.Contains(f.Engine.Log(), "train 11-20") {
		t.Errorf("a failed run resumed: %v, %q", err, f.Engine.Log())
	}

	for name, input := range map[string]string{
		"no such run":         `{"resume": "none", "training": {"steps": 30}}`,
		"another model":       `{"resume": "` + first + `", "model": {"decoder": "lstm-attention"}}`,
		"no checkpoint there": `{"resume": "untrained", "training": {"steps": 30}}`,
	} {
		if name == "no checkpoint there" {
			if _, _, err := f.Store.PutRun(t.Context(), captioner.RunRecord{ID: "untrained", Config: record.Config, State: captioner.RunFailed}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := resume("refused", input); captioner.KindOf(activities.FromFailure(err)) != captioner.Invalid {
			t.Errorf("%s: error %v, want an invalid one", name, err)
		}
	}
}

// TestWordVectors: the vectors that PrepareData finds for the words are those
// that training starts with, and the version says which file they come from.
func TestWordVectors(t *testing.T) {
	f := activitiestest.New(t)
	const content = "red 1 2 3\nblue 4 5 6\n"
	cfg := f.Config()
	cfg.Model.EmbeddingDim = 3
	cfg.Data.GloVe = filepath.Join(t.TempDir(), "glove.txt")
	if err := os.WriteFile(cfg.Data.GloVe, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, f)
	var prepared activities.PrepareDataResult
	var trained activities.TrainInput
	var registered activities.RegisterVersionInput
	h.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, args converter.EncodedValues) {
		var err error
		switch info.ActivityType.Name {
		case activities.StepTrain:
			err = args.Get(&trained)
		case activities.StepRegisterVersion:
			err = args.Get(&registered)
		}
		if err != nil {
			t.Error(err)
		}
	})
	h.SetOnActivityCompletedListener(func(info *activity.Info, result converter.EncodedValue, err error) {
		if err == nil && info.ActivityType.Name == activities.StepPrepareData {
			err = result.Get(&prepared)
		}
		if err != nil {
			t.Error(err)
		}
	})
	result, err := h.run(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	vectors, source := prepared.WordVectors, captioner.DigestOf([]byte(content))
	if vectors == nil || vectors.Source != source || vectors.Found != 2 {
		t.Fatalf("the word vectors are %+v, want two words of file %s", vectors, source.Short())
	}
	if trained.WordVectors != vectors.Vectors || registered.WordVectors != source {
		t.Errorf("Train got %s and RegisterVersion %s, want %s and %s", trained.WordVectors, registered.WordVectors, vectors.Vectors, source)
	}
	version, err := f.Store.ModelVersion(t.Context(), string(result.Version))
	if err != nil || version.Lineage.WordVectors != source {
		t.Errorf("lineage %+v (%v), want the word vectors %s", version.Lineage, err, source.Short())
	}

	// Without a file the words start anywhere.
	h = newHarness(t, f)
	if result, err = h.run(t, f.Config()); err != nil {
		t.Fatal(err)
	}
	if version, err = f.Store.ModelVersion(t.Context(), string(result.Version)); err != nil || version.Lineage.WordVectors != "" {
		t.Errorf("lineage without a file: %+v, %v", version.Lineage, err)
	}
}

// TestSecondRun: an equal run finds every pure step done.
func TestSecondRun(t *testing.T) {
	f := activitiestest.New(t)
	first := complete(t, f, f.Config())
	before := f.Engine.Log()

	h := newHarness(t, f)
	cfg := f.Config()
	cfg.Training.CheckpointInterval = captioner.Duration(time.Hour) // changes no result
	second, err := h.run(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if second.Version != first.Version {
		t.Errorf("version %s, want the first run's, %s", second.Version.Short(), first.Version.Short())
	}
	if diff := cmp.Diff(before, f.Engine.Log()); diff != "" {
		t.Errorf("the engine worked again (-before +after):\n%s", diff)
	}
	want := []string{
		"ValidateConfig completed", "PrepareData completed cached", "ExtractFeatures completed cached", "Train completed cached",
		"CaptionShard completed cached", "Evaluate completed cached", "RegisterVersion completed cached",
		"DecidePromotion completed", "WriteDeploymentManifest completed", "Deploy completed",
	}
	if diff := cmp.Diff(want, states(h.progress(t))); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	if want := []string{"PrepareData", "ExtractFeatures", "Train", "CaptionShard", "Evaluate", "RegisterVersion"}; !slices.Equal(second.Reused, want) {
		t.Errorf("reused %v, want %v", second.Reused, want)
	}
	alias, err := f.Store.Alias(t.Context(), captioner.Production)
	if err != nil || alias.Generation != 1 {
		t.Errorf("alias %+v (%v), want it not moved again", alias, err)
	}
}

// TestShardSize: shards are a matter of speed.
func TestShardSize(t *testing.T) {
	f := activitiestest.New(t)
	first := complete(t, f, f.Config())
	cfg := f.Config()
	cfg.Data.ShardSize = 100
	if second := complete(t, f, cfg); second.Version != first.Version {
		t.Errorf("version %s with one shard, %s with three", second.Version.Short(), first.Version.Short())
	}
}

// fault makes a method of the store fail a number of times.
type fault struct {
	captioner.Store
	mu    sync.Mutex
	left  int
	err   error
	moved func() // called before an alias is moved
}

func (s *fault) PutStepResult(ctx context.Context, key, step string, output []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if step == activities.StepTrain && s.left > 0 {
		s.left--
		return nil, s.err
	}
	return s.Store.PutStepResult(ctx, key, step, output)
}

func (s *fault) MoveAlias(ctx context.Context, name string, version captioner.Digest, generation int64, actor, reason string) (captioner.Alias, error) {
	if s.moved != nil {
		s.moved()
	}
	return s.Store.MoveAlias(ctx, name, version, generation, actor, reason)
}

// TestHeartbeatTimeout: a worker decides how long the steps of its runs may be
// silent.
func TestHeartbeatTimeout(t *testing.T) {
	for settings, want := range map[workflows.Settings]time.Duration{
		{}:                                  workflows.HeartbeatTimeout,
		{HeartbeatTimeout: 2 * time.Second}: 2 * time.Second,
	} {
		f := activitiestest.New(t)
		h := newHarness(t, f)
		var mu sync.Mutex
		got := map[string]time.Duration{}
		h.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
			mu.Lock()
			defer mu.Unlock()
			got[info.ActivityType.Name] = info.HeartbeatTimeout
		})
		input, err := json.Marshal(f.Config())
		if err != nil {
			t.Fatal(err)
		}
		h.ExecuteWorkflow(settings.TrainAndDeploy, json.RawMessage(input))
		if err := h.GetWorkflowError(); err != nil {
			t.Fatal(err)
		}
		for name, timeout := range got {
			if timeout != want {
				t.Errorf("%+v: %s may be silent for %v, want %v", settings, name, timeout, want)
			}
		}
		if len(got) != 11 {
			t.Errorf("%+v: %d activities were started, want 11", settings, len(got))
		}
	}
}

// interrupted is a store under which the training is given back again and again
// before it fails.
type interrupted struct {
	captioner.Store
	errs []error
}

func (s *interrupted) PutStepResult(ctx context.Context, key, step string, output []byte) ([]byte, error) {
	if step == activities.StepTrain && len(s.errs) > 0 {
		err := s.errs[0]
		s.errs = s.errs[1:]
		return nil, err
	}
	return s.Store.PutStepResult(ctx, key, step, output)
}

// TestOnlyFailuresCount: attempts that ended with their worker do not use up the
// tries of a step that then fails in a way that nobody foresaw.
func TestOnlyFailuresCount(t *testing.T) {
	stopped := &captioner.Error{Kind: captioner.Unavailable, Code: "stopped", Message: "the worker is stopping"}
	bug := errors.New("a bug")
	for _, test := range []struct {
		name string
		errs []error
		want captioner.Kind
	}{
		{"two failures after five stops", []error{stopped, stopped, stopped, stopped, stopped, bug, bug}, ""},
		{"three failures among stops", []error{stopped, bug, stopped, bug, stopped, bug, bug}, captioner.Internal},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := activitiestest.New(t)
			f.Activities.Store = &interrupted{Store: f.Store, errs: test.errs}
			_, err := newHarness(t, f).run(t, f.Config())
			if got := captioner.KindOf(activities.FromFailure(err)); got != test.want {
				t.Errorf("the run ended with %v, kind %q; want %q", err, got, test.want)
			}
		})
	}
}

func TestRetry(t *testing.T) {
	away := captioner.Errorf(captioner.Unavailable, "the database is away")
	for _, test := range []struct {
		name   string
		times  int
		err    error
		want   captioner.Kind // of the run's failure; empty for none
		trains int
	}{
		{"unavailable for long", 8, away, "", 9},
		{"unforeseen twice", 2, errors.New("a bug"), "", 3},
		{"unforeseen again and again", 20, errors.New("a bug"), captioner.Internal, 3},
		{"invalid", 1, captioner.Errorf(captioner.Invalid, "no"), captioner.Invalid, 1},
		{"not found", 1, captioner.Errorf(captioner.NotFound, "gone"), captioner.NotFound, 1},
		{"corrupt", 1, captioner.Errorf(captioner.Corrupt, "damaged"), captioner.Corrupt, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := activitiestest.New(t)
			f.Activities.Store = &fault{Store: f.Store, left: test.times, err: test.err}
			h := newHarness(t, f)
			_, err := h.run(t, f.Config())
			if got := captioner.KindOf(activities.FromFailure(err)); got != test.want {
				t.Errorf("the run ended with %v, kind %q; want %q", err, got, test.want)
			}
			trains := 0
			for _, line := range f.Engine.Log() {
				if strings.HasPrefix(line, "train") {
					trains++
				}
			}
			if trains != test.trains {
				t.Errorf("%d trainings, want %d", trains, test.trains)
			}
			if test.want == "" {
				return
			}
			if r := h.record(t); r.State != captioner.RunFailed || r.Message == "" {
				t.Errorf("record %+v, want it failed with a message", r)
			}
			if s := h.progress(t).Stages[3]; s.State != "failed" || s.Error == "" {
				t.Errorf("stage %+v, want it failed with a reason", s)
			}
		})
	}
}

// failing makes an activity fail in the place of what it does.
type failing struct {
	interceptor.WorkerInterceptorBase
	name string
	err  error
}

func (f *failing) InterceptActivity(ctx context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	in := &failingInbound{failing: f}
	in.Next = next
	return in
}

type failingInbound struct {
	interceptor.ActivityInboundInterceptorBase
	*failing
}

func (f *failingInbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	if activity.GetInfo(ctx).ActivityType.Name == f.name {
		return nil, f.err
	}
	return f.Next.ExecuteActivity(ctx, in)
}

// TestEachFailure: whatever step fails for good, the run ends there, says why,
// and is recorded as failed; nothing goes live.
func TestEachFailure(t *testing.T) {
	stages := []string{
		"ValidateConfig", "PrepareData", "ExtractFeatures", "Train", "CaptionShard", "Evaluate", "RegisterVersion",
		"DecidePromotion", "WriteDeploymentManifest", "Deploy",
	}
	for i, name := range stages {
		t.Run(name, func(t *testing.T) {
			f := activitiestest.New(t)
			h := newHarness(t, f, &failing{name: name, err: captioner.Errorf(captioner.Invalid, "no luck with %s", name)})
			_, err := h.run(t, f.Config())
			if err := activities.FromFailure(err); captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), "no luck with "+name) {
				t.Errorf("the run ended with %v, want Invalid with its reason", err)
			}
			var want []string
			for j, stage := range stages {
				want = append(want, stage+" "+[]string{"completed", "failed", "pending"}[1+min(1, max(-1, j-i))])
			}
			p := h.progress(t)
			if diff := cmp.Diff(want, states(p)); diff != "" {
				t.Errorf("stages (-want +got):\n%s", diff)
			}
			if p.Stages[i].Error != "no luck with "+name {
				t.Errorf("stage %+v, want its reason", p.Stages[i])
			}
			if r := h.record(t); r.State != captioner.RunFailed || r.Message != "no luck with "+name {
				t.Errorf("record %+v, want it failed with the reason", r)
			}
			if alias, err := f.Store.Alias(t.Context(), captioner.Production); captioner.KindOf(err) != captioner.NotFound {
				t.Errorf("alias %+v (%v), want none", alias, err)
			}
		})
	}
}

func TestInvalidConfig(t *testing.T) {
	f := activitiestest.New(t)
	h := newHarness(t, f)
	cfg := f.Config()
	cfg.Data.Images, cfg.Training.BatchSize = "/nowhere", 0
	_, err := h.run(t, cfg)
	problems := captioner.ProblemsOf(activities.FromFailure(err))
	if len(problems) != 2 {
		t.Errorf("problems %v, want two", problems)
	}
	if want := []string{"ValidateConfig@captioner", "RecordRun@captioner"}; !slices.Equal(h.started, want) {
		t.Errorf("activities %v, want %v", h.started, want)
	}
	if r := h.record(t); r.State != captioner.RunFailed {
		t.Errorf("record %+v, want it failed", r)
	}
}

// TestDefaults: {} , null and no input at all run the defaults.
func TestDefaults(t *testing.T) {
	for _, input := range []json.RawMessage{json.RawMessage(`{}`), json.RawMessage(`null`), nil} {
		t.Run(fmt.Sprintf("%q", input), func(t *testing.T) {
			f := activitiestest.New(t)
			asked := 0
			f.Activities.Demonstration = func(context.Context) (captioner.DataConfig, error) {
				asked++
				return f.Data, nil
			}
			h := newHarness(t, f)
			// The default vocabulary needs words that occur five times.
			h.ExecuteWorkflow(workflows.TrainAndDeploy, input)
			if err := h.GetWorkflowError(); err != nil {
				t.Fatal(err)
			}
			if asked != 1 {
				t.Errorf("asked for the demonstration data %d times, want once", asked)
			}
			var cfg captioner.Config
			if err := json.Unmarshal(h.record(t).Config, &cfg); err != nil || cfg.Training.Steps != captioner.DefaultConfig().Training.Steps {
				t.Errorf("recorded %d steps (%v), want the default", cfg.Training.Steps, err)
			}
		})
	}
}

// TestCancel: a cancelled run is recorded as such. That the cancellation reaches
// the training in time is for the real server to show, see server_test.go.
func TestCancel(t *testing.T) {
	f := activitiestest.New(t)
	h := newHarness(t, f)
	training, over := make(chan struct{}), make(chan struct{})
	f.Engine.OnStep = func(ctx context.Context, step int) error {
		if step == 8 {
			close(training)
			select {
			case <-ctx.Done():
			case <-over:
			}
			return context.Canceled
		}
		return nil
	}
	go func() {
		<-training
		h.CancelWorkflow()
	}()
	_, err := h.run(t, f.Config())
	close(over)
	if !temporal.IsCanceledError(err) {
		t.Errorf("the run ended with %v, want a cancellation", err)
	}
	if r := h.record(t); r.State != captioner.RunCancelled {
		t.Errorf("record %+v, want it cancelled", r)
	}
}

func TestQuarantine(t *testing.T) {
	f := activitiestest.New(t)
	f.Engine.Undecodable = []string{"007.png"}
	h := newHarness(t, f)
	if _, err := h.run(t, f.Config()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(h.started, "ExcludeImages@captioner") {
		t.Errorf("activities %v, want ExcludeImages", h.started)
	}
	if s := h.progress(t).Stages[2]; s.Note != "left out: 1 corrupt" {
		t.Errorf("stage %+v, want a note about what was left out", s)
	}
	if r := h.record(t).Result; r == nil || r.LeftOut == nil || len(r.LeftOut.First) != 1 || r.LeftOut.First[0].Image != "007.png" {
		t.Errorf("result %+v, want it to name 007.png", r)
	}

	f = activitiestest.New(t)
	f.Engine.Undecodable = []string{"001.png", "007.png", "008.png"}
	h = newHarness(t, f)
	_, err := h.run(t, f.Config())
	if got := captioner.CodeOf(activities.FromFailure(err)); got != "unusable_data" {
		t.Errorf("the run ended with %v, code %q; want unusable_data", err, got)
	}
	if s := h.progress(t).Stages[2]; s.State != "failed" {
		t.Errorf("stage %+v, want it failed", s)
	}
}

// say makes a model that is right about a share of the pictures.
func say(wrongEvery int) func(image, algorithm string) string {
	return func(image, _ string) string {
		var i int
		_, _ = fmt.Sscanf(image, "%03d", &i)
		if i%wrongEvery == 0 {
			return fmt.Sprintf("%d things nobody can see", i)
		}
		colour := []string{"red", "green", "blue", "grey"}[i%4]
		return fmt.Sprintf("a %s field with %d white dots", colour, i+1)
	}
}

func TestPromotion(t *testing.T) {
	for _, test := range []struct {
		name    string
		say     func(image, algorithm string) string
		change  func(*captioner.Config)
		outcome captioner.Outcome
		reason  string
		rescore bool
	}{
		{name: "better", say: say(1000), outcome: captioner.Promote, reason: "up to 1.00 less is allowed"},
		{name: "worse", say: say(2), outcome: captioner.Hold, reason: "that of the live version"},
		{name: "worse within the margin", say: say(2), change: func(c *captioner.Config) { c.Promotion.Margin = 1 }, outcome: captioner.Promote, reason: "100.00"},
		{name: "collapsed", say: func(string, string) string { return "a dog" }, outcome: captioner.Reject, reason: "collapsed"},
		{
			name: "another signature", say: say(4), outcome: captioner.Promote, reason: "that of the live version", rescore: true,
			change: func(c *captioner.Config) { c.Evaluation.BeamWidth = 5 },
		},
		{
			name: "another test split and input size", say: say(4), outcome: captioner.Promote, reason: "that of the live version", rescore: true,
			change: func(c *captioner.Config) { c.Data.Seed = 7; c.Model.ImageSize = 64 },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := activitiestest.New(t)
			f.Engine.Say = say(4)
			live := complete(t, f, f.Config())

			f.Engine.Say = test.say
			cfg := f.Config()
			cfg.Training.Seed = 43 // another model
			if test.change != nil {
				test.change(&cfg)
			}
			h := newHarness(t, f)
			result, err := h.run(t, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if result.Decision.Outcome != test.outcome || !strings.Contains(strings.Join(result.Decision.Reasons, " "), test.reason) {
				t.Errorf("decision %+v, want %s because of %q", result.Decision, test.outcome, test.reason)
			}
			want := live.Version
			if test.outcome == captioner.Promote {
				want = result.Version
			}
			alias, err := f.Store.Alias(t.Context(), captioner.Production)
			if err != nil || alias.Version != want || result.Deployed != (test.outcome == captioner.Promote) {
				t.Errorf("alias %+v (%v), deployed %v; want %s live", alias, err, result.Deployed, want.Short())
			}
			deploy := h.progress(t).Stages[9]
			if skipped := deploy.State == "skipped"; skipped != (test.outcome != captioner.Promote) {
				t.Errorf("Deploy is %s after %s", deploy.State, test.outcome)
			}
			decisions := 0
			for _, name := range h.started {
				if strings.HasPrefix(name, "DecidePromotion") {
					decisions++
				}
			}
			if want := map[bool]int{false: 1, true: 2}[test.rescore]; decisions != want {
				t.Errorf("%d decisions, want %d", decisions, want)
			}
		})
	}
}

// TestDecideAgain: the alias moves between decision and deployment.
func TestDecideAgain(t *testing.T) {
	for _, test := range []struct {
		name     string
		moves    int
		deployed bool
	}{
		{"once", 1, true},
		{"again and again", 100, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := activitiestest.New(t)
			first := complete(t, f, f.Config())
			left := test.moves
			f.Activities.Store = &fault{Store: f.Store, moved: func() {
				if left == 0 {
					return
				}
				left--
				alias, err := f.Store.Alias(context.Background(), captioner.Production)
				if err == nil {
					_, err = f.Store.MoveAlias(context.Background(), captioner.Production, first.Version, alias.Generation, "someone", "by hand")
				}
				if err != nil {
					t.Error(err)
				}
			}}
			cfg := f.Config()
			cfg.Training.Seed = 43
			h := newHarness(t, f)
			result, err := h.run(t, cfg)
			if result.Deployed != test.deployed || (err == nil) != test.deployed {
				t.Errorf("deployed %v, error %v; want deployed %v", result.Deployed, err, test.deployed)
			}
			if !test.deployed && captioner.KindOf(activities.FromFailure(err)) != captioner.Conflict {
				t.Errorf("the run ended with %v, want a Conflict", err)
			}
			if test.deployed && result.Decision.Generation != 2 {
				t.Errorf("decided against generation %d, want 2", result.Decision.Generation)
			}
		})
	}
}

func TestDeployMovesBack(t *testing.T) {
	f := activitiestest.New(t)
	first := complete(t, f, f.Config())
	f.Activities.DeployTimeout = 300 * time.Millisecond
	stop := keepAlive(t, f, captioner.Replica{ID: "server-1", Version: first.Version, Generation: 1})
	defer stop()

	cfg := f.Config()
	cfg.Training.Seed = 43
	h := newHarness(t, f)
	_, err := h.run(t, cfg)
	if got := captioner.CodeOf(activities.FromFailure(err)); got != "deployment_failed" {
		t.Fatalf("the run ended with %v, code %q; want deployment_failed", err, got)
	}
	moves, err := f.Store.AliasMoves(t.Context(), captioner.Production, 10)
	if err != nil || len(moves) != 3 || moves[0].Version != first.Version || !strings.Contains(moves[0].Reason, "server-1") {
		t.Errorf("moves %+v (%v), want the third to go back because of server-1", moves, err)
	}
}

// keepAlive records a server's heartbeats until the returned function is called.
func keepAlive(t *testing.T, f *activitiestest.Fixture, r captioner.Replica) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			r.SeenAt = time.Now()
			if err := f.Store.SeeReplica(context.Background(), r); err != nil {
				t.Error(err)
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	})
	return func() { cancel(); done.Wait() }
}
