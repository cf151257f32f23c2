package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	cloud "gocloud.dev/blob"

	"github.com/captioner/captioner"
)

const (
	probePrefix = "probes/"
	// checkWithin is how long Check waits, the client's own attempts included.
	checkWithin = 20 * time.Second
)

// Check lists the bucket, and writes, reads and deletes a small object. What a person
// has to put right is Invalid: no such bucket, credentials that are missing, wrong or may not
// do all of this, and an address where something else answers. An object store
// that cannot be reached is Unavailable.
func (b *Bucket) Check(ctx context.Context) error { return b.inTime(ctx, b.check) }

// CheckReading is Check for who reads alone: it lists the bucket.
func (b *Bucket) CheckReading(ctx context.Context) error { return b.inTime(ctx, b.list) }

// inTime bounds a check.
func (b *Bucket) inTime(ctx context.Context, check func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	err := check(within)
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case within.Err() != nil:
		return captioner.Wrap(captioner.Unavailable, err, "the object store %s does not answer within %v", b.host, checkWithin)
	}
	return err
}

func (b *Bucket) list(ctx context.Context) error {
	_, err := b.bucket.List(&cloud.ListOptions{Prefix: probePrefix}).Next(ctx)
	if err != nil && !errors.Is(err, io.EOF) {
		return b.refusal(err, "list")
	}
	return nil
}

func (b *Bucket) check(ctx context.Context) error {
	// First a request without a body: nothing gets between it and the answer.
	if err := b.list(ctx); err != nil {
		return err
	}
	name := probePrefix + rand.Text()
	if err := b.bucket.WriteAll(ctx, name, []byte(name), nil); err != nil {
		return b.refusal(err, "write to")
	}
	read, err := b.bucket.ReadAll(ctx, name)
	if err != nil {
		return b.refusal(err, "read from")
	}
	if !bytes.Equal(read, []byte(name)) {
		return captioner.Errorf(captioner.Invalid, "what answers at %s is not an object store: a small object was written and is not there afterwards (check the endpoint in --blobs)", b.host)
	}
	if err := b.bucket.Delete(ctx, name); err != nil {
		return b.refusal(err, "delete from")
	}
	return nil
}

// refusal says why the object store would not do something with the bucket.
func (b *Bucket) refusal(err error, do string) error {
	wrong := func(format string, args ...any) error {
		return captioner.Wrap(captioner.Invalid, err, format, args...)
	}
	if strings.Contains(err.Error(), "get credentials") { // before anything was asked
		return captioner.Wrap(captioner.Invalid, err, "there are no credentials for the object store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	var answer smithy.APIError
	isAnswer := errors.As(err, &answer)
	var reply *smithyhttp.ResponseError
	if errors.As(err, &reply) {
		// A page is an error of the decoder's, or one that the client makes up of the status.
		status := reply.HTTPStatusCode()
		isPage := !isAnswer || answer.ErrorMessage() == http.StatusText(status)
		if isPage && (status >= 200 && status < 500 || status == http.StatusNotImplemented) {
			return wrong("what answers at %s is not an object store: it says %d %s (check the endpoint in --blobs)", b.host, status, http.StatusText(status))
		}
	}
	if !isAnswer {
		return b.noAnswer(err)
	}
	switch answer.ErrorCode() {
	case "NoSuchBucket":
		return wrong("there is no bucket %q at %s: make it, or name another in --blobs", b.name, b.host)
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired":
		return wrong("the object store %s does not accept the credentials: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", b.host)
	case "AccessDenied", "AllAccessDisabled", "AccountProblem", "MethodNotAllowed":
		return wrong("the credentials may not %s the bucket %q at %s: they need to list, write, read and delete objects", do, b.name, b.host)
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return wrong("the bucket %q at %s is in another region: check the region in --blobs", b.name, b.host)
	case "RequestTimeTooSkewed":
		return wrong("this machine's clock and that of the object store %s are too far apart: set this one", b.host)
	}
	return captioner.Wrap(captioner.Unavailable, err, "the object store %s would not %s the bucket %q", b.host, do, b.name)
}

// noAnswer says why no answer came that could be read.
func (b *Bucket) noAnswer(err error) error {
	var record tls.RecordHeaderError
	switch text := err.Error(); {
	case errors.As(err, &record), strings.Contains(text, "malformed HTTP"), strings.Contains(text, "server gave HTTP response"),
		strings.Contains(text, "readLoopPeekFail"): // it spoke before it was asked
		return captioner.Wrap(captioner.Invalid, err, "what answers at %s is not an object store: its answer is not HTTP, or not HTTPS as the endpoint in --blobs says", b.host)
	}
	return captioner.Wrap(captioner.Unavailable, err, "the object store %s cannot be reached", b.host)
}
