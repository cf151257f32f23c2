package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
)

var errOverloaded = &captioner.Error{
	Kind: captioner.Unavailable, Code: "overloaded", Message: "too many requests are waiting already",
}

// gate lets a number of requests run and a number of others wait.
type gate struct {
	places  chan struct{}
	limit   int64
	present atomic.Int64
}

func newGate(running, waiting int) *gate {
	return &gate{places: make(chan struct{}, running), limit: int64(running + waiting)}
}

// enter admits a request, before its body is read, or refuses it at once.
// Whoever is admitted calls leave.
func (g *gate) enter() error {
	if g.present.Add(1) > g.limit {
		g.present.Add(-1)
		return errOverloaded
	}
	return nil
}

func (g *gate) leave() { g.present.Add(-1) }

// take waits for a place and returns what gives it back. A request that still
// sends its body does not hold one.
func (g *gate) take(ctx context.Context) (back func(), err error) {
	select {
	case g.places <- struct{}{}:
		return func() { <-g.places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// limitBody bounds every request's body.
func (s *Server) limitBody(c *gin.Context) {
	if c.Request.ContentLength > s.opts.MaxUploadBytes {
		c.Header("Connection", "close") // the body stays unread
		fail(c, bodyTooLarge(s.opts.MaxUploadBytes))
		return
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, s.opts.MaxUploadBytes)
	c.Next()
}

const codeBodyTooLarge = "body_too_large"

func bodyTooLarge(limit int64) error {
	most := fmt.Sprintf("%d KB", limit>>10)
	if limit >= 1<<20 {
		most = fmt.Sprintf("%d MB", limit>>20)
	}
	return &captioner.Error{Kind: captioner.Invalid, Code: codeBodyTooLarge,
		Message: "what was sent is larger than " + most + ", the most that this server takes"}
}

// bodyError says what went wrong while a body was read.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return bodyTooLarge(tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &captioner.Error{Kind: captioner.Invalid, Code: "body_timeout", Message: "the body did not arrive in time", Err: err}
	default:
		return &captioner.Error{Kind: captioner.Invalid, Code: "malformed_body", Message: "the body cannot be read", Err: err}
	}
}

// readAll reads r to its end, up to limit bytes; one more is too large.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, bodyError(err)
	}
	if int64(len(data)) > limit {
		return nil, bodyTooLarge(limit)
	}
	return data, nil
}
