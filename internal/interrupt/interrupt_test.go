package interrupt_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/captioner/captioner/internal/interrupt"
)

// TestSecondSignal: however soon after the first a second signal comes, it ends the
// process, and by that signal.
func TestSecondSignal(t *testing.T) {
	const child = "CAPTIONER_TEST_SIGNALS"
	if os.Getenv(child) != "" {
		ctx, stop := interrupt.Context(t.Context())
		defer stop()
		fmt.Println("ready")
		<-ctx.Done()
		fmt.Println("stopping")
		_, _ = io.Copy(io.Discard, os.Stdin) // an end in order that takes as long as the parent lives
	}
	for range 20 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSecondSignal$")
		cmd.Env = append(os.Environ(), child+"=1")
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for _, want := range []string{"ready", "stopping"} {
			for lines.Scan() && lines.Text() != want {
			}
			if lines.Text() != want {
				t.Fatalf("the process ended before it was %s", want)
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
		_ = cmd.Wait()
		status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !status.Signaled() || status.Signal() != syscall.SIGTERM {
			t.Fatalf("it ended with %v, want by the second SIGTERM", cmd.ProcessState)
		}
	}
}
