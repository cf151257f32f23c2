package captioner

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what an error means for whoever has to act on it. Each boundary
// maps the kinds once: HTTP status in api, retryable or not in activities,
// exit code in cmd/captioner.
type Kind string

const (
	// Invalid marks input that can never work: it is reported and not retried.
	Invalid Kind = "invalid"
	// NotFound marks a thing that was named and does not exist.
	NotFound Kind = "not_found"
	// Conflict marks an action that lost against a concurrent one.
	Conflict Kind = "conflict"
	// Unavailable marks a dependency that cannot be reached now: retry later.
	Unavailable Kind = "unavailable"
	// Corrupt marks stored bytes that do not match their digest.
	Corrupt Kind = "corrupt"
	// Internal marks everything else: a bug, or a failure nobody foresaw.
	Internal Kind = "internal"
)

// CodeOutOfSpace is the code of the Unavailable error of a disk that is full.
const CodeOutOfSpace = "out_of_space"

// Error is an error with a kind and, for invalid input, all its problems.
type Error struct {
	Kind Kind
	// Code is the stable name of the error for programs, such as
	// "no_model" or "image_too_large". Empty means the kind says enough.
	Code string
	// Message is one sentence for a person, lower case, without a full stop.
	// It may reach a client, so it holds no path, address or foreign error.
	Message string
	// Problems lists everything that is wrong with an invalid input.
	Problems []Problem
	// Err is the cause; it goes to the log and never to a client.
	Err error
}

// Problem is one thing that is wrong with an input.
type Problem struct {
	// Field is the dotted name of a configuration field, such as
	// "training.learning_rate", or the name of a file.
	Field string `json:"field"`
	// Line and Column are the position in the file, from 1; 0 if unknown.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Message says what is wrong and what to do about it.
	Message string `json:"message"`
}

// String gives the problem as "line 3, column 5: training.epochs: must be …".
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d, column %d: ", p.Line, p.Column)
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Error gives the message, every problem and the cause.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	for i, p := range e.Problems {
		if i == 0 && e.Message != "" {
			b.WriteString(": ")
		} else if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.String())
	}
	if e.Err != nil {
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an error of the kind without a cause. Its text may reach a
// client: use [Wrap] to keep a cause beside it.
func Errorf(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an error of the kind with a message of its own and a cause.
func Wrap(kind Kind, err error, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Err: err}
}

// KindOf returns the kind of the outermost [Error] in the chain of err;
// Internal when there is none, and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// CodeOf returns the stable name of err: the code of the outermost [Error] in
// its chain, or the kind where that has none.
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Code != "" {
		return e.Code
	}
	return string(KindOf(err))
}

// ProblemsOf returns the problems of the outermost [Error] in the chain of err.
func ProblemsOf(err error) []Problem {
	var e *Error
	if errors.As(err, &e) {
		return e.Problems
	}
	return nil
}
