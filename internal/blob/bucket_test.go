package blob

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob/blobtest"
	"github.com/captioner/captioner/internal/blob/s3test"
)

func TestBucket(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blobtest.Backend {
		server := s3test.Start(t)
		dir := t.TempDir()
		b := openBucket(t, server.Address, dir)
		return blobtest.Backend{
			BlobStore: b,
			Damage: func(t *testing.T, digest captioner.Digest, damaged []byte) {
				t.Helper()
				server.Write(t, blobPrefix+string(digest), damaged)
				copied := b.copies.disk.path(digest)
				if _, err := os.Stat(copied); err == nil {
					overwrite(t, copied, damaged)
				}
			},
			Reopen: func(t *testing.T) captioner.BlobStore { return openBucket(t, server.Address, dir) },
			Age: func(t *testing.T, digest captioner.Digest, age time.Duration) {
				t.Helper()
				server.Age(t, blobPrefix+string(digest), age)
			},
		}
	})
}

// TestDeletionUnderPut lets a Put upload a blob after its age was looked at and
// before it is deleted for it: the Put must see to it that the blob is there.
func TestDeletionUnderPut(t *testing.T) {
	server := s3test.Start(t)
	b, other := openBucket(t, server.Address, t.TempDir()), openBucket(t, server.Address, t.TempDir())
	content := []byte("content")
	digest := putIn(t, b, content)
	server.Age(t, blobPrefix+string(digest), time.Hour)
	deleting, uploaded := make(chan struct{}), make(chan struct{})
	var once sync.Once
	server.Intercept = func(_ http.ResponseWriter, r *http.Request) bool {
		switch isBlob := strings.HasPrefix(r.URL.Path, "/"+s3test.Bucket+"/"+blobPrefix); {
		case isBlob && r.Method == http.MethodDelete:
			close(deleting)
			<-uploaded
		case r.Method == http.MethodGet && r.URL.Query().Get("prefix") == noticePrefix+string(digest)+"/":
			once.Do(func() { close(uploaded) }) // the Put looks for notices
		}
		return false
	}
	var deletion sync.WaitGroup
	deletion.Go(func() {
		if deleted, err := other.DeleteOlder(t.Context(), digest, time.Now().Add(-time.Minute)); !deleted || err != nil {
			t.Errorf("DeleteOlder = %v, %v", deleted, err)
		}
	})
	<-deleting
	putIn(t, b, content)
	once.Do(func() { close(uploaded) })
	deletion.Wait()
	if has, err := b.Has(t.Context(), digest); !has || err != nil {
		t.Errorf("Has = %v, %v after the Put", has, err)
	}
}

// TestUploadFails lets the object store refuse a part of a large blob: nothing is
// there afterwards, here and there, and the next Put works.
func TestUploadFails(t *testing.T) {
	server := s3test.Start(t)
	b := openBucket(t, server.Address, t.TempDir())
	content := bytes.Repeat([]byte("0123456789abcdef"), 20<<20/16)
	server.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		refused := r.Method == http.MethodPut && r.URL.Query().Get("partNumber") == "2"
		if refused {
			s3test.Refuse(w, http.StatusForbidden, "AccessDenied")
		}
		return refused
	}
	_, _, err := b.Put(t.Context(), bytes.NewReader(content))
	if captioner.KindOf(err) != captioner.Unavailable {
		t.Errorf("Put = %v, want unavailable", err)
	}
	if has, err := b.Has(t.Context(), captioner.DigestOf(content)); has || err != nil {
		t.Errorf("half a blob is there: %v, %v", has, err)
	}
	if left := tempFiles(t, b.copies.disk.dir); len(left) > 0 {
		t.Errorf("%v are left behind", left)
	}
	server.Intercept = nil
	digest := putIn(t, b, content)
	if _, err := openBucket(t, server.Address, t.TempDir()).Local(t.Context(), digest); err != nil {
		t.Error(err)
	}
}

// TestCopyHeals damages the copy alone: Local fetches the blob again.
func TestCopyHeals(t *testing.T) {
	server := s3test.Start(t)
	b := openBucket(t, server.Address, t.TempDir())
	content := []byte("content")
	digest := putIn(t, b, content)
	for range 2 { // not handed out, then handed out
		overwrite(t, b.copies.disk.path(digest), []byte("CONTENT"))
		path, err := b.Local(t.Context(), digest)
		must(t, err)
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
			t.Errorf("the copy has %q, %v", got, err)
		}
	}
}

