// Package postgrestest gives tests a real PostgreSQL server, of the programs
// that Debian's package "postgresql" installs. Tests share a server and have a
// database each.
package postgrestest

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/captioner/captioner/internal/child"
)

const (
	startLimit = 30 * time.Second
	stopLimit  = 20 * time.Second
	startPoll  = 20 * time.Millisecond
)

// Server is a PostgreSQL server of a test. It listens on a Unix socket in the
// test's folder alone.
type Server struct {
	bin, dir  string
	user      *syscall.Credential
	process   *child.Process
	databases atomic.Int64
}

// Start starts a server for the test and its subtests, and ends it afterwards.
// Where PostgreSQL is not installed the test is skipped; where the variable CI
// is set it fails.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{bin: programs(tb), dir: tb.TempDir()}
	if err := s.giveAway(); err != nil {
		tb.Fatalf("give the server's folder to another user: %v", err)
	}
	// An encoding and nothing else from the machine's settings. What is lost
	// when the power goes is of no interest here, so nothing is flushed.
	s.run(tb, "initdb", "--pgdata", s.data(), "--username", "postgres", "--auth", "trust",
		"--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--no-instructions")
	s.Restart(tb)
	tb.Cleanup(func() { s.Stop(tb) })
	return s
}

// programs returns the folder of PostgreSQL's newest programs.
func programs(tb testing.TB) string {
	tb.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		tb.Fatal(err)
	}
	if len(found) > 0 {
		return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(release(a), release(b)) }))
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	const message = "PostgreSQL is not installed; Debian and Ubuntu: apt-get install postgresql"
	if os.Getenv("CI") != "" {
		tb.Fatal(message)
	}
	tb.Skip("SKIPPED: " + message)
	return ""
}

// release is the number in /usr/lib/postgresql/17/bin/initdb.
func release(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// giveAway makes the folder another user's when this process is root's:
// PostgreSQL refuses to run as root.
func (s *Server) giveAway() error {
	if os.Getuid() != 0 {
		return nil
	}
	other, err := user.Lookup("postgres")
	if err != nil {
		if other, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, err := strconv.ParseUint(other.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(other.Gid, 10, 32)
	if err != nil {
		return err
	}
	s.user = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	// The folder above is the test's, and nobody else may look into it.
	if err := os.Chmod(filepath.Dir(s.dir), 0o711); err != nil {
		return err
	}
	return os.Chown(s.dir, int(uid), int(gid))
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// run runs one of PostgreSQL's programs to its end.
func (s *Server) run(tb testing.TB, program string, args ...string) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user}
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v\n%s", program, err, out)
	}
}

// Stop ends the server in order and closes its clients' connections.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	if s.process == nil {
		return
	}
	// SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for the clients.
	err := s.process.Signal(os.Interrupt)
	select {
	case <-s.process.Done():
	case <-time.After(stopLimit):
		s.process.Kill()
		tb.Errorf("the PostgreSQL server did not end within %v (%v)", stopLimit, err)
	}
	if err := s.process.Err(); err != nil {
		tb.Errorf("stop the PostgreSQL server: %v", err)
	}
	s.process = nil
}

// Restart starts the server again where Stop has ended it, at the same address
// and with the same databases.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	process, err := child.Start(ctx, child.Command{
		Name: "PostgreSQL", Path: filepath.Join(s.bin, "postgres"), Dir: s.dir, User: s.user,
		DeathSignal: syscall.SIGQUIT, // its immediate shutdown, which gives back shared memory
		Args: []string{"-D", s.data(), "-k", s.dir, "-c", "listen_addresses=",
			"-F", "-c", "dynamic_shared_memory_type=mmap"}, // no fsync, and nothing that outlives the folder
	})
	if err != nil {
		tb.Fatal(err)
	}
	s.process = process
	for {
		conn, err := pgx.Connect(ctx, s.address("postgres"))
		if err == nil {
			_ = conn.Close(ctx)
			return
		}
		select {
		case <-time.After(startPoll):
		case <-process.Done():
			tb.Fatalf("the PostgreSQL server ended at its start: %v", process.Err())
		case <-ctx.Done():
			tb.Fatalf("the PostgreSQL server does not answer: %v\n%s", err, process.LastLines())
		}
	}
}

// Database makes an empty database and returns its address. It sorts text by
// the rules of a language, as a user's server may, so that a test notices when
// the order of bytes is taken for granted.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("test_%d", s.databases.Add(1))
	s.execute(tb, `CREATE DATABASE `+name+` TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'`)
	return s.address(name)
}

// execute runs a statement of the server's administrator.
func (s *Server) execute(tb testing.TB, statement string) {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), s.address("postgres"))
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(tb.Context()))
	if _, err := conn.Exec(tb.Context(), statement); err != nil {
		tb.Fatalf("%s: %v", strings.Fields(statement)[0], err)
	}
}

// address is how a client reaches a database of the server.
func (s *Server) address(database string) string {
	address := url.URL{Scheme: "postgres", Path: "/" + database,
		RawQuery: url.Values{"host": {s.dir}, "user": {"postgres"}}.Encode()}
	return address.String()
}
