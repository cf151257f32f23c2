package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/api"
	"github.com/captioner/captioner/internal/cputime"
	"github.com/captioner/captioner/internal/engine"
	"github.com/captioner/captioner/internal/memory"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/serving"
	"github.com/captioner/captioner/internal/telemetry"
)

// The measure of BenchmarkPredictObserved: pairs of rounds of requests, each by
// several clients at a time. A round lasts some seconds, as spans are sent once a
// second, some of them in the round that follows.
const (
	benchPairs    = 24
	benchRequests = 1000
	benchClients  = 4
)

// BenchmarkPredictObserved measures what tracing and metrics cost /predict: two
// servers of the default model, one that observes and sends every span to a
// collector, one that does nothing of it. They take turns, so that whatever else
// the machine does meets both, and share one engine, since two processes differ by
// more than what is measured; it makes spans for the requests that have one. The
// collector, which reads and forgets, is a part of this process and counts as a
// cost. It reports the requests per second of each, the median over the pairs of
// what observing takes of them, and the same of the processor's time, which other
// work disturbs less.
func BenchmarkPredictObserved(b *testing.B) {
	p := needPrograms(b)
	bundle, picture := trainForBench(b, p)
	on, off := serveForBench(b, p, bundle)
	body, contentType := predictForm(b, picture, "beam") // the default

	for b.Loop() {
		on.round(b, body, contentType) // warm
		off.round(b, body, contentType)
		var throughput, cpu []float64
		var onRate, offRate float64
		for i := range benchPairs {
			order := []*benchServer{on, off}
			if i%2 == 1 {
				slices.Reverse(order)
			}
			for _, s := range order {
				s.round(b, body, contentType)
			}
			throughput = append(throughput, 100*(1-on.rate/off.rate))
			cpu = append(cpu, 100*(on.cpu/off.cpu-1))
			onRate, offRate = onRate+on.rate/benchPairs, offRate+off.rate/benchPairs
		}
		b.ReportMetric(onRate, "on_requests/s")
		b.ReportMetric(offRate, "off_requests/s")
		b.ReportMetric(median(throughput), "throughput-%")
		b.ReportMetric(median(cpu), "cpu-%")
		b.ReportMetric(0, "ns/op") // of no meaning here
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// trainForBench trains the default model for a moment and returns its bundle and
// a picture.
func trainForBench(b *testing.B, p programs) (bundle string, picture []byte) {
	b.Helper()
	l := startLocal(b, p, filepath.Join(b.TempDir(), "data"))
	cfg := captioner.DefaultConfig()
	cfg.Data = pictures(b, 200)
	cfg.Training.Steps, cfg.Training.WarmupSteps = 300, 30 // enough for captions of some words
	cfg.Promotion.CollapseMinImages = 1_000_000            // it need not be good
	run := l.awaitEnd(b, l.startRun(b, cfg), 5*time.Minute)
	if run.State != captioner.RunCompleted || !run.Result.Deployed {
		b.Fatalf("the run ended as %s: %s", run.State, run.Error)
	}
	l.stop(b)
	return filepath.Join(l.dataDir, "cache", "models", string(run.Result.Version)), readFile(b, firstPicture(b, cfg.Data.Images))
}

// benchServer is a server of a bundle in this process, and the outcome of its last
// round.
type benchServer struct {
	url    string
	engine *engine.Model

	rate float64 // requests per second
	cpu  float64 // seconds of processor time a request, of this process and the engine
}

// serveForBench serves a bundle as the program does, observed and not.
func serveForBench(b *testing.B, p programs, bundle string) (on, off *benchServer) {
	b.Helper()
	memory.CollectSeldom()
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	b.Cleanup(collector.Close)
	b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	tel, err := telemetry.New(b.Context(), telemetry.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { tel.Shutdown(context.Background()) })

	var model *engine.Model
	served, err := serving.NewFixed(serving.Options{
		Verify: registry.VerifyDir,
		Start: func(ctx context.Context, dir string) (serving.Engine, error) {
			var err error
			model, err = engine.OpenModel(ctx, engine.Options{Binary: p.engine, Relay: tel.Relay()}, dir)
			return model, err
		},
	}, bundle)
	if err != nil {
		b.Fatal(err)
	}
	served.Start()
	b.Cleanup(func() { served.Stop(context.Background()) })
	if err := served.WaitReady(b.Context()); err != nil {
		b.Fatal(err)
	}
	options := api.Options{Captioner: served, Logger: slog.New(slog.DiscardHandler)}
	observed := options
	observed.TracerProvider, observed.Propagator, observed.Observer = tel.TracerProvider, tel.Propagator, tel.Metrics
	return &benchServer{url: listenForBench(b, observed), engine: model}, &benchServer{url: listenForBench(b, options), engine: model}
}

// listenForBench starts a server and returns the address of /predict.
func listenForBench(b *testing.B, options api.Options) string {
	b.Helper()
	server, err := api.New(options)
	if err != nil {
		b.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go server.Start(listener)
	b.Cleanup(func() { server.Shutdown(context.Background()) })
	return "http://" + listener.Addr().String() + "/predict"
}

// round sends requests and measures them.
func (s *benchServer) round(b *testing.B, body []byte, contentType string) {
	begun, before := time.Now(), s.cpuTime(b)
	var left atomic.Int64
	left.Store(benchRequests)
	var clients sync.WaitGroup
	for range benchClients {
		clients.Go(func() {
			for left.Add(-1) >= 0 {
				resp, err := http.Post(s.url, contentType, bytes.NewReader(body))
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					b.Errorf("POST /predict: %s", resp.Status)
				}
			}
		})
	}
	clients.Wait()
	s.rate = benchRequests / time.Since(begun).Seconds()
	s.cpu = (s.cpuTime(b) - before).Seconds() / benchRequests
}

// cpuTime is what this process and the engine have used so far.
func (s *benchServer) cpuTime(b *testing.B) time.Duration {
	total := cputime.Used()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.engine.PID()))
	if err != nil {
		b.Fatal(err)
	}
	for _, thread := range threads {
		data, err := os.ReadFile(thread)
		if err != nil {
			continue // it has just ended
		}
		var nanoseconds int64
		if _, err := fmt.Sscan(strings.Fields(string(data))[0], &nanoseconds); err != nil {
			b.Fatal(err)
		}
		total += time.Duration(nanoseconds)
	}
	return total
}
