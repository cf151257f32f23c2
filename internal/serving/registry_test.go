package serving_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/serving"
	"github.com/captioner/captioner/internal/store"
)

// TestFlippedByte swaps between real bundles in a real registry, one of which
// has rotted on disk.
func TestFlippedByte(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	blobs, err := blob.NewDisk(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	records, err := store.Open(ctx, "sqlite:"+filepath.Join(dir, "captioner.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	var versions []captioner.Digest
	for i := range 2 {
		bundle := filepath.Join(dir, fmt.Sprint("bundle", i))
		writeBundle(t, bundle, map[string]string{"vocabulary.json": fmt.Sprintf(`["word%d"]`, i)})
		_, version, err := registry.StoreTree(ctx, blobs, bundle)
		if err != nil {
			t.Fatal(err)
		}
		if err := records.PutModelVersion(ctx, captioner.ModelVersion{Version: version, CreatedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
		versions = append(versions, version)
	}
	flip(t, blobs, captioner.DigestOf([]byte(`["word1"]`)))

	w := newWorld(t)
	w.server, err = serving.New(serving.Options{
		Store: records,
		Materialise: func(ctx context.Context, v captioner.Digest) (string, error) {
			return registry.Materialise(ctx, blobs, v, filepath.Join(dir, "cache"))
		},
		Verify: registry.VerifyDir, Start: w.start, ReplicaID: "r1", Observer: w, PollInterval: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := records.MoveAlias(ctx, captioner.Production, versions[0], 0, "test", "first"); err != nil {
		t.Fatal(err)
	}
	w.server.Start()
	defer w.stop()
	eventually(t, "the first version is live", func() bool { return w.server.State() == serving.Ready })

	if _, err := records.MoveAlias(ctx, captioner.Production, versions[1], 1, "test", "second"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the damaged version is reported", func() bool {
		replicas, err := records.Replicas(ctx, time.Now().Add(-time.Minute))
		return err == nil && len(replicas) == 1 && replicas[0].Error != ""
	})
	if _, version, err := w.request(ctx); err != nil || version != versions[0] {
		t.Errorf("answered by %s, %v; want the version before", version.Short(), err)
	}
	if got := len(w.started()); got != 1 {
		t.Errorf("started %d engines, want none on the damaged version", got)
	}
}

// flip changes one byte of a stored blob.
func flip(t *testing.T, blobs captioner.BlobStore, d captioner.Digest) {
	t.Helper()
	path, err := blobs.Local(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("waited 20 s until %s", what)
}
