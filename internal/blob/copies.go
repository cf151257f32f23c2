package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/gofrs/flock"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
)

// copies are blobs of an object store on this machine's disk, for one process at
// a time. They need not survive anything: each is verified before its first use
// in a process, and fetched again if it is lost or damaged.
type copies struct {
	disk  *Disk
	limit int64 // bytes
	lock  *flock.Flock

	mu       sync.Mutex
	size     int64 // bytes, at most a little above what there is
	byDigest map[captioner.Digest]*localCopy
	evicting sync.Mutex
}

// localCopy is the state of one copy.
type localCopy struct {
	turn   chan struct{} // holds a token while nobody works on the copy
	handed bool          // its path was given away: it stays
}

// openCopies takes the first of the folders 1, 2, … in dir that no other process
// uses, so that none removes what another has handed out.
func openCopies(ctx context.Context, dir string, limit int64) (*copies, error) {
	c := &copies{limit: limit, byDigest: map[captioner.Digest]*localCopy{}}
	if err := (atomicfile.OS{}).MkdirAll(dir); err != nil {
		return nil, classify(err, "open the folder of copies")
	}
	for i := 1; ; i++ {
		folder := filepath.Join(dir, strconv.Itoa(i))
		c.lock = flock.New(folder + ".lock")
		locked, err := c.lock.TryLock()
		if err != nil {
			return nil, classify(err, "lock the folder of copies")
		}
		if !locked {
			continue
		}
		if c.disk, err = NewDisk(folder, WithFileSystem(volatileFiles{})); err != nil {
			return nil, errors.Join(err, c.close())
		}
		if err := c.evict(ctx); err != nil {
			return nil, errors.Join(err, c.close())
		}
		return c, nil
	}
}

func (c *copies) close() error { return c.lock.Close() }

// receive writes what r gives to a temporary file, for keep or Abort.
func (c *copies) receive(ctx context.Context, r io.Reader) (*atomicfile.Pending, captioner.Digest, error) {
	temp, err := atomicfile.Create(c.disk.files, filepath.Join(c.disk.dir, incoming), "copy")
	if err != nil {
		return nil, "", c.disk.notStored(err, r, 0)
	}
	digest, err := c.disk.fill(ctx, temp, r)
	if err != nil {
		temp.Abort()
		return nil, "", err
	}
	return temp, digest, nil
}

// keep makes a temporary file the copy of the blob.
func (c *copies) keep(ctx context.Context, temp *atomicfile.Pending, digest captioner.Digest) error {
	entry, err := c.take(ctx, digest)
	if err != nil {
		return err
	}
	err = c.keepTaken(ctx, temp, digest)
	entry.giveBack()
	if err != nil {
		return err
	}
	return c.evictIfFull(ctx)
}

// keepTaken is keep for who has the copy's turn.
func (c *copies) keepTaken(ctx context.Context, temp *atomicfile.Pending, digest captioner.Digest) error {
	if err := c.disk.keep(ctx, temp, digest); err != nil {
		return atomicfile.Classify(err, "keep a copy of blob "+digest.Short(), c.disk.dir, temp.Size())
	}
	c.mu.Lock()
	c.size += temp.Size()
	c.mu.Unlock()
	return nil
}

// local returns the path of the blob's copy, and makes one of what open gives
// where there is none or a damaged one.
func (c *copies) local(ctx context.Context, digest captioner.Digest, open func() (io.ReadCloser, error)) (string, error) {
	entry, err := c.take(ctx, digest)
	if err != nil {
		return "", err
	}
	path, err := c.localTaken(ctx, digest, entry, open)
	entry.giveBack()
	if err != nil {
		return "", err
	}
	return path, c.evictIfFull(ctx)
}

