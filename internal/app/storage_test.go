package app

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob/s3test"
)

// TestSharedBlobs puts a blob on one machine and reads it on another.
func TestSharedBlobs(t *testing.T) {
	address := s3test.Start(t).Address
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
		strings.Replace(s3test.Start(t).Address, "s3://captioner", "s3://another", 1): `there is no bucket "another"`,
		s3test.Address(page.URL): "is not an object store",
		"s3://captioner/x":       "must be s3://BUCKET",
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
