package blob

import (
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/captioner/captioner/internal/blob/s3test"
)

// TestSilence: a server that takes requests and says nothing, as the other end of
// a connection that is gone, is given up.
func TestSilence(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 16)
	go func() {
		defer close(accepted)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	u, err := url.Parse(s3test.Address("http://" + listener.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := connect(t.Context(), u, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	if _, err := bucket.Exists(t.Context(), "x"); err == nil {
		t.Error("a server that says nothing has answered")
	}
	listener.Close()
	for conn := range accepted {
		conn.Close()
	}
}
