package tracking

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
)

// The names of a run's files.
const (
	configFile  = "config_snapshot.json"
	metricsFile = "metrics.csv"
	scoresFile  = "bleu_scores.csv"
	summaryFile = "run_summary.json"

	wordIndexFile = "wordtoix.json"
	indexWordFile = "ixtoword.json"
)

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Folder names a run's folder below runs/. A run that a Temporal client has
// started may have an ID that is no file name.
func Folder(runID string) string {
	if plainName.MatchString(runID) {
		return runID
	}
	return "run-" + captioner.DigestOf([]byte(runID)).Short()
}

// Details are the paths of a run's files but for its summary, which tells a
// [Tracker] that the others need not be written again. dir is that of all runs.
func Details(dir, runID string) ([]string, error) {
	folder := filepath.Join(dir, Folder(runID))
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var paths []string
	for _, entry := range entries {
		if entry.Name() != summaryFile {
			paths = append(paths, filepath.Join(folder, entry.Name()))
		}
	}
	return paths, err
}

// replaceFile replaces a file as a whole: a reader sees the old one or the new.
func replaceFile(files atomicfile.FileSystem, path string, data []byte) error {
	return atomicfile.Classify(atomicfile.Write(files, path, data), "write "+filepath.Base(path), filepath.Dir(path), int64(len(data)))
}

// replaceJSON writes v with indentation.
func replaceJSON(files atomicfile.FileSystem, path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(files, path, append(data, '\n'))
}

// growing is a file that rows are added to.
type growing struct {
	file atomicfile.File
	path string
	size int64 // of what is whole
}

// grow makes path a file with the data, to add to.
func grow(files atomicfile.FileSystem, path string, data []byte) (*growing, error) {
	if err := replaceFile(files, path, data); err != nil {
		return nil, err
	}
	file, err := files.Append(path)
	if err != nil {
		return nil, atomicfile.Classify(err, "write "+filepath.Base(path), filepath.Dir(path), 0)
	}
	return &growing{file: file, path: path, size: int64(len(data))}, nil
}

// add appends data. Of what does not fit on the disk nothing stays.
func (g *growing) add(data []byte) error {
	_, err := g.file.Write(data)
	if err != nil {
		return errors.Join(
			atomicfile.Classify(err, "write "+filepath.Base(g.path), filepath.Dir(g.path), int64(len(data))),
			g.file.Truncate(g.size))
	}
	g.size += int64(len(data))
	return nil
}

func (g *growing) close() { _ = g.file.Close() } // every write was checked
