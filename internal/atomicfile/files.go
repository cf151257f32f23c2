package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// FileSystem is what writers need of the operating system. Tests put one in
// front of it that fails where they want; see package faultfs.
type FileSystem interface {
	// MkdirAll makes a folder and those above it.
	MkdirAll(dir string) error
	// CreateTemp makes a new file with a name of its own in dir, and locks it
	// for as long as it is open.
	CreateTemp(dir string) (File, error)
	// RemoveAbandoned removes a file of CreateTemp's that nobody has open.
	RemoveAbandoned(path string) error
	// Create makes a new file; one that is there already is an error.
	Create(path string) (File, error)
	// Append opens a file to write at its end.
	Append(path string) (File, error)
	// Open opens a file to read.
	Open(path string) (File, error)
	Stat(path string) (fs.FileInfo, error)
	ReadDir(dir string) ([]fs.DirEntry, error)
	Rename(from, to string) error
	Remove(path string) error
	RemoveAll(path string) error
	// Touch makes now the time at which the file was last written.
	Touch(path string) error
	// SyncDir has the folder's entries on the disk when it returns.
	SyncDir(dir string) error
}

// File is an open file.
type File interface {
	io.ReadWriteCloser
	io.WriterAt
	Name() string
	Truncate(size int64) error
	// Sync has the file's bytes on the disk when it returns.
	Sync() error
	Chmod(mode fs.FileMode) error
}

// OS is the operating system's FileSystem.
type OS struct{}

// MkdirAll implements FileSystem.
func (OS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o755) }

// Stat implements FileSystem.
func (OS) Stat(path string) (fs.FileInfo, error) { return os.Stat(path) }

// ReadDir implements FileSystem.
func (OS) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }

// Rename implements FileSystem.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements FileSystem.
func (OS) Remove(path string) error { return os.Remove(path) }

// RemoveAll implements FileSystem.
func (OS) RemoveAll(path string) error { return os.RemoveAll(path) }

// Touch implements FileSystem.
func (OS) Touch(path string) error {
	now := time.Now()
	return os.Chtimes(path, now, now)
}

// CreateTemp implements FileSystem.
func (OS) CreateTemp(dir string) (File, error) {
	for {
		f, err := os.CreateTemp(dir, temporary+"*")
		if err != nil {
			return nil, err
		}
		// Another process may have taken it for abandoned before it was locked.
		if _, others := lock(f); !others && isNamed(f) {
			return f, nil
		}
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
}

// RemoveAbandoned implements FileSystem.
func (OS) RemoveAbandoned(path string) error {
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

// Create implements FileSystem.
func (OS) Create(path string) (File, error) {
	return opened(os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600))
}

// Append implements FileSystem.
func (OS) Append(path string) (File, error) {
	return opened(os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0))
}

// Open implements FileSystem.
func (OS) Open(path string) (File, error) { return opened(os.Open(path)) }

func opened(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err // and no File that holds a nil pointer
	}
	return f, nil
}

// SyncDir implements FileSystem.
func (OS) SyncDir(dir string) error {
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
