package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/captioner/captioner"
)

// archive is a backup that is being written: a folder or a tar file.
type archive interface {
	// Add writes a file of so many bytes. Its name has slashes.
	Add(name string, size int64, r io.Reader) error
	// Close has everything on the disk when it returns.
	Close() error
}

func create(path string) (archive, error) {
	if isTar(path) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, failed(err)
		}
		return &tarFile{f, tar.NewWriter(f)}, nil
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, failed(err)
	}
	return folder(path), nil
}

func isTar(path string) bool { return strings.HasSuffix(path, ".tar") }

// folder is a backup in a folder.
type folder string

func (dir folder) Add(name string, size int64, r io.Reader) error {
	path := filepath.Join(string(dir), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return failed(err)
	}
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return failed(err)
	}
	err = fill(w, size, r)
	if err == nil {
		err = wrapped(w.Sync())
	}
	if closeErr := w.Close(); err == nil {
		err = wrapped(closeErr)
	}
	if err != nil {
		_ = os.Remove(path)
	}
	return err
}

func (dir folder) Close() error {
	return errors.Join(syncDir(filepath.Join(string(dir), blobsDir)), syncDir(string(dir)))
}

// tarFile is a backup in a tar file.
type tarFile struct {
	file *os.File
	tar  *tar.Writer
}

func (f *tarFile) Add(name string, size int64, r io.Reader) error {
	if err := f.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: time.Unix(0, 0)}); err != nil {
		return failed(err)
	}
	return fill(f.tar, size, r)
}

func (f *tarFile) Close() error {
	return errors.Join(wrapped(f.tar.Close()), wrapped(f.file.Sync()), wrapped(f.file.Close()))
}

// fill copies a stream of a known size. An error of the stream comes back as it is.
func fill(w io.Writer, size int64, r io.Reader) error {
	n, err := io.Copy(w, r)
	var known *captioner.Error
	switch {
	case errors.As(err, &known):
		return err
	case err != nil:
		return failed(err)
	case n != size:
		return captioner.Errorf(captioner.Corrupt, "a file has %d bytes where there should be %d", n, size)
	}
	return nil
}

func wrapped(err error) error {
	if err == nil {
		return nil
	}
	return failed(err)
}

// addFile adds a file and returns its digest.
func (w *writer) addFile(name, path string) (captioner.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", failed(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", failed(err)
	}
	sum := sha256.New()
	if err := w.out.Add(name, info.Size(), io.TeeReader(f, sum)); err != nil {
		return "", err
	}
	return captioner.Digest(hex.EncodeToString(sum.Sum(nil))), nil
}

func (w *writer) addBytes(name string, data []byte) error {
	return w.out.Add(name, int64(len(data)), bytes.NewReader(data))
}

// each calls visit for every file of a backup, in no order.
func each(path string, visit func(name string, r io.Reader) error) error {
	if isTar(path) {
		return eachInTar(path, visit)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return captioner.Wrap(captioner.Invalid, err, "open the backup")
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return wrapped(err)
		}
		f, err := root.Open(name)
		if err != nil {
			return captioner.Wrap(captioner.Unavailable, err, "read the backup")
		}
		defer f.Close()
		return visit(name, f)
	})
}

func eachInTar(path string, visit func(name string, r io.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return captioner.Wrap(captioner.Invalid, err, "open the backup")
	}
	defer f.Close()
	for entries := tar.NewReader(f); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return captioner.Wrap(captioner.Corrupt, err, "the backup is damaged or no tar file")
		}
		if err := visit(header.Name, entries); err != nil {
			return err
		}
	}
}

// syncDir has a folder's entries on the disk when it returns.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return failed(err)
	}
	defer f.Close()
	return wrapped(f.Sync())
}
