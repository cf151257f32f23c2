package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/engine"
)

// options start the fake engine, with sockets in a folder that the test can
// look into.
func options(t *testing.T, mode string) (engine.Options, *logLines) {
	t.Helper()
	temp, err := os.MkdirTemp("", "t")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", temp)
	t.Cleanup(func() {
		left, _ := filepath.Glob(filepath.Join(temp, "*"))
		if len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		_ = os.RemoveAll(temp)
	})
	log := &logLines{lines: make(chan string, 100)}
	return engine.Options{
		Binary: os.Args[0], Threads: 2, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Env: []string{fakeVariable + "=" + mode},
	}, log
}

// logLines is a log whose lines can be awaited.
type logLines struct {
	mu    sync.Mutex
	all   bytes.Buffer
	lines chan string
}

func (l *logLines) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.Write(data)
	select {
	case l.lines <- string(data):
	default:
	}
	return len(data), nil
}

func (l *logLines) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line := <-l.lines:
			if strings.Contains(line, text) {
				return
			}
		case <-deadline:
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Fatalf("no log line with %q within 20 s, got:\n%s", text, &l.all)
		}
	}
}

func openFake(t *testing.T) (*engine.Model, string, *logLines) {
	t.Helper()
	o, log := options(t, "")
	dir := t.TempDir()
	m, err := engine.OpenModel(t.Context(), o, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m, dir, log
}

func request(orders ...string) captioner.CaptionRequest {
	r := captioner.CaptionRequest{Algorithm: "greedy"}
	for _, order := range orders {
		r.Images = append(r.Images, captioner.ImageInput{Data: []byte(order)})
	}
	return r
}

func TestCaption(t *testing.T) {
	m, dir, _ := openFake(t)
	if want := captioner.DigestOf([]byte(dir)); m.Model().Version != want {
		t.Errorf("version %q, want %q", m.Model().Version, want)
	}
	large := strings.Repeat("x", 9<<20) // above gRPC's default limit
	reply, err := m.Caption(t.Context(), request("abc", "broken", large))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"3 bytes", "image_corrupt", fmt.Sprint(9<<20, " bytes")}
	var got []string
	for _, r := range reply.Results {
		if r.Err != nil {
			got = append(got, captioner.CodeOf(r.Err))
		} else {
			got = append(got, r.Hypotheses[0].Text)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
}

func TestCaptionFailures(t *testing.T) {
	m, _, _ := openFake(t)
	_, err := m.Caption(t.Context(), request("invalid"))
	if captioner.KindOf(err) != captioner.Invalid || captioner.CodeOf(err) != "beam_width" || len(captioner.ProblemsOf(err)) != 1 {
		t.Errorf("invalid request: %v with %d problems, want kind invalid, code beam_width and one problem", err, len(captioner.ProblemsOf(err)))
	}
	if _, err := m.Caption(t.Context(), request("panic")); captioner.KindOf(err) != captioner.Internal {
		t.Errorf("panic: %v, want Internal", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Caption(ctx, request("hang")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, want context.Canceled", err)
	}
	if _, err := m.Caption(t.Context(), request("ok")); err != nil {
		t.Errorf("after the failures: %v", err)
	}
}

// TestEngineDies: a call that an engine was answering when it died is
// Unavailable, with the reason, and so are later ones.
func TestEngineDies(t *testing.T) {
	tests := []struct {
		name, order, reason string
		kill                bool
	}{
		{"exit", "die", "exit status 7", false},
		{"SIGKILL", "hang", "signal: killed", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, _, log := openFake(t)
			result := make(chan error, 1)
			go func() {
				_, err := m.Caption(t.Context(), request(test.order))
				result <- err
			}()
			if test.kill {
				log.await(t, "hanging")
				if err := syscall.Kill(m.PID(), syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-result; captioner.KindOf(err) != captioner.Unavailable || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("got %v, want Unavailable because of %q", err, test.reason)
			}
			<-m.Done()
			if _, err := m.Caption(t.Context(), request("ok")); captioner.KindOf(err) != captioner.Unavailable {
				t.Errorf("later call: %v, want Unavailable", err)
			}
			if err := m.Close(); err != nil {
				t.Errorf("close: %v, want nil", err)
			}
		})
	}
}

// TestCloseDrains: Close lets the call finish that the engine is answering.
func TestCloseDrains(t *testing.T) {
	m, dir, log := openFake(t)
	result := make(chan error, 1)
	go func() {
		_, err := m.Caption(t.Context(), request("wait"))
		result <- err
	}()
	log.await(t, "waiting")
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Errorf("the call that ran: %v, want nil", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v, want nil", err)
	}
}

func TestOpenModelFails(t *testing.T) {
	tests := []struct {
		mode string
		kind captioner.Kind
		text string
	}{
		{"crash", captioner.Unavailable, "the library is broken"},
		{"old", captioner.Internal, "TensorFlow 2.17.1, and this program needs exactly 2.18.0"},
		{"corrupt", captioner.Corrupt, "golden picture 3"},
	}
	for _, test := range tests {
		t.Run(test.mode, func(t *testing.T) {
			o, _ := options(t, test.mode)
			_, err := engine.OpenModel(t.Context(), o, t.TempDir())
			if captioner.KindOf(err) != test.kind || !strings.Contains(fmt.Sprint(err), test.text) {
				t.Errorf("got %v, want kind %q with %q", err, test.kind, test.text)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		o, _ := options(t, "slow")
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := engine.OpenModel(ctx, o, t.TempDir()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want context.DeadlineExceeded", err)
		}
	})
	t.Run("no binary", func(t *testing.T) {
		o, _ := options(t, "")
		o.Binary = filepath.Join(t.TempDir(), "missing")
		if _, err := engine.OpenModel(t.Context(), o, t.TempDir()); captioner.KindOf(err) != captioner.Unavailable {
			t.Errorf("got %v, want Unavailable", err)
		}
	})
}

// TestAbandonedSockets: the folder of a process that was killed goes, that of one
// that lives stays.
func TestAbandonedSockets(t *testing.T) {
	o, _ := options(t, "")
	alive, err := engine.OpenModel(t.Context(), o, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(os.TempDir(), "captioner-engine-left")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next, err := engine.OpenModel(t.Context(), o, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if found, err := filepath.Glob(filepath.Join(os.TempDir(), "captioner-engine-*")); err != nil || len(found) != 2 {
		t.Errorf("sockets lie in %v (%v), want those of two engines", found, err)
	}
	for _, m := range []*engine.Model{alive, next} {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestLongTempDir: where the temporary folder is too deep for a socket, another one serves.
func TestLongTempDir(t *testing.T) {
	o, _ := options(t, "")
	deep := filepath.Join(t.TempDir(), strings.Repeat("d", 100))
	if err := os.Mkdir(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", deep)
	m, err := engine.OpenModel(t.Context(), o, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// TestLibraryLevels: what TensorFlow prints is no more than chatter, unless
// TensorFlow calls it an error.
func TestLibraryLevels(t *testing.T) {
	o, log := options(t, "")
	m, err := engine.OpenModel(t.Context(), o, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	_, err = m.Caption(t.Context(), request(
		"print:I0000 00:00:1795476591.158410   31551 mlir_graph_optimization_pass.cc:401] MLIR V1",
		"print:E0000 00:00:1795476591.158410   31551 cuda.cc:1] no driver",
		"print:2024-10-24 12:00:00.000000: E tensorflow/core/x.cc:1] failed",
		"print:2024-10-24 12:00:00.000000: I tensorflow/core/x.cc:1] AVX512",
		"print:2024-10-24 12:00:00.000000: E tensorflow/core/util/util.cc:131] oneDNN supports DT_UINT8 only on platforms with AVX-512. Falling back to the default Eigen-based implementation if present.",
	))
	if err != nil {
		t.Fatal(err)
	}
	log.await(t, `level=DEBUG msg="I0000`)
	log.await(t, `level=ERROR msg="E0000`)
	log.await(t, `level=ERROR msg="2024-10-24 12:00:00.000000: E`)
	log.await(t, `level=DEBUG msg="2024-10-24 12:00:00.000000: I`)
	log.await(t, `level=DEBUG msg="2024-10-24 12:00:00.000000: E tensorflow/core/util/util.cc:131] oneDNN`)
}
