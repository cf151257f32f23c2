// Package blob keeps bytes under their SHA-256: pictures of a data set,
// features, checkpoints, the files of a model version. Whatever it returns has
// been verified, and whatever it has accepted survives a loss of power.
//
// Disk is the store of one machine, Bucket that of several. Package blobtest is the contract that
// every store has to pass. What the blobs mean, and which belong together, is
// left to package registry and to the database.
package blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
)

const (
	// incoming is the folder, inside the store's, of what is being written.
	incoming = "incoming"
	// lockFile is held, by those who put a blob together, and alone by who
	// deletes one for its age.
	lockFile = ".lock"
)

// Disk is a blob store in a folder. The blob abcd… is the read-only file
// ab/abcd…; names appear by rename, once the bytes are on the disk, so that a
// blob is there whole or not at all. Several processes may share the folder.
type Disk struct {
	dir   string
	files atomicfile.FileSystem

	mu     sync.Mutex
	fanOut map[string]bool // folders whose entry is known to be on the disk
}

var _ captioner.BlobStore = (*Disk)(nil)

// Option changes how a Disk is made.
type Option func(*Disk)

// WithFileSystem replaces the operating system's files, to test what happens
// when they fail.
func WithFileSystem(files atomicfile.FileSystem) Option {
	return func(d *Disk) { d.files = files }
}

// NewDisk returns the store in dir, which it makes where it is missing, and
// removes temporary files that a dead process has left there.
func NewDisk(dir string, options ...Option) (*Disk, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "open the blob store")
	}
	d := &Disk{dir: absolute, files: atomicfile.OS{}, fanOut: map[string]bool{}}
	for _, option := range options {
		option(d)
	}
	if err := d.files.MkdirAll(filepath.Join(d.dir, incoming)); err != nil {
		return nil, classify(err, "open the blob store")
	}
	for _, dir := range []string{d.dir, filepath.Dir(d.dir)} {
		if err := d.files.SyncDir(dir); err != nil {
			return nil, classify(err, "open the blob store")
		}
	}
	isFile := func(e fs.DirEntry) bool { return !e.IsDir() } // a folder is not ours
	if err := atomicfile.RemoveAbandoned(d.files, filepath.Join(d.dir, incoming), isFile); err != nil {
		return nil, classify(err, "clean the blob store")
	}
	return d, nil
}

// Put stores what r gives, durably, and returns its digest and size in bytes.
// A failure of r comes back as it is; a full disk is Unavailable with code
// "out_of_space". Storing bytes again repairs a blob that has rotted.
func (d *Disk) Put(ctx context.Context, r io.Reader) (captioner.Digest, int64, error) {
	if err := ctx.Err(); err != nil {
		return "", 0, fmt.Errorf("store a blob: %w", err)
	}
	temp, err := atomicfile.Create(d.files, filepath.Join(d.dir, incoming), "blob")
	if err != nil {
		return "", 0, d.notStored(err, r, 0)
	}
	defer temp.Abort()
	digest, err := d.fill(ctx, temp, r)
	if err != nil {
		return "", 0, err
	}
	if err := d.keep(ctx, temp, digest); err != nil {
		return "", 0, atomicfile.Classify(err, "store a blob", d.dir, temp.Size())
	}
	return digest, temp.Size(), nil
}

// fill copies r into the temporary file, and hashes what it has written while it
// reads on.
func (d *Disk) fill(ctx context.Context, temp *atomicfile.Pending, r io.Reader) (captioner.Digest, error) {
	h := newHasher()
	err := d.copyInto(ctx, temp, r, h)
	return h.sum(), err
}

// copyInto copies r into the temporary file and the hasher.
func (d *Disk) copyInto(ctx context.Context, temp *atomicfile.Pending, r io.Reader, h *hasher) error {
	var read int64
	for {
		buffer := buffers.Get().(*[copyBuffer]byte)
		n, readErr := r.Read(buffer[:])
		read += int64(n)
		if n > 0 {
			if _, err := temp.Write(buffer[:n]); err != nil {
				return d.notStored(err, r, read)
			}
		}
		h.add(buffer, n)
		switch {
		case errors.Is(readErr, io.EOF):
			return nil
		case readErr != nil:
			return fmt.Errorf("read what to store as a blob: %w", readErr)
		case ctx.Err() != nil:
			return fmt.Errorf("store a blob: %w", ctx.Err())
		}
	}
}

