package api_test

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// TestGeneratedClient makes a client from the server's own description with a
// public generator, compiles it and lets it call the server.
func TestGeneratedClient(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a generator")
	}
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum", "main.go", "oapi-codegen.yaml"} {
		data, err := os.ReadFile(filepath.Join("..", "tools", "client", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "picture.jpg")
	if err := os.WriteFile(file, []byte(picture(t)), 0o644); err != nil {
		t.Fatal(err)
	}
	f := newFake()
	server := httptest.NewServer(newServer(t, f, nil).Handler())
	defer server.Close()

	command := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	command("tool", "oapi-codegen", "-config", "oapi-codegen.yaml", server.URL+"/openapi.json")
	command("build", "-o", "client", ".")
	out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "client"), server.URL, file).CombinedOutput()
	if err != nil {
		t.Fatalf("the client: %v\n%s", err, out)
	}
	want := `ready: ready
predict: a red circle [4 3] 0123456789ab
started: train-01 /runs/train-01
run: running
models: 2 live: 0123456789ab
promoted: 0123456789ab confirmed: true
rolled back, generation 3
live then: promote by train-00
unknown version: not_found
`
	if diff := gocmp.Diff(want, string(out)); diff != "" {
		t.Errorf("the client printed (-want +got):\n%s", diff)
	}
	if len(f.started) != 1 || f.started[0].Training.Steps != 200 {
		t.Errorf("started %+v, want one run of 200 steps", f.started)
	}
	if diff := gocmp.Diff([]string{"api: it counts better", "api: rolled back by hand"}, f.deployed); diff != "" {
		t.Errorf("deployments (-want +got):\n%s", diff)
	}
}
