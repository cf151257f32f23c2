package blob

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	gcaws "gocloud.dev/aws"
	cloud "gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"
)

// maxSilence is how long a connection to an object store may carry nothing while
// something is awaited. A server that has lost the connection says nothing of it,
// and the system notices after a quarter of an hour.
const maxSilence = 30 * time.Second

// connect opens the bucket of an address, with Go Cloud's parameters, over
// connections that end when the server is silent. It sends nothing.
func connect(ctx context.Context, u *url.URL, silence time.Duration) (*cloud.Bucket, error) {
	query := u.Query()
	take := func(name string) string {
		value := query.Get(name)
		query.Del(name)
		return value
	}
	prefix := take("prefix")
	pathStyle, err := strconv.ParseBool(cmp.Or(take("use_path_style"), "false"))
	if err != nil {
		return nil, fmt.Errorf("use_path_style: %w", err)
	}
	cfg, err := gcaws.V2ConfigFromURLParams(ctx, query)
	if err != nil {
		return nil, err
	}
	cfg.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		dial := t.DialContext
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &attentive{Conn: conn, silence: silence}, nil
		}
	})
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = pathStyle })
	bucket, err := s3blob.OpenBucket(ctx, client, u.Host, &s3blob.Options{RequestChecksumCalculation: cfg.RequestChecksumCalculation})
	if err == nil && prefix != "" {
		bucket = cloud.PrefixedBucket(bucket, prefix)
	}
	return bucket, err
}

// attentive is a connection whose calls fail when nothing was carried for a while.
type attentive struct {
	net.Conn
	silence time.Duration
}

// Read implements net.Conn.
func (a *attentive) Read(p []byte) (int, error) {
	if err := a.SetReadDeadline(time.Now().Add(a.silence)); err != nil {
		return 0, err
	}
	return a.Conn.Read(p)
}

// Write implements net.Conn. An answer that is being waited for already may take
// as long again: it comes after what is written.
func (a *attentive) Write(p []byte) (int, error) {
	if err := a.SetDeadline(time.Now().Add(a.silence)); err != nil {
		return 0, err
	}
	return a.Conn.Write(p)
}
