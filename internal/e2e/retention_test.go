package e2e_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/retention"
)

// TestRetentionWhileTraining deletes what is not needed again and again while a run
// trains: the run completes, the oldest version has lost its files and nothing else
// has.
func TestRetentionWhileTraining(t *testing.T) {
	p := needPrograms(t)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	cfg := smallConfig(pictures(t, 100), 20)
	cfg.Training.CheckpointInterval = captioner.Duration(time.Second)
	var versions []captioner.Digest
	for seed := range 3 {
		cfg.Training.Seed = uint64(seed + 1)
		run := l.awaitEnd(t, l.startRun(t, cfg), time.Minute)
		if run.State != captioner.RunCompleted {
			t.Fatalf("run %d ended as %s: %s", seed, run.State, run.Error)
		}
		versions = append(versions, run.Result.Version)
		p.mustRun(t, "models", "promote", string(run.Result.Version), "--data-dir", l.dataDir)
	}
	cfg.Training.Seed, cfg.Training.Steps = 9, 600
	id := l.startRun(t, cfg)
	l.awaitTraining(t, id, 50)

	collect := func(flags ...string) retention.Report {
		t.Helper()
		var report retention.Report
		flags = append([]string{"gc", "--json", "--keep-versions", "0", "--grace", "3s", "--data-dir", l.dataDir}, flags...)
		if err := json.Unmarshal([]byte(p.mustRun(t, flags...)), &report); err != nil {
			t.Fatal(err)
		}
		return report
	}
	dry := collect()
	if n, _ := dry.Of(retention.Version); n != 1 || dry.Deleted || dry.Bytes == 0 {
		t.Errorf("the dry run finds %d versions and %d bytes, want the oldest version", n, dry.Bytes)
	}
	p.mustRun(t, "models", "verify", string(versions[0]), "--data-dir", l.dataDir)
	for _, steps := range []float64{100, 200, 300} {
		report := collect("--delete")
		t.Logf("%d items of %d bytes deleted, %d blobs of %d bytes stay", len(report.Items), report.Bytes, report.KeptBlobs, report.KeptBytes)
		l.awaitTraining(t, id, steps)
	}
	if run := l.awaitEnd(t, id, 3*time.Minute); run.State != captioner.RunCompleted {
		t.Errorf("the run ended as %s: %s", run.State, run.Error)
	}
	for _, version := range versions[1:] { // one is live, the other what a rollback goes to
		p.mustRun(t, "models", "verify", string(version), "--data-dir", l.dataDir)
	}
	if out := p.mustRun(t, "models", "list", "--data-dir", l.dataDir); !strings.Contains(out, "deleted") {
		t.Errorf("no version is listed as deleted:\n%s", out)
	}
	if _, _, code := p.run(t, "models", "promote", string(versions[0]), "--data-dir", l.dataDir); code != 1 {
		t.Errorf("promoting the deleted version: exit code %d, want 1", code)
	}
	l.stop(t)
}

// TestBackupAndRestore saves a data folder while a run trains in it, loses it, and
// makes another one of the copy: what was live is served, and the run goes on.
func TestBackupAndRestore(t *testing.T) {
	p := needPrograms(t)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	data := pictures(t, 100)
	cfg := smallConfig(data, 40)
	cfg.Training.CheckpointInterval = captioner.Duration(time.Second)
	first := l.awaitEnd(t, l.startRun(t, cfg), time.Minute)
	if first.State != captioner.RunCompleted || !first.Result.Deployed {
		t.Fatalf("the first run ended as %s: %s, result %+v", first.State, first.Error, first.Result)
	}
	cfg.Training.Seed, cfg.Training.Steps = 9, 800
	id := l.startRun(t, cfg)
	l.awaitTraining(t, id, 100)
	saved := filepath.Join(t.TempDir(), "backup.tar")
	t.Log(p.mustRun(t, "backup", saved, "--data-dir", l.dataDir))
	l.kill(t)

	restored := filepath.Join(t.TempDir(), "restored")
	t.Log(p.mustRun(t, "restore", saved, "--data-dir", restored))
	p.mustRun(t, "models", "verify", string(first.Result.Version), "--data-dir", restored)
	l.args = append(l.args, "--data-dir", restored)
	l.dataDir = restored
	l.start(t)
	picture := readFile(t, firstPicture(t, data.Images))
	eventually(t, time.Minute, "the restored server serves the version", func() bool {
		r, code := l.predict(t, picture, "beam")
		return code == http.StatusOK && r.ModelVersion == first.Result.Version
	})
	run := l.awaitEnd(t, id, 3*time.Minute)
	if run.State != captioner.RunCompleted {
		t.Errorf("the run that was under way ended as %s: %s", run.State, run.Error)
	}
	if !strings.Contains(l.logText(), "training resumes") {
		t.Error("the training started over")
	}
	l.stop(t)
}
