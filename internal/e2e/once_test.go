package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/temporaldev"
	"github.com/captioner/captioner/workflows"
)

// TestOnceNotTwice sends a thousand requests at a time over a hundred keys, kills
// the server in the middle and starts it again, as its supervisor would. Clients
// ask again until they are answered. Each key must have begun one run.
func TestOnceNotTwice(t *testing.T) {
	p := needPrograms(t)
	const posts, keys, killAfter = 1000, 100, 300
	temporal, err := temporaldev.Start(t.Context(), temporaldev.Options{Binary: p.temporal, DBFile: filepath.Join(t.TempDir(), "temporal.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer temporal.Stop()
	// Without a worker no run begins its work: what is counted are the runs.
	server := process(t, p, filepath.Join(t.TempDir(), "data"), "serve", "--temporal-address", temporal.Address())
	server.start(t)

	body := func(key int) string { return fmt.Sprintf(`{"training": {"seed": %d}}`, key) }
	var answered, asked, refused atomic.Int64
	ids := make([]sync.Map, keys)
	half := make(chan struct{})
	var all sync.WaitGroup
	start := time.Now()
	for i := range posts {
		all.Go(func() {
			key := i % keys
			for {
				asked.Add(1)
				id, err := server.postRun(t, body(key), fmt.Sprintf("key %d", key))
				if err != nil {
					refused.Add(1)
					if time.Since(start) > 2*time.Minute {
						t.Errorf("post %d is not answered: %v", i, err)
						return
					}
					time.Sleep(100 * time.Millisecond) // as Retry-After asks, only sooner
					continue
				}
				ids[key].Store(id, true)
				if answered.Add(1) == killAfter {
					close(half)
				}
				return
			}
		})
	}
	<-half
	server.kill(t)
	server.start(t)
	all.Wait()
	t.Logf("%d requests for %d posts, %d of them not answered, in %v", asked.Load(), posts, refused.Load(), time.Since(start).Round(time.Millisecond))
	if refused.Load() == 0 {
		t.Error("no request met the kill")
	}

	runs := map[string]bool{}
	for key := range ids {
		var of []string
		ids[key].Range(func(id, _ any) bool { of = append(of, id.(string)); runs[id.(string)] = true; return true })
		if len(of) != 1 {
			t.Errorf("key %d gave the runs %v, want one", key, of)
		}
	}
	c, err := client.Dial(client.Options{HostPort: temporal.Address(), Namespace: temporaldev.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var count int64
	eventually(t, 30*time.Second, "Temporal lists a hundred runs", func() bool { // its index is a moment behind
		reply, err := c.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Query: "WorkflowType = '" + workflows.TrainAndDeployName + "'"})
		if err != nil {
			t.Fatal(err)
		}
		count = reply.GetCount()
		return count >= keys
	})
	if count != keys || len(runs) != keys {
		t.Errorf("Temporal has %d runs, clients were told of %d; want %d", count, len(runs), keys)
	}

	// The same key for something else, and no key at all.
	resp, reply := server.post(t, "/runs", body(keys+1), "key 1")
	if resp.StatusCode != http.StatusConflict || !strings.Contains(reply, `"code":"idempotency_key_reused"`) {
		t.Errorf("the key with another body: %s %s, want 409 idempotency_key_reused", resp.Status, reply)
	}
	for range 2 {
		id, err := server.postRun(t, body(1), "")
		if err != nil || runs[id] {
			t.Errorf("without a key: run %s (%v), want a new one", id, err)
		}
		runs[id] = true
	}
	server.stop(t)
}

// postRun starts a run, and reports an error when it has to be tried again.
// Anything but 202 and 503 with Retry-After fails the test.
func (l *local) postRun(t testing.TB, body, key string) (id string, err error) {
	t.Helper()
	resp, reply := l.post(t, "/runs", body, key)
	switch {
	case resp == nil:
		return "", fmt.Errorf("no answer: %s", reply)
	case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
		return "", fmt.Errorf("%s: %s", resp.Status, reply)
	case resp.StatusCode != http.StatusAccepted:
		t.Errorf("POST /runs: %s (Retry-After %q): %s; want 202, or 503 with Retry-After", resp.Status, resp.Header.Get("Retry-After"), reply)
		return "", fmt.Errorf("%s", resp.Status)
	}
	var run captioner.Run
	if err := json.Unmarshal([]byte(reply), &run); err != nil {
		t.Errorf("POST /runs: %v: %s", err, reply)
	}
	return run.ID, nil
}
