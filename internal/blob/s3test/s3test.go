// Package s3test starts an object store with one bucket in a test's process.
package s3test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"golang.org/x/time/rate"
)

// Bucket is the name of the bucket.
const Bucket = "captioner"

// Server is an S3-compatible object store in memory.
type Server struct {
	*httptest.Server
	// Address is the bucket's, as --blobs takes it.
	Address string
	// Intercept, set while there are no requests, sees each of them before the
	// object store, and answers it itself if it returns true.
	Intercept func(http.ResponseWriter, *http.Request) bool

	backend *s3mem.Backend
	clock   *shiftedClock
}

// Start starts a server that ends with the test, and sets credentials in the
// environment.
func Start(t testing.TB) *Server { return StartAt(t, rate.Inf) }

// StartAt is Start for a server at the end of a line that carries so many bytes a
// second in each direction.
func StartAt(t testing.TB, bytesPerSecond rate.Limit) *Server {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	s := &Server{clock: &shiftedClock{TimeSource: gofakes3.DefaultTimeSource()}}
	s.backend = s3mem.New(s3mem.WithTimeSource(s.clock))
	if err := s.backend.CreateBucket(Bucket); err != nil {
		t.Fatal(err)
	}
	store := gofakes3.New(s.backend).Server()
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Intercept == nil || !s.Intercept(w, r) {
			store.ServeHTTP(w, r)
		}
	}))
	s.Server.Listener = newLine(s.Server.Listener, bytesPerSecond)
	s.Server.Start()
	t.Cleanup(s.Close)
	s.Address = Address(s.URL)
	return s
}

// Address is that of the bucket at an endpoint.
func Address(endpoint string) string {
	return "s3://" + Bucket + "?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape(endpoint)
}

// Objects are the names of all objects.
func (s *Server) Objects(t testing.TB) []string {
	t.Helper()
	list, err := s.backend.ListBucket(Bucket, nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, object := range list.Contents {
		names = append(names, object.Key)
	}
	return names
}

// Write replaces an object's bytes behind everyone's back.
func (s *Server) Write(t testing.TB, name string, content []byte) {
	t.Helper()
	meta := map[string]string{"Last-Modified": s.clock.Now().UTC().Format(http.TimeFormat)} // what HEAD tells
	_, err := s.backend.PutObject(Bucket, name, meta, bytes.NewReader(content), int64(len(content)), nil)
	if err != nil {
		t.Fatal(err)
	}
}

// Age makes an object one that was last written that long ago.
func (s *Server) Age(t testing.TB, name string, age time.Duration) {
	t.Helper()
	object, err := s.backend.GetObject(Bucket, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	content, err := gofakes3.ReadAll(object.Contents, object.Size)
	if err != nil {
		t.Fatal(err)
	}
	s.clock.shift = -age
	defer func() { s.clock.shift = 0 }()
	s.Write(t, name, content)
}

// shiftedClock tells another time.
type shiftedClock struct {
	gofakes3.TimeSource
	shift time.Duration
}

func (c *shiftedClock) Now() time.Time { return c.TimeSource.Now().Add(c.shift) }

// Refuse replies with an error of S3's, or without a code with a web page.
func Refuse(w http.ResponseWriter, status int, code string) {
	if code == "" {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `<!DOCTYPE html><html><head><meta charset="utf-8"></head><body>Hello<br></body></html>`)
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>the reason</Message></Error>`, code)
}
