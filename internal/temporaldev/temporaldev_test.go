package temporaldev_test

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/temporaldev"
	"github.com/captioner/captioner/internal/temporaldev/temporaltest"
)

func TestStart(t *testing.T) {
	binary := temporaltest.Binary(t)
	dir := t.TempDir()
	options := temporaldev.Options{Binary: binary, DBFile: filepath.Join(dir, "temporal.db")}
	start := time.Now()
	s, err := temporaldev.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("healthy after %v", time.Since(start))

	c, err := client.Dial(client.Options{HostPort: s.Address()})
	if err != nil {
		t.Fatalf("dial a started server: %v", err)
	}
	defer c.Close()
	described, err := c.WorkflowService().DescribeNamespace(t.Context(),
		&workflowservice.DescribeNamespaceRequest{Namespace: temporaldev.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	if got := described.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration(); got != temporaldev.Retention {
		t.Errorf("retention = %v, want %v", got, temporaldev.Retention)
	}
	if err := awaitPage(t.Context(), s.UIURL()); err != nil {
		t.Errorf("Web UI: %v", err)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("Stop() = %v", err)
	}

	// The same state again, and this time killed.
	s, err = temporaldev.Start(t.Context(), options)
	if err != nil {
		t.Fatalf("second start: %v", err)
	}
	if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if s.Err() == nil {
		t.Error("Err() = nil after SIGKILL")
	}
}

// awaitPage waits for the Web UI, which starts a moment after the server.
func awaitPage(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			return response.Body.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestStartPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	for _, test := range []struct {
		name    string
		options temporaldev.Options
		want    string
	}{
		{"server", temporaldev.Options{Port: port, PortFlag: "--temporal-port"}, "choose another with --temporal-port or the variable CAPTIONER_TEMPORAL_PORT"},
		{"web UI", temporaldev.Options{UIPort: port, UIPortFlag: "--temporal-ui-port"}, "choose another with --temporal-ui-port"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := temporaldev.Start(t.Context(), test.options)
			if captioner.KindOf(err) != captioner.Conflict {
				t.Fatalf("Start() = %v, want a Conflict", err)
			}
			for _, want := range []string{test.want, strconv.Itoa(port)} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not mention %q", err, want)
				}
			}
		})
	}
}

func TestStartWhereItCannotListen(t *testing.T) {
	for name, options := range map[string]temporaldev.Options{
		"port":    {Port: 99_999},
		"address": {IP: "192.0.2.1"}, // of nobody
	} {
		if _, err := temporaldev.Start(t.Context(), options); captioner.KindOf(err) != captioner.Invalid {
			t.Errorf("%s: Start() = %v, want it Invalid", name, err)
		}
	}
}

func TestStartFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		binary string
	}{
		{"no such program", filepath.Join(t.TempDir(), "temporal")},
		{"a program that ends", "/bin/false"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := temporaldev.Start(t.Context(), temporaldev.Options{Binary: test.binary})
			if captioner.KindOf(err) != captioner.Unavailable {
				t.Errorf("Start() = %v, want kind Unavailable", err)
			}
		})
	}
}
