package blob

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// FileSystem is what a Disk needs of the operating system. Tests put one in
// front of it that fails where they want.
type FileSystem interface {
	// MkdirAll makes a folder and those above it.
	MkdirAll(dir string) error
	// CreateTemp makes a new file with a name of its own in dir, and locks it
	// for as long as it is open.
	CreateTemp(dir string) (File, error)
	// RemoveAbandoned removes a file of CreateTemp's that nobody has open.
	RemoveAbandoned(path string) error
	// Open opens a file to read.
	Open(path string) (File, error)
	Stat(path string) (fs.FileInfo, error)
	ReadDir(dir string) ([]fs.DirEntry, error)
	Rename(from, to string) error
	Remove(path string) error
	// Touch makes now the time at which the file was last written.
	Touch(path string) error
	// SyncDir has the folder's entries on the disk when it returns.
	SyncDir(dir string) error
}

// File is an open file.
type File interface {
	io.ReadWriteCloser
	Name() string
	// Sync has the file's bytes on the disk when it returns.
	Sync() error
	// MakeReadOnly takes away everyone's permission to write.
	MakeReadOnly() error
}

// osFiles is the operating system's FileSystem.
type osFiles struct{}

func (osFiles) MkdirAll(dir string) error                 { return os.MkdirAll(dir, 0o755) }
func (osFiles) Stat(path string) (fs.FileInfo, error)     { return os.Stat(path) }
func (osFiles) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }
func (osFiles) Rename(from, to string) error              { return os.Rename(from, to) }
func (osFiles) Remove(path string) error                  { return os.Remove(path) }

func (osFiles) Touch(path string) error {
	now := time.Now()
	return os.Chtimes(path, now, now)
}

func (osFiles) CreateTemp(dir string) (File, error) {
	for {
		f, err := os.CreateTemp(dir, "*.tmp")
		if err != nil {
			return nil, err
		}
		// Another process may have taken it for abandoned before it was locked.
		if _, others := lock(f); !others && isNamed(f) {
			return osFile{f}, nil
		}
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
}

func (osFiles) RemoveAbandoned(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if ours, _ := lock(f); !ours {
		return nil // in use, or on a file system that cannot tell
	}
	return os.Remove(path)
}

// lock locks an open file until it is closed, and reports whether it has or others
// had before: neither on a file system without locks.
func lock(f *os.File) (ours, others bool) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	return err == nil, errors.Is(err, syscall.EWOULDBLOCK)
}

// isNamed reports whether an open file is still the one of its name.
func isNamed(f *os.File) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.Name())
	return err == nil && os.SameFile(opened, named)
}

func (osFiles) Open(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFiles) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	// Some file systems have nothing to flush for a folder and say so.
	if err = f.Sync(); errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// osFile is an os.File as a File.
type osFile struct{ *os.File }

func (f osFile) MakeReadOnly() error { return f.Chmod(0o444) }
