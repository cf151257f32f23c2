// Package faultfs is a file system for tests whose k-th change fails. [Each]
// makes every change of a writer fail in turn and checks what is left.
package faultfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
)

// Fault says which change fails, and how.
type Fault struct {
	// At counts from 1; 0 never fails. With On only changes of that name do:
	// mkdir, create, append, write, chmod, sync, close, rename, syncdir.
	At int
	On string
	// Err is what the change returns. Of a write half is done first when the
	// disk is full or the write is short, as it is on a real disk.
	Err error
	// Lasting faults do not pass: all changes after it fail too. Removing and
	// truncating always work, as they do on a full disk.
	Lasting bool
}

// FS is the operating system's file system with a fault. The zero FS has none.
type FS struct {
	atomicfile.OS

	mu    sync.Mutex
	fault Fault
	log   []string
	count int // of changes since the fault was set
	hit   bool
}

// Set sets the next fault, and starts counting and the log anew.
func (f *FS) Set(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.log, f.count, f.hit = fault, nil, 0, false
}

// Log returns the names of all that was asked of the file system since Set.
func (f *FS) Log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.log...)
}

// changes returns how many changes were asked for since Set.
func (f *FS) changes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// look notes what changes nothing.
func (f *FS) look(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, name)
}

// change notes a change and says whether it fails.
func (f *FS) change(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, name)
	if f.fault.On != "" && f.fault.On != name {
		return nil
	}
	f.count++
	if f.fault.At > 0 && (f.count == f.fault.At || f.fault.Lasting && f.count > f.fault.At) {
		f.hit = true
		return &fs.PathError{Op: name, Path: "a path", Err: f.fault.Err}
	}
	return nil
}

// MkdirAll implements atomicfile.FileSystem.
func (f *FS) MkdirAll(dir string) error {
	return unless(f.change("mkdir"), func() error { return f.OS.MkdirAll(dir) })
}

// Rename implements atomicfile.FileSystem.
func (f *FS) Rename(from, to string) error {
	return unless(f.change("rename"), func() error { return f.OS.Rename(from, to) })
}

// SyncDir implements atomicfile.FileSystem.
func (f *FS) SyncDir(dir string) error {
	return unless(f.change("syncdir"), func() error { return f.OS.SyncDir(dir) })
}

// Remove implements atomicfile.FileSystem.
func (f *FS) Remove(path string) error {
	f.look("remove")
	return f.OS.Remove(path)
}

// Touch implements atomicfile.FileSystem.
func (f *FS) Touch(path string) error {
	f.look("touch")
	return f.OS.Touch(path)
}

// Stat implements atomicfile.FileSystem.
func (f *FS) Stat(path string) (fs.FileInfo, error) {
	f.look("stat")
	return f.OS.Stat(path)
}

// Open implements atomicfile.FileSystem.
func (f *FS) Open(path string) (atomicfile.File, error) {
	f.look("open")
	return f.OS.Open(path)
}

// CreateTemp implements atomicfile.FileSystem.
func (f *FS) CreateTemp(dir string) (atomicfile.File, error) {
	return f.opened("create", func() (atomicfile.File, error) { return f.OS.CreateTemp(dir) })
}

// Create implements atomicfile.FileSystem.
func (f *FS) Create(path string) (atomicfile.File, error) {
	return f.opened("create", func() (atomicfile.File, error) { return f.OS.Create(path) })
}

// Append implements atomicfile.FileSystem.
func (f *FS) Append(path string) (atomicfile.File, error) {
	return f.opened("append", func() (atomicfile.File, error) { return f.OS.Append(path) })
}

func (f *FS) opened(name string, open func() (atomicfile.File, error)) (atomicfile.File, error) {
	if err := f.change(name); err != nil {
		return nil, err
	}
	opened, err := open()
	if err != nil {
		return nil, err
	}
	return &file{opened, f}, nil
}

// file is a file that was opened to write.
type file struct {
	atomicfile.File
	fs *FS
}

func (f *file) Write(p []byte) (int, error) {
	err := f.fs.change("write")
	if err == nil {
		return f.File.Write(p)
	}
	n := 0
	if atomicfile.IsFull(err) || errors.Is(err, io.ErrShortWrite) {
		n, _ = f.File.Write(p[:len(p)/2])
	}
	return n, err
}

func (f *file) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.fs.change("write"); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, offset)
}

func (f *file) Chmod(mode fs.FileMode) error {
	return unless(f.fs.change("chmod"), func() error { return f.File.Chmod(mode) })
}

