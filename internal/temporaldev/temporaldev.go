// Package temporaldev runs a Temporal server on this machine: the real one, as
// a child process, with its state in a SQLite file and its Web UI. It is what
// `captioner up` starts where no Temporal cluster is at hand, and what the tests
// run workflows on. Production uses a cluster and not this package.
//
// The server is the `temporal` command, `temporal server start-dev`; which one
// is used is the caller's choice. It needs no network beyond the loopback.
package temporaldev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/child"
)

const (
	// Namespace is where the runs live; the server makes it.
	Namespace = "default"
	// Retention is how long closed runs stay. The server's default is a day.
	Retention = 90 * 24 * time.Hour

	// startTimeout bounds the wait for health. A start takes 1 s, on a busy
	// machine with a large database several.
	startTimeout = 60 * time.Second
	pollInterval = 50 * time.Millisecond
	// stopGrace bounds the wait for the server's end, which takes up to 3 s.
	stopGrace = 15 * time.Second
)

// Options say which server to start, and where.
type Options struct {
	// Binary is the temporal command.
	Binary string
	// DBFile keeps the state; its folder must exist. Empty keeps it in memory.
	DBFile string
	// IP is the address to listen on; empty means 127.0.0.1.
	IP string
	// Port is that of the server, UIPort that of the Web UI; 0 takes a free one.
	Port, UIPort int
	// PortFlag and UIPortFlag are the command line flags that change them, for
	// the error about a port that is taken.
	PortFlag, UIPortFlag string
	// Logger gets what the server prints; nil discards it.
	Logger *slog.Logger
}

// Server is a running Temporal server.
type Server struct {
	process *child.Process
	address string
	uiURL   string
}

// startAttempts is how often a start is tried: besides the two ports that are
// chosen here the server takes others at random, and may find one taken.
const startAttempts = 3

// Start starts a server and returns when it is ready for work. A port that is
// taken is an error of kind Conflict that names the flag to change it; a server
// that does not start is Unavailable, with its last lines as the cause.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.IP == "" {
		o.IP = "127.0.0.1"
	}
	for attempt := 1; ; attempt++ {
		s, err := start(ctx, o)
		if err == nil {
			return s, nil
		}
		if attempt == startAttempts || captioner.CodeOf(err) != codeEnded {
			return nil, err
		}
	}
}

// codeEnded marks a server that ended before it was ready.
const codeEnded = "temporal_ended"

// start makes one attempt.
func start(ctx context.Context, o Options) (*Server, error) {
	var err error
	if o.Port, err = choosePort(o.IP, o.Port, "Temporal server", o.PortFlag); err != nil {
		return nil, err
	}
	if o.UIPort, err = choosePort(o.IP, o.UIPort, "Temporal Web UI", o.UIPortFlag); err != nil {
		return nil, err
	}
	process, err := child.Start(ctx, child.Command{
		Name: "Temporal", Path: o.Binary, Args: arguments(o), Env: environment(), Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	s := &Server{
		process: process,
		address: net.JoinHostPort(o.IP, strconv.Itoa(o.Port)),
		uiURL:   "http://" + net.JoinHostPort(o.IP, strconv.Itoa(o.UIPort)),
	}
	if err := s.prepare(ctx); err != nil {
		_ = s.Stop() // err says what matters
		return nil, err
	}
	return s, nil
}

// arguments gives the command line. The write-ahead log is worth a factor of 3
// to 5 under load; with it, synchronous=1 (normal) loses nothing when the
// process is killed. Warnings are routine at each start and stop.
func arguments(o Options) []string {
	args := []string{
		"server", "start-dev",
		"--ip", o.IP, "--port", strconv.Itoa(o.Port), "--ui-port", strconv.Itoa(o.UIPort),
		"--namespace", Namespace, "--log-level", "error",
	}
	if o.DBFile != "" {
		args = append(args, "--db-filename", filepath.Clean(o.DBFile),
			"--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=1")
	}
	return args
}

// environment keeps the user's own settings of the temporal command, such as a
// profile for a cluster, out of the local server.
func environment() []string {
	return append(os.Environ(), "TEMPORAL_CONFIG_FILE="+os.DevNull, "TEMPORAL_PROFILE=", "TEMPORAL_ADDRESS=", "TEMPORAL_NAMESPACE=")
}

// choosePort returns a port on which ip can be listened on: the given one, or
// any for 0. There is a moment between the check and the server's own attempt;
// who loses a race in it gets the server's message.
func choosePort(ip string, port int, what, flag string) (int, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		advice := ""
		if flag != "" {
			advice = fmt.Sprintf(": end the program that uses it, or choose another with %s or the variable %s", flag, variable(flag))
		}
		return 0, captioner.Wrap(captioner.Conflict, err, "port %d for the %s is taken%s", port, what, advice)
	}
	if err != nil {
		return 0, captioner.Wrap(captioner.Invalid, err, "the %s cannot listen on port %d of %s", what, port, ip)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// variable names the environment variable of a flag.
func variable(flag string) string {
	return "CAPTIONER_" + strings.ToUpper(strings.ReplaceAll(strings.TrimLeft(flag, "-"), "-", "_"))
}

// prepare waits until the server is healthy and sets the namespace up.
func (s *Server) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	// Lazy: dialling would fail while the server starts.
	c, err := client.NewLazyClient(client.Options{
		HostPort: s.address, Namespace: Namespace, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "make a Temporal client")
	}
	defer c.Close()
	if err := s.await(ctx, "be healthy", func() error {
		_, err := c.CheckHealth(ctx, &client.CheckHealthRequest{})
		return err
	}); err != nil {
		return err
	}
	return s.await(ctx, "have its namespace", func() error { return setRetention(ctx, c) })
}

// setRetention raises the time that closed runs are kept, where it is shorter.
func setRetention(ctx context.Context, c client.Client) error {
	described, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: Namespace})
	if err != nil {
		return err
	}
	if described.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration() >= Retention {
		return nil
	}
	_, err = c.WorkflowService().UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
		Namespace: Namespace,
		Config:    &namespace.NamespaceConfig{WorkflowExecutionRetentionTtl: durationpb.New(Retention)},
	})
	return err
}

// await repeats check until it succeeds, the server has ended, or ctx has.
func (s *Server) await(ctx context.Context, what string, check func() error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-s.process.Done():
			return &captioner.Error{
				Kind: captioner.Unavailable, Code: codeEnded, Message: "the Temporal server did not start", Err: s.cause(),
			}
		case <-ctx.Done():
			return captioner.Wrap(captioner.Unavailable, err, "the Temporal server took too long to %s", what)
		case <-ticker.C:
		}
	}
}

// cause says why the process has ended.
func (s *Server) cause() error {
	if err := s.process.Err(); err != nil {
		return err
	}
	return fmt.Errorf("it ended by itself: %s", s.process.LastLines())
}

// Address is where clients and workers connect, as host:port.
func (s *Server) Address() string { return s.address }

// UIURL is the address of the Web UI, without a slash at the end.
func (s *Server) UIURL() string { return s.uiURL }

// PID is the server's process ID.
func (s *Server) PID() int { return s.process.PID() }

// Done is closed when the server has ended; Err then says why.
func (s *Server) Done() <-chan struct{} { return s.process.Done() }

// Err says why the server has ended by itself; nil otherwise.
func (s *Server) Err() error { return s.process.Err() }

// Stop ends the server and returns when it has ended.
func (s *Server) Stop() error { return s.process.Stop(stopGrace) }
