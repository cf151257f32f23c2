package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/faultproxy"
	"github.com/captioner/captioner/internal/temporaldev"
)

// faultTimes is how long the network fails: the short time always, the long ones
// in `make verify`.
func faultTimes() []time.Duration {
	if os.Getenv("CAPTIONER_LONG_TESTS") == "" {
		return []time.Duration{5 * time.Second}
	}
	return []time.Duration{5 * time.Second, 30 * time.Second, 120 * time.Second}
}

// answerWithin bounds an answer about runs, whatever the network does: 10 s for the
// workflow service, and what a busy machine adds.
const answerWithin = 13 * time.Second

// TestNetworkFaults breaks the network between API and Temporal, and between worker
// and Temporal, while a run deploys. Starting runs is answered or put off,
// in time; afterwards the run completes, it has deployed once, and every run that was
// asked for has begun once.
func TestNetworkFaults(t *testing.T) {
	p := needPrograms(t)
	temporal, err := temporaldev.Start(t.Context(), temporaldev.Options{Binary: p.temporal})
	if err != nil {
		t.Fatal(err)
	}
	defer temporal.Stop()
	proxy := func() *faultproxy.Proxy {
		p, err := faultproxy.Start(temporal.Address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	toAPI, toWorker := proxy(), proxy()
	dataDir := filepath.Join(t.TempDir(), "data")
	server := process(t, p, dataDir, "serve", "--temporal-address", toAPI.Address())
	server.start(t)
	worker := process(t, p, dataDir, "worker", "--temporal-address", toWorker.Address())
	worker.launch(t)

	cfg := smallConfig(pictures(t, 100), 40)
	cfg.Promotion.Margin = 1 // whatever the scores, the newest version goes live
	for _, length := range faultTimes() {
		for _, fault := range faultproxy.Faults {
			t.Run(fmt.Sprintf("%s for %v", fault, length), func(t *testing.T) {
				cfg.Training.Seed++
				id := server.startRun(t, cfg)
				eventually(t, 2*time.Minute, "the run deploys", func() bool { // until the server has taken over
					run := server.describe(t, id)
					if run.State.Ended() {
						t.Fatalf("the run has ended as %s: %s", run.State, run.Error)
					}
					return slices.ContainsFunc(run.Stages, func(s captioner.Stage) bool { return s.Name == "Deploy" && s.State == "running" })
				})
				toAPI.Set(fault)
				toWorker.Set(fault)
				asked := server.keepPosting(t, string(fault), length)
				toAPI.Set(faultproxy.None)
				toWorker.Set(faultproxy.None)
				healed := time.Now()

				for key, body := range asked {
					var begun string
					eventually(t, time.Minute, "a run is started once the network works", func() bool {
						id, err := server.postRun(t, body, key)
						begun = id
						return err == nil
					})
					again, err := server.postRun(t, body, key)
					if err != nil || again != begun {
						t.Errorf("the key gave run %s, and then %s (%v)", begun, again, err)
					}
				}
				t.Logf("runs are started %v after the fault", time.Since(healed).Round(10*time.Millisecond))
				run := server.awaitEnd(t, id, 3*time.Minute)
				t.Logf("the run ended %v after the fault", time.Since(healed).Round(10*time.Millisecond))
				if run.State != captioner.RunCompleted || !run.Result.Deployed {
					t.Fatalf("the run ended as %s (%s), result %+v", run.State, run.Error, run.Result)
				}
				if moves := server.moves(t, id); len(moves) != 1 || moves[0].Version != run.Result.Version {
					t.Errorf("the run has deployed %d times: %+v", len(moves), moves)
				}
			})
		}
	}
	worker.stop(t)
	server.stop(t)
}

// moves are the deployments that a run has made.
func (l *local) moves(t *testing.T, run string) (moves []captioner.AliasMove) {
	t.Helper()
	var log struct{ Deployments []captioner.AliasMove }
	l.get(t, "/deployments", &log)
	for _, m := range log.Deployments {
		if m.Actor == run {
			moves = append(moves, m)
		}
	}
	return moves
}

// keepPosting starts runs, lists them and the schedules for a time, each with a key and none with a use:
// there are no pictures to train on. Every answer must come within answerWithin. It
// returns what was asked for, by key.
func (l *local) keepPosting(t *testing.T, name string, length time.Duration) map[string]string {
	t.Helper()
	const clients = 4
	asked := map[string]string{}
	var mu sync.Mutex
	var all sync.WaitGroup
	var slowest time.Duration
	started, putOff := 0, 0
	end := time.Now().Add(length)
	for client := range clients {
		all.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				key := fmt.Sprintf("%s for %v, %d %d", name, length, client, n%3)
				body := fmt.Sprintf(`{"data": {"images": "/nowhere", "captions": "/nowhere/%d"}}`, n%3)
				begin := time.Now()
				_, err := l.postRun(t, body, key)
				took := time.Since(begin)
				begin = time.Now()
				path := []string{"/runs", "/schedules"}[n%2]
				if resp, err := http.Get(l.api + path); err != nil {
					t.Errorf("GET %s: %v", path, err)
				} else {
					resp.Body.Close()
					if resp.StatusCode != http.StatusOK && (resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "") {
						t.Errorf("GET %s: %s (Retry-After %q), want 200, or 503 with Retry-After", path, resp.Status, resp.Header.Get("Retry-After"))
					}
				}
				took = max(took, time.Since(begin))
				mu.Lock()
				asked[key] = body
				slowest = max(slowest, took)
				if err == nil {
					started++
				} else {
					putOff++
				}
				mu.Unlock()
				if err != nil && strings.HasPrefix(err.Error(), "no answer") {
					t.Errorf("the API gave %v", err)
				}
				time.Sleep(200 * time.Millisecond) // a client's own pause
			}
		})
	}
	all.Wait()
	t.Logf("%d times started, %d put off; the slowest answer took %v", started, putOff, slowest.Round(10*time.Millisecond))
	if slowest > answerWithin {
		t.Errorf("an answer took %v, want at most %v", slowest, answerWithin)
	}
	return asked
}
