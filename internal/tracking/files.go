package tracking

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/captioner/captioner"
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

// temporary begins the names of files that are being written. TensorBoard must
// not take one for an event file.
const temporary = ".tmp-"

// removeTemporary removes what a process that was killed has left.
func removeTemporary(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, temporary+"*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

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

// writeFile replaces a file as a whole: a reader sees the old one or the new.
// It returns the file, open at its end, for whoever wants to append.
func writeFile(path string, data []byte) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), temporary+"*")
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return nil, err
	}
	return f, nil
}

// replaceFile is writeFile for a file that does not grow.
func replaceFile(path string, data []byte) error {
	f, err := writeFile(path, data)
	if err != nil {
		return err
	}
	return f.Close()
}

// replaceJSON writes v with indentation.
func replaceJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(path, append(data, '\n'))
}
