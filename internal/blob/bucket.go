package blob

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	cloud "gocloud.dev/blob"

	"github.com/captioner/captioner"
)

const (
	// blobPrefix and noticePrefix begin the names of objects: a blob is
	// blobs/DIGEST, and notices/DIGEST/RANDOM says that somebody deletes it.
	blobPrefix   = "blobs/"
	noticePrefix = "notices/"
	// deleteWithin is how long DeleteOlder may take, and noticeExpires when a
	// notice is certainly one of a process that died.
	deleteWithin  = 30 * time.Second
	noticeExpires = time.Minute
	// noticePoll is how often a Put looks whether a deletion has ended.
	noticePoll = 100 * time.Millisecond
)

// Bucket is a blob store in a bucket of an S3-compatible object store, which
// several machines may share, with copies on this machine's disk.
//
// An object's name is the digest of its bytes, so that writing one again changes
// nothing but its time. The object store is taken to be consistent: what was
// written is seen by every later request, as S3 promises.
type Bucket struct {
	bucket     *cloud.Bucket
	name, host string // for messages
	copies     *copies
}

var _ captioner.BlobStore = (*Bucket)(nil)

// OpenBucket opens the bucket of an address such as
//
//	s3://NAME?region=eu-central-1
//	s3://NAME?region=us-east-1&endpoint=http://HOST:PORT&use_path_style=true
//
// with credentials from where AWS's own tools look for them, such as the variables
// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Copies lie below cacheDir, up to
// about cacheBytes. It sends nothing: see [Bucket.Check].
func OpenBucket(ctx context.Context, address, cacheDir string, cacheBytes int64) (*Bucket, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		// The address itself is not repeated: it might hold a password.
		return nil, captioner.Errorf(captioner.Invalid, "the address of the blobs must be s3://BUCKET?region=REGION, with &endpoint=URL&use_path_style=true for a server of your own, and credentials in the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	query := u.Query()
	if !query.Has("response_checksum_validation") {
		query.Set("response_checksum_validation", "when_required") // the digest tells more
	}
	u.RawQuery = query.Encode()
	bucket, err := connect(ctx, u, maxSilence)
	if err != nil {
		return nil, captioner.Wrap(captioner.Invalid, err, "the address of the blobs is not usable")
	}
	copies, err := openCopies(ctx, cacheDir, cacheBytes)
	if err != nil {
		return nil, errors.Join(err, bucket.Close())
	}
	return &Bucket{bucket: bucket, name: u.Host, host: hostOf(u), copies: copies}, nil
}

// hostOf is the server that an address means, without credentials.
func hostOf(u *url.URL) string {
	if endpoint, err := url.Parse(u.Query().Get("endpoint")); err == nil && endpoint.Host != "" {
		return endpoint.Host
	}
	return "Amazon S3"
}

// String names the bucket, for people.
func (b *Bucket) String() string { return fmt.Sprintf("the bucket %q at %s", b.name, b.host) }

// Close gives the folder of copies to the next process.
func (b *Bucket) Close() error { return errors.Join(b.bucket.Close(), b.copies.close()) }

// Put stores what r gives and returns its digest and size in bytes. The name of
// the object is known only at its end: r is read once, into a file on this
// machine, and the file is uploaded.
func (b *Bucket) Put(ctx context.Context, r io.Reader) (captioner.Digest, int64, error) {
	if err := ctx.Err(); err != nil {
		return "", 0, fmt.Errorf("store a blob: %w", err)
	}
	temp, digest, err := b.copies.receive(ctx, r)
	if err != nil {
		return "", 0, err
	}
	defer temp.Abort()
	for there := false; err == nil && !there; {
		if err = b.upload(ctx, digest, temp.Path()); err == nil {
			there, err = b.outlived(ctx, digest)
		}
	}
	if err != nil {
		return "", 0, err
	}
	// A copy that cannot be kept is fetched when it is needed.
	_ = b.copies.keep(ctx, temp, digest)
	return digest, temp.Size(), nil
}

// upload writes the file as the object of the digest: whole or not at all.
func (b *Bucket) upload(ctx context.Context, digest captioner.Digest, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return classify(err, "store a blob")
	}
	defer file.Close()
	err = b.bucket.Upload(ctx, blobPrefix+string(digest), file, &cloud.WriterOptions{ContentType: "application/octet-stream"})
	return classifyObject(ctx, err, "store blob "+digest.Short())
}

// outlived waits for deletions of a blob that was just uploaded, and reports
// whether it is still there. A deletion that gives no notice now has either ended,
// or will look at the blob's age, and spare it, after it has given one.
func (b *Bucket) outlived(ctx context.Context, digest captioner.Digest) (bool, error) {
	expired := time.Now().Add(noticeExpires)
	for {
		notices, err := b.notices(ctx, digest)
		if err != nil {
			return false, err
		}
		if len(notices) == 0 {
			return b.Has(ctx, digest)
		}
		if time.Now().After(expired) {
			for _, notice := range notices {
				if err := b.remove(ctx, notice, "remove an old notice"); err != nil {
					return false, err
				}
			}
			continue
		}
		select {
		case <-time.After(noticePoll):
		case <-ctx.Done():
			return false, fmt.Errorf("store blob %s, which is being deleted: %w", digest.Short(), ctx.Err())
		}
	}
}

// notices are the names of those that somebody deletes the blob.
func (b *Bucket) notices(ctx context.Context, digest captioner.Digest) ([]string, error) {
	var names []string
	objects := b.bucket.List(&cloud.ListOptions{Prefix: noticePrefix + string(digest) + "/"})
	for {
		object, err := objects.Next(ctx)
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, classifyObject(ctx, err, "look who deletes blob "+digest.Short())
		}
		names = append(names, object.Key)
	}
}

