package blob

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob/s3test"
)

func TestCheck(t *testing.T) {
	server := s3test.Start(t)
	b := openBucket(t, server.Address, t.TempDir())
	if err := b.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := server.Objects(t); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// TestCheckRefused lets an object store refuse, and other things answer.
func TestCheckRefused(t *testing.T) {
	refuse := func(method string, status int, code string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if method == "" || r.Method == method {
				s3test.Refuse(w, status, code)
				return true
			}
			return false
		}
	}
	for name, tt := range map[string]struct {
		intercept func(http.ResponseWriter, *http.Request) bool
		want      string
	}{
		"no bucket":      {refuse("", 404, "NoSuchBucket"), `there is no bucket "captioner" at `},
		"unknown key":    {refuse("", 403, "InvalidAccessKeyId"), "does not accept the credentials"},
		"wrong secret":   {refuse("", 403, "SignatureDoesNotMatch"), "does not accept the credentials"},
		"nothing goes":   {refuse("", 403, "AccessDenied"), "may not list the bucket"},
		"read-only":      {refuse(http.MethodPut, 403, "AccessDenied"), "may not write to the bucket"},
		"no listing":     {refuse(http.MethodGet, 403, "AccessDenied"), "may not list the bucket"},
		"no deleting":    {refuse(http.MethodDelete, 403, "AccessDenied"), "may not delete from the bucket"},
		"other region":   {refuse("", 400, "AuthorizationHeaderMalformed"), "is in another region"},
		"web page":       {refuse("", 200, ""), "is not an object store"},
		"page not found": {refuse("", 404, ""), "is not an object store: it says 404 Not Found"},
		"static server":  {refuse("", 405, ""), "is not an object store: it says 405 Method Not Allowed"},
		"no words":       {func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(403); return true }, "is not an object store: it says 403 Forbidden"},
		"file server":    {refuse("", 501, ""), "is not an object store: it says 501 Not Implemented"},
	} {
		t.Run(name, func(t *testing.T) {
			server := s3test.Start(t)
			server.Intercept = tt.intercept
			err := openBucket(t, server.Address, t.TempDir()).Check(t.Context())
			if captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check = %v, want invalid with %q", err, tt.want)
			}
			if host := server.Listener.Addr().String(); err != nil && !strings.Contains(err.Error(), host) {
				t.Errorf("Check = %v, which does not name %s", err, host)
			}
		})
	}
}

func TestCheckNoBucket(t *testing.T) {
	server := s3test.Start(t)
	address := strings.Replace(server.Address, s3test.Bucket, "another", 1)
	err := openBucket(t, address, t.TempDir()).Check(t.Context())
	if captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), `there is no bucket "another"`) {
		t.Errorf("Check = %v", err)
	}
}

// TestCheckNotHTTP asks something that speaks another protocol, something that
// speaks no TLS, and nobody.
func TestCheckNotHTTP(t *testing.T) {
	s3test.Start(t) // for the credentials
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Write([]byte("SSH-2.0-server\r\n"))
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
	defer listener.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for endpoint, want := range map[string]captioner.Kind{
		"http://" + listener.Addr().String():             captioner.Invalid,
		strings.Replace(plain.URL, "http:", "https:", 1): captioner.Invalid,
		closed.URL: captioner.Unavailable,
	} {
		err := openBucket(t, s3test.Address(endpoint), t.TempDir()).Check(t.Context())
		if captioner.KindOf(err) != want {
			t.Errorf("%s: Check = %v, want %s", endpoint, err, want)
		}
	}
}

func TestCheckNoCredentials(t *testing.T) {
	server := s3test.Start(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	err := openBucket(t, server.Address, t.TempDir()).Check(t.Context())
	if captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), "there are no credentials") {
		t.Errorf("Check = %v", err)
	}
}

func TestBadAddress(t *testing.T) {
	for _, address := range []string{
		"http://example.org/bucket", "s3://", "s3:bucket", "s3://bucket/folder", "s3://key:secret@bucket",
		"s3://bucket?colour=red", "s3://bucket?use_path_style=perhaps", "::",
	} {
		_, err := OpenBucket(t.Context(), address, t.TempDir(), 1<<20)
		if captioner.KindOf(err) != captioner.Invalid || strings.Contains(err.Error(), "secret@") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
