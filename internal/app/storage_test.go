package app

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/captioner/captioner"
)

// objectStore starts an object store with the bucket "captioner".
func objectStore(t *testing.T) (address string) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	backend := s3mem.New()
	if err := backend.CreateBucket("captioner"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	return bucketAt(server.URL)
}

func bucketAt(endpoint string) string {
	return "s3://captioner?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape(endpoint)
}

// TestSharedBlobs puts a blob on one machine and reads it on another.
func TestSharedBlobs(t *testing.T) {
	address := objectStore(t)
	one, err := OpenStorage(t.Context(), StorageOptions{DataDir: t.TempDir(), Blobs: address})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	digest, _, err := one.Blobs.Put(t.Context(), strings.NewReader("content"))
	if err != nil {
		t.Fatal(err)
	}
	dataDir := t.TempDir()
	two, err := OpenStorage(t.Context(), StorageOptions{DataDir: dataDir, Blobs: address})
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	path, err := two.Blobs.Local(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "content" || !strings.HasPrefix(path, filepath.Join(dataDir, "cache")) {
		t.Errorf("the file %s has %q, %v", path, content, err)
	}
}

// TestBadObjectStore leaves no database behind where the blobs cannot be.
func TestBadObjectStore(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<html><body>Hello</body></html>")
	}))
	defer page.Close()
	for address, want := range map[string]string{
		strings.Replace(objectStore(t), "s3://captioner", "s3://another", 1): `there is no bucket "another"`,
		bucketAt(page.URL): "is not an object store",
		"s3://captioner/x": "must be s3://BUCKET",
	} {
		dataDir := t.TempDir()
		_, err := OpenStorage(t.Context(), StorageOptions{DataDir: dataDir, Blobs: address})
		if captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
		if _, err := os.Stat(filepath.Join(dataDir, "captioner.db")); !os.IsNotExist(err) {
			t.Errorf("%s: there is a database: %v", address, err)
		}
	}
}
