package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/child"
	pb "github.com/captioner/captioner/internal/engine/enginepb"
	"github.com/captioner/captioner/internal/engine/wire"
)

// TensorFlowVersion is the one version of the library that engines may run.
const TensorFlowVersion = "2.18.0"

const (
	// startTimeout bounds the start of an engine and the load of its model,
	// which take about one second on a warm machine.
	startTimeout = 2 * time.Minute
	// stopGrace is how long an engine may take to finish what it does after
	// SIGTERM: a caption takes milliseconds, a checkpoint a second.
	stopGrace = 20 * time.Second
	// deathDelay is how long a broken connection waits for the end of the
	// process, to say how it ended.
	deathDelay = 2 * time.Second
)

// Options say how to start engines.
type Options struct {
	// Binary is the path of captioner-engine.
	Binary string
	// Threads is the number of CPU threads; 0 takes the machine's.
	Threads int
	// Nice is the least nice value of the process, up to 19.
	Nice int
	// Logger gets what the engine prints; nil discards it.
	Logger *slog.Logger
	// Env holds variables, as "KEY=value", on top of this process'.
	Env []string
	// Idle is how long a job engine is kept warm without a job; 0 means two
	// minutes.
	Idle time.Duration
	// Restarted is called when a job engine that died is replaced; nil for none.
	Restarted func()
	// Dial extends the gRPC client, by interceptors for example.
	Dial []grpc.DialOption
	// Relay reads the spans of the engine until it ends, see
	// internal/telemetry/relay. Nil lets it make none.
	Relay func(io.Reader)
}

// errEnded is the cause of the error of a call that an engine has not accepted,
// because it is ending in order, or has: with status 0, which it returns only
// once it has finished what it had accepted.
var errEnded = errors.New("it ends, or has exited with status 0")

// engine is a running engine and the connection to it.
type engine struct {
	process *child.Process
	conn    *grpc.ClientConn
	client  pb.EngineClient
	info    *pb.InfoReply
	// gone is closed once the process has ended, its socket is removed and its
	// spans are read.
	gone chan struct{}
}

// launch starts an engine, with a model unless modelDir is empty, and returns
// once it is ready.
func launch(ctx context.Context, o Options, modelDir string) (*engine, error) {
	dir, err := newSocketDir()
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir.path, "engine")
	conn, err := dial(socket, o.Dial)
	if err != nil {
		dir.remove()
		return nil, captioner.Wrap(captioner.Internal, err, "cannot prepare the connection to the engine")
	}
	command := o.command(socket, modelDir)
	relayed, err := o.relay(&command)
	if err != nil {
		_ = conn.Close()
		dir.remove()
		return nil, err
	}
	process, err := child.Start(ctx, command)
	if err != nil {
		_ = conn.Close()
		dir.remove()
		<-relayed
		return nil, err
	}
	e := &engine{process: process, conn: conn, client: pb.NewEngineClient(conn), gone: make(chan struct{})}
	go func() {
		<-process.Done()
		_ = conn.Close()
		dir.remove()
		<-relayed
		close(e.gone)
	}()
	if err := e.awaitReady(ctx); err != nil {
		process.Kill()
		<-e.gone
		return nil, err
	}
	return e, nil
}

// command gives the command line of an engine.
func (o Options) command(socket, modelDir string) child.Command {
	args := []string{"--socket", socket, "--threads", strconv.Itoa(o.Threads)}
	if modelDir != "" {
		args = append(args, "--model", modelDir)
	}
	var env []string // nil inherits
	if len(o.Env) > 0 {
		env = slices.Concat(os.Environ(), o.Env)
	}
	return child.Command{Name: "engine", Path: o.Binary, Args: args, Env: env, Nice: o.Nice, Logger: o.Logger, Level: libraryLevel}
}