func (f *file) Sync() error { return unless(f.fs.change("sync"), f.File.Sync) }

func (f *file) Close() error { return errors.Join(f.fs.change("close"), f.File.Close()) }

// unless does what does not fail, and returns the error of what does.
func unless(err error, do func() error) error {
	if err != nil {
		return err
	}
	return do()
}

// Writer is something that writes files below a folder.
type Writer struct {
	// Write writes. It is called again after a failure.
	Write func() error
	// Whole returns an error if a file under its name is neither what it was
	// before nor what Write makes of it.
	Whole func() error
	// Done returns an error unless all that Write writes is there.
	Done func() error
}

// Each makes every change of a writer fail in turn: with a full disk, a failing
// one and a short write, once and for good. Each time the error must be
// Unavailable, a full disk's with code "out_of_space" and how much is needed; no
// file may be torn or left over; and once the fault has passed, writing again
// must succeed. prepare makes a writer below an empty folder; it may write there
// what was before.
func Each(t *testing.T, prepare func(t *testing.T, files atomicfile.FileSystem, dir string) Writer) {
	t.Helper()
	undisturbed := &FS{}
	w := prepare(t, undisturbed, folder(t))
	undisturbed.Set(Fault{})
	if err := errors.Join(w.Write(), w.Done(), w.Whole()); err != nil {
		t.Fatalf("without a fault: %v", err)
	}
	log, changes := changesOf(undisturbed.Log()), undisturbed.changes()
	if changes == 0 {
		t.Fatal("nothing was written through the file system")
	}
	faults := 0
	for at := 1; at <= changes; at++ {
		for _, err := range []error{syscall.ENOSPC, syscall.EIO, io.ErrShortWrite} {
			for _, lasting := range []bool{false, true} {
				faults++
				fault := Fault{At: at, Err: err, Lasting: lasting}
				if problem := try(t, prepare, fault); problem != nil {
					t.Fatalf("change %d of %v fails with %q, lasting %v: %v", at, log, err, lasting, problem)
				}
			}
		}
	}
	t.Logf("%d faults in %d changes", faults, changes)
}

// folder returns an empty folder, in memory where there is one: what reaches a disk
// is not what is tested.
func folder(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "captioner-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// changesOf leaves out of a log what changes nothing.
func changesOf(log []string) []string {
	var changes []string
	for _, name := range log {
		if !strings.Contains(" remove touch stat open ", " "+name+" ") {
			changes = append(changes, name)
		}
	}
	return changes
}

// try writes once with a fault and once it has passed.
func try(t *testing.T, prepare func(t *testing.T, files atomicfile.FileSystem, dir string) Writer, fault Fault) error {
	files, dir := &FS{}, folder(t)
	w := prepare(t, files, dir)
	files.Set(fault)
	for range 2 { // a lasting fault is met again
		err := w.Write()
		switch {
		case err == nil && fault.Lasting:
			return errors.New("no error")
		case err == nil:
			// Either nothing was lost, or the second time has made up for it.
			err = w.Done()
		default:
			err = typed(err, fault.Err)
		}
		if err := errors.Join(err, w.Whole(), leftOver(dir)); err != nil {
			return err
		}
		if !files.hit {
			return errors.New("the change did not come")
		}
	}
	files.Set(Fault{})
	if err := errors.Join(w.Write(), w.Done(), w.Whole(), leftOver(dir)); err != nil {
		return fmt.Errorf("after the fault: %w", err)
	}
	return nil
}

// typed checks what a failure says.
func typed(err, cause error) error {
	var e *captioner.Error
	switch {
	case captioner.KindOf(err) != captioner.Unavailable || !errors.Is(err, cause) || !errors.As(err, &e):
		return fmt.Errorf("the error is %s: %w; want one that is unavailable", captioner.KindOf(err), err)
	case atomicfile.IsFull(cause) && (e.Code != "out_of_space" || !strings.Contains(e.Message, "needed")):
		return fmt.Errorf("the error %q has code %q; want out_of_space, and how much is needed", e.Message, e.Code)
	case strings.Contains(e.Message, "a path"):
		return fmt.Errorf("the message %q, which a client sees, has a path", e.Message)
	}
	return nil
}

// leftOver returns an error if a temporary file or folder is there.
func leftOver(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && (atomicfile.IsTemporary(entry.Name()) || strings.HasPrefix(entry.Name(), ".build-")) {
			err = fmt.Errorf("%s is left over", entry.Name())
		}
		return err
	})
}
