package backup_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities/activitiestest"
	"github.com/captioner/captioner/internal/backup"
	"github.com/captioner/captioner/internal/blob"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/store"
	"github.com/captioner/captioner/internal/store/postgrestest"
)

// folder is a data folder in use, with one version that is live.
type folder struct {
	dir     string
	store   captioner.Store
	blobs   captioner.BlobStore
	version captioner.Digest
}

func newFolder(t *testing.T) *folder {
	t.Helper()
	f := &folder{dir: t.TempDir()}
	fixture := activitiestest.Open(t, f.dir, captioner.DataConfig{})
	f.store, f.blobs = fixture.Store, fixture.Blobs
	bundle := t.TempDir()
	for name, content := range map[string]string{"vocabulary.json": "[]", "weights": strings.Repeat("w", 1<<20)} {
		must(t, os.WriteFile(filepath.Join(bundle, name), []byte(content), 0o644))
	}
	var err error
	_, f.version, err = registry.StoreTree(t.Context(), f.blobs, bundle)
	must(t, err)
	must(t, f.store.PutModelVersion(t.Context(), captioner.ModelVersion{Version: f.version, RunID: "train-1"}))
	_, err = f.store.MoveAlias(t.Context(), captioner.Production, f.version, 0, "test", "")
	must(t, err)
	// What Temporal keeps is a database like another.
	temporal, err := store.Open(t.Context(), "sqlite:"+filepath.Join(f.dir, "temporal.db"))
	must(t, err)
	must(t, temporal.Close())
	return f
}

func (f *folder) options() backup.Options {
	return backup.Options{DataDir: f.dir, Database: "sqlite:" + filepath.Join(f.dir, "captioner.db"), Store: f.store, Blobs: f.blobs, Program: "1.2.3"}
}

// checkpoint is what a training does again and again: a new one takes the place of
// the one before, which is deleted.
func (f *folder) checkpoint(step int, before captioner.Digest) (captioner.Digest, error) {
	ctx := context.Background()
	next, _, err := f.blobs.Put(ctx, strings.NewReader(strings.Repeat(fmt.Sprintf("step %d\n", step), 1000)))
	if err != nil {
		return next, err
	}
	if err := f.store.PutCheckpoint(ctx, captioner.Checkpoint{RunKey: "run", Attempt: 1, Blob: next, Step: step}); err != nil || before == "" {
		return next, err
	}
	return next, f.blobs.Delete(ctx, before)
}

func TestRoundTrip(t *testing.T) {
	for _, name := range []string{"folder", "file.tar"} {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			_, err := f.checkpoint(10, "")
			must(t, err)
			path := filepath.Join(t.TempDir(), "backups", name)
			made, err := backup.Write(t.Context(), f.options(), path)
			must(t, err)
			if made.Blobs != 4 || len(made.Named) != 4 || len(made.Databases) != 2 || made.Program != "1.2.3" {
				t.Errorf("the manifest is %+v, want four blobs and two databases", made)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
				t.Errorf("%v are left beside the backup", left)
			}
			if _, err := backup.Write(t.Context(), f.options(), path); captioner.KindOf(err) != captioner.Invalid {
				t.Errorf("a second backup at the same place gives %v", err)
			}
			restored := filepath.Join(t.TempDir(), "data")
			got, err := backup.Restore(t.Context(), path, restored)
			must(t, err)
			if diff := cmp.Diff(made, got); diff != "" {
				t.Errorf("manifest (-made +restored):\n%s", diff)
			}
			checkRestored(t, f, restored)
			if _, err := backup.Restore(t.Context(), path, restored); captioner.KindOf(err) != captioner.Invalid {
				t.Errorf("restoring into a folder in use gives %v", err)
			}
		})
	}
}

// checkRestored opens a data folder as a server does, and finds the live version
// and the last checkpoint in it.
func checkRestored(t *testing.T, f *folder, dir string) {
	t.Helper()
	records, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "captioner.db"))
	must(t, err)
	defer records.Close()
	blobs, err := blob.NewDisk(filepath.Join(dir, "blobs"))
	must(t, err)
	alias, err := records.Alias(t.Context(), captioner.Production)
	if err != nil || alias.Version != f.version {
		t.Fatalf("the alias is %+v, %v", alias, err)
	}
	if _, err := registry.Materialise(t.Context(), blobs, alias.Version, t.TempDir()); err != nil {
		t.Errorf("the live version: %v", err)
	}
	checkpoint, err := records.Checkpoint(t.Context(), "run")
	must(t, err)
	if _, err := blobs.Local(t.Context(), checkpoint.Blob); err != nil {
		t.Errorf("the checkpoint of step %d: %v", checkpoint.Step, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "temporal.db")); err != nil {
		t.Error(err)
	}
}

