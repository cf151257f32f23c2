// Package doctor checks what a process needs before it starts: `captioner doctor`
// shows all of it, and the servers refuse to start without it. A check changes
// nothing that stays.
package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/captioner/captioner"
)

// State says what a finding means.
type State string

// The states. With a warning a process starts, and something will be missing.
const (
	OK      State = "ok"
	Warning State = "warning"
	Failed  State = "failed"
)

// Result is what one check has found.
type Result struct {
	State State `json:"state"`
	// Detail is one sentence; of a failure it says what to do.
	Detail string `json:"detail"`
	// Err is the cause of a failure.
	Err error `json:"-"`
}

// Check looks at one thing.
type Check struct {
	Name string
	Run  func(ctx context.Context) Result
}

// Finding is the result of a named check.
type Finding struct {
	Name string `json:"name"`
	Result
}

// timeout bounds the wait for whatever a check asks; an engine that loads
// TensorFlow from a cold disk takes longest.
const timeout = time.Minute

// Run runs the checks in order.
func Run(ctx context.Context, checks []Check) []Finding {
	findings := make([]Finding, len(checks))
	for i, check := range checks {
		findings[i] = Finding{check.Name, run(ctx, check)}
	}
	return findings
}

func run(ctx context.Context, check Check) Result {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return check.Run(ctx)
}

// Err returns what the failures say, all of them in one error; nil without any.
func Err(findings []Finding) error {
	var failed []Finding
	kind := captioner.Unavailable
	for _, f := range findings {
		if f.State != Failed {
			continue
		}
		failed = append(failed, f)
		if captioner.KindOf(f.Err) == captioner.Invalid {
			kind = captioner.Invalid
		}
	}
	switch len(failed) {
	case 0:
		return nil
	case 1:
		return failed[0].Err
	}
	err := &captioner.Error{Kind: kind, Message: fmt.Sprintf("%d things are missing for a start", len(failed))}
	for _, f := range failed {
		err.Problems = append(err.Problems, captioner.Problem{Field: f.Name, Message: f.Detail})
	}
	return err
}

// Fine is the result of a check that has found nothing wrong.
func Fine(format string, args ...any) Result {
	return Result{State: OK, Detail: fmt.Sprintf(format, args...)}
}

// Warn is the result of a check with whose finding a process starts.
func Warn(format string, args ...any) Result {
	return Result{State: Warning, Detail: fmt.Sprintf(format, args...)}
}

// Fail is the result of a check with whose finding no process starts.
func Fail(err error) Result {
	return Result{State: Failed, Detail: err.Error(), Err: err}
}
