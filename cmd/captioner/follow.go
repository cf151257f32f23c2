package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/captioner/captioner"
)

// reconnectEvery is the time between two attempts to reach a server that is away.
const reconnectEvery = time.Second

// eventSource streams the events of runs: the API's client.
type eventSource interface {
	Events(ctx context.Context, id, after string, handle func(streamEvent) error) error
}

// errEnd stops reading after the last event.
var errEnd = errors.New("the run has ended")

// follow shows a run's progress until it ends, and returns it as it ended. It
// outlives a server that is away for a moment: it goes on after the last event
// that it has seen.
func follow(ctx context.Context, view progressView, source eventSource, id string) (captioner.Run, error) {
	defer view.close()
	var run captioner.Run
	last := ""
	ticker := time.NewTicker(reconnectEvery)
	defer ticker.Stop()
	for {
		err := source.Events(ctx, id, last, func(e streamEvent) error {
			last = e.ID
			if err := view.event(e); err != nil || e.Name != "end" {
				return err
			}
			if err := json.Unmarshal(e.Data, &run); err != nil {
				return unreadable(e, err)
			}
			return errEnd
		})
		switch {
		case errors.Is(err, errEnd):
			return run, nil
		case ctx.Err() != nil:
			return captioner.Run{}, ctx.Err()
		case err != nil && captioner.KindOf(err) != captioner.Unavailable:
			return captioner.Run{}, err
		case err != nil:
			view.away(err)
		}
		select {
		case <-ctx.Done():
			return captioner.Run{}, ctx.Err()
		case <-ticker.C:
		}
	}
}

func unreadable(e streamEvent, err error) error {
	return captioner.Wrap(captioner.Internal, err, "read the server's event %q", e.Name)
}

// outcome turns the last state of a run into an error where it did not complete.
func outcome(run captioner.Run) error {
	switch run.State {
	case captioner.RunCompleted, captioner.RunUnchanged:
		return nil
	case captioner.RunCancelled:
		return captioner.Errorf(captioner.Conflict, "run %s was cancelled", run.ID)
	default:
		kind := captioner.Internal
		if len(run.Problems) > 0 {
			kind = captioner.Invalid
		}
		return &captioner.Error{Kind: kind, Message: fmt.Sprintf("run %s failed: %s", run.ID, run.Error), Problems: run.Problems}
	}
}
