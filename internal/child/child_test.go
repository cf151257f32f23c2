package child_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/child"
)

// modeVariable makes the test binary play a child instead of running tests.
const modeVariable = "CHILD_TEST_MODE"

// folderVariable is the folder that it plays in.
const folderVariable = "CHILD_TEST_FOLDER"

func TestMain(m *testing.M) {
	if mode, ok := os.LookupEnv(modeVariable); ok {
		play(mode)
		return
	}
	goleak.VerifyTestMain(m)
}

// play is what the children of these tests do.
func play(mode string) {
	switch mode {
	case "print":
		fmt.Println("out one")
		fmt.Fprintln(os.Stderr, `{"time":"2024-01-01T00:00:00Z","level":"WARN","msg":"careful","answer":42}`)
		fmt.Fprint(os.Stderr, "no newline")
		os.Exit(3)
	case "stdin": // ends when its standard input does
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "term": // ends with 0 on SIGTERM
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		fmt.Println("ready")
		<-stop
		fmt.Println("bye")
	case "default": // leaves SIGTERM to the system
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "stubborn": // ignores SIGTERM and the end of its standard input
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "echo": // prints a line for each SIGUSR1
		got := make(chan os.Signal, 1)
		signal.Notify(got, syscall.SIGUSR1)
		fmt.Println("ready")
		for range got {
			fmt.Println("alive")
		}
	case "family": // starts a grandchild in its group and dies
		grandchild := exec.Command(os.Args[0])
		grandchild.Env = append(os.Environ(), modeVariable+"=stubborn")
		check(grandchild.Start())
		fmt.Println("ready", grandchild.Process.Pid)
		time.Sleep(time.Hour)
	case "parent": // starts a child and says its PID
		process, err := child.Start(context.Background(), command("stubborn", nil))
		check(err)
		fmt.Println(process.PID())
		time.Sleep(time.Hour)
	case "careful parent": // the same with a child that is told to end, in a folder
		c := command("careful", nil)
		c.Dir, c.DeathSignal = os.Getenv(folderVariable), syscall.SIGTERM
		process, err := child.Start(context.Background(), c)
		check(err)
		for { // until the child is ready for the signal
			if _, err := os.Stat(filepath.Join(c.Dir, "ready")); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		fmt.Println(process.PID())
		time.Sleep(time.Hour)
	case "careful": // leaves a file when it is told to end
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		check(os.WriteFile("ready", nil, 0o644))
		<-stop
		check(os.WriteFile("tidy", nil, 0o644))
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(mode string, logger *slog.Logger) child.Command {
	return child.Command{
		Name: "test", Path: os.Args[0], Logger: logger,
		Env: append(os.Environ(), modeVariable+"="+mode),
	}
}

// logLines is a logger whose messages can be awaited.
type logLines struct {
	mu    sync.Mutex
	all   bytes.Buffer
	lines chan string
}

func (l *logLines) Write(data []byte) (int, error) {
	l.mu.Lock()
	l.all.Write(data)
	l.mu.Unlock()
	l.lines <- string(data)
	return len(data), nil
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// await returns the first line that holds text.
func (l *logLines) await(t *testing.T, text string) string {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line := <-l.lines:
			if strings.Contains(line, text) {
				return line
			}
		case <-deadline:
			t.Fatalf("no log line with %q within 20 s, got:\n%s", text, l)
		}
	}
}

func start(t *testing.T, c child.Command) (*child.Process, *logLines) {
	t.Helper()
	log := &logLines{lines: make(chan string, 100)}
	c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p, err := child.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(); <-p.Done() })
	return p, log
}

