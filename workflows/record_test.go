package workflows_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/proxy"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/temporaldev"
)

var update = flag.Bool("update", false, "record the histories in testdata anew, see TestRecord")

// TestRecord records the histories that TestReplay replays, on a development
// server, with -update; without it, it does nothing. `-run TestRecord/retries`
// records some of them anew: the others are then of an older program, as they
// should be.
func TestRecord(t *testing.T) {
	if !*update {
		return
	}
	t.Run("decisions", recordDecisions)
	t.Run("schedules", recordSchedules)
	t.Run("cancellations", func(t *testing.T) { recordCancellations(t, stages) })
	t.Run("cancelled exclusion", func(t *testing.T) { recordCancellations(t, []string{"ExcludeImages"}) })
	t.Run("faults", recordFaults)
	t.Run("retries", recordRetries)
	t.Run("failures", recordFailures)
	t.Run("resumed", recordResumed)
	t.Run("killed", recordKilled)
	t.Run("stopped", recordStopped)
	t.Run("no others", removeOthers)
}

// removeOthers removes histories that are of no branch.
func removeOthers(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !slices.ContainsFunc(branches, func(b branch) bool { return historyFile(b.name) == file }) {
			if err := os.Remove(file); err != nil {
				t.Error(err)
			}
		}
	}
}

