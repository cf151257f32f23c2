package kerastest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// Process is a Python script that waits for orders on its standard input and
// answers on its standard output, in turn with what it is compared with.
type Process struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// Start starts a script with arguments. It ends with the test.
func Start(t testing.TB, script string, args ...any) *Process {
	t.Helper()
	cmd := exec.Command(Python(t), script)
	for _, arg := range args {
		cmd.Args = append(cmd.Args, fmt.Sprint(arg))
	}
	cmd.Env, cmd.Stderr = environment(), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &Process{in, bufio.NewReader(out)}
}

// Ask gives the script a line and reads the numbers that it answers with.
func (p *Process) Ask(t testing.TB, order string, answer ...any) {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, order); err != nil {
		t.Fatal(err)
	}
	p.read(t, answer...)
}

func (p *Process) read(t testing.TB, answer ...any) {
	t.Helper()
	if _, err := fmt.Fscanln(p.out, answer...); err != nil {
		t.Fatal(err)
	}
}
