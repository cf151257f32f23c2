// Command captioner-engine is the process that holds TensorFlow: one loaded
// model, one job, or both, served over gRPC on a Unix socket to the control
// plane that started it (package internal/engine). It ends on SIGTERM and when
// its standard input closes, after a training that runs has saved a checkpoint.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/engine/server"
	"github.com/captioner/captioner/internal/memory"
	"github.com/captioner/captioner/internal/telemetry/span"
	"github.com/captioner/captioner/ml/tf"
)

// version is set by the linker.
var version = "development"

// Exit codes, as those of captioner.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	memory.CollectSeldom()
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// options are the command line.
type options struct {
	socket, model string
	threads       int
	traces        int
	version, info bool
	probe         string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("captioner-engine", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.socket, "socket", "", "path of the Unix socket to serve on")
	flags.StringVar(&o.model, "model", "", "folder of the model to load; none for an engine that runs jobs")
	flags.IntVar(&o.threads, "threads", 0, "number of CPU threads; 0 takes the machine's")
	flags.IntVar(&o.traces, "traces", 0, "inherited file descriptor to write spans to; 0 for none")
	flags.BoolVar(&o.version, "version", false, "print the versions of this program and of TensorFlow, and exit")
	flags.BoolVar(&o.info, "info", false, "print TensorFlow's version and devices as JSON, and exit")
	flags.StringVar(&o.probe, "probe", "", "compute something in the precision, such as bfloat16, and exit")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "captioner-engine is started by captioner; see captioner help. Its flags:")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("there is no argument %q", flags.Arg(0))
	case o.threads < 0:
		err = fmt.Errorf("the number of threads cannot be %d", o.threads)
	case o.traces < 0:
		err = fmt.Errorf("there is no file descriptor %d", o.traces)
	case o.socket == "" && !o.version && !o.info && o.probe == "":
		err = errors.New("--socket is missing: this program is started by captioner")
	}
	if err != nil {
		fmt.Fprintln(stderr, "captioner-engine:", err)
	}
	o.threads = tf.Threads(o.threads)
	return o, err
}

// run is main with its surroundings handed in; it returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return exitUsage
	}
	logger := slog.New(span.LogHandler{Handler: slog.NewJSONHandler(stderr, nil)})
	switch {
	case o.version:
		fmt.Fprintf(stdout, "captioner-engine %s, TensorFlow %s\n", version, tf.Version())
		return 0
	case o.info:
		err = printInfo(stdout, o.threads)
	case o.probe != "":
		err = tf.Probe(o.probe, o.threads)
	default:
		err = serve(o, stdin, logger)
	}
	if err != nil {
		logger.Error("the engine failed", "error", err.Error(), "code", captioner.CodeOf(err))
		return exitFailed
	}
	return 0
}

func serve(o options, stdin io.Reader, logger *slog.Logger) error {
	ctx, cancel := server.UntilParentEnds(stdin)
	defer cancel()
	traced, flush, err := server.Traced(ctx, o.traces, version)
	if err != nil {
		return err
	}
	defer flush()
	return server.New(newBackend(o, logger), logger, traced...).Run(ctx, o.socket)
}

// info is the output of --info.
type info struct {
	Version    string   `json:"version"`
	TensorFlow string   `json:"tensorflow"`
	Devices    []string `json:"devices"`
	Threads    int      `json:"threads"`
}

func printInfo(w io.Writer, threads int) error {
	if err := tf.CheckVersion(); err != nil {
		return err
	}
	devices, err := tf.Devices(threads)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(info{version, tf.Version(), devices, threads})
}
