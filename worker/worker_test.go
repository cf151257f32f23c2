package worker_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/internal/temporaldev/temporaltest"
	"github.com/captioner/captioner/worker"
	"github.com/captioner/captioner/workflows"
)

// The work itself, and what becomes of it when a worker stops or is killed, is
// tested in package workflows.

func TestNewUnknownQueue(t *testing.T) {
	_, err := worker.New(lazyClient(t, "127.0.0.1:1"), &activities.Activities{}, worker.Options{TaskQueues: []string{"captioner", "gpu"}})
	if captioner.KindOf(err) != captioner.Invalid {
		t.Errorf("New() = %v, want Invalid", err)
	}
}

func TestNewImpatient(t *testing.T) {
	_, err := worker.New(lazyClient(t, "127.0.0.1:1"), &activities.Activities{}, worker.Options{HeartbeatTimeout: time.Millisecond})
	if captioner.KindOf(err) != captioner.Invalid {
		t.Errorf("New() = %v, want Invalid", err)
	}
}

func TestStartWithoutServer(t *testing.T) {
	w, err := worker.New(lazyClient(t, "127.0.0.1:1"), &activities.Activities{}, worker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); captioner.KindOf(err) != captioner.Unavailable {
		t.Errorf("Start() = %v, want Unavailable", err)
	}
}

func TestStartStop(t *testing.T) {
	c := temporaltest.Client(t, temporaltest.Start(t))
	for _, queues := range [][]string{nil, {workflows.TaskQueue}, {workflows.EngineTaskQueue}} {
		w, err := worker.New(c, &activities.Activities{}, worker.Options{TaskQueues: queues, Devices: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Start(); err != nil {
			t.Fatalf("queues %v: %v", queues, err)
		}
		if err := w.Stop(context.Background()); err != nil {
			t.Errorf("queues %v: Stop() = %v", queues, err)
		}
		select {
		case err := <-w.Failed():
			t.Errorf("queues %v: the worker failed: %v", queues, err)
		default:
		}
	}
}

func lazyClient(t *testing.T, address string) client.Client {
	t.Helper()
	c, err := client.NewLazyClient(client.Options{HostPort: address, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
