// Command captioner is the control plane: it starts and follows runs, serves
// captions, and keeps data, versions and records. TensorFlow lives in
// captioner-engine, which it starts as a child where it needs one.
//
// The exit code is 0 when all was done, 1 when something failed, 2 for wrong
// usage or invalid input, and 130 when it was interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/interrupt"
	"github.com/captioner/captioner/internal/memory"
)

// version, commit and branch are set by the linker.
var version, commit, branch = "unknown", "", ""

func main() {
	memory.CollectSeldom()
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main with its surroundings as arguments, so that tests can call it.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := interrupt.Context(context.Background())
	defer stop()

	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	code := exitCode(ctx, err)
	switch {
	case code == codeInterrupted:
		fmt.Fprintln(stderr, "captioner: interrupted")
	case err != nil && !errors.Is(err, errReported):
		printError(stderr, err)
	}
	return code
}

// errReported marks a failure whose text the command has printed already.
var errReported = errors.New("failed")

// usageError marks a wrong command line.
type usageError struct{ error }

// codeInterrupted is what shells give a command that SIGINT has ended.
const codeInterrupted = 130

func exitCode(ctx context.Context, err error) int {
	var usage usageError
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return codeInterrupted
	case errors.As(err, &usage), captioner.KindOf(err) == captioner.Invalid:
		return 2
	default:
		return 1
	}
}

// printError writes err with each of its problems on a line of its own.
func printError(w io.Writer, err error) {
	var e *captioner.Error
	if !errors.As(err, &e) || len(e.Problems) == 0 {
		fmt.Fprintln(w, "captioner:", err)
		return
	}
	fmt.Fprintf(w, "captioner: %s\n", e.Message)
	for _, p := range e.Problems {
		fmt.Fprintf(w, "  %s\n", p)
	}
	if e.Err != nil {
		fmt.Fprintf(w, "  %v\n", e.Err)
	}
}