// notStored gives the failure of a Put its kind. How much a full disk lacks is
// known once the rest is read too.
func (d *Disk) notStored(err error, rest io.Reader, read int64) error {
	if atomicfile.IsFull(err) {
		n, _ := io.Copy(io.Discard, rest) // what cannot be read takes no space
		read += n
	}
	return atomicfile.Classify(err, "store a blob", d.dir, read)
}

// keep gives the temporary file its name, or drops it when the same bytes are
// there already. Either way the blob is on the disk afterwards.
func (d *Disk) keep(ctx context.Context, temp *atomicfile.Pending, digest captioner.Digest) error {
	folder := d.folder(digest)
	if err := d.makeFolder(folder); err != nil {
		return err
	}
	lock := flock.New(filepath.Join(d.dir, lockFile))
	if err := lock.RLock(); err != nil {
		return err
	}
	defer lock.Close()
	lost := d.renew(ctx, digest)
	switch {
	case lost == nil:
		temp.Abort()
		return d.files.SyncDir(folder)
	case ctx.Err() != nil:
		return lost
	}
	return temp.Commit(d.path(digest), 0o444)
}

// renew makes now the time at which a blob was last put, if it is there and
// undamaged.
func (d *Disk) renew(ctx context.Context, digest captioner.Digest) error {
	path, err := d.Local(ctx, digest)
	if err != nil {
		return err
	}
	return d.files.Touch(path)
}

// makeFolder makes a fan-out folder, and has its entry on the disk when it
// returns: another process may have made it and died.
func (d *Disk) makeFolder(folder string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fanOut[folder] {
		return nil
	}
	if err := d.files.MkdirAll(folder); err != nil {
		return err
	}
	if err := d.files.SyncDir(d.dir); err != nil {
		return err
	}
	d.fanOut[folder] = true
	return nil
}

// Open returns the blob; NotFound when there is none. The bytes are verified
// while they are read: the last Read fails with kind Corrupt instead of io.EOF
// when they do not match.
func (d *Disk) Open(ctx context.Context, digest captioner.Digest) (io.ReadCloser, error) {
	if err := usable(ctx, digest); err != nil {
		return nil, err
	}
	file, err := d.files.Open(d.path(digest))
	if err != nil {
		return nil, classify(err, "open blob "+digest.Short())
	}
	return newVerifyingReader(ctx, file, digest), nil
}

// Has reports whether the blob is there, without verifying it.
func (d *Disk) Has(ctx context.Context, digest captioner.Digest) (bool, error) {
	if err := usable(ctx, digest); err != nil {
		return false, err
	}
	info, err := d.files.Stat(d.path(digest))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, classify(err, "look for blob "+digest.Short())
	}
	return info.Mode().IsRegular(), nil
}

// Delete removes the blob's file; one that is not there is no error. A reader
// that has it open reads on.
func (d *Disk) Delete(ctx context.Context, digest captioner.Digest) error {
	if err := usable(ctx, digest); err != nil {
		return err
	}
	if err := d.files.Remove(d.path(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return classify(err, "delete blob "+digest.Short())
	}
	return nil
}

// DeleteOlder deletes a blob that was last put before that time, and reports
// whether it did.
func (d *Disk) DeleteOlder(ctx context.Context, digest captioner.Digest, before time.Time) (bool, error) {
	if err := usable(ctx, digest); err != nil {
		return false, err
	}
	lock := flock.New(filepath.Join(d.dir, lockFile))
	if err := lock.Lock(); err != nil {
		return false, classify(err, "delete blob "+digest.Short())
	}
	defer lock.Close()
	info, err := d.files.Stat(d.path(digest))
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !info.ModTime().Before(before):
		return false, nil
	case err != nil:
		return false, classify(err, "delete blob "+digest.Short())
	}
	return true, d.Delete(ctx, digest)
}