// libraryLevel gives the level of what TensorFlow prints beside the engine's
// own log: chatter, unless it calls it an error itself. That oneDNN has no
// kernel for some type on this CPU is none: another one does the same.
func libraryLevel(line string) slog.Level {
	if libraryError.MatchString(line) && !strings.Contains(line, "Falling back to the default Eigen-based implementation") {
		return slog.LevelError
	}
	return slog.LevelDebug
}

// libraryError matches TensorFlow's two formats, "E0000 …" and
// "2024-10-24 12:00:00.000000: E tensorflow/…", and Go's own last words.
var libraryError = regexp.MustCompile(`^([EF]\d{4} |[-\d]+ [:.\d]+: [EF] |panic: |fatal error: )`)

// dial prepares the connection. The engine's socket appears some tenths of a
// second after its start, so attempts follow each other closely.
func dial(socket string, extra []grpc.DialOption) (*grpc.ClientConn, error) {
	attempts := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.3, Jitter: 0, MaxDelay: 100 * time.Millisecond}
	return grpc.NewClient("unix://"+socket, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: attempts, MinConnectTimeout: 5 * time.Second}),
		grpc.WithInitialWindowSize(4 << 20),
		grpc.WithInitialConnWindowSize(4 << 20),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(wire.MaxMessageBytes), grpc.MaxCallSendMsgSize(wire.MaxMessageBytes)),
	}, extra...)...)
}

// awaitReady returns once the engine has loaded its model, or why it has not.
func (e *engine) awaitReady(ctx context.Context) error {
	start, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	go func() { // a dead process cannot become ready
		select {
		case <-e.process.Done():
			cancel()
		case <-start.Done():
		}
	}()
	info, err := e.client.Info(start, &pb.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		if ctx.Err() == nil && errors.Is(start.Err(), context.DeadlineExceeded) {
			return captioner.Wrap(captioner.Unavailable, err, "the engine was not ready after %v", startTimeout)
		}
		return e.explain(ctx, err)
	}
	if info.GetProtocol() != wire.Protocol {
		return &captioner.Error{
			Kind: captioner.Internal, Code: "engine_protocol",
			Message: fmt.Sprintf("the engine speaks protocol %d and this program %d: build both from the same source", info.GetProtocol(), wire.Protocol),
		}
	}
	if info.GetTensorflow() != TensorFlowVersion {
		return &captioner.Error{
			Kind: captioner.Internal, Code: "tensorflow_version",
			Message: fmt.Sprintf("the engine runs TensorFlow %s, and this program needs exactly %s", info.GetTensorflow(), TensorFlowVersion),
		}
	}
	e.info = info
	return nil
}

// explain turns the error of a call into the caller's: what the engine said,
// ctx's error when ctx ended, or how the process died.
func (e *engine) explain(ctx context.Context, err error) error {
	mapped, told := wire.FromStatus(err)
	if told && captioner.CodeOf(mapped) == wire.CodeEnding {
		return captioner.Wrap(captioner.Unavailable, errEnded, "the engine is ending")
	}
	if told {
		return mapped
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if captioner.KindOf(mapped) != captioner.Unavailable {
		return mapped
	}
	timer := time.NewTimer(deathDelay)
	defer timer.Stop()
	select {
	case <-e.process.Done():
	case <-ctx.Done(): // the engine can notice a deadline before ctx does
		return ctx.Err()
	case <-timer.C:
		return mapped
	}
	cause := e.process.Err()
	if cause == nil {
		cause = errEnded
	}
	return captioner.Wrap(captioner.Unavailable, cause, "the engine ended before it had answered")
}

// alive reports whether the process still runs.
func (e *engine) alive() bool {
	select {
	case <-e.process.Done():
		return false
	default:
		return true
	}
}

// stop ends the engine: it finishes the calls that it is answering, saves the
// checkpoint of a running training, and is killed if that takes too long.
func (e *engine) stop() error {
	err := e.process.Stop(stopGrace)
	<-e.gone
	if errors.Is(err, child.ErrKilled) {
		return err
	}
	return nil // how it had ended before does not matter any more
}
