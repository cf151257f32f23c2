// Package child starts, watches and ends child processes: the engine, which
// holds TensorFlow, and the local Temporal server.
//
// A child never outlives this process, however this process ends: the kernel
// kills it when the thread that started it dies, and its standard input, a pipe
// held open here, closes. It runs in a process group of its own, so that Ctrl-C
// in a terminal reaches this process alone, which then ends its children in
// order. What a child prints goes line by line to a logger, and the last lines
// of its standard error end up in the error that says why it ended.
//
// What the children are asked to do is no concern of this package, and neither
// is starting them again. It is written for Linux.
package child

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/captioner/captioner"
)

// outputDelay bounds how long the output of a process that has ended is still
// read: a grandchild that left the process group may hold the pipe open.
const outputDelay = time.Second

// ErrKilled is the cause of the error that Stop returns for a process that had
// to be killed.
var ErrKilled = errors.New("killed")

// Command says which process to start.
type Command struct {
	// Name is what log lines and errors call the process, such as "engine".
	Name string
	// Path is the executable; Args come after it.
	Path string
	Args []string
	// Env is the whole environment, as "KEY=value"; nil inherits this process'.
	Env []string
	// Dir is its working folder; empty is that of this process.
	Dir string
	// Files are what the process inherits beside its standard streams, as the
	// file descriptors from 3 on. Start closes them on this side.
	Files []*os.File
	// Nice is the least nice value of the process, up to 19 for the lowest
	// priority; 0 leaves it that of this process.
	Nice int
	// User is who the process runs as; nil is who this process runs as.
	User *syscall.Credential
	// DeathSignal is what the kernel sends the process when this one dies
	// without having stopped it; 0 is SIGKILL.
	DeathSignal syscall.Signal
	// Logger gets each line that the process prints; nil discards them.
	Logger *slog.Logger
	// Level gives the level of a line that is no log record of its own; nil
	// means info.
	Level func(line string) slog.Level
}

// Process is a child that was started. Its methods may be called from any
// goroutine, also after the process has ended.
type Process struct {
	name  string
	pid   int
	stdin io.Closer
	tail  *tail
	done  chan struct{}

	mu       sync.Mutex
	ended    bool // no signal may be sent any more: the PID may be someone else's
	stopping bool
	err      error // why it ended; read after done
}

// Start starts the process. ctx bounds the start alone: its end later on does
// not end the process. A process that cannot be started is an error of kind
// Unavailable.
func Start(ctx context.Context, c Command) (*Process, error) {
	defer func() {
		for _, file := range c.Files {
			_ = file.Close()
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	logger := c.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	p := &Process{name: c.Name, tail: &tail{}, done: make(chan struct{})}
	level := c.Level
	if level == nil {
		level = func(string) slog.Level { return slog.LevelInfo }
	}
	stdout := &lineWriter{line: func(line string) { forward(logger, level, line) }}
	stderr := &lineWriter{line: func(line string) { p.tail.add(line); forward(logger, level, line) }}

	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env, cmd.Dir = c.Env, c.Dir
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.ExtraFiles = c.Files
	cmd.WaitDelay = outputDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: cmp.Or(c.DeathSignal, syscall.SIGKILL), Setpgid: true, Credential: c.User}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, captioner.Wrap(captioner.Unavailable, err, "cannot start the %s process", c.Name)
	}
	p.stdin = stdin

	started := make(chan error)
	go p.run(cmd, c.Nice, started, func() { stdout.flush(); stderr.flush() })
	if err := <-started; err != nil {
		return nil, captioner.Wrap(captioner.Unavailable, err, "cannot start the %s process", c.Name)
	}
	return p, nil
}

