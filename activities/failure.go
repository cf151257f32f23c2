package activities

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/captioner/captioner"
)

const (
	// maxInternalAttempts bounds how often a failure that nobody foresaw is
	// tried: it may be a passing one, but it may as well be a bug.
	maxInternalAttempts = 3
	// maxEngineAttempts bounds how often work is given to an engine that dies of
	// it: a picture may exist that ends the process. With the workflow's backoff
	// that is some two minutes. Training counts differently, see train.go.
	maxEngineAttempts = 8
	// codeEngineFailed marks that the engine died or could not be started.
	codeEngineFailed = "engine_failed"
	// maxProblems bounds the list of problems in a failure, which Temporal
	// keeps in the run's history.
	maxProblems = 200
	// codeStopped marks work that was given back because the worker stops.
	codeStopped = "stopped"
	// stoppedRetryDelay is how soon such work is tried again: at once, but for
	// the time that a worker needs to stop asking for work.
	stoppedRetryDelay = time.Second
	// maxRetryDelay is how long after a failure work is tried again in the end;
	// the first time it is a second, then twice as long each time.
	maxRetryDelay = 30 * time.Second
)

// NonRetryable lists the kinds of error, which are the types of the failures in
// Temporal, that trying again cannot help. Unavailable is tried for as long as
// it takes, Internal a few times.
var NonRetryable = []string{
	string(captioner.Invalid), string(captioner.NotFound), string(captioner.Conflict), string(captioner.Corrupt),
}

// Failure is what a failed activity tells beyond its text: the part of an
// error that a client may see.
type Failure struct {
	Kind     captioner.Kind      `json:"kind"`
	Code     string              `json:"code,omitempty"`
	Message  string              `json:"message,omitempty"`
	Problems []captioner.Problem `json:"problems,omitempty"`
}

// final marks an error that is not to be tried again, whatever its kind.
type final struct{ error }

// Unwrap returns the error.
func (f final) Unwrap() error { return f.error }

// engineFailed marks an error of the engine's that says that it is not there,
// unless it was asked to stop or the disk is full.
func engineFailed(err error) error {
	if !engineDied(err) {
		return err
	}
	return &captioner.Error{
		Kind: captioner.Unavailable, Code: codeEngineFailed, Message: "the engine failed while it worked on the step", Err: err,
	}
}

// engineDied reports whether err says that the engine is gone, or could not be
// started, without having been asked to end. A full disk is waited for.
func engineDied(err error) bool {
	code := captioner.CodeOf(err)
	return captioner.KindOf(err) == captioner.Unavailable && code != codeStopped && code != captioner.CodeOutOfSpace
}

// ToFailure turns an error into Temporal's form: the kind becomes the type,
// message and problems the details. failures counts those at the step, this one
// included, and decides whether and when it is tried again.
func ToFailure(err error, failures int32) error {
	f := Failure{Kind: captioner.KindOf(err), Code: captioner.CodeOf(err), Problems: captioner.ProblemsOf(err)}
	var e *captioner.Error
	if errors.As(err, &e) {
		f.Message = e.Message
	}
	if n := len(f.Problems); n > maxProblems {
		f.Problems = append(f.Problems[:maxProblems:maxProblems],
			captioner.Problem{Message: fmt.Sprintf("and %d more problems", n-maxProblems)})
	}
	options := temporal.ApplicationErrorOptions{
		NonRetryable: slices.Contains(NonRetryable, string(f.Kind)) ||
			f.Kind == captioner.Internal && failures >= maxInternalAttempts ||
			f.Code == codeEngineFailed && failures >= maxEngineAttempts ||
			errors.As(err, &final{}),
		Details: []any{f},
		// What a step says takes longer to pass than the death of a worker, which
		// the workflow's retry policy is for.
		NextRetryDelay: min(time.Second<<min(max(failures-1, 0), 10), maxRetryDelay),
	}
	if f.Code == codeStopped {
		options.NextRetryDelay = stoppedRetryDelay
	}
	if f.Kind == captioner.Invalid || f.Code == codeStopped {
		// What a user wrote, or a worker that is told to stop, is no alarm: the SDK
		// does not log it as an error.
		options.Category = temporal.ApplicationErrorCategoryBenign
	}
	return temporal.NewApplicationErrorWithOptions(err.Error(), string(f.Kind), options)
}

// FromFailure finds the [Failure] in what Temporal reports about a run or an
// activity and returns it as a *captioner.Error. Errors of another origin, such
// as timeouts, become Internal with a sentence of their own. A cancellation and
// nil are returned as they are.
func FromFailure(err error) error {
	if err == nil || temporal.IsCanceledError(err) {
		return err
	}
	var application *temporal.ApplicationError
	if errors.As(err, &application) {
		return fromApplicationError(application)
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		return captioner.Wrap(captioner.Unavailable, err, "a step ran out of time")
	}
	return &captioner.Error{Kind: captioner.Internal, Message: "the run failed for a reason that nobody foresaw", Err: err}
}

func fromApplicationError(application *temporal.ApplicationError) error {
	var f Failure
	if !application.HasDetails() || application.Details(&f) != nil || f.Kind == "" {
		f = Failure{Kind: captioner.Internal}
	}
	if f.Message == "" {
		f.Message = "a step failed for a reason that nobody foresaw"
	}
	e := &captioner.Error{Kind: f.Kind, Message: f.Message, Problems: f.Problems, Err: application}
	if f.Code != string(f.Kind) {
		e.Code = f.Code
	}
	return e
}
