package tracking

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/captioner/captioner/internal/atomicfile"
	"github.com/captioner/captioner/internal/faultfs"
)

// TestEveryWriteCanFail follows a run, from its first points to its end, while
// each change of its files fails in turn: whatever lies there can be read.
func TestEveryWriteCanFail(t *testing.T) {
	early, late := newFixture(t), newFixture(t)
	for _, f := range []*fixture{early, late} {
		f.begin(t)
		f.trains(t, 1, 2, 3)
	}
	late.trains(t, 4, 5, 6)
	late.finish(t)
	first, err := early.store.RunRecord(t.Context(), runID)
	must(t, err)
	last, err := late.store.RunRecord(t.Context(), runID)
	must(t, err)
	faultfs.Each(t, func(t *testing.T, files atomicfile.FileSystem, dir string) faultfs.Writer {
		tracker := late.tracker()
		tracker.opts.Dir, tracker.opts.Files = dir, files
		run := tracker.newRunFiles(runID)
		t.Cleanup(run.close)
		return faultfs.Writer{
			Write: func() error {
				tracker.opts.Store = early.store
				if err := run.sync(t.Context(), first); err != nil {
					return err
				}
				tracker.opts.Store = late.store // and so the curves grow
				return run.sync(t.Context(), last)
			},
			Whole: func() error { return readable(run.dir) },
			Done: func() error {
				s, ok := readSummary(filepath.Join(run.dir, summaryFile))
				if !ok || !s.complete(last) || len(s.Files) != 6 {
					return fmt.Errorf("the summary is %+v", s)
				}
				return nil
			},
		}
	})
}

// readable returns an error if a file of the run is torn.
func readable(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		data, readErr := os.ReadFile(filepath.Join(dir, e.Name()))
		err = errors.Join(err, readErr)
		switch {
		case strings.HasSuffix(e.Name(), ".json"):
			err = errors.Join(err, json.Unmarshal(data, new(any)))
		case strings.HasSuffix(e.Name(), ".csv"):
			rows, csvErr := csv.NewReader(strings.NewReader(string(data))).ReadAll()
			err = errors.Join(err, csvErr)
			if csvErr == nil && (len(rows) == 0 || !strings.HasSuffix(string(data), "\n")) {
				err = errors.Join(err, fmt.Errorf("%s is torn", e.Name()))
			}
		case strings.HasPrefix(e.Name(), eventsPrefix):
			if !wholeRecords(data) {
				err = errors.Join(err, fmt.Errorf("%s is torn", e.Name()))
			}
		}
	}
	return err
}

// wholeRecords reports whether data is TFRecords to its end.
func wholeRecords(data []byte) bool {
	for len(data) > 0 {
		if len(data) < 16 {
			return false
		}
		n := int(data[0]) | int(data[1])<<8 | int(data[2])<<16
		if len(data) < 16+n {
			return false
		}
		data = data[16+n:]
	}
	return true
}
