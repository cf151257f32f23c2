package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
)

// TestDamagedDatabase overwrites the beginning of the database, the worst that can
// happen to it: no server starts on it, and says which command recovers; after that
// command the version that was live is live again.
func TestDamagedDatabase(t *testing.T) {
	p := needPrograms(t)
	dataDir := filepath.Join(t.TempDir(), "data")
	l := startLocal(t, p, dataDir)
	cfg := smallConfig(pictures(t, 100), 40)
	run := l.awaitEnd(t, l.startRun(t, cfg), 5*time.Minute)
	if run.State != captioner.RunCompleted {
		t.Fatalf("the run ended as %s: %s", run.State, run.Error)
	}
	l.stop(t)
	version := p.version(t, dataDir, run.Result.Version)
	before := p.mustRun(t, "deployments", "--json", "--data-dir", dataDir)

	db, err := os.OpenFile(filepath.Join(dataDir, "captioner.db"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.WriteAt(make([]byte, 16<<10), 0); err != nil {
		t.Fatal(err)
	}
	db.Close()

	command := "captioner fsck --repair --data-dir " + dataDir
	_, stderr, code := p.run(t, "up", "--data-dir", dataDir, "--listen", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	if code != 1 || !strings.Contains(stderr, "the database is damaged") || !strings.Contains(stderr, command) {
		t.Errorf("captioner up: exit code %d and\n%s\nwant the command %q", code, stderr, command)
	}
	if out, _, code := p.run(t, "fsck", "--data-dir", dataDir); code != 1 || !strings.Contains(out, "captioner.db") {
		t.Errorf("captioner fsck: exit code %d and\n%s", code, out)
	}
	t.Log(p.mustRun(t, "fsck", "--repair", "--data-dir", dataDir))
	if out := p.mustRun(t, "fsck", "--data-dir", dataDir); !strings.Contains(out, "nothing is wrong") {
		t.Errorf("captioner fsck after the repair:\n%s", out)
	}
	if after := p.mustRun(t, "deployments", "--json", "--data-dir", dataDir); after != before {
		t.Errorf("the deployment log is\n%s\nand was\n%s", after, before)
	}
	if diff := cmp.Diff(version, p.version(t, dataDir, run.Result.Version)); diff != "" {
		t.Errorf("the version (-before +after):\n%s", diff)
	}
	l.start(t)
	picture := onePicture(t, cfg.Data.Images)
	eventually(t, time.Minute, "the version is served again", func() bool {
		r, status := l.predict(t, picture, "greedy")
		return status == 200 && r.ModelVersion == run.Result.Version
	})
	if _, stderr, code := p.run(t, "fsck", "--repair", "--data-dir", dataDir); code != 1 || !strings.Contains(stderr, "another captioner works in the data folder") {
		t.Errorf("a repair beside a server: exit code %d and\n%s", code, stderr)
	}
	l.stop(t)
}

// version returns what is known of a version, but for what only the lost records
// of its run had.
func (p programs) version(t *testing.T, dataDir string, digest captioner.Digest) (v captioner.ModelVersion) {
	t.Helper()
	if err := json.Unmarshal([]byte(p.mustRun(t, "models", "show", "--json", "--data-dir", dataDir, string(digest))), &v); err != nil {
		t.Fatal(err)
	}
	v.RunID, v.CreatedAt = "", time.Time{}
	return v
}
