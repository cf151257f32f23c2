package workflows_test

import (
	"bytes"
	"context"
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
// server, with -update; without it, it does nothing.
func TestRecord(t *testing.T) {
	if !*update {
		return
	}
	old, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range old {
		known := slices.ContainsFunc(branches, func(b branch) bool { return historyFile(b.name) == file })
		if known {
			continue // the old one stays unless it is recorded anew
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("decisions", recordDecisions)
	t.Run("schedules", recordSchedules)
	t.Run("cancellations", recordCancellations)
	t.Run("retries", recordRetries)
	t.Run("killed", recordKilled)
	t.Run("stopped", recordStopped)
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

// recordCancellations cancels a run in each of its stages.
func recordCancellations(t *testing.T) {
	r := newRecorder(t)
	r.work(t)
	for i, stage := range stages {
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

// stall holds up one activity until it is cancelled.
type stall struct {
	interceptor.InterceptorBase
	reached chan struct{}

	mu   sync.Mutex
	name string
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
	here := s.stall.name == activity.GetInfo(ctx).ActivityType.Name
	s.stall.mu.Unlock()
	if !here {
		return s.Next.ExecuteActivity(ctx, in)
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

func recordRetries(t *testing.T) {
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
