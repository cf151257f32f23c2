package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/captioner/captioner/internal/demodata"
	"github.com/captioner/captioner/internal/pythontest"
)

var notebookPath = filepath.Join("..", "..", "deploy", "kaggle", "notebook.ipynb")

// The notebook holds no results: they would be somebody's, and grow old.
func TestNotebookIsClean(t *testing.T) {
	data, err := os.ReadFile(notebookPath)
	if err != nil {
		t.Fatal(err)
	}
	var notebook struct {
		Cells []struct {
			CellType       string            `json:"cell_type"`
			Outputs        []json.RawMessage `json:"outputs"`
			ExecutionCount *int              `json:"execution_count"`
		}
	}
	if err := json.Unmarshal(data, &notebook); err != nil {
		t.Fatal(err)
	}
	for i, cell := range notebook.Cells {
		if len(cell.Outputs) > 0 || cell.ExecutionCount != nil {
			t.Errorf("cell %d has outputs", i)
		}
	}
}

// The notebook for Kaggle finds a small data set among its inputs, trains the
// original's decoder on it for a few steps, and shows captions.
func TestNotebook(t *testing.T) {
	p := needPrograms(t)
	python := pythontest.Interpreter(t, "notebook", "nbclient")

	// A notebook's inputs, as Kaggle mounts them.
	input, working := t.TempDir(), t.TempDir()
	if err := demodata.Generate(t.Context(), filepath.Join(input, "flickr8k"), demodata.Options{Images: 60, Seed: 1}, nil); err != nil {
		t.Fatal(err)
	}
	var glove strings.Builder
	for i, word := range []string{"a", "red", "blue", "circle", "square"} {
		glove.WriteString(word)
		for j := range 200 {
			fmt.Fprintf(&glove, " %.3f", float64((i*31+j*7)%19-9)/20)
		}
		glove.WriteByte('\n')
	}
	if err := os.MkdirAll(filepath.Join(input, "glove6b200d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(input, "glove6b200d", "glove.6B.200d.txt"), []byte(glove.String()), 0o644); err != nil {
		t.Fatal(err)
	}

	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	const parameters = `changes = {
    "model": {"encoder": "conv", "image_size": 32, "width": 32},
    "training": {"epochs": 3, "batch_size": 4, "learning_rate": 0.003},
}`
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "execute_notebook.py"), notebookPath, working, parameters)
	cmd.Env = append(os.Environ(), "CAPTIONER_KAGGLE_INPUT="+input, "CAPTIONER_BINARY="+p.captioner, "CAPTIONER_ENGINE="+p.engine, "CAPTIONER_TEMPORAL="+p.temporal,
		"CAPTIONER_LISTEN="+address, "CAPTIONER_SERVER=http://"+address,
		fmt.Sprintf("CAPTIONER_TEMPORAL_PORT=%d", freePort(t)), fmt.Sprintf("CAPTIONER_TEMPORAL_UI_PORT=%d", freePort(t)),
		"IPYTHONDIR="+t.TempDir(), "JUPYTER_PLATFORM_DIRS=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	runErr := cmd.Run()
	var cells []struct {
		Text string
		Data []string
	}
	if err := json.Unmarshal(stdout.Bytes(), &cells); err != nil || runErr != nil {
		t.Fatalf("%v, %v\n%s\n%s", runErr, err, &stdout, &stderr)
	}
	text := ""
	pictures := 0
	for _, cell := range cells {
		text += cell.Text
		for _, kind := range cell.Data {
			if strings.HasPrefix(kind, "image/") {
				pictures++
			}
		}
	}
	for _, want := range []string{
		filepath.Join(input, "flickr8k", "Images"), filepath.Join(input, "flickr8k", "captions.txt"), "glove.6B.200d.txt",
		"no problem found", "decision", "scene_00001.jpg: ", "wordtoix.json", "run_summary.json",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the notebook does not show %q", want)
		}
	}
	if pictures != 4 {
		t.Errorf("%d pictures are shown, want 4", pictures)
	}
	versions, err := filepath.Glob(filepath.Join(working, "data", "runs", "*", "wordtoix.json"))
	if err != nil || len(versions) != 1 {
		t.Fatalf("the working folder has the files of %d runs, error %v", len(versions), err)
	}
	words, err := os.ReadFile(versions[0])
	if err != nil || !slices.Contains(strings.Fields(string(words)), `"startseq":`) || strings.Contains(string(words), "unk") {
		t.Errorf("the words of the run are not the original's: %.200s, error %v", words, err)
	}
	if t.Failed() {
		t.Log(text)
	}
}
