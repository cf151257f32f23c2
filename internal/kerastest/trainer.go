package kerastest

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"
)

// Trainer is tools/bench/decoders.py, waiting for steps to take.
type Trainer struct{ process *Process }

// StartTrainer starts the script, in the repository at root, with its arguments and
// gives it the captions. It returns once the first steps are taken.
func StartTrainer(b testing.TB, root string, lengths []int32, captions [][]int32, args ...any) *Trainer {
	b.Helper()
	p := Start(b, filepath.Join(root, "tools", "bench", "decoders.py"), args...)
	for _, data := range append([][]int32{lengths}, captions...) {
		if err := binary.Write(p.in, binary.LittleEndian, data); err != nil {
			b.Fatal(err)
		}
	}
	var ready string
	var parameters int
	p.read(b, &ready, &parameters)
	return &Trainer{p}
}

// Steps takes that many steps and returns the seconds and processor seconds of
// each, and the last loss.
func (t *Trainer) Steps(b testing.TB, steps int) (wall, processor, loss float64) {
	b.Helper()
	t.process.Ask(b, fmt.Sprint(steps), &wall, &processor, &loss)
	return wall / float64(steps), processor / float64(steps), loss
}
