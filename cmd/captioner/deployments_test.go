package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/app"
	"github.com/captioner/captioner/internal/registry"
)

// TestDeployByHand promotes, rolls back and reads the log with no server about.
func TestDeployByHand(t *testing.T) {
	dir := t.TempDir()
	versions := register(t, dir, 2)
	cli := func(args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(append(args, "--data-dir", dir), strings.NewReader(""), &out, &errs); code != 0 {
			t.Fatalf("captioner %s: exit code %d: %s", strings.Join(args, " "), code, &errs)
		}
		return out.String()
	}
	before := time.Now().Add(-time.Minute).Format(time.RFC3339)

	if out := cli("models", "promote", versions[0].Short()); !strings.Contains(out, string(versions[0])+" is live, generation 1") || !strings.Contains(out, "no server was running") {
		t.Errorf("the first promotion printed\n%s", out)
	}
	if out := cli("models", "promote", string(versions[1]), "--reason", "it counts better"); !strings.Contains(out, "before it was version "+string(versions[0])) {
		t.Errorf("the second promotion printed\n%s", out)
	}
	if out := cli("models", "promote", string(versions[1])); !strings.Contains(out, "was live already, generation 2") {
		t.Errorf("promoting what is live printed\n%s", out)
	}
	var back struct {
		Version    string
		Generation int
		Confirmed  bool
	}
	out := cli("models", "rollback", "--json", "--reason", "dogs only")
	if err := json.Unmarshal([]byte(out), &back); err != nil || back.Version != string(versions[0]) || back.Generation != 3 || back.Confirmed {
		t.Errorf("the rollback printed %s (%v), want the first version, unconfirmed", out, err)
	}

	log := cli("deployments")
	lines := strings.Split(strings.TrimSpace(log), "\n")
	if len(lines) != 4 || !strings.Contains(lines[1], "rollback") || !strings.Contains(lines[1], "dogs only") || !strings.Contains(lines[2], "cli:") {
		t.Errorf("the log is\n%s", log)
	}
	if out := cli("deployments", "--limit", "1"); strings.Count(out, "\n") != 2 {
		t.Errorf("one row of the log is\n%s", out)
	}
	if out := cli("deployments", "--at", time.Now().Add(time.Minute).Format(time.DateTime)); strings.Count(out, "\n") != 2 || !strings.Contains(out, "dogs only") {
		t.Errorf("what is live is\n%s", out)
	}
	if out := cli("deployments", "--at", before); !strings.Contains(out, "no version was live") {
		t.Errorf("before the first it was\n%s", out)
	}
}

// register adds versions with small bundles to a data folder.
func register(t *testing.T, dataDir string, n int) []captioner.Digest {
	t.Helper()
	storage, err := app.OpenStorage(t.Context(), app.StorageOptions{DataDir: dataDir})
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	var versions []captioner.Digest
	for i := range n {
		bundle := t.TempDir()
		if err := os.WriteFile(filepath.Join(bundle, "vocabulary.json"), fmt.Appendf(nil, `["word%d"]`, i), 0o600); err != nil {
			t.Fatal(err)
		}
		_, version, err := registry.StoreTree(t.Context(), storage.Blobs, bundle)
		if err != nil {
			t.Fatal(err)
		}
		if err := storage.Store.PutModelVersion(t.Context(), captioner.ModelVersion{Version: version}); err != nil {
			t.Fatal(err)
		}
		versions = append(versions, version)
	}
	return versions
}
