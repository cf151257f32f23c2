package blob

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob/blobtest"
)

func TestBucket(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blobtest.Backend {
		server := newS3(t)
		dir := t.TempDir()
		b := openBucket(t, server.address, dir)
		return blobtest.Backend{
			BlobStore: b,
			Damage: func(t *testing.T, digest captioner.Digest, damaged []byte) {
				t.Helper()
				server.write(t, blobPrefix+string(digest), damaged)
				copied := b.copies.disk.path(digest)
				if _, err := os.Stat(copied); err == nil {
					overwrite(t, copied, damaged)
				}
			},
			Reopen: func(t *testing.T) captioner.BlobStore { return openBucket(t, server.address, dir) },
			Age: func(t *testing.T, digest captioner.Digest, age time.Duration) {
				t.Helper()
				server.age(t, blobPrefix+string(digest), age)
			},
		}
	})
}

// s3 is an object store in this process, with one bucket.
type s3 struct {
	*httptest.Server
	backend *s3mem.Backend
	clock   *shiftedClock
	address string
}

const testBucket = "captioner"

func newS3(t testing.TB) *s3 {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	s := &s3{clock: &shiftedClock{TimeSource: gofakes3.DefaultTimeSource()}}
	s.backend = s3mem.New(s3mem.WithTimeSource(s.clock))
	if err := s.backend.CreateBucket(testBucket); err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewServer(gofakes3.New(s.backend).Server())
	t.Cleanup(s.Close)
	s.address = addressOf(s.URL)
	return s
}

func addressOf(endpoint string) string {
	return "s3://" + testBucket + "?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape(endpoint)
}

// write replaces an object's bytes behind the store's back.
func (s *s3) write(t testing.TB, name string, content []byte) {
	t.Helper()
	meta := map[string]string{"Last-Modified": s.clock.Now().UTC().Format(http.TimeFormat)} // what HEAD tells
	_, err := s.backend.PutObject(testBucket, name, meta, bytes.NewReader(content), int64(len(content)), nil)
	if err != nil {
		t.Fatal(err)
	}
}

// age makes an object one that was last written that long ago.
func (s *s3) age(t testing.TB, name string, age time.Duration) {
	t.Helper()
	object, err := s.backend.GetObject(testBucket, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	content, err := gofakes3.ReadAll(object.Contents, object.Size)
	if err != nil {
		t.Fatal(err)
	}
	s.clock.shift = -age
	defer func() { s.clock.shift = 0 }()
	s.write(t, name, content)
}

// shiftedClock tells another time.
type shiftedClock struct {
	gofakes3.TimeSource
	shift time.Duration
}

func (c *shiftedClock) Now() time.Time { return c.TimeSource.Now().Add(c.shift) }

func openBucket(t testing.TB, address, dir string) *Bucket {
	t.Helper()
	b, err := OpenBucket(t.Context(), address, filepath.Join(dir, "cache"), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// overwrite changes a read-only file.
func overwrite(t testing.TB, path string, content []byte) {
	t.Helper()
	for _, err := range []error{
		os.Chmod(path, 0o644), os.WriteFile(path, content, 0o644),
		// A clock with coarse ticks must not hide the change.
		os.Chtimes(path, time.Time{}, time.Now().Add(time.Minute)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}
