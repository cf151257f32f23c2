// Package mlflowtest gives tests a real MLflow server, and its own Python client
// to read with what a server has been given.
package mlflowtest

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/captioner/captioner/internal/pythontest"
)

const (
	startLimit = 5 * time.Minute // it reads thousands of Python files first
	startPoll  = 100 * time.Millisecond
)

// Options of a server; the zero value knows no users.
type Options struct {
	// Users has it ask for a name and password: those of Admin and AdminPassword.
	Users bool
}

// The user that a server with users knows.
const (
	Admin         = "admin"
	AdminPassword = "password of twelve"
)

// Server is an MLflow server of a test.
type Server struct {
	// URL is its address.
	URL string

	dir, python string
	opts        Options
	process     *exec.Cmd

	reader  *exec.Cmd // nil before the first Read
	ask     io.WriteCloser
	answers *json.Decoder
}

// Start starts a server for the test and its subtests, and ends it afterwards.
// It takes some ten seconds to start, so that short tests are skipped.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("MLflow's server takes long to start")
	}
	python := pythontest.Interpreter(t, "mlflow", "mlflow")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{URL: "http://" + listener.Addr().String(), dir: t.TempDir(), python: python, opts: opts}
	listener.Close()
	s.Restart(t)
	t.Cleanup(func() {
		s.stopReader(t)
		s.Stop(t)
	})
	return s
}

// Restart starts the server again, with all that it had.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	args := []string{
		"-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1",
		"--backend-store-uri", "sqlite:///" + filepath.Join(s.dir, "mlflow.db"),
		"--artifacts-destination", filepath.Join(s.dir, "artifacts"),
	}
	env := append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true", "MLFLOW_TRACKING_URI=")
	if s.opts.Users {
		args = append(args, "--app-name", "basic-auth")
		settings := filepath.Join(s.dir, "auth.ini")
		s.write(t, settings, fmt.Sprintf("[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///%s\nadmin_username = %s\nadmin_password = %s\n",
			filepath.Join(s.dir, "users.db"), Admin, AdminPassword))
		env = append(env, "MLFLOW_AUTH_CONFIG_PATH="+settings, "MLFLOW_FLASK_SERVER_SECRET_KEY=of a test")
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.process = exec.Command(s.python, args...)
	s.process.Dir, s.process.Env = s.dir, env
	s.process.Stdout, s.process.Stderr = log, log
	s.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has children
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(startLimit); !s.healthy(); time.Sleep(startPoll) {
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			s.Stop(t)
			t.Fatalf("MLflow did not start within %s:\n%s", startLimit, text)
		}
	}
}

func (s *Server) healthy() bool {
	response, err := http.Get(s.URL + "/health")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Stop kills the server.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.process == nil {
		return
	}
	if err := syscall.Kill(-s.process.Process.Pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	_ = s.process.Wait() // it was killed
	s.process = nil
}

func (s *Server) write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Run is a run as MLflow's Python client reads it.
type Run struct {
	ID        string
	Name      string
	Status    string
	StartTime int64 `json:"start_time"` // milliseconds
	EndTime   int64 `json:"end_time"`
	Params    map[string]string
	Tags      map[string]string
	// Metrics has every point, [step, value, timestamp] in the order of the
	// steps; a value that is no number is a text.
	Metrics map[string][][3]any
	// Artifacts has the content of every file, by path; of large ones the
	// beginning.
	Artifacts map[string]string
}

// ModelVersion is a registered version as MLflow's Python client reads it.
type ModelVersion struct {
	Version     string
	RunID       string `json:"run_id"`
	Source      string
	Description string
	Tags        map[string]string
	Aliases     []string
}

// Contents is what the server has.
type Contents struct {
	Runs   []Run
	Models map[string][]ModelVersion
}

//go:embed read.py
var readScript string

// Read reads an experiment's runs, and all models, with MLflow's own client, in
// one process for all calls: it takes seconds to start.
func (s *Server) Read(t testing.TB, experiment string) Contents {
	t.Helper()
	if s.reader == nil {
		s.startReader(t)
	}
	if _, err := fmt.Fprintln(s.ask, experiment); err != nil {
		t.Fatal(err)
	}
	var c Contents
	if err := s.answers.Decode(&c); err != nil {
		t.Fatalf("read with MLflow's client: %v", err)
	}
	return c
}

func (s *Server) startReader(t testing.TB) {
	t.Helper()
	s.reader = exec.Command(s.python, "-c", readScript)
	s.reader.Dir, s.reader.Stderr = s.dir, os.Stderr
	s.reader.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true", "MLFLOW_TRACKING_URI="+s.URL)
	if s.opts.Users {
		s.reader.Env = append(s.reader.Env, "MLFLOW_TRACKING_USERNAME="+Admin, "MLFLOW_TRACKING_PASSWORD="+AdminPassword)
	}
	ask, err := s.reader.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, err := s.reader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.ask, s.answers = ask, json.NewDecoder(answers)
	if err := s.reader.Start(); err != nil {
		t.Fatal(err)
	}
}

// stopReader ends the reader, which ends with its input.
func (s *Server) stopReader(t testing.TB) {
	if s.reader == nil {
		return
	}
	if err := s.ask.Close(); err != nil {
		t.Error(err)
	}
	if err := s.reader.Wait(); err != nil {
		t.Errorf("MLflow's client: %v", err)
	}
}
