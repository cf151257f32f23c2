// Package atomicfile writes files so that whoever looks sees the old one or the
// whole new one, after a loss of power too: the bytes go to a temporary file
// beside it, to the disk, and only then get their name. Blobs, checkpoints,
// feature shards and the files of runs are all written this way.
package atomicfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/failpoint"
)

// temporary begins the names of files that have no name of their own yet. What
// lists the files of a folder leaves out names that begin with a dot.
const temporary = ".tmp-"

// IsTemporary reports whether the name is that of a file in the making.
func IsTemporary(name string) bool { return strings.HasPrefix(name, temporary) }

// Pending is a file in the making. Whoever has created it calls Commit or
// Abort. Errors are the file system's own: see [Classify].
type Pending struct {
	files FileSystem
	file  File
	kind  string
	size  int64

	closed, gone bool // gone: there is no file of its temporary name
}

// Create begins a file in dir. kind is a word for what it is, for package
// failpoint.
func Create(files FileSystem, dir, kind string) (*Pending, error) {
	file, err := files.CreateTemp(dir)
	if err != nil {
		return nil, err
	}
	return &Pending{files: files, file: file, kind: kind}, nil
}

// Write implements io.Writer.
func (p *Pending) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	p.size += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return n, err
}

// WriteAt replaces bytes that were written before.
func (p *Pending) WriteAt(b []byte, offset int64) error {
	_, err := p.file.WriteAt(b, offset)
	return err
}

// Path is where the bytes lie until then.
func (p *Pending) Path() string { return p.file.Name() }

// Size is how many bytes were written so far.
func (p *Pending) Size() int64 { return p.size }

// Commit gives the file its name, which lies on the same disk, in place of the
// file that has it. When it returns the file survives a loss of power. After an
// error nothing has changed, unless it was the folder's entry that did not reach
// the disk: then the whole new file is there, for now.
func (p *Pending) Commit(path string, mode fs.FileMode) error {
	// The order matters: bytes on the disk, then the name, then the folder.
	for _, step := range []func() error{
		func() error { return p.file.Chmod(mode) },
		func() error { failpoint.ReachedBy(p.kind, failpoint.Written); return p.file.Sync() },
		p.close,
		func() error {
			failpoint.ReachedBy(p.kind, failpoint.Synced)
			return p.files.Rename(p.file.Name(), path)
		},
	} {
		if err := step(); err != nil {
			p.Abort()
			return err
		}
	}
	p.gone = true
	failpoint.ReachedBy(p.kind, failpoint.Renamed)
	return p.files.SyncDir(filepath.Dir(path))
}

// Abort removes what was written. After Commit it does nothing, so that it can
// be deferred.
func (p *Pending) Abort() {
	_ = p.close()
	if !p.gone {
		p.gone = true
		_ = p.files.Remove(p.file.Name())
	}
}

func (p *Pending) close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	return p.file.Close()
}

// Write makes path a file with the data, and the folder that it lies in where
// that is missing. What processes that died while they wrote there have left is
// removed.
func Write(files FileSystem, path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := files.MkdirAll(dir); err != nil {
		return err
	}
	if err := RemoveAbandoned(files, dir, func(e fs.DirEntry) bool { return IsTemporary(e.Name()) }); err != nil {
		return err
	}
	p, err := Create(files, dir, "file")
	if err != nil {
		return err
	}
	defer p.Abort()
	if _, err := io.Copy(p, bytes.NewReader(data)); err != nil {
		return err
	}
	return p.Commit(path, 0o644)
}

// RemoveAbandoned removes those of a folder's temporary files that no living process
// writes; isTemporary says which they are.
func RemoveAbandoned(files FileSystem, dir string, isTemporary func(fs.DirEntry) bool) error {
	entries, err := files.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !isTemporary(entry) {
			continue
		}
		if err := files.RemoveAbandoned(filepath.Join(dir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Classify gives an error of the file system its kind: NotFound, Unavailable, and
// for a full disk Unavailable with code "out_of_space", which says how many bytes
// are needed in dir; a negative number where nobody knows. What has a kind
// already, and the end of a context, stay what they are.
func Classify(err error, what, dir string, needed int64) error {
	var known *captioner.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, fs.ErrNotExist):
		return captioner.Wrap(captioner.NotFound, err, "%s: not found", what)
	case IsFull(err):
		message := what + ": no space left on the disk"
		if needed >= 0 {
			message += fmt.Sprintf(" of the folder %q, %s are needed", filepath.Base(dir), size(needed))
		}
		return &captioner.Error{Kind: captioner.Unavailable, Code: captioner.CodeOutOfSpace,
			Message: message + ": free some and try again", Err: err}
	}
	return captioner.Wrap(captioner.Unavailable, err, "%s", what)
}

// IsFull reports whether err says that a disk, or a share of it, is full.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// size gives a number of bytes to people.
func size(n int64) string {
	switch {
	case n < 1e3:
		return fmt.Sprintf("%d bytes", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	default:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
}