func TestOutputAndFailure(t *testing.T) {
	c := command("print", nil)
	c.Level = func(line string) slog.Level {
		if strings.HasPrefix(line, "no") {
			return slog.LevelDebug
		}
		return slog.LevelInfo
	}
	p, log := start(t, c)
	<-p.Done()
	for _, want := range []string{`level=INFO msg="out one"`, `level=WARN msg=careful answer=42`, `level=DEBUG msg="no newline"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	err := p.Err()
	if captioner.KindOf(err) != captioner.Unavailable {
		t.Errorf("kind %q, want %q", captioner.KindOf(err), captioner.Unavailable)
	}
	for _, want := range []string{"the test process ended unexpectedly", "exit status 3", "careful", "no newline"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("signal after the end: %v, want nil", err)
	}
	if err := p.Stop(time.Second); err == nil {
		t.Error("stop after a failure: nil, want the failure")
	}
}

func TestStartFails(t *testing.T) {
	_, err := child.Start(t.Context(), child.Command{Name: "engine", Path: filepath.Join(t.TempDir(), "missing")})
	if captioner.KindOf(err) != captioner.Unavailable || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want Unavailable because the file does not exist", err)
	}
}

func TestStop(t *testing.T) {
	tests := []struct {
		mode    string
		grace   time.Duration
		wantErr string
	}{
		{"term", 20 * time.Second, ""},
		{"default", 20 * time.Second, ""},
		{"stubborn", 50 * time.Millisecond, "the test process did not end within 50ms: killed"},
	}
	for _, test := range tests {
		t.Run(test.mode, func(t *testing.T) {
			p, log := start(t, command(test.mode, nil))
			log.await(t, "ready")
			got := ""
			if err := p.Stop(test.grace); err != nil {
				got = err.Error()
			}
			if got != test.wantErr {
				t.Errorf("stop: %q, want %q", got, test.wantErr)
			}
			if alive(p.PID()) {
				t.Error("the process is still there")
			}
		})
	}
}

func TestKilledChildIsAnError(t *testing.T) {
	p, log := start(t, command("default", nil))
	log.await(t, "ready")
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := p.Err(); captioner.KindOf(err) != captioner.Unavailable || !strings.Contains(err.Error(), "signal: terminated") {
		t.Errorf("ended by a signal that was not Stop's: %v, want Unavailable", err)
	}
}

func TestNice(t *testing.T) {
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := command("stdin", nil)
	c.Nice = 10
	p, log := start(t, c)
	log.await(t, "ready")
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p.PID()))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("threads of the child: %v, %v", tasks, err)
	}
	for _, task := range tasks {
		tid, _ := strconv.Atoi(filepath.Base(task))
		if raw, err := unix.Getpriority(unix.PRIO_PROCESS, tid); err == nil && 20-raw != max(10, 20-own) { // the system call gives 20 - nice
			t.Errorf("thread %d of the child has nice %d, want 10", tid, 20-raw)
		}
	}
	if now, _ := unix.Getpriority(unix.PRIO_PROCESS, 0); now != own {
		t.Errorf("this process' priority went from %d to %d", own, now)
	}
}

func TestCloseInput(t *testing.T) {
	p, log := start(t, command("stdin", nil))
	log.await(t, "ready")
	if err := p.CloseInput(); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := p.Err(); err != nil {
		t.Errorf("a child that ended when its input did: %v, want nil", err)
	}
}

// TestGroupEndsWithTheChild: what a child started and left in its group ends too.
func TestGroupEndsWithTheChild(t *testing.T) {
	p, log := start(t, command("family", nil))
	line := log.await(t, "ready")
	fields := strings.Fields(strings.ReplaceAll(line, `"`, ""))
	grandchild, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil {
		t.Fatalf("line %q: %v", line, err)
	}
	end := watch(t, grandchild)
	if err := p.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, end)
}

// TestThreadEnds: the child outlives the thread on which Start was called.
func TestThreadEnds(t *testing.T) {
	type result struct {
		p   *child.Process
		log *logLines
		tid int
	}
	results := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		p, log := start(t, command("echo", nil))
		results <- result{p, log, unix.Gettid()}
	}()
	r := <-results
	if r.tid != os.Getpid() { // the runtime parks the first thread instead of ending it
		for alive(r.tid) {
			runtime.Gosched()
		}
	}
	r.log.await(t, "ready")
	if err := r.p.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, "alive")
}

// TestParentDies: a SIGKILL of the parent ends even a child that ignores
// SIGTERM and its standard input.
func TestParentDies(t *testing.T) {
	killParent(t, "parent", t.TempDir())
}

// TestDeathSignal: a child with a death signal of its own is not killed but told.
func TestDeathSignal(t *testing.T) {
	dir := t.TempDir()
	killParent(t, "careful parent", dir)
	if _, err := os.Stat(filepath.Join(dir, "tidy")); err != nil {
		t.Errorf("the child has not tidied up: %v", err)
	}
}

// killParent starts a parent, kills it once it has a child, and waits until the
// child has ended.
func killParent(t *testing.T, mode, dir string) {
	t.Helper()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), modeVariable+"="+mode, folderVariable+"="+dir)
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	end := watch(t, pid)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	awaitEnd(t, end)
}

// alive reports whether a process or thread exists.
func alive(id int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", id)) // also answers for threads
	return err == nil
}

// watch returns a descriptor that becomes readable when the process ends.
func watch(t *testing.T, pid int) int {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("watch process %d: %v", pid, err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func awaitEnd(t *testing.T, fd int) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("the process did not end within 20 s (%v)", err)
		}
		return
	}
}