// recorder is a deployment whose runs are kept.
type recorder struct {
	*deployment
	stall *stall
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{deployment: deploy(t), stall: &stall{reached: make(chan struct{}, 1)}}
	c, err := client.Dial(client.Options{
		HostPort: r.server.Address(), Namespace: temporaldev.Namespace, Identity: "recorder", Interceptors: []interceptor.ClientInterceptor{r.stall},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r.temporal, r.runs.Temporal = c, c
	return r
}

// config is one of a run with few events: one shard.
func (r *recorder) config(seed uint64) captioner.Config {
	cfg := r.fixture.Config()
	cfg.Training.Seed, cfg.Data.ShardSize = seed, 100
	return cfg
}

// keep runs a configuration and saves its history.
func (r *recorder) keep(t *testing.T, name string, cfg captioner.Config) {
	t.Helper()
	run, err := r.runs.Start(t.Context(), cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = r.runs.WaitResult(t.Context(), run.ID) // failures are recorded too
	r.save(t, run.ID, name)
}

func recordDecisions(t *testing.T) {
	r := newRecorder(t)
	moved := &fault{Store: r.fixture.Store}
	r.fixture.Activities.Store = moved
	r.work(t)
	r.keep(t, "promote", r.fixture.Config()) // three shards
	r.keep(t, "cached", r.fixture.Config())
	r.keep(t, "invalid", func() captioner.Config { c := r.config(1); c.Training.BatchSize = 0; return c }())

	r.fixture.Engine.Say = say(2)
	r.keep(t, "hold", r.config(44))
	r.fixture.Engine.Say = func(string, string) string { return "a dog" }
	r.keep(t, "reject", r.config(45))
	r.fixture.Engine.Say = nil
	rescored := r.config(46)
	rescored.Evaluation.BeamWidth = 5
	r.keep(t, "rescore", rescored)

	var once sync.Once
	moved.moved = func() {
		once.Do(func() {
			alias, err := r.fixture.Store.Alias(context.Background(), captioner.Production)
			if err == nil {
				_, err = r.fixture.Store.MoveAlias(context.Background(), alias.Name, alias.Version, alias.Generation, "someone", "by hand")
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	r.keep(t, "decide-again", r.config(47))
	moved.moved = nil

	r.fixture.Engine.Undecodable = []string{"007.png"}
	excluded := r.config(48)
	excluded.Model.ImageSize = 64
	r.keep(t, "exclude", excluded)
	r.fixture.Engine.Undecodable = nil

	r.fixture.Engine.OnExtract = func(context.Context, captioner.ExtractRequest) error {
		return captioner.Errorf(captioner.Corrupt, "the second shard is damaged")
	}
	broken := r.fixture.Config()
	broken.Model.ImageSize = 32
	r.keep(t, "failed-shard", broken)
}

// recordSchedules has a schedule start runs: of data that is new, unchanged and
// changed, and then one by force, whatever the data.
func recordSchedules(t *testing.T) {
	r := newRecorder(t)
	r.work(t)
	cfg := r.config(1)
	schedule := captioner.Schedule{Name: "nightly", Cron: "0 3 * * *", Config: &cfg}
	if _, err := r.runs.CreateSchedule(t.Context(), schedule); err != nil {
		t.Fatal(err)
	}
	r.save(t, r.trigger(t, "nightly", captioner.RunCompleted).ID, "schedule-first")
	r.save(t, r.trigger(t, "nightly", captioner.RunUnchanged).ID, "schedule-unchanged")
	addCaption(t, cfg.Data.Captions)
	r.save(t, r.trigger(t, "nightly", captioner.RunCompleted).ID, "schedule-changed")
	schedule.Name, schedule.Force = "always", true
	if _, err := r.runs.CreateSchedule(t.Context(), schedule); err != nil {
		t.Fatal(err)
	}
	r.trigger(t, "always", captioner.RunCompleted)
	r.save(t, r.trigger(t, "always", captioner.RunCompleted).ID, "schedule-forced")
}

// recordCancellations cancels a run in each of those activities.
func recordCancellations(t *testing.T, activities []string) {
	r := newRecorder(t)
	r.work(t)
	for i, stage := range activities {
		if stage == "ExcludeImages" { // which only pictures need that cannot be decoded
			r.fixture.Engine.Undecodable = []string{"007.png"}
		}
		cfg := r.config(uint64(100 + i)) // nothing but the data is found done
		cfg.Model.ImageSize = 32 + 8*i
		cfg.Data.Seed = uint64(i)
		r.stall.at(stage)
		run, err := r.runs.Start(t.Context(), cfg, "")
		if err != nil {
			t.Fatal(err)
		}
		<-r.stall.reached
		if err := r.runs.Cancel(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
		r.stall.at("")
		_, _ = r.runs.WaitResult(t.Context(), run.ID)
		r.save(t, run.ID, "cancel-"+stage)
	}
}

// stall holds up one activity until it is cancelled, or has its next attempt fail.
type stall struct {
	interceptor.InterceptorBase
	reached chan struct{}

	mu   sync.Mutex
	name string
	err  error
}

// failOnce has the next attempt of an activity fail.
func (s *stall) failOnce(activity string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name, s.err = activity, err
}

func (s *stall) at(activity string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name = activity
}

// InterceptActivity stands in front of each attempt.
func (s *stall) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	in := &stalled{stall: s}
	in.Next = next
	return in
}

type stalled struct {
	interceptor.ActivityInboundInterceptorBase
	stall *stall
}

func (s *stalled) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	s.stall.mu.Lock()
	here, err := s.stall.name == activity.GetInfo(ctx).ActivityType.Name, s.stall.err
	if here && err != nil {
		s.stall.name, s.stall.err = "", nil
	}
	s.stall.mu.Unlock()
	if !here {
		return s.Next.ExecuteActivity(ctx, in)
	}
	if err != nil {
		return nil, err
	}
	s.stall.reached <- struct{}{}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for { // a cancellation comes with the answer to a heartbeat
		activity.RecordHeartbeat(ctx)
		select {
		case <-ctx.Done():
			return nil, temporal.NewCanceledError()
		case <-ticker.C:
		}
	}
}

// recordRetries has each activity fail once for a reason that passes.
func recordRetries(t *testing.T) {
	r := newRecorder(t)
	r.work(t)
	for i, name := range retriedActivities {
		cfg := r.config(uint64(200 + i))
		cfg.Model.ImageSize = 32 + 8*i
		r.fixture.Engine.Undecodable = nil
		if name == "ExcludeImages" {
			r.fixture.Engine.Undecodable = []string{"007.png"}
		}
		r.stall.failOnce(name, errors.New("the machine is away"))
		r.keep(t, "retry-"+name, cfg)
	}
}

// recordFailures has stages fail for good.
func recordFailures(t *testing.T) {
	r := newRecorder(t)
	r.work(t)
	for i, stage := range failingStages {
		cfg := r.config(uint64(300 + i))
		cfg.Model.ImageSize = 32 + 8*i
		r.stall.failOnce(stage, temporal.NewNonRetryableApplicationError("damaged", string(captioner.Corrupt), nil))
		r.keep(t, "failed-"+stage, cfg)
	}
}

// recordResumed has a run go on from one that has completed, and one from one that
// has failed.
func recordResumed(t *testing.T) {
	r := newRecorder(t)
	r.work(t)
	resume := func(name, id, changes string) {
		t.Helper()
		cfg, err := r.runs.Continue(t.Context(), id, []byte(changes))
		if err != nil {
			t.Fatal(err)
		}
		run, err := r.runs.Resume(t.Context(), id, cfg, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.runs.WaitResult(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
		r.save(t, run.ID, name)
	}
	first, err := r.runs.Start(t.Context(), r.config(1), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.runs.WaitResult(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	resume("resume-completed", first.ID, `{"training":{"steps":40}}`)

	r.fixture.Engine.OnStep = func(_ context.Context, step int) error {
		if step == 13 {
			return captioner.Errorf(captioner.Invalid, "the training cannot go on")
		}
		return nil
	}
	second, err := r.runs.Start(t.Context(), r.config(2), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.runs.WaitResult(t.Context(), second.ID); err == nil {
		t.Fatal("the training has not failed")
	}
	r.fixture.Engine.OnStep = nil
	resume("resume-failed", second.ID, `{}`)

	vectors := filepath.Join(filepath.Dir(r.fixture.Data.Images), "glove.txt")
	if err := os.WriteFile(vectors, []byte("red 1 2 3\nblue 4 5 6\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg := r.config(3)
	cfg.Model.EmbeddingDim, cfg.Data.GloVe = 3, vectors
	r.keep(t, "word-vectors", cfg)
}

func recordFaults(t *testing.T) {
	r := newRecorder(t)
	store := &fault{Store: r.fixture.Store, left: 2, err: captioner.Errorf(captioner.Unavailable, "the database is away")}
	r.fixture.Activities.Store = store
	r.work(t)
	r.keep(t, "retry", r.config(1))
	store.left, store.err = 1, captioner.Errorf(captioner.Corrupt, "damaged")
	r.keep(t, "failed", r.config(2))
}

// recordKilled kills the worker in mid-training; another one goes on.
func recordKilled(t *testing.T) {
	r := newRecorder(t)
	run, err := r.runs.Start(t.Context(), r.config(1), "")
	if err != nil {
		t.Fatal(err)
	}
	victim := r.startVictim(t, 13)
	r.await(t, run.ID, "at step 12", func(run captioner.Run) bool { return run.Metrics["step"] == 12 })
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait() // killed
	r.work(t)
	if _, err := r.runs.WaitResult(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	r.save(t, run.ID, "resume-killed")
}

// recordStopped stops the worker in mid-training; another one goes on.
func recordStopped(t *testing.T) {
	r := newRecorder(t)
	training := make(chan struct{})
	var once sync.Once
	r.fixture.Engine.OnStep = func(_ context.Context, step int) error {
		if step == 8 {
			once.Do(func() {
				close(training)
				<-r.fixture.Engine.Asked()
			})
		}
		return nil
	}
	stop := r.work(t)
	run, err := r.runs.Start(t.Context(), r.config(1), "")
	if err != nil {
		t.Fatal(err)
	}
	<-training
	stop()
	r.work(t)
	if _, err := r.runs.WaitResult(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	r.save(t, run.ID, "resume-stopped")
}

// save writes a run's history as `temporal workflow show --output json` does,
// without what a replay does not read: the inputs of the activities, headers,
// and the names of machines.
func (d *deployment) save(t *testing.T, id, name string) {
	t.Helper()
	var history historypb.History
	events := d.temporal.GetWorkflowHistory(t.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			t.Fatal(err)
		}
		trim(e)
		history.Events = append(history.Events, e)
	}
	d.hideFolders(t, &history)
	data, err := temporalproto.CustomJSONMarshalOptions{Indent: " "}.Marshal(&history)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(historyFile(name), append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// hideFolders puts one name in the place of the test's folder of pictures.
func (d *deployment) hideFolders(t *testing.T, h *historypb.History) {
	t.Helper()
	folder := []byte(filepath.Dir(d.fixture.Data.Images))
	err := proxy.VisitPayloads(t.Context(), h, proxy.VisitPayloadsOptions{
		Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
			for _, p := range payloads {
				p.Data = bytes.ReplaceAll(p.Data, folder, []byte("/srv/pictures"))
			}
			return payloads, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// noise are the fields of an event that replay does not read and that differ from
// one recording to the next.
var noise = []protoreflect.Name{"identity", "request_id", "worker_version", "header", "last_failure"}

// trim leaves out what replay does not read.
func trim(e *historypb.HistoryEvent) {
	e.TaskId = 0
	if a := e.GetActivityTaskScheduledEventAttributes(); a != nil {
		a.Input = nil
	}
	event := e.ProtoReflect()
	attributes := event.WhichOneof(event.Descriptor().Oneofs().ByName("attributes"))
	if attributes == nil {
		return
	}
	m := event.Mutable(attributes).Message()
	for _, name := range noise {
		if field := m.Descriptor().Fields().ByName(name); field != nil {
			m.Clear(field)
		}
	}
}