// localTaken is local for who has the copy's turn.
func (c *copies) localTaken(ctx context.Context, digest captioner.Digest, entry *localCopy, open func() (io.ReadCloser, error)) (string, error) {
	verify := c.disk.renew // used now: others are evicted first
	if entry.handed {
		verify = func(ctx context.Context, d captioner.Digest) error { _, err := c.disk.Local(ctx, d); return err }
	}
	err := verify(ctx, digest)
	if ctx.Err() != nil {
		return "", err
	}
	if captioner.KindOf(err) == captioner.Corrupt {
		if err := c.disk.Delete(ctx, digest); err != nil {
			return "", err
		}
	}
	if err != nil {
		if err := c.fetch(ctx, digest, open); err != nil {
			return "", err
		}
	}
	entry.handed = true
	return c.disk.path(digest), nil
}

// fetch makes what open gives the copy of the blob, if the bytes are the blob's.
func (c *copies) fetch(ctx context.Context, digest captioner.Digest, open func() (io.ReadCloser, error)) error {
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	temp, got, err := c.receive(ctx, r)
	if err != nil {
		return err
	}
	defer temp.Abort()
	if got != digest {
		return damaged(digest)
	}
	return c.keepTaken(ctx, temp, digest)
}

// delete removes the copy.
func (c *copies) delete(ctx context.Context, digest captioner.Digest) error {
	entry, err := c.take(ctx, digest)
	if err != nil {
		return err
	}
	defer entry.giveBack()
	entry.handed = false
	return c.disk.Delete(ctx, digest)
}

// evictIfFull evicts when there is more than the limit.
func (c *copies) evictIfFull(ctx context.Context) error {
	c.mu.Lock()
	full := c.size > c.limit
	c.mu.Unlock()
	if !full || !c.evicting.TryLock() {
		return nil
	}
	defer c.evicting.Unlock()
	return c.evict(ctx)
}

// evict removes the copies that were used the longest time ago, until they take
// up nine tenths of the limit, but none whose path was handed out.
func (c *copies) evict(ctx context.Context) error {
	var all []captioner.BlobInfo
	var size int64
	err := c.disk.List(ctx, func(info captioner.BlobInfo) error {
		all, size = append(all, info), size+info.Size
		return nil
	})
	if err != nil {
		return err
	}
	if size > c.limit {
		slices.SortFunc(all, func(a, b captioner.BlobInfo) int { return a.PutAt.Compare(b.PutAt) })
		for _, info := range all {
			if size <= c.limit/10*9 {
				break
			}
			gone, err := c.evictOne(ctx, info.Digest)
			if err != nil {
				return err
			}
			if gone {
				size -= info.Size
			}
		}
	}
	c.mu.Lock()
	c.size = size
	c.mu.Unlock()
	return nil
}

// evictOne removes a copy unless it is in use, and reports whether it has.
func (c *copies) evictOne(ctx context.Context, digest captioner.Digest) (bool, error) {
	entry := c.entry(digest)
	select {
	case <-entry.turn:
	default:
		return false, nil
	}
	defer entry.giveBack()
	if entry.handed {
		return false, nil
	}
	return true, c.disk.Delete(ctx, digest)
}

// take waits for the turn at a copy.
func (c *copies) take(ctx context.Context, digest captioner.Digest) (*localCopy, error) {
	entry := c.entry(digest)
	select {
	case <-entry.turn:
		return entry, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for blob %s: %w", digest.Short(), ctx.Err())
	}
}

func (l *localCopy) giveBack() { l.turn <- struct{}{} }

func (c *copies) entry(digest captioner.Digest) *localCopy {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.byDigest[digest]
	if entry == nil {
		entry = &localCopy{turn: make(chan struct{}, 1)}
		entry.giveBack()
		c.byDigest[digest] = entry
	}
	return entry
}

// volatileFiles are files that need not survive a loss of power.
type volatileFiles struct{ atomicfile.OS }

func (volatileFiles) SyncDir(string) error { return nil }

func (f volatileFiles) CreateTemp(dir string) (atomicfile.File, error) {
	file, err := f.OS.CreateTemp(dir)
	return volatileFile{file}, err
}

// volatileFile is a file of volatileFiles.
type volatileFile struct{ atomicfile.File }

func (volatileFile) Sync() error { return nil }