// TestPostgres: records in PostgreSQL are left to pg_dump, blobs are saved, and what
// the records name must be among them.
func TestPostgres(t *testing.T) {
	f := newFolder(t)
	address := postgrestest.Start(t).Database(t)
	records, err := store.Open(t.Context(), address)
	must(t, err)
	defer records.Close()
	must(t, records.PutModelVersion(t.Context(), captioner.ModelVersion{Version: f.version}))
	o := f.options()
	o.Database, o.Store = address, records
	must(t, os.Remove(filepath.Join(f.dir, "temporal.db"))) // the cluster has its own
	path := filepath.Join(t.TempDir(), "backup")
	m, err := backup.Write(t.Context(), o, path)
	must(t, err)
	if m.Records != "postgres" || len(m.Databases) != 0 || len(m.Named) != 3 {
		t.Errorf("the manifest is %+v, want the blobs of one version and no database", m)
	}
	dir := filepath.Join(t.TempDir(), "data")
	_, err = backup.Restore(t.Context(), path, dir)
	must(t, err)
	blobs, err := blob.NewDisk(filepath.Join(dir, "blobs"))
	must(t, err)
	must(t, registry.VerifyBlobs(t.Context(), blobs, f.version))
}

// TestWhileTraining saves a folder again and again while a training replaces its
// checkpoints, as fast as it can.
func TestWhileTraining(t *testing.T) {
	f := newFolder(t)
	before, err := f.checkpoint(0, "")
	must(t, err)
	stop := make(chan struct{})
	var training sync.WaitGroup
	steps := 0
	training.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			var err error
			steps++
			if before, err = f.checkpoint(steps, before); err != nil {
				t.Errorf("the training fails: %v", err)
				return
			}
		}
	})
	for i := range 3 {
		path := filepath.Join(t.TempDir(), "backup.tar")
		if _, err := backup.Write(t.Context(), f.options(), path); err != nil {
			t.Fatalf("backup %d: %v", i+1, err)
		}
		dir := filepath.Join(t.TempDir(), "data")
		_, err := backup.Restore(t.Context(), path, dir)
		must(t, err)
		checkRestored(t, f, dir)
	}
	close(stop)
	training.Wait()
	if steps < 10 {
		t.Errorf("the training took %d steps beside the backups, want more", steps)
	}
}

// TestDamaged damages each part of a backup: it is not restored.
func TestDamaged(t *testing.T) {
	f := newFolder(t)
	path := filepath.Join(t.TempDir(), "backup")
	_, err := backup.Write(t.Context(), f.options(), path)
	must(t, err)
	entries, err := filepath.Glob(filepath.Join(path, "blobs", "*"))
	must(t, err)
	for _, file := range append(entries, filepath.Join(path, "captioner.db"), filepath.Join(path, "temporal.db")) {
		name := filepath.Base(file)
		data, err := os.ReadFile(file)
		must(t, err)
		flipped := bytes.Clone(data)
		flipped[len(data)/2] ^= 0x40
		must(t, os.WriteFile(file, flipped, 0o600))
		dir := filepath.Join(t.TempDir(), "data")
		if _, err := backup.Restore(t.Context(), path, dir); captioner.KindOf(err) != captioner.Corrupt {
			t.Errorf("%s with a flipped bit: Restore gives %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "captioner.db")); err == nil {
			t.Errorf("%s with a flipped bit: there is a database", name)
		}
		must(t, os.Remove(file))
		if _, err := backup.Verify(t.Context(), path); err == nil {
			t.Errorf("without %s the backup passes", name)
		}
		must(t, os.WriteFile(file, data, 0o600))
	}
	_, err = backup.Verify(t.Context(), path)
	must(t, err)
	must(t, os.Remove(filepath.Join(path, "backup.json"))) // as if it had not been finished
	if _, err := backup.Verify(t.Context(), path); captioner.KindOf(err) != captioner.Invalid {
		t.Errorf("without backup.json: %v", err)
	}
}

// TestLostBlob: a version whose file is gone cannot be saved, and the backup says
// so.
func TestLostBlob(t *testing.T) {
	f := newFolder(t)
	must(t, f.blobs.Delete(t.Context(), captioner.DigestOf([]byte("[]"))))
	path := filepath.Join(t.TempDir(), "backup")
	_, err := backup.Write(t.Context(), f.options(), path)
	if captioner.KindOf(err) != captioner.Corrupt {
		t.Errorf("Write gives %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
