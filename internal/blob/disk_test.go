package blob

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob/blobtest"
)

func TestDisk(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blobtest.Backend {
		dir := t.TempDir()
		d := newDisk(t, dir)
		return blobtest.Backend{
			BlobStore: d,
			Damage: func(t *testing.T, digest captioner.Digest, damaged []byte) {
				t.Helper()
				path := d.path(digest)
				must(t, os.Chmod(path, 0o644))
				must(t, os.WriteFile(path, damaged, 0o644))
				// A clock with coarse ticks must not hide the change.
				must(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Minute)))
			},
			Reopen: func(t *testing.T) captioner.BlobStore { return newDisk(t, dir) },
			Age: func(t *testing.T, digest captioner.Digest, age time.Duration) {
				t.Helper()
				must(t, os.Chtimes(d.path(digest), time.Time{}, time.Now().Add(-age)))
			},
		}
	})
}

// TestLocalVerifiesOnce counts how often the file is opened.
func TestLocalVerifiesOnce(t *testing.T) {
	dir := t.TempDir()
	digest := put(t, newDisk(t, dir), "content")
	recorder := &faultyFiles{}
	d := newDisk(t, dir, WithFileSystem(recorder))
	for range 3 {
		_, err := d.Local(t.Context(), digest)
		must(t, err)
	}
	opens := strings.Count(strings.Join(recorder.log, "\n"), "open ")
	if opens != 1 {
		t.Errorf("opened %d times, want once:\n%s", opens, strings.Join(recorder.log, "\n"))
	}
}

// TestPutIsDurable pins the order of what reaches the disk.
func TestPutIsDurable(t *testing.T) {
	files := &faultyFiles{}
	d := newDisk(t, t.TempDir(), WithFileSystem(files))
	files.log = nil
	put(t, d, "content")
	want := []string{"create", "write", "mkdir", "syncdir", "stat", "read-only", "sync", "close", "rename", "syncdir"}
	if diff := cmp.Diff(want, files.log); diff != "" {
		t.Errorf("first of its folder (-want +got):\n%s", diff)
	}
	files.log = nil
	put(t, d, "content")
	want = []string{"create", "write", "stat", "open x", "close", "touch", "stat", "close", "remove", "syncdir"}
	if diff := cmp.Diff(want, files.log); diff != "" {
		t.Errorf("stored again (-want +got):\n%s", diff)
	}
}

// TestPutFails lets each operation of a Put fail in turn: the error comes back,
// no half blob is seen, nothing is left behind, and the next Put works.
func TestPutFails(t *testing.T) {
	content := "content"
	digest := captioner.DigestOf([]byte(content))
	counter := &faultyFiles{}
	dir := t.TempDir()
	d := newDisk(t, dir, WithFileSystem(counter))
	before := len(counter.log)
	put(t, d, content)
	operations := len(counter.log) - before

	for i := range operations {
		files := &faultyFiles{}
		dir := t.TempDir()
		d := newDisk(t, dir, WithFileSystem(files))
		files.log, files.failAt, files.err = nil, i+1, syscall.EIO
		_, _, err := d.Put(t.Context(), strings.NewReader(content))
		failed := files.log[i]
		if failed == "stat" {
			continue // an unreadable old blob is overwritten: no failure
		}
		if !errors.Is(err, syscall.EIO) || captioner.KindOf(err) != captioner.Unavailable {
			t.Errorf("%s fails: Put = %v", failed, err)
		}
		files.failAt = 0
		if has, _ := d.Has(t.Context(), digest); has {
			if _, err := d.Local(t.Context(), digest); err != nil {
				t.Errorf("%s fails: a bad blob is seen: %v", failed, err)
			}
		}
		if left := tempFiles(t, dir); len(left) > 0 {
			t.Errorf("%s fails: %v are left behind", failed, left)
		}
		if got := put(t, d, content); got != digest {
			t.Errorf("%s failed: the next Put gives %s", failed, got)
		}
	}
}

func TestOutOfSpace(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		for _, operation := range []string{"create", "write", "sync", "rename"} {
			files := &faultyFiles{}
			d := newDisk(t, t.TempDir(), WithFileSystem(files))
			files.failOn, files.err = operation, &fs.PathError{Op: operation, Path: "p", Err: cause}
			_, _, err := d.Put(t.Context(), strings.NewReader("content"))
			if captioner.CodeOf(err) != "out_of_space" || captioner.KindOf(err) != captioner.Unavailable {
				t.Errorf("%s: %v", operation, err)
			}
			var e *captioner.Error
			if errors.As(err, &e) && strings.Contains(e.Message, "/") {
				t.Errorf("the message names a path: %s", e.Message)
			}
		}
	}
}

func TestReadFails(t *testing.T) {
	files := &faultyFiles{}
	d := newDisk(t, t.TempDir(), WithFileSystem(files))
	digest := put(t, d, "content")
	r, err := d.Open(t.Context(), digest)
	must(t, err)
	defer r.Close()
	files.failOn, files.err = "read", syscall.EIO
	if _, err := io.ReadAll(r); captioner.KindOf(err) != captioner.Unavailable {
		t.Errorf("reading gives %v", err)
	}
}

