package wire

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/captioner/captioner"
	pb "github.com/captioner/captioner/internal/engine/enginepb"
)

// codeOf maps a kind to the status code that says most nearly the same. Only
// people and generic tools look at it: the kind itself travels in the details.
var codeOf = map[captioner.Kind]codes.Code{
	captioner.Invalid:     codes.InvalidArgument,
	captioner.NotFound:    codes.NotFound,
	captioner.Conflict:    codes.Aborted,
	captioner.Unavailable: codes.Unavailable,
	captioner.Corrupt:     codes.DataLoss,
	captioner.Internal:    codes.Internal,
}

// maxCause and maxProblems bound what an error carries: it travels in HTTP/2
// headers, whose size is limited.
const (
	maxCause    = 4 << 10 // bytes
	maxProblems = 100
)

// CodeEnding is the code of an Unavailable error of an engine that has been told
// to end and takes no more work.
const CodeEnding = "engine_ending"

// FromError gives the message of an error with its kind, code, message and
// problems; nil for nil. The whole text becomes the cause.
func FromError(err error) *pb.ErrorDetail {
	if err == nil {
		return nil
	}
	detail := &pb.ErrorDetail{Kind: string(captioner.KindOf(err))}
	var e *captioner.Error
	if errors.As(err, &e) {
		detail.Code, detail.Message = e.Code, valid(e.Message)
		for _, p := range e.Problems[:min(len(e.Problems), maxProblems)] {
			detail.Problems = append(detail.Problems, &pb.Problem{
				Field: valid(p.Field), Line: int32(p.Line), Column: int32(p.Column), Message: valid(p.Message),
			})
		}
	}
	cause := ""
	switch {
	case e == nil || err.Error() != e.Error(): // something was wrapped around e
		cause = err.Error()
	case e.Err != nil:
		cause = e.Err.Error()
	}
	detail.Cause = valid(cause[:min(len(cause), maxCause)])
	return detail
}

// ToError is the inverse of FromError: a *captioner.Error, or nil for nil.
func ToError(detail *pb.ErrorDetail) error {
	if detail == nil {
		return nil
	}
	e := &captioner.Error{Kind: captioner.Kind(detail.GetKind()), Code: detail.GetCode(), Message: detail.GetMessage()}
	for _, p := range detail.GetProblems() {
		e.Problems = append(e.Problems, captioner.Problem{
			Field: p.GetField(), Line: int(p.GetLine()), Column: int(p.GetColumn()), Message: p.GetMessage(),
		})
	}
	if cause := detail.GetCause(); cause != "" {
		e.Err = errors.New(cause)
	}
	return e
}

// Status gives the error with which a method of the server ends.
func Status(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return status.FromContextError(context.Canceled).Err()
	case errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(context.DeadlineExceeded).Err()
	}
	if s, ok := status.FromError(err); ok {
		return s.Err() // gRPC's own, such as a stream that broke
	}
	detail := FromError(err)
	code, ok := codeOf[captioner.Kind(detail.Kind)]
	if !ok {
		code = codes.Internal
	}
	s := status.New(code, detail.Message)
	if withDetails, err := s.WithDetails(detail); err == nil {
		s = withDetails
	}
	return s.Err()
}

// FromStatus is the inverse of Status, with told true. A failure that is gRPC's
// own, such as a connection that broke, comes back as the kind nearest to its
// code, with told false.
func FromStatus(err error) (_ error, told bool) {
	if err == nil {
		return nil, true
	}
	s := status.Convert(err)
	for _, d := range s.Details() {
		if detail, ok := d.(*pb.ErrorDetail); ok {
			return ToError(detail), true
		}
	}
	switch s.Code() {
	case codes.Canceled, codes.DeadlineExceeded:
		return captioner.Wrap(captioner.Unavailable, err, "the engine ended the call"), false
	case codes.Unavailable:
		return captioner.Wrap(captioner.Unavailable, err, "the engine is not reachable"), false
	case codes.ResourceExhausted:
		return captioner.Wrap(captioner.Invalid, err, "the request is too large for the engine"), false
	}
	return captioner.Wrap(captioner.Internal, err, "the engine failed"), false
}

// valid makes s fit for a protobuf string.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
