package api

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"

	"github.com/captioner/captioner"
)

const (
	headerRequestID    = "X-Request-ID"
	headerResponseTime = "X-Response-Time"
	// keyCode is where a failed request keeps its code for the log.
	keyCode = "captioner.code"
)

// observe gives each request its ID, its time, a log line and a count.
func (s *Server) observe(c *gin.Context) {
	begun := time.Now()
	s.opts.Observer.RequestStarted()
	id := requestID(c)
	c.Header(headerRequestID, id)
	c.Header("X-Content-Type-Options", "nosniff")
	w := &timedWriter{ResponseWriter: c.Writer, begun: begun}
	c.Writer = w

	defer func() {
		w.stamp() // for a reply without a body
		took := time.Since(begun)
		s.opts.Observer.RequestFinished(c.Request.Method, c.FullPath(), w.Status(), took)
		s.log(c, id, took)
	}()
	c.Next()
}

// requestID is the trace's ID, or a random one of the same form for a request
// that is not traced.
func requestID(c *gin.Context) string {
	if span := trace.SpanContextFromContext(c.Request.Context()); span.HasTraceID() {
		return span.TraceID().String()
	}
	var id [16]byte
	rand.Read(id[:]) // never fails, see crypto/rand
	return hex.EncodeToString(id[:])
}

// log writes the request's line: an error with its whole text, what the client
// did wrong as information, probes for debugging only.
func (s *Server) log(c *gin.Context, id string, took time.Duration) {
	status := c.Writer.Status()
	attrs := []slog.Attr{
		slog.String("method", c.Request.Method),
		slog.String("path", c.Request.URL.Path),
		slog.Int("status", status),
		slog.Duration("took", took),
		slog.Int("bytes", max(0, c.Writer.Size())),
		slog.String("client", c.ClientIP()),
		slog.String("request_id", id),
	}
	if code := c.GetString(keyCode); code != "" {
		attrs = append(attrs, slog.String("code", code))
	}
	if err := c.Errors.Last(); err != nil {
		attrs = append(attrs, slog.String("error", err.Err.Error()))
	}

	level := slog.LevelInfo
	switch {
	case status == http.StatusInternalServerError:
		level = slog.LevelError
	case status > http.StatusInternalServerError:
		level = slog.LevelWarn
	case isProbe(c.Request.URL.Path):
		level = slog.LevelDebug
	}
	s.opts.Logger.LogAttrs(c.Request.Context(), level, "request", attrs...)
}

// recover turns a panic into an internal error. A panic marks a bug: the stack
// goes to the log.
func (s *Server) recover(c *gin.Context) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if err, ok := r.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(r) // net/http's own way of dropping a connection
		}
		s.opts.Logger.ErrorContext(c.Request.Context(), "panic in a handler", "panic", r, "stack", string(debug.Stack()))
		fail(c, captioner.Errorf(captioner.Internal, "panic: %v", r))
	}()
	c.Next()
}

// timedWriter sets the response time at the last moment before the header goes
// out.
type timedWriter struct {
	gin.ResponseWriter
	begun time.Time
}

// stamp sets the header unless it has gone out.
func (w *timedWriter) stamp() {
	if !w.Written() {
		seconds := time.Since(w.begun).Seconds()
		w.Header().Set(headerResponseTime, strconv.FormatFloat(seconds, 'f', 6, 64)+"s")
	}
}

func (w *timedWriter) WriteHeaderNow() {
	w.stamp()
	w.ResponseWriter.WriteHeaderNow()
}

func (w *timedWriter) Write(data []byte) (int, error) {
	w.stamp()
	return w.ResponseWriter.Write(data)
}

func (w *timedWriter) WriteString(text string) (int, error) {
	w.stamp()
	return w.ResponseWriter.WriteString(text)
}

func (w *timedWriter) Flush() {
	w.stamp()
	w.ResponseWriter.Flush()
}

// Unwrap lets http.ResponseController find the connection.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
