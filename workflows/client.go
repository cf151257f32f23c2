package workflows

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"go.opentelemetry.io/otel/trace"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/internal/config"
)

const (
	// callTimeout bounds what a caller waits for: within it the SDK tries a call
	// that got lost again.
	callTimeout = 10 * time.Second
	// dryRunTimeout bounds the wait for a worker to check a configuration.
	dryRunTimeout = 30 * time.Second
	// workflowTaskTimeout is how long a worker may take to decide what comes next,
	// which takes milliseconds, before another one is asked. Temporal's default is
	// twice as long.
	workflowTaskTimeout = 5 * time.Second
)

// Client starts runs and follows them. All of its errors carry a
// captioner.Kind; Unavailable when Temporal cannot be reached.
type Client struct {
	Temporal client.Client
	Store    captioner.Store
	// UIURL is the address of Temporal's Web UI; empty makes no links.
	UIURL string
	// Namespace is Temporal's; empty means "default".
	Namespace string
	// Actor is noted as who starts runs; empty means "api".
	Actor string
}

// NewRunID returns the ID of a new run, which equals that of its workflow.
// IDs sort by time.
func NewRunID() string { return runIDPrefix + strings.ToLower(ulid.Make().String()) }

// RunIDFor returns the ID of the run that belongs to an idempotency key.
func RunIDFor(key string) string {
	sum := sha256.Sum256([]byte(key))
	return runIDPrefix + strings.ToLower(ulid.ULID(sum[:16]).String())
}

const runIDPrefix = "train-"

// Start begins a run. A key that was used before gives the run that it began,
// or Conflict when that was asked for with another configuration; an empty key
// always begins a new one. Unavailable may mean, too, that the run has begun and
// the answer was lost: with the same key it is safe to ask again.
func (c *Client) Start(ctx context.Context, cfg captioner.Config, key string) (captioner.Run, error) {
	return c.start(ctx, cfg, key)
}

// Resume begins a run that goes on from the training of the run with the ID,
// with the configuration that Continue has returned. The key is as Start's.
func (c *Client) Resume(ctx context.Context, id string, cfg captioner.Config, key string) (captioner.Run, error) {
	return c.start(ctx, runInput{request{Resume: id}, cfg}, key)
}

// runInput is the input of a workflow.
type runInput struct {
	request
	captioner.Config
}

// Continue returns the configuration of a run that goes on from another: that of
// the run with the ID, with the changes, a JSON object. NotFound; Conflict while
// that run goes on; Invalid with all problems, also when there is nothing left
// to train.
func (c *Client) Continue(ctx context.Context, id string, changes []byte) (captioner.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	run, err := c.Describe(ctx, id)
	if err != nil {
		return captioner.Config{}, err
	}
	if !run.State.Ended() {
		return captioner.Config{}, &captioner.Error{
			Kind: captioner.Conflict, Code: "run_under_way", Message: fmt.Sprintf("run %s is still under way: cancel it first, or wait for its end", id),
		}
	}
	record, err := c.Store.RunRecord(ctx, id)
	if err != nil {
		return captioner.Config{}, err
	}
	before, after, err := config.Continue(record.Config, changes)
	if err == nil && run.State == captioner.RunCompleted && before.Training == after.Training {
		err = config.Error([]captioner.Problem{{
			Field: "training.epochs", Message: "must be more than before: the run that is continued has trained to its end",
		}})
	}
	return after, err
}

// start starts the workflow with the input as JSON. One workflow ID belongs to a
// key, and Temporal starts a workflow of an ID once. What Temporal has forgotten
// since, the records know.
func (c *Client) start(ctx context.Context, asks any, key string) (captioner.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	input, err := json.Marshal(asks)
	if err != nil {
		return captioner.Run{}, captioner.Wrap(captioner.Internal, err, "encode the configuration")
	}
	id, asked := NewRunID(), string(captioner.DigestOf(input))
	if key != "" {
		id = RunIDFor(key)
		if begun, err := c.begun(ctx, key, id, asked); err != nil {
			return captioner.Run{}, err
		} else if begun {
			return c.Describe(ctx, id)
		}
	}
	actor := c.Actor
	if actor == "" {
		actor = "api"
	}

	notes, traced := map[string]any{memoActor: actor, memoConfig: asked}, ""
	if s := trace.SpanContextFromContext(ctx); s.HasTraceID() {
		traced = s.TraceID().String()
		notes[memoTrace] = traced
	}

	started, err := c.Temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: id, TaskQueue: TaskQueue,
		WorkflowIDReusePolicy:                    enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		WorkflowTaskTimeout:                      workflowTaskTimeout,
		Memo:                                     notes,
	}, TrainAndDeployName, json.RawMessage(input))
	var already *serviceerror.WorkflowExecutionAlreadyStarted
	switch {
	case errors.As(err, &already):
		return c.existing(ctx, id, asked)
	case err != nil:
		return captioner.Run{}, unavailable(err, "start the run")
	}
	return captioner.Run{
		ID: id, TemporalRunID: started.GetRunID(), State: captioner.RunRunning, StartedAt: time.Now().UTC(),
		Stages: pendingStages(), TemporalURL: c.link(id, started.GetRunID()),
		TraceID: traceID(traced, started.GetRunID()),
	}, nil
}