// run starts cmd and waits for its end, all on one operating system thread: the
// kernel's parent-death signal fires when the thread that started the child
// ends, and a priority set on that thread is inherited by the child alone. The
// goroutine ends locked to the thread, which ends it too.
func (p *Process) run(cmd *exec.Cmd, nice int, started chan<- error, flush func()) {
	runtime.LockOSThread()
	if err := lowerPriority(nice); err != nil {
		started <- err
		return
	}
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil

	awaitExit(p.pid)
	p.mu.Lock()
	p.ended = true
	stopping := p.stopping
	p.mu.Unlock()
	// The process is a zombie until it is waited for, so its PID still names
	// its group: whatever it started and left behind ends with it.
	_ = unix.Kill(-p.pid, unix.SIGKILL)
	err := cmd.Wait()
	flush()
	_ = p.stdin.Close()
	p.err = p.explain(err, stopping)
	close(p.done)
}

// lowerPriority raises the nice value of the calling thread to nice, and leaves
// one that is higher already.
func lowerPriority(nice int) error {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err == nil && nice > 20-raw { // the system call returns 20 - nice
		err = unix.Setpriority(unix.PRIO_PROCESS, 0, nice)
	}
	if err != nil {
		return fmt.Errorf("set priority: %w", err)
	}
	return nil
}

// awaitExit returns once the process has ended, and leaves it to be waited for.
func awaitExit(pid int) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// explain turns what Wait said into the error that Err returns.
func (p *Process) explain(err error, stopping bool) error {
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // the process itself exited with 0
	}
	if err == nil {
		return nil
	}
	var exit *exec.ExitError
	if stopping && errors.As(err, &exit) {
		status, _ := exit.Sys().(syscall.WaitStatus)
		if status.Signaled() && status.Signal() == syscall.SIGTERM {
			return nil
		}
	}
	if last := p.tail.String(); last != "" {
		err = fmt.Errorf("%w; its last lines were:\n%s", err, last)
	}
	return captioner.Wrap(captioner.Unavailable, err, "the %s process ended unexpectedly", p.name)
}

// Done is closed once the process has ended and its output has been read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says why the process ended: nil while it runs, after it exited with
// status 0, and after it obeyed Stop; else an error of kind Unavailable whose
// cause quotes the last lines of its standard error.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// PID is the process ID.
func (p *Process) PID() int { return p.pid }

// LastLines returns the last lines that the process printed on its standard
// error, for error texts; empty if there are none.
func (p *Process) LastLines() string { return p.tail.String() }

// CloseInput closes the standard input of the process, which asks those that
// watch it to end.
func (p *Process) CloseInput() error { return p.stdin.Close() }

// Signal sends a signal to the process. It does nothing after its end.
func (p *Process) Signal(signal os.Signal) error {
	number, ok := signal.(syscall.Signal)
	if !ok {
		return fmt.Errorf("signal the %s process: %v is no signal of this system", p.name, signal)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil
	}
	if err := unix.Kill(p.pid, number); err != nil {
		return fmt.Errorf("signal the %s process: %w", p.name, err)
	}
	return nil
}

// Stop asks the process to end with SIGTERM and returns when it has. After
// grace it kills the process and its group, and returns an error of kind
// Unavailable around [ErrKilled]; otherwise it returns what Err does.
func (p *Process) Stop(grace time.Duration) error {
	p.mu.Lock()
	p.stopping = true
	p.mu.Unlock()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
	}
	p.Kill()
	<-p.done
	return captioner.Wrap(captioner.Unavailable, ErrKilled, "the %s process did not end within %v", p.name, grace)
}

// Kill ends the process and its group at once, without waiting for Done.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		_ = unix.Kill(-p.pid, unix.SIGKILL)
	}
}

// tailLines and tailBytes bound what is kept of the standard error.
const (
	tailLines = 20
	tailBytes = 400 // a line
)

// tail keeps the last lines that were added.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (t *tail) add(line string) {
	if len(line) > tailBytes {
		line = line[:tailBytes] + "…"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == tailLines {
		t.lines = append(t.lines[:0], t.lines[1:]...)
	}
	t.lines = append(t.lines, line)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}