// List calls visit for each blob until it returns an error.
func (d *Disk) List(ctx context.Context, visit func(captioner.BlobInfo) error) error {
	folders, err := d.files.ReadDir(d.dir)
	if err != nil {
		return classify(err, "list the blobs")
	}
	for _, folder := range folders {
		if !folder.IsDir() || folder.Name() == incoming {
			continue
		}
		entries, err := d.files.ReadDir(filepath.Join(d.dir, folder.Name()))
		if err != nil {
			return classify(err, "list the blobs")
		}
		for _, entry := range entries {
			digest := captioner.Digest(entry.Name())
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) || !digest.Valid() {
				continue // deleted since, or not ours
			}
			if err != nil {
				return classify(err, "list the blobs")
			}
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("list the blobs: %w", err)
			}
			if err := visit(captioner.BlobInfo{Digest: digest, Size: info.Size(), PutAt: info.ModTime()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Local returns the path of the blob's file, which must not be changed. All of it
// is read and verified each time: bits that turn on a disk leave the file's time
// as it was.
func (d *Disk) Local(ctx context.Context, digest captioner.Digest) (string, error) {
	r, err := d.Open(ctx, digest)
	if err != nil {
		return "", err
	}
	defer r.Close()
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{r}, make([]byte, copyBuffer)); err != nil {
		return "", err
	}
	return d.path(digest), nil
}

// folder and path are where the blob lies.
func (d *Disk) folder(digest captioner.Digest) string {
	return filepath.Join(d.dir, string(digest[:2]))
}

func (d *Disk) path(digest captioner.Digest) string {
	return filepath.Join(d.folder(digest), string(digest))
}

// usable refuses what is no digest, before it becomes part of a path.
func usable(ctx context.Context, digest captioner.Digest) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("open a blob: %w", err)
	}
	if !digest.Valid() {
		return captioner.Errorf(captioner.Invalid, "a blob is named by 64 hexadecimal digits in lower case")
	}
	return nil
}

// verifyingReader hashes what it reads and compares at the end.
type verifyingReader struct {
	ctx    context.Context
	file   io.ReadCloser
	want   captioner.Digest
	hasher *hasher // nil once it has ended
	end    error   // what Read returns from now on
}

func newVerifyingReader(ctx context.Context, file io.ReadCloser, want captioner.Digest) *verifyingReader {
	return &verifyingReader{ctx: ctx, file: file, want: want, hasher: newHasher()}
}

// Read reads on; the end is io.EOF only if the bytes were the blob's.
func (r *verifyingReader) Read(p []byte) (int, error) {
	if r.end != nil {
		return 0, r.end
	}
	if err := r.ctx.Err(); err != nil {
		r.end = fmt.Errorf("read blob %s: %w", r.want.Short(), err)
		return 0, r.end
	}
	n, err := r.file.Read(p)
	r.hasher.copy(p[:n])
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		r.end = classify(err, "read blob "+r.want.Short())
	case r.sum() != r.want:
		r.end = damaged(r.want)
	default:
		r.end = io.EOF
	}
	return n, r.end
}

// sum is the digest of what was read; the hasher ends.
func (r *verifyingReader) sum() captioner.Digest {
	defer func() { r.hasher = nil }()
	return r.hasher.sum()
}

// Close closes the file.
func (r *verifyingReader) Close() error {
	if r.hasher != nil {
		r.sum()
		r.end = cmp.Or(r.end, fs.ErrClosed)
	}
	return r.file.Close()
}

// damaged is the error about bytes that are not the blob's.
func damaged(digest captioner.Digest) error {
	return captioner.Errorf(captioner.Corrupt, "blob %s is damaged: its bytes do not match its digest", digest.Short())
}

// classify gives an error of the file system its kind.
func classify(err error, what string) error {
	return atomicfile.Classify(err, what, "", -1)
}