// TestLocalDownloadsOnce asks for a blob from many goroutines, and again when the
// object store is away.
func TestLocalDownloadsOnce(t *testing.T) {
	server := s3test.Start(t)
	digest := putIn(t, openBucket(t, server.Address, t.TempDir()), []byte("content"))
	b := openBucket(t, server.Address, t.TempDir())
	var gets atomic.Int32
	server.Intercept = func(_ http.ResponseWriter, r *http.Request) bool {
		gets.Add(1)
		return false
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := b.Local(t.Context(), digest); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if gets.Load() != 1 {
		t.Errorf("%d requests, want 1", gets.Load())
	}
	server.Close()
	if _, err := b.Local(t.Context(), digest); err != nil {
		t.Error(err)
	}
}

// TestEviction keeps what was handed out, and of the rest what was used last.
func TestEviction(t *testing.T) {
	server := s3test.Start(t)
	b, err := OpenBucket(t.Context(), server.Address, t.TempDir(), 5000)
	must(t, err)
	defer b.Close()
	var digests []captioner.Digest
	content := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 1000) }
	for i := range 5 {
		digests = append(digests, putIn(t, b, content(i)))
		at := time.Now().Add(time.Duration(i-10) * time.Minute)
		must(t, os.Chtimes(b.copies.disk.path(digests[i]), at, at))
	}
	handed, err := b.Local(t.Context(), digests[0])
	must(t, err)
	putIn(t, b, content(5)) // 6,000 bytes: at most 4,500 stay
	for i, want := range []bool{true, false, false, true, true} {
		if has, err := b.copies.disk.Has(t.Context(), digests[i]); has != want || err != nil {
			t.Errorf("the copy of blob %d: Has = %v, %v; want %v", i, has, err, want)
		}
	}
	if _, err := os.Stat(handed); err != nil {
		t.Error(err)
	}
	if _, err := b.Local(t.Context(), digests[1]); err != nil {
		t.Errorf("a blob whose copy was evicted: %v", err)
	}
}

// TestFoldersOfCopies gives each process its own, and the next one a free one.
func TestFoldersOfCopies(t *testing.T) {
	server := s3test.Start(t)
	dir := t.TempDir()
	first, err := OpenBucket(t.Context(), server.Address, dir, 1<<20)
	must(t, err)
	second, err := OpenBucket(t.Context(), server.Address, dir, 1<<20)
	must(t, err)
	defer second.Close()
	if first.copies.disk.dir == second.copies.disk.dir {
		t.Error("two processes have the same folder")
	}
	free := first.copies.disk.dir
	must(t, first.Close())
	third, err := OpenBucket(t.Context(), server.Address, dir, 1<<20)
	must(t, err)
	defer third.Close()
	if third.copies.disk.dir != free {
		t.Errorf("the folder is %s, want %s, which is free", third.copies.disk.dir, free)
	}
}

// TestPrefix keeps to one part of the bucket.
func TestPrefix(t *testing.T) {
	server := s3test.Start(t)
	b := openBucket(t, server.Address+"&prefix=team/", t.TempDir())
	must(t, b.Check(t.Context()))
	digest := putIn(t, b, []byte("content"))
	if diff := cmp.Diff([]string{"team/" + blobPrefix + string(digest)}, server.Objects(t)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// TestObjectStoreAway makes every failure of the object store one to retry.
func TestObjectStoreAway(t *testing.T) {
	server := s3test.Start(t)
	b := openBucket(t, server.Address, t.TempDir())
	digest := captioner.DigestOf([]byte("content"))
	for name, status := range map[string]int{"NoSuchBucket": 404, "AccessDenied": 403, "": 404} {
		server.Intercept = func(w http.ResponseWriter, _ *http.Request) bool { s3test.Refuse(w, status, name); return true }
		_, openErr := b.Open(t.Context(), digest)
		_, localErr := b.Local(t.Context(), digest)
		_, _, putErr := b.Put(t.Context(), strings.NewReader("content"))
		listErr := b.List(t.Context(), func(captioner.BlobInfo) error { return nil })
		for what, err := range map[string]error{"Open": openErr, "Local": localErr} {
			if captioner.KindOf(err) != captioner.Unavailable {
				t.Errorf("%q: %s = %v, want unavailable", name, what, err)
			}
		}
		if putErr == nil || name != "" && (captioner.KindOf(putErr) != captioner.Unavailable || captioner.KindOf(listErr) != captioner.Unavailable) {
			t.Errorf("%q: Put = %v, List = %v, want unavailable", name, putErr, listErr)
		}
	}
}

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

func putIn(t testing.TB, b *Bucket, content []byte) captioner.Digest {
	t.Helper()
	digest, _, err := b.Put(t.Context(), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return digest
}