// Open returns the blob; NotFound when there is none. It is read from the object
// store and verified meanwhile: the last Read fails with kind Corrupt instead of
// io.EOF when the bytes do not match.
func (b *Bucket) Open(ctx context.Context, digest captioner.Digest) (io.ReadCloser, error) {
	object, err := b.open(ctx, digest)
	if err != nil {
		return nil, err
	}
	return newVerifyingReader(ctx, object, digest), nil
}

// open returns the object's bytes, whatever they are.
func (b *Bucket) open(ctx context.Context, digest captioner.Digest) (io.ReadCloser, error) {
	if err := usable(ctx, digest); err != nil {
		return nil, err
	}
	what := "read blob " + digest.Short()
	r, err := b.bucket.NewReader(ctx, blobPrefix+string(digest), nil)
	if err != nil {
		err = classifyObject(ctx, err, what)
		var answer smithy.APIError
		if errors.As(err, &answer) && answer.ErrorCode() == "NotFound" {
			// Of a proxy, say: an object store has its own word, and only a reply
			// to HEAD has no room for it.
			return nil, captioner.Wrap(captioner.Unavailable, err, "%s", what)
		}
		return nil, err
	}
	return &objectReader{r, ctx, what}, nil
}

// objectReader gives the errors of reading an object their kind.
type objectReader struct {
	*cloud.Reader
	ctx  context.Context
	what string
}

// Read reads on.
func (r *objectReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = classifyObject(r.ctx, err, r.what)
	}
	return n, err
}

// Local returns the path of a verified copy on this machine, which it downloads
// where there is none or a damaged one. The copy stays until the process ends.
func (b *Bucket) Local(ctx context.Context, digest captioner.Digest) (string, error) {
	if err := usable(ctx, digest); err != nil {
		return "", err
	}
	return b.copies.local(ctx, digest, func() (io.ReadCloser, error) { return b.open(ctx, digest) })
}

// Has reports whether the blob is in the bucket, without verifying it.
func (b *Bucket) Has(ctx context.Context, digest captioner.Digest) (bool, error) {
	if err := usable(ctx, digest); err != nil {
		return false, err
	}
	has, err := b.bucket.Exists(ctx, blobPrefix+string(digest))
	return has, classifyObject(ctx, err, "look for blob "+digest.Short())
}

// Delete removes the blob and this process' copy; one that is not there is no error.
func (b *Bucket) Delete(ctx context.Context, digest captioner.Digest) error {
	if err := usable(ctx, digest); err != nil {
		return err
	}
	if err := b.remove(ctx, blobPrefix+string(digest), "delete blob "+digest.Short()); err != nil {
		return err
	}
	return b.copies.delete(ctx, digest)
}

// remove deletes an object; one that is not there is no error.
func (b *Bucket) remove(ctx context.Context, name, what string) error {
	err := classifyObject(ctx, b.bucket.Delete(ctx, name), what)
	if captioner.KindOf(err) == captioner.NotFound {
		return nil
	}
	return err
}

// DeleteOlder deletes a blob that was last put before that time, by the object
// store's clock, and reports whether it did. An object store has no locks. It
// gives notice before it looks at the blob's age, and a Put looks for notices
// after it has uploaded: one of them sees the other.
func (b *Bucket) DeleteOlder(ctx context.Context, digest captioner.Digest, before time.Time) (bool, error) {
	if err := usable(ctx, digest); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, deleteWithin)
	defer cancel()
	what := "delete blob " + digest.Short()
	notice := noticePrefix + string(digest) + "/" + rand.Text()
	if err := b.bucket.WriteAll(ctx, notice, nil, nil); err != nil {
		return false, classifyObject(ctx, err, what)
	}
	info, err := b.bucket.Attributes(ctx, blobPrefix+string(digest))
	err = classifyObject(ctx, err, what)
	// The time of an object has whole seconds: it may be one second younger.
	old := err == nil && info.ModTime.Add(time.Second).Before(before)
	if old {
		if err := b.Delete(ctx, digest); err != nil {
			return false, err // it may still come about: the notice stays until it expires
		}
	} else if err != nil && captioner.KindOf(err) != captioner.NotFound {
		return false, errors.Join(err, b.remove(ctx, notice, what))
	}
	return old, b.remove(ctx, notice, what)
}

// List calls visit for each blob until it returns an error.
func (b *Bucket) List(ctx context.Context, visit func(captioner.BlobInfo) error) error {
	objects := b.bucket.List(&cloud.ListOptions{Prefix: blobPrefix})
	for {
		object, err := objects.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return classifyObject(ctx, err, "list the blobs")
		}
		digest := captioner.Digest(strings.TrimPrefix(object.Key, blobPrefix))
		if !digest.Valid() {
			continue // not ours
		}
		if err := visit(captioner.BlobInfo{Digest: digest, Size: object.Size, PutAt: object.ModTime}); err != nil {
			return err
		}
	}
}

// classifyObject gives an error of the object store its kind: NotFound for an
// object that is not there, else Unavailable. That the whole bucket is gone, or
// closed to us, says nothing about a blob.
func classifyObject(ctx context.Context, err error, what string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	var answer smithy.APIError
	if errors.As(err, &answer) && (answer.ErrorCode() == "NoSuchKey" || answer.ErrorCode() == "NotFound") {
		return captioner.Wrap(captioner.NotFound, err, "%s: not found", what)
	}
	return captioner.Wrap(captioner.Unavailable, err, "%s", what)
}
