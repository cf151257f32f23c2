package deploytest

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// stages parses deploy/Dockerfile.
func stages(t *testing.T) []instructions.Stage {
	t.Helper()
	result, err := parser.Parse(strings.NewReader(read(t, "deploy/Dockerfile")))
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Warnings) > 0 {
		t.Errorf("warnings of the parser: %+v", result.Warnings)
	}
	found, _, err := instructions.Parse(result.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func stage(t *testing.T, name string) instructions.Stage {
	t.Helper()
	all := stages(t)
	i := slices.IndexFunc(all, func(s instructions.Stage) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("the Dockerfile has no stage %q", name)
	}
	return all[i]
}

// commandsOf returns the commands of a type of a stage and of those that it is
// built from, the outermost first.
func commandsOf[C instructions.Command](t *testing.T, name string) (found []C) {
	t.Helper()
	s := stage(t, name)
	if slices.ContainsFunc(stages(t), func(other instructions.Stage) bool { return other.Name == s.BaseName }) {
		found = commandsOf[C](t, s.BaseName)
	}
	for _, command := range s.Commands {
		if c, ok := command.(C); ok {
			found = append(found, c)
		}
	}
	return found
}

// TestDockerfile: what is copied exists in the tree or in an earlier stage, what
// stages call is there, and no image holds a compiler or Python.
func TestDockerfile(t *testing.T) {
	earlier := map[string]bool{}
	for _, s := range stages(t) {
		for _, command := range s.Commands {
			switch c := command.(type) {
			case *instructions.CopyCommand:
				if c.From != "" {
					if !earlier[c.From] {
						t.Errorf("%s copies from %q, which is no earlier stage", s.Name, c.From)
					}
					continue
				}
				for _, path := range c.SourcePaths {
					if _, err := os.Stat(filepath.Join(root, path)); err != nil {
						t.Errorf("%s copies %s: %v", s.Name, path, err)
					}
				}
			case *instructions.RunCommand:
				for _, word := range strings.FieldsFunc(strings.Join(c.CmdLine, " "), func(r rune) bool { return strings.ContainsRune(` "'()$;&`, r) }) {
					if strings.HasPrefix(word, "tools/") || strings.HasPrefix(word, "./cmd/") {
						if _, err := os.Stat(filepath.Join(root, word)); err != nil {
							t.Errorf("%s calls %s: %v", s.Name, word, err)
						}
					}
				}
			}
		}
		earlier[s.Name] = true
	}
	bases := map[string]string{"control": "scratch", "engine": "gcr.io/distroless/cc-debian12:nonroot", "cpu": "engine", "gpu": "engine"}
	for target, base := range bases {
		if got := stage(t, target).BaseName; got != base {
			t.Errorf("%s is built from %s, want %s", target, got, base)
		}
		if runs := commandsOf[*instructions.RunCommand](t, target); len(runs) > 0 {
			t.Errorf("%s runs %v", target, runs[0].CmdLine)
		}
		users := commandsOf[*instructions.UserCommand](t, target)
		if len(users) == 0 || users[len(users)-1].User != "65532:65532" {
			t.Errorf("%s runs as %v", target, users)
		}
		for _, env := range commandsOf[*instructions.EnvCommand](t, target) {
			for _, v := range env.Env {
				if strings.HasPrefix(v.Key, "CAPTIONER_") {
					checkVariable(t, target, v.Key)
				}
			}
		}
	}
	for target, library := range map[string]string{"cpu": "/tensorflow/lib", "gpu": "/tensorflow-gpu/lib"} {
		copies := commandsOf[*instructions.CopyCommand](t, target)
		if last := copies[len(copies)-1]; last.SourcePaths[0] != library || last.DestPath != "/usr/local/lib" {
			t.Errorf("%s copies %v to %s, where the engine in /usr/local/bin looks for ../lib", target, last.SourcePaths, last.DestPath)
		}
	}
	for _, command := range commandsOf[*instructions.CmdCommand](t, "cpu")[:1] {
		checkCommand(t, "cpu", command.CmdLine)
	}
}

// TestIgnored: what the images are built from is not kept from them.
func TestIgnored(t *testing.T) {
	ignored := strings.Fields(read(t, ".dockerignore"))
	for _, name := range []string{".git", "bin", "data"} {
		if !slices.Contains(ignored, name) {
			t.Errorf("%s is sent to the builder", name)
		}
	}
	for _, name := range []string{"go.mod", "cmd", "internal", "tools", "deploy", "ml", "api"} {
		if slices.Contains(ignored, name) {
			t.Errorf("%s is kept from the builder", name)
		}
	}
}

// program returns the control plane's program: the one that is tested, else one
// that is built here.
func program(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("CAPTIONER_BINARY"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "captioner")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./cmd/captioner")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// assemble makes the image "control" as the Dockerfile says, from nothing.
func assemble(t *testing.T) v1.Image {
	t.Helper()
	if base := stage(t, "control").BaseName; base != "scratch" {
		t.Fatalf("the image is built from %s", base)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	add := func(header tar.Header, content []byte) {
		t.Helper()
		header.Size = int64(len(content))
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range commandsOf[*instructions.CopyCommand](t, "control") {
		target := strings.TrimPrefix(c.DestPath, "/")
		owner := 0
		if c.Chown != "" {
			if _, err := fmt.Sscanf(c.Chown, "%d:", &owner); err != nil {
				t.Fatalf("owner %q: %v", c.Chown, err)
			}
		}
		switch source := c.SourcePaths[0]; source {
		case "/out/captioner":
			content, err := os.ReadFile(program(t))
			if err != nil {
				t.Fatal(err)
			}
			add(tar.Header{Name: target, Mode: 0o755, Typeflag: tar.TypeReg}, content)
		case "/etc/ssl/certs/ca-certificates.crt":
			content, err := os.ReadFile(source)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			add(tar.Header{Name: target + filepath.Base(source), Mode: 0o644, Typeflag: tar.TypeReg}, content)
		case "/out/data":
			add(tar.Header{Name: target, Mode: 0o755, Uid: owner, Gid: owner, Typeflag: tar.TypeDir}, nil)
		case "/out/tmp":
			add(tar.Header{Name: target, Mode: 0o1777, Typeflag: tar.TypeDir}, nil)
		default:
			t.Fatalf("the image has %s, which this test cannot make", source)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	built, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, built)
	if err != nil {
		t.Fatal(err)
	}
	config := v1.Config{}
	for _, env := range commandsOf[*instructions.EnvCommand](t, "control") {
		for _, v := range env.Env {
			config.Env = append(config.Env, v.Key+"="+v.Value)
		}
	}
	for _, user := range commandsOf[*instructions.UserCommand](t, "control") {
		config.User = user.User
	}
	for _, entry := range commandsOf[*instructions.EntrypointCommand](t, "control") {
		config.Entrypoint = entry.CmdLine
	}
	for _, cmd := range commandsOf[*instructions.CmdCommand](t, "control") {
		config.Cmd = cmd.CmdLine
	}
	image, err = mutate.Config(image, config)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// container is an image's root file system in a folder.
type container struct {
	folder string
	config v1.Config
	jailed bool // the folder is the root of what runs in it, which only root may arrange
}

// unpack lays an image out as a container runtime does.
func unpack(t *testing.T, image v1.Image) container {
	t.Helper()
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := container{folder: t.TempDir(), config: file.Config, jailed: os.Geteuid() == 0}
	if c.jailed {
		// The parents of a test's folder are closed to other users.
		if c.folder, err = os.MkdirTemp("", "image"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(c.folder) })
		c.jailed = mountProc(t, filepath.Join(c.folder, "proc"))
	}
	if err := os.Chmod(c.folder, 0o755); err != nil {
		t.Fatal(err)
	}
	files := mutate.Extract(image)
	defer files.Close()
	reader := tar.NewReader(files)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return c
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(c.folder, filepath.FromSlash(header.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var content []byte
			if content, err = io.ReadAll(reader); err == nil {
				err = os.WriteFile(path, content, header.FileInfo().Mode().Perm())
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if c.jailed {
			err = os.Lchown(path, header.Uid, header.Gid)
		}
		if err := errors.Join(err, os.Chmod(path, header.FileInfo().Mode())); err != nil {
			t.Fatal(err)
		}
	}
}

// mountProc gives a root file system its /proc, as every container runtime does,
// and reports whether it may.
func mountProc(t *testing.T, folder string) bool {
	t.Helper()
	if err := os.MkdirAll(folder, 0o555); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("proc", folder, "proc", 0, ""); err != nil {
		t.Logf("no /proc, so no root of its own: %v", err)
		return false
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, 0); err != nil {
			t.Errorf("unmount /proc: %v", err)
		}
	})
	return true
}

// run prepares the image's entry point with arguments: in the folder, as the
// image's user, with the image's variables alone.
func (c container) run(ctx context.Context, args ...string) *exec.Cmd {
	path := c.config.Entrypoint[0]
	if !c.jailed {
		path = filepath.Join(c.folder, path)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Dir = c.config.Env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if c.jailed {
		var uid, gid uint32
		fmt.Sscanf(c.config.User, "%d:%d", &uid, &gid)
		cmd.SysProcAttr.Chroot = c.folder
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	} else {
		cmd.Dir = c.folder
		cmd.Env = append(slices.Clone(cmd.Env), "CAPTIONER_DATA_DIR="+filepath.Join(c.folder, "data"))
	}
	return cmd
}

// TestControlImage assembles the control plane's image, unpacks it and runs it
// there: the program needs nothing that is not in the image, and writes to its
// data folder alone.
func TestControlImage(t *testing.T) {
	c := unpack(t, assemble(t))
	t.Logf("run in a root of its own, as user %s: %v", c.config.User, c.jailed)
	output := func(args ...string) string {
		t.Helper()
		out, err := c.run(t.Context(), args...).CombinedOutput()
		if err != nil {
			t.Errorf("captioner %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	if got := output("version"); !strings.HasPrefix(got, "captioner ") {
		t.Errorf("version: %q", got)
	}
	for _, args := range [][]string{c.config.Cmd, {"serve", "--help"}} {
		if got := output(args...); !strings.Contains(got, "Usage:") {
			t.Errorf("%q: %q", args, got)
		}
	}
	if got := output("migrate", "up"); !strings.HasPrefix(got, "schema ") {
		t.Errorf("migrate up: %q", got)
	}
	if _, err := os.Stat(filepath.Join(c.folder, "data", "captioner.db")); err != nil {
		t.Errorf("the data folder: %v", err)
	}
	out, err := c.run(t.Context(), "serve").CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 2 || !bytes.Contains(out, []byte("captioner-engine was not found")) {
		t.Errorf("serve without an engine: %v\n%s", err, out)
	}
}

// TestControlWorker starts the worker of the queue "captioner" in the image, which
// needs no engine: beside a Temporal server it works, offers metrics and ends in
// order; without one it says so.
func TestControlWorker(t *testing.T) {
	c := unpack(t, assemble(t))
	out, err := c.run(t.Context(), "worker", "--task-queues=captioner", "--temporal-address=127.0.0.1:1").CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || !bytes.Contains(out, []byte("no Temporal server answers at 127.0.0.1:1")) {
		t.Errorf("worker without Temporal: %v\n%s", err, out)
	}

	temporal := startTemporal(t)
	metrics := freeAddress(t)
	var log bytes.Buffer
	worker := c.run(t.Context(), "worker", "--task-queues=captioner", "--temporal-address="+temporal, "--metrics-listen="+metrics)
	worker.Stderr = &log
	stdout, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n') // it is written once all has started
	if err != nil || line != "working for "+temporal+"\n" {
		worker.Process.Kill()
		worker.Wait()
		t.Fatalf("the worker says %q, %v\n%s", line, err, log.String())
	}
	checkScrape(t, "http://"+metrics+"/metrics")
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := worker.Wait(); err != nil {
		t.Errorf("the worker ended with %v\n%s", err, log.String())
	}
}

// checkScrape: what a process exposes are the metrics that the guide lists and
// those that rules and dashboards rely on.
func checkScrape(t *testing.T, url string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	known, own := metrics(t), 0
	for line := range strings.Lines(string(text)) {
		name := line[:strings.IndexAny(line+" ", "{ ")]
		if !strings.HasPrefix(name, "captioner_") {
			continue
		}
		own++
		if known[name].kind == "" {
			t.Errorf("the guide does not list %s", name)
		}
	}
	for name, m := range others {
		if strings.HasPrefix(name, "process_") && !strings.Contains(string(text), "# TYPE "+name+" "+m.kind+"\n") {
			t.Errorf("there is no %s %s", m.kind, name)
		}
	}
	if own < 10 {
		t.Errorf("%d series of captioner, want more:\n%s", own, text)
	}
}

// startTemporal starts a Temporal server in memory, and returns its address.
func startTemporal(t *testing.T) string {
	t.Helper()
	path := os.Getenv("CAPTIONER_TEMPORAL")
	if path == "" {
		t.Skip("CAPTIONER_TEMPORAL does not name the Temporal CLI: run `make deploy-test`")
	}
	address := freeAddress(t)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command(path, "server", "start-dev", "--headless", "--ip", host, "--port", port, "--log-level", "error")
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	t.Cleanup(func() {
		server.Process.Kill()
		<-ended
	})
	for {
		healthy := exec.CommandContext(t.Context(), path, "operator", "namespace", "describe", "default", "--address", address)
		if healthy.Run() == nil {
			return address
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the Temporal server ended: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// freeAddress returns an address of the loopback that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
