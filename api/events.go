package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
)

// eventPage is how many points or samples one query reads at most: what a long
// run has left goes out in events of some 100 KB.
const eventPage = 1000

var errTooManyStreams = &captioner.Error{
	Kind: captioner.Unavailable, Code: "too_many_streams", Message: "too many event streams are open already",
}

// runEvents answers GET /runs/{id}/events with server-sent events:
//
//	state    where the run stands, at first and whenever that changes
//	stages   the run's stages, the same
//	metrics  points of the curves; one with the step and name of an earlier one
//	         replaces it, which happens where a training resumes
//	sample   what the model says about a few validation pictures after an epoch
//	end      the run as it ended; the stream closes
//
// IDs say how far a client has read: with Last-Event-ID, at any replica, it goes
// on from there.
func (s *Server) runEvents(c *gin.Context) error {
	ctx, id := c.Request.Context(), c.Param("id")
	run, err := s.runs.describe(ctx, id)
	if err != nil {
		return err
	}
	if s.stopping.Load() {
		return errShuttingDown
	}
	if err := s.streams.enter(); err != nil {
		return errTooManyStreams
	}
	defer s.streams.leave()
	f := &follower{progress: s.opts.Progress, out: openEventStream(c), at: parsePosition(c.GetHeader("Last-Event-ID"))}
	s.follow(ctx, f, run)
	return nil
}

// follow sends what is new, again and again, until the run has ended, the
// client is gone or the server goes away. A database or workflow service that
// is away only delays what is sent.
func (s *Server) follow(ctx context.Context, f *follower, run captioner.Run) {
	ticker := time.NewTicker(s.opts.PollInterval)
	defer ticker.Stop()
	away := false
	for {
		err := f.catchUp(ctx, run)
		if f.out.err != nil {
			return
		}
		if err == nil && run.State.Ended() {
			err = f.out.send("end", "", finite(run))
			if err == nil {
				return
			}
		}
		if err != nil && !away && ctx.Err() == nil {
			s.opts.Logger.WarnContext(ctx, "an event stream waits for what it reads", "run", run.ID, "error", err)
		}
		away = err != nil
		f.out.stayAlive()

		select {
		case <-ctx.Done():
			return
		case <-s.drained.Done():
			return
		case <-ticker.C:
		}
		if now, err := s.runs.describe(ctx, run.ID); err == nil {
			run = now
		}
	}
}

// follower is one client's view of a run.
type follower struct {
	progress ProgressReader
	out      *eventStream
	at       position
	state    []byte // as last sent
	stages   []byte
}

// catchUp sends all that the client has not seen. Its error is of reading; one
// of writing stays in out.
func (f *follower) catchUp(ctx context.Context, run captioner.Run) error {
	if err := f.sendState(run); err != nil {
		return err
	}
	if err := f.sendStages(run.Stages); err != nil {
		return err
	}
	if run.RunKey == "" {
		return nil
	}
	f.at.follow(run.RunKey)
	if err := f.sendMetrics(ctx, run.RunKey); err != nil {
		return err
	}
	return f.sendSamples(ctx, run.RunKey)
}

// standing is where a run stands, and why.
type standing struct {
	State captioner.RunState `json:"state"`
	Note  string             `json:"note,omitempty"`
}

func (f *follower) sendState(run captioner.Run) error {
	if run.State.Ended() {
		return nil // the end tells
	}
	return f.sendChanged("state", standing{run.State, run.Note}, &f.state)
}

func (f *follower) sendStages(stages []captioner.Stage) error {
	if len(stages) == 0 {
		return nil // nobody knows now
	}
	return f.sendChanged("stages", stages, &f.stages)
}

// sendChanged sends an event unless it says what it said last.
func (f *follower) sendChanged(name string, v any, last *[]byte) error {
	data, err := json.Marshal(v)
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "write a %T as JSON", v)
	}
	if bytes.Equal(data, *last) {
		return nil
	}
	*last = data
	return f.out.send(name, "", json.RawMessage(data))
}

// point is a metric as JSON can express it: a value that is no number is null.
type point struct {
	Step  int       `json:"step"`
	Name  string    `json:"name"`
	Value *float64  `json:"value"`
	Time  time.Time `json:"time"`
}

func (f *follower) sendMetrics(ctx context.Context, runKey string) error {
	for f.out.err == nil {
		metrics, sequence, err := f.progress.Metrics(ctx, runKey, f.at.metrics, eventPage)
		if err != nil {
			return err
		}
		if len(metrics) == 0 {
			return nil
		}
		points := make([]point, len(metrics))
		for i, m := range metrics {
			points[i] = point{Step: m.Step, Name: m.Name, Time: m.Time}
			if !math.IsNaN(m.Value) && !math.IsInf(m.Value, 0) {
				points[i].Value = &m.Value
			}
		}
		f.at.metrics = sequence
		if err := f.out.send("metrics", f.at.String(), points); err != nil {
			return err
		}
		if len(metrics) < eventPage {
			return nil
		}
	}
	return nil
}

// epochSamples is what the model said after an epoch. A very long list may come
// in two events.
type epochSamples struct {
	Epoch   int          `json:"epoch"`
	Step    int          `json:"step"`
	Samples []sampleLine `json:"samples"`

	sequence int64 // of the last sample
}

type sampleLine struct {
	Image     string `json:"image"`
	Caption   string `json:"caption"`
	Reference string `json:"reference"`
	// HasPicture says that GET /runs/{id}/samples/{image} gives the picture.
	HasPicture bool `json:"has_picture"`
}

func (f *follower) sendSamples(ctx context.Context, runKey string) error {
	for f.out.err == nil {
		samples, _, err := f.progress.Samples(ctx, runKey, f.at.samples, eventPage)
		if err != nil {
			return err
		}
		if len(samples) == 0 {
			return nil
		}
		for _, epoch := range byEpoch(samples) {
			f.at.samples = epoch.sequence
			if err := f.out.send("sample", f.at.String(), epoch); err != nil {
				return err
			}
		}
		if len(samples) < eventPage {
			return nil
		}
	}
	return nil
}

// byEpoch groups samples, which come in the order of writing.
func byEpoch(samples []captioner.Sample) []epochSamples {
	var epochs []epochSamples
	for _, s := range samples {
		if len(epochs) == 0 || epochs[len(epochs)-1].Step != s.Step {
			epochs = append(epochs, epochSamples{Epoch: s.Epoch, Step: s.Step})
		}
		last := &epochs[len(epochs)-1]
		last.sequence = s.Sequence
		last.Samples = append(last.Samples, sampleLine{s.Image, s.Caption, s.Reference, s.Picture != ""})
	}
	return epochs
}

// position is how far a client has read: the last sequence numbers of metrics
// and samples of the training whose key begins so.
type position struct {
	key              string
	metrics, samples int64
}

// positionKeyLength tells trainings apart well enough.
const positionKeyLength = 12

// parsePosition reads an event's ID. One that is not ours is of somebody who
// has read nothing.
func parsePosition(id string) (p position) {
	text := strings.ReplaceAll(id, "-", " ")
	if n, err := fmt.Sscanf(text, "%s %d %d", &p.key, &p.metrics, &p.samples); err != nil || n != 3 || p.String() != id {
		return position{}
	}
	return p
}

// follow starts over when the training is another one than before.
func (p *position) follow(runKey string) {
	if key := runKey[:min(positionKeyLength, len(runKey))]; p.key != key {
		*p = position{key: key}
	}
}

// String is the ID of an event.
func (p position) String() string { return fmt.Sprintf("%s-%d-%d", p.key, p.metrics, p.samples) }
