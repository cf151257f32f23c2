package outbox

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/cputime"
	"github.com/captioner/captioner/internal/tracking/mlflow"
	"github.com/captioner/captioner/internal/tracking/mlflow/mlflowtest"
)

// BenchmarkDeliver measures the processor's time, user and system, of what the
// control plane does with the points of a training of 2,000 steps that takes two
// minutes: the points are written each second, and each fifth second the outbox
// looks. One outbox has a server, that of another is away, and one training has
// none. They take turns. The server's time is in this process and counts too.
func BenchmarkDeliver(b *testing.B) {
	server, _ := mlflowtest.Fake(b)
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	modes := []struct{ name, uri string }{{"off", ""}, {"on", server}, {"away", away.URL}}
	used, stores, outboxes := make([]time.Duration, len(modes)), make([]captioner.Store, len(modes)), make([]*Outbox, len(modes))
	for i, mode := range modes {
		stores[i] = openStore(b, "sqlite:"+filepath.Join(b.TempDir(), "captioner.db"))
		if mode.uri != "" {
			client, err := mlflow.New(mlflow.Options{URI: mode.uri})
			must(b, err)
			outboxes[i] = New(Options{Store: stores[i], Server: client})
		}
	}
	training := 0
	for b.Loop() {
		training++
		for i, store := range stores {
			run := captioner.RunRecord{ID: fmt.Sprintf("train-%d", training), Config: []byte("{}"), CreatedAt: start.Add(time.Duration(training) * time.Hour)}
			_, _, err := store.PutRun(b.Context(), run)
			must(b, err)
			must(b, store.PutProgress(b.Context(), run.ID, captioner.Progress{RunKey: run.ID}))
			used[i] += cpu(func() { trainForBench(b, store, run.ID, outboxes[i]) })
			must(b, store.FinishRun(b.Context(), run.ID, captioner.RunFailed, nil, ""))
		}
	}
	for i, mode := range modes {
		b.ReportMetric(used[i].Seconds()/float64(b.N), mode.name+"_cpu_s")
	}
	b.ReportMetric(0, "ns/op") // of no meaning here
}

func trainForBench(b *testing.B, store captioner.Store, runKey string, o *Outbox) {
	for second := range 120 {
		var points []captioner.Metric
		for _, name := range []string{"step", "steps", "epoch", "epochs", "loss", "learning_rate", "images_per_second", "seconds_left"} {
			points = append(points, captioner.Metric{RunKey: runKey, Step: second * 2000 / 120, Name: name, Value: 1, Time: start})
		}
		must(b, store.AppendMetrics(b.Context(), 1, points))
		if o != nil && second%5 == 4 {
			_ = o.whileHeld(b.Context(), o.round) // one of them has nobody to deliver to
		}
	}
}

func cpu(f func()) time.Duration {
	before := cputime.Used()
	f()
	return cputime.Used() - before
}
