// Package temporaltest gives tests a real Temporal server.
package temporaltest

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"github.com/captioner/captioner/internal/temporaldev"
)

// Binary returns the temporal command: that of CAPTIONER_TEMPORAL, else the one
// on the PATH. Without one, or in short mode, the test is skipped; where the
// variable CI is "true" a missing command fails it.
func Binary(tb testing.TB) string {
	tb.Helper()
	if testing.Short() {
		tb.Skip("short mode: no Temporal server is started")
	}
	if path := os.Getenv("CAPTIONER_TEMPORAL"); path != "" {
		return path
	}
	path, err := exec.LookPath("temporal")
	if err == nil {
		return path
	}
	const message = "no Temporal server: set CAPTIONER_TEMPORAL to a temporal command, or have one on the PATH"
	if os.Getenv("CI") == "true" {
		tb.Fatal(message)
	}
	tb.Skip("SKIPPED: " + message)
	return ""
}

// Start starts a server for the test and ends it afterwards.
func Start(tb testing.TB) *temporaldev.Server {
	tb.Helper()
	s, err := temporaldev.Start(tb.Context(), temporaldev.Options{
		Binary: Binary(tb), DBFile: filepath.Join(tb.TempDir(), "temporal.db"),
	})
	if err != nil {
		tb.Fatalf("start a Temporal server: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Errorf("stop the Temporal server: %v", err)
		}
	})
	return s
}

// Client returns a client of the server, closed after the test.
func Client(tb testing.TB, s *temporaldev.Server) client.Client {
	tb.Helper()
	c, err := client.Dial(client.Options{
		HostPort: s.Address(), Namespace: temporaldev.Namespace, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		tb.Fatalf("dial the Temporal server: %v", err)
	}
	tb.Cleanup(c.Close)
	return c
}
