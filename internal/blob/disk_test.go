package blob

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
	"github.com/captioner/captioner/internal/blob/blobtest"
	"github.com/captioner/captioner/internal/faultfs"
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

// TestLocalSeesATurnedBit: one that a disk turns by itself leaves the file's time
// and size as they were.
func TestLocalSeesATurnedBit(t *testing.T) {
	d := newDisk(t, t.TempDir())
	digest := put(t, d, "content")
	path, err := d.Local(t.Context(), digest)
	must(t, err)
	info, err := os.Stat(path)
	must(t, err)
	must(t, os.Chmod(path, 0o644))
	must(t, os.WriteFile(path, []byte("contend"), 0o644))
	must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	if _, err := d.Local(t.Context(), digest); captioner.KindOf(err) != captioner.Corrupt {
		t.Errorf("Local gives %v for a damaged blob that was verified before", err)
	}
}

// TestPutIsDurable pins the order of what reaches the disk.
func TestPutIsDurable(t *testing.T) {
	files := &faultfs.FS{}
	d := newDisk(t, t.TempDir(), WithFileSystem(files))
	files.Set(faultfs.Fault{})
	put(t, d, "content")
	want := []string{"create", "write", "mkdir", "syncdir", "open", "chmod", "sync", "close", "rename", "syncdir"}
	if diff := cmp.Diff(want, files.Log()); diff != "" {
		t.Errorf("first of its folder (-want +got):\n%s", diff)
	}
	files.Set(faultfs.Fault{})
	put(t, d, "content")
	want = []string{"create", "write", "open", "touch", "close", "remove", "syncdir"}
	if diff := cmp.Diff(want, files.Log()); diff != "" {
		t.Errorf("stored again (-want +got):\n%s", diff)
	}
}

// TestEveryWriteCanFail lets each change of a Put fail in turn, of a new blob, one
// that is there, and one that is damaged.
func TestEveryWriteCanFail(t *testing.T) {
	content := strings.Repeat("content", copyBuffer/3) // takes more than one write
	digest := captioner.DigestOf([]byte(content))
	for name, before := range map[string]func(t *testing.T, d *Disk){
		"new":   func(*testing.T, *Disk) {},
		"there": func(t *testing.T, d *Disk) { put(t, d, content) },
		"damaged": func(t *testing.T, d *Disk) {
			put(t, d, content)
			must(t, os.Chmod(d.path(digest), 0o644))
			must(t, os.WriteFile(d.path(digest), []byte("contenu"), 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			faultfs.Each(t, func(t *testing.T, files atomicfile.FileSystem, dir string) faultfs.Writer {
				before(t, newDisk(t, dir))
				d := newDisk(t, dir, WithFileSystem(files))
				return faultfs.Writer{
					Write: func() error {
						_, _, err := d.Put(t.Context(), strings.NewReader(content))
						return err
					},
					Whole: func() error {
						data, err := captioner.ReadBlob(t.Context(), d, digest)
						switch captioner.KindOf(err) {
						case "":
							if string(data) != content {
								return errors.New("a bad blob is read")
							}
							return nil
						case captioner.NotFound, captioner.Corrupt:
							return nil // as it was
						}
						return err
					},
					Done: func() error { _, err := d.Local(t.Context(), digest); return err },
				}
			})
		})
	}
}

func TestOutOfSpace(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		for _, operation := range []string{"create", "write", "sync", "rename"} {
			files := &faultfs.FS{}
			d := newDisk(t, filepath.Join(t.TempDir(), "blobs"), WithFileSystem(files))
			files.Set(faultfs.Fault{At: 1, On: operation, Err: cause})
			_, _, err := d.Put(t.Context(), strings.NewReader(strings.Repeat("x", 3*copyBuffer)))
			if captioner.CodeOf(err) != "out_of_space" || !strings.Contains(err.Error(), `"blobs", 786.4 kB are needed`) {
				t.Errorf("%s: %v; want out_of_space that says how much is needed and where", operation, err)
			}
			var e *captioner.Error
			if errors.As(err, &e) && strings.Contains(e.Message, "/") {
				t.Errorf("the message names a path: %s", e.Message)
			}
		}
	}
}

// failing is a file system whose files cannot be read.
type failing struct{ atomicfile.OS }

type failingFile struct{ atomicfile.File }

func (f failing) Open(path string) (atomicfile.File, error) {
	file, err := f.OS.Open(path)
	return failingFile{file}, err
}

func (failingFile) Read([]byte) (int, error) { return 0, syscall.EIO }

func TestReadFails(t *testing.T) {
	dir := t.TempDir()
	digest := put(t, newDisk(t, dir), "content")
	d := newDisk(t, dir, WithFileSystem(failing{}))
	if _, err := captioner.ReadBlob(t.Context(), d, digest); captioner.KindOf(err) != captioner.Unavailable {
		t.Errorf("reading gives %v", err)
	}
}

// TestAbandonedFilesAreRemoved keeps what somebody is still writing, however long
// ago that was begun.
func TestAbandonedFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	digest := put(t, newDisk(t, dir), "content")
	must(t, os.WriteFile(filepath.Join(dir, incoming, "left.tmp"), []byte("half"), 0o600))
	writing, err := atomicfile.OS{}.CreateTemp(filepath.Join(dir, incoming))
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