// begun reports whether the records know that the key began its run. It claims a
// new key for what is asked; Conflict for one that stands for something else.
func (c *Client) begun(ctx context.Context, key, id, asked string) (bool, error) {
	request, first, err := c.Store.ClaimRequest(ctx, captioner.DigestOf([]byte(key)), captioner.Digest(asked))
	switch {
	case err != nil:
		return false, err
	case request.Asked != captioner.Digest(asked):
		return false, captioner.KeyReused()
	case first:
		return false, nil
	}
	_, err = c.Store.RunRecord(ctx, id)
	if captioner.KindOf(err) == captioner.NotFound {
		return false, nil // Temporal knows whether it has begun
	}
	return err == nil, err
}

// existing returns the run that a key began, if it was for the same configuration.
func (c *Client) existing(ctx context.Context, id, asked string) (captioner.Run, error) {
	described, err := c.describe(ctx, id)
	if err != nil {
		return captioner.Run{}, err
	}
	info := described.GetWorkflowExecutionInfo()
	if before := memo(info.GetMemo(), memoConfig); before != asked {
		return captioner.Run{}, captioner.KeyReused()
	}
	return c.Describe(ctx, id)
}

// Cancel asks a run to stop; NotFound, or Conflict when it has ended. The run
// is over when Describe says so: at the latest some seconds later.
func (c *Client) Cancel(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	described, err := c.describe(ctx, id)
	if err != nil {
		return err
	}
	ended := captioner.Errorf(captioner.Conflict, "run %s has ended already", id)
	if described.GetWorkflowExecutionInfo().GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return ended
	}
	err = c.Temporal.CancelWorkflow(ctx, id, "")
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		return ended
	}
	if err != nil {
		return unavailable(err, "cancel the run")
	}
	return nil
}

// WaitResult waits until the run has ended and returns its result or, as an
// error of the kind of the step's, why it failed. A cancelled run is Conflict,
// code "cancelled".
func (c *Client) WaitResult(ctx context.Context, id string) (captioner.RunResult, error) {
	var result captioner.RunResult
	err := c.Temporal.GetWorkflow(ctx, id, "").Get(ctx, &result)
	switch {
	case err == nil:
		return result, nil
	case ctx.Err() != nil:
		return result, ctx.Err()
	case temporal.IsCanceledError(err) || isTerminated(err):
		return result, &captioner.Error{Kind: captioner.Conflict, Code: "cancelled", Message: "the run was cancelled"}
	}
	var failed *temporal.WorkflowExecutionError
	if errors.As(err, &failed) {
		return result, activities.FromFailure(err)
	}
	return result, notFoundOr(err, id, "wait for the run")
}

func isTerminated(err error) bool {
	var terminated *temporal.TerminatedError
	return errors.As(err, &terminated)
}

// DryRun checks a configuration on a worker, where the data is. Invalid with
// all problems when it cannot work; Unavailable when no worker answers.
func (c *Client) DryRun(ctx context.Context, cfg captioner.Config) error {
	ctx, cancel := context.WithTimeout(ctx, dryRunTimeout+callTimeout)
	defer cancel()
	input, err := json.Marshal(cfg)
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "encode the configuration")
	}
	started, err := c.Temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:        "validate-" + strings.ToLower(ulid.Make().String()),
		TaskQueue: TaskQueue, WorkflowExecutionTimeout: dryRunTimeout,
	}, ValidateOnlyName, json.RawMessage(input))
	if err != nil {
		return unavailable(err, "check the configuration on a worker")
	}
	err = started.Get(ctx, nil)
	var failed *temporal.WorkflowExecutionError
	var timeout *temporal.TimeoutError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &failed):
		return unavailable(err, "check the configuration on a worker")
	case errors.As(err, &timeout):
		return captioner.Wrap(captioner.Unavailable, err, "no worker has checked the configuration within %v", dryRunTimeout)
	}
	return activities.FromFailure(err)
}

func noRun(id string) error {
	return captioner.Errorf(captioner.NotFound, "there is no run %q", id)
}

func notFoundOr(err error, id, what string) error {
	var notFound *serviceerror.NotFound
	if errors.As(err, &notFound) {
		return noRun(id)
	}
	var invalid *serviceerror.InvalidArgument
	if errors.As(err, &invalid) {
		return noRun(id) // an ID that no run can have
	}
	return unavailable(err, what)
}

func unavailable(err error, what string) error {
	return captioner.Wrap(captioner.Unavailable, err, "cannot %s: the workflow service does not answer", what)
}
