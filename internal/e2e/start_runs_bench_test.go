package e2e_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/captioner/captioner/internal/store/postgrestest"
	"github.com/captioner/captioner/internal/temporaldev"
)

const (
	startsPerSecond = 5
	startsFor       = 20 * time.Second
)

// BenchmarkStartRuns starts 5 runs a second for 20 s at a server, whether it has
// answered those before or not, and reports how long it takes to answer: the
// median and the 99th percentile, in milliseconds. There is no worker: what is
// measured is what a client waits for, the check of the configuration, the record
// and the start of the workflow.
func BenchmarkStartRuns(b *testing.B) {
	b.Run("SQLite", func(b *testing.B) { benchmarkStartRuns(b) })
	b.Run("Postgres", func(b *testing.B) {
		benchmarkStartRuns(b, "--database", postgrestest.Start(b).Database(b))
	})
}

func benchmarkStartRuns(b *testing.B, flags ...string) {
	p := needPrograms(b)
	dir := b.TempDir()
	temporal, err := temporaldev.Start(b.Context(), temporaldev.Options{Binary: p.temporal, DBFile: filepath.Join(dir, "temporal.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer temporal.Stop()
	server := process(b, p, filepath.Join(dir, "data"), append([]string{"serve", "--temporal-address", temporal.Address()}, flags...)...)
	server.start(b)
	cfg := smallConfig(pictures(b, 100), 100)
	server.startRun(b, cfg) // the first one opens connections

	for b.Loop() {
		var mu sync.Mutex
		var took []float64
		var wg sync.WaitGroup
		ticker := time.NewTicker(time.Second / startsPerSecond)
		for range int(startsFor.Seconds()) * startsPerSecond {
			cfg.Training.Seed++
			body, err := json.Marshal(cfg)
			if err != nil {
				b.Fatal(err)
			}
			due := <-ticker.C
			wg.Go(func() {
				resp, reply := server.post(b, "/runs", string(body), "")
				if resp == nil || resp.StatusCode != http.StatusAccepted {
					b.Errorf("POST /runs: %s", reply)
				}
				mu.Lock()
				defer mu.Unlock()
				took = append(took, float64(time.Since(due))/float64(time.Millisecond))
			})
		}
		ticker.Stop()
		wg.Wait()
		slices.Sort(took)
		b.ReportMetric(took[len(took)/2], "p50_ms")
		b.ReportMetric(took[len(took)*99/100], "p99_ms")
		b.ReportMetric(float64(len(took)), "runs")
		b.ReportMetric(0, "ns/op") // of no meaning here
	}
	server.stop(b)
}
