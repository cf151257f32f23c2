package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
)

// problem is the body of every error reply (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Code is the stable name of the error for programs.
	Code string `json:"code"`
	// Detail is a sentence for a person.
	Detail    string `json:"detail"`
	RequestID string `json:"request_id"`
	// Errors lists everything that is wrong with an invalid input.
	Errors []captioner.Problem `json:"errors,omitempty"`
}

// statusClientGone is nginx's status for a client that hung up. Only the log
// and the metrics see it.
const statusClientGone = 499

// kindStatus is the one table from error kinds to statuses.
var kindStatus = map[captioner.Kind]int{
	captioner.Invalid:     http.StatusUnprocessableEntity,
	captioner.NotFound:    http.StatusNotFound,
	captioner.Conflict:    http.StatusConflict,
	captioner.Unavailable: http.StatusServiceUnavailable,
	captioner.Corrupt:     http.StatusInternalServerError,
	captioner.Internal:    http.StatusInternalServerError,
}

// codeStatus holds the codes for which HTTP has a better status than the kind's.
var codeStatus = map[string]int{
	"image_empty":            http.StatusBadRequest,
	"image_truncated":        http.StatusBadRequest,
	"image_corrupt":          http.StatusBadRequest,
	"image_too_large":        http.StatusRequestEntityTooLarge,
	"image_unsupported":      http.StatusUnsupportedMediaType,
	"malformed_body":         http.StatusBadRequest,
	"body_too_large":         http.StatusRequestEntityTooLarge,
	"body_timeout":           http.StatusRequestTimeout,
	"unsupported_media_type": http.StatusUnsupportedMediaType,
	"method_not_allowed":     http.StatusMethodNotAllowed,
	"cross_origin":           http.StatusForbidden,
	"timeout":                http.StatusGatewayTimeout,
	"client_gone":            statusClientGone,
	"no_registry":            http.StatusNotFound,
}

// retryAfter is how many seconds a client should wait, by code; others 1.
var retryAfter = map[string]int{"no_model": 10, "no_workflow_service": 60}

// handle makes a gin handler of one that returns its error.
func handle(f func(c *gin.Context) error) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := f(c); err != nil {
			fail(c, err)
		}
	}
}

// fail answers with err and ends the request's handlers. The log line of the
// request has the whole error; the client gets what was meant for it.
func fail(c *gin.Context, err error) {
	_ = c.Error(err) // for observe
	c.Abort()
	if c.Writer.Written() {
		return // too late to say anything
	}
	p := describe(err)
	p.RequestID = c.Writer.Header().Get(headerRequestID)
	if p.Status == http.StatusServiceUnavailable {
		c.Header("Retry-After", strconv.Itoa(max(1, retryAfter[p.Code])))
	}
	c.Set(keyCode, p.Code)
	_ = writeAs(c, p.Status, "application/problem+json", p) // texts and numbers always are JSON
}

// describe says what a client is told about err.
func describe(err error) problem {
	kind, code := captioner.KindOf(err), captioner.CodeOf(err)
	var e *captioner.Error
	switch {
	case errors.As(err, &e): // what was written for the client wins
	case errors.Is(err, context.DeadlineExceeded):
		kind, code = captioner.Unavailable, "timeout"
		e = &captioner.Error{Message: "the request took too long"}
	case errors.Is(err, context.Canceled):
		kind, code = captioner.Unavailable, "client_gone"
		e = &captioner.Error{Message: "the client closed the connection"}
	default:
		e = &captioner.Error{}
	}

	p := problem{Type: "about:blank", Code: code, Detail: e.Message, Errors: e.Problems}
	var known bool
	if p.Status, known = codeStatus[code]; !known {
		if p.Status, known = kindStatus[kind]; !known {
			p.Status = http.StatusInternalServerError
		}
	}
	if p.Status == http.StatusInternalServerError {
		p.Detail, p.Errors = "something went wrong here; the log has it under the request ID", nil
		p.Code = string(captioner.Internal)
	}
	if p.Title = http.StatusText(p.Status); p.Title == "" {
		p.Title = "Client Closed Request"
	}
	return p
}

// write answers with v as JSON.
func write(c *gin.Context, status int, v any) error {
	return writeAs(c, status, "application/json; charset=utf-8", v)
}

// writeAs answers with v as JSON of a content type. Nothing has been sent when
// v cannot be written as JSON.
func writeAs(c *gin.Context, status int, contentType string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "write a %T as JSON", v)
	}
	c.Data(status, contentType, append(data, '\n'))
	return nil
}

// invalid is an error about one field of a request, which "must be …".
func invalid(code, field, must string) error {
	return &captioner.Error{
		Kind: captioner.Invalid, Code: code, Message: field + " " + must,
		Problems: []captioner.Problem{{Field: field, Message: must}},
	}
}

func (s *Server) notFound(*gin.Context) error {
	return &captioner.Error{Kind: captioner.NotFound, Message: "there is nothing at this address"}
}

func (s *Server) methodNotAllowed(c *gin.Context) error {
	return &captioner.Error{
		Kind: captioner.Invalid, Code: "method_not_allowed",
		Message: "this address takes " + c.Writer.Header().Get("Allow"),
	}
}