// TestAbandonedFilesAreRemoved keeps what somebody is still writing, however long
// ago that was begun.
func TestAbandonedFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	digest := put(t, newDisk(t, dir), "content")
	must(t, os.WriteFile(filepath.Join(dir, incoming, "left.tmp"), []byte("half"), 0o600))
	writing, err := osFiles{}.CreateTemp(filepath.Join(dir, incoming))
	must(t, err)
	defer writing.Close()
	must(t, os.Chtimes(writing.Name(), time.Time{}, time.Now().Add(-100*time.Hour)))

	d := newDisk(t, dir)
	if diff := cmp.Diff([]string{filepath.Base(writing.Name())}, tempFiles(t, dir)); diff != "" {
		t.Errorf("temporary files (-want +got):\n%s", diff)
	}
	if _, err := d.Local(t.Context(), digest); err != nil {
		t.Error(err)
	}
	must(t, writing.Close())
	newDisk(t, dir)
	if left := tempFiles(t, dir); len(left) > 0 {
		t.Errorf("%v are left of nobody", left)
	}
}

func TestLayout(t *testing.T) {
	dir := t.TempDir()
	digest := put(t, newDisk(t, dir), "content")
	if _, err := os.Stat(filepath.Join(dir, string(digest[:2]), string(digest))); err != nil {
		t.Error(err)
	}
}

func TestNewDiskFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o644))
	if _, err := NewDisk(filepath.Join(file, "blobs")); captioner.KindOf(err) != captioner.Unavailable {
		t.Errorf("%v", err)
	}
}

func BenchmarkPut(b *testing.B) {
	d, err := NewDisk(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	content := make([]byte, 64<<20)
	b.SetBytes(int64(len(content)))
	for i := 0; b.Loop(); i++ {
		copy(content, fmt.Sprint(i))
		if _, _, err := d.Put(b.Context(), bytes.NewReader(content)); err != nil {
			b.Fatal(err)
		}
	}
}

// faultyFiles writes down what is asked of the file system, and fails at the
// operation of a number or a name.
type faultyFiles struct {
	osFiles
	log    []string
	failAt int    // counts from 1 in the log; 0 never
	failOn string // "" never
	err    error
}

// step records an operation and says whether it fails.
func (f *faultyFiles) step(name string) error {
	f.log = append(f.log, name)
	if len(f.log) == f.failAt || name == f.failOn {
		return f.err
	}
	return nil
}

func (f *faultyFiles) MkdirAll(dir string) error {
	if err := f.step("mkdir"); err != nil {
		return err
	}
	return f.osFiles.MkdirAll(dir)
}

func (f *faultyFiles) CreateTemp(dir string) (File, error) {
	if err := f.step("create"); err != nil {
		return nil, err
	}
	file, err := f.osFiles.CreateTemp(dir)
	return &faultyFile{file, f}, err
}

func (f *faultyFiles) Open(path string) (File, error) {
	if err := f.step("open x"); err != nil {
		return nil, err
	}
	file, err := f.osFiles.Open(path)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f}, nil
}

func (f *faultyFiles) Stat(path string) (fs.FileInfo, error) {
	if err := f.step("stat"); err != nil {
		return nil, err
	}
	return f.osFiles.Stat(path)
}

func (f *faultyFiles) Rename(from, to string) error {
	if err := f.step("rename"); err != nil {
		return err
	}
	return f.osFiles.Rename(from, to)
}

func (f *faultyFiles) Remove(path string) error {
	if err := f.step("remove"); err != nil {
		return err
	}
	return f.osFiles.Remove(path)
}

func (f *faultyFiles) Touch(path string) error {
	if err := f.step("touch"); err != nil {
		return err
	}
	return f.osFiles.Touch(path)
}

func (f *faultyFiles) SyncDir(dir string) error {
	if err := f.step("syncdir"); err != nil {
		return err
	}
	return f.osFiles.SyncDir(dir)
}

type faultyFile struct {
	File
	fs *faultyFiles
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if err := f.fs.step("write"); err != nil {
		n, _ := f.File.Write(p[:len(p)/2]) // what a full disk does
		return n, err
	}
	return f.File.Write(p)
}

func (f *faultyFile) Read(p []byte) (int, error) {
	if f.fs.failOn == "read" {
		return 0, f.fs.err
	}
	return f.File.Read(p)
}

func (f *faultyFile) Sync() error {
	if err := f.fs.step("sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) MakeReadOnly() error {
	if err := f.fs.step("read-only"); err != nil {
		return err
	}
	return f.File.MakeReadOnly()
}

func (f *faultyFile) Close() error {
	err := f.fs.step("close")
	return errors.Join(err, f.File.Close())
}

func newDisk(t *testing.T, dir string, options ...Option) *Disk {
	t.Helper()
	d, err := NewDisk(dir, options...)
	must(t, err)
	return d
}

func put(t *testing.T, d *Disk, content string) captioner.Digest {
	t.Helper()
	digest, _, err := d.Put(t.Context(), strings.NewReader(content))
	must(t, err)
	return digest
}

func tempFiles(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, incoming))
	must(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
