package kerastest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Trainer is tools/bench/decoders.py in a process of its own, waiting for steps
// to take.
type Trainer struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// StartTrainer starts the script, in the repository at root, with its arguments and
// gives it the captions. It returns once the first steps are taken; the process
// ends with the benchmark.
func StartTrainer(b testing.TB, root string, lengths []int32, captions [][]int32, args ...any) *Trainer {
	b.Helper()
	cmd := exec.Command(Python(b), filepath.Join(root, "tools", "bench", "decoders.py"))
	for _, arg := range args {
		cmd.Args = append(cmd.Args, fmt.Sprint(arg))
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	t := &Trainer{in, bufio.NewReader(out)}
	b.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	for _, data := range append([][]int32{lengths}, captions...) {
		if err := binary.Write(in, binary.LittleEndian, data); err != nil {
			b.Fatal(err)
		}
	}
	var parameters int
	if _, err := fmt.Fscanf(t.out, "ready %d\n", &parameters); err != nil {
		b.Fatal(err)
	}
	return t
}

// Steps takes that many steps and returns the seconds and processor seconds of
// each, and the last loss.
func (t *Trainer) Steps(b testing.TB, steps int) (wall, processor, loss float64) {
	b.Helper()
	fmt.Fprintln(t.in, steps)
	if _, err := fmt.Fscanf(t.out, "%g %g %g\n", &wall, &processor, &loss); err != nil {
		b.Fatal(err)
	}
	return wall / float64(steps), processor / float64(steps), loss
}
