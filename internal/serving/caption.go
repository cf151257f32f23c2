package serving

import (
	"context"
	"time"

	"github.com/captioner/captioner"
)

// deathGrace is how long after an Unavailable answer the engine's process may
// take to be seen as ended. A connection breaks before its process is reaped.
const deathGrace = 500 * time.Millisecond

// The errors of a request that no engine can answer. Their codes are part of
// the HTTP interface.
var (
	errNoModel     = &captioner.Error{Kind: captioner.Unavailable, Code: "no_model", Message: "no model version is live yet"}
	errLoading     = &captioner.Error{Kind: captioner.Unavailable, Code: "model_loading", Message: "the model is being loaded"}
	errStopping    = &captioner.Error{Kind: captioner.Unavailable, Code: "shutting_down", Message: "the server is shutting down"}
	errNoEngine    = &captioner.Error{Kind: captioner.Unavailable, Code: "engine_unavailable", Message: "the model's engine is being restarted"}
	errGreedyOne   = &captioner.Error{Kind: captioner.Invalid, Code: "too_many_captions", Message: "greedy search gives one caption; ask for more with beam search"}
	errGreedyWidth = &captioner.Error{Kind: captioner.Invalid, Code: "invalid_beam_width", Message: "greedy search has no beam width"}
	errSampleWidth = &captioner.Error{Kind: captioner.Invalid, Code: "invalid_beam_width", Message: "sampling has no beam width"}
	errNotSampled  = &captioner.Error{Kind: captioner.Invalid, Code: "invalid_sampling", Message: "temperature, top_k, top_p and seed are for the algorithm sample"}
)

// Caption captions the request's pictures with the live version and names it in
// the reply. A beam width of 0 means the version's own; the length penalty and
// the guard against repetition are always the version's, since its scores
// depend on them.
//
// A request whose engine dies is asked once more of the next engine. Unavailable
// with code "no_model", "model_loading", "engine_unavailable" or
// "shutting_down" when there is no engine to ask.
func (s *Server) Caption(ctx context.Context, req captioner.CaptionRequest) (captioner.CaptionReply, error) {
	reply, failed, err := s.captionOnce(ctx, req, nil)
	if failed == nil || captioner.KindOf(err) != captioner.Unavailable || ctx.Err() != nil {
		return reply, err
	}
	s.opts.Logger.WarnContext(ctx, "engine lost under a request, asking again", "error", err)
	if !died(ctx, failed) {
		failed = nil // still alive: the same engine may answer
	}
	reply, _, err = s.captionOnce(ctx, req, failed)
	return reply, err
}

// captionOnce asks the current engine, waiting for one other than avoid. used
// is the one that was asked, nil if there was none.
func (s *Server) captionOnce(ctx context.Context, req captioner.CaptionRequest, avoid *process) (
	reply captioner.CaptionReply, used *process, err error,
) {
	p, err := s.acquire(ctx, avoid)
	if err != nil {
		return reply, nil, err
	}
	defer s.release(p)
	req, err = complete(req, p.deployment.decoding)
	if err != nil {
		return reply, nil, err
	}
	reply, err = p.engine.Caption(ctx, req)
	reply.Version = p.deployment.info.Version
	return reply, p, err
}

// complete fills in what the version decides.
func complete(req captioner.CaptionRequest, decoding captioner.EvaluationConfig) (captioner.CaptionRequest, error) {
	sampled := req.Algorithm == "sample"
	switch {
	case req.Algorithm == "greedy" && req.NumCaptions > 1:
		return req, errGreedyOne
	case req.Algorithm == "greedy" && req.BeamWidth > 1:
		return req, errGreedyWidth
	case sampled && req.BeamWidth > 0:
		return req, errSampleWidth
	case !sampled && req.Sampling != captioner.Sampling{}:
		return req, errNotSampled
	}
	if req.BeamWidth == 0 {
		req.BeamWidth = decoding.BeamWidth
	}
	if !sampled && req.NumCaptions > req.BeamWidth {
		return req, &captioner.Error{
			Kind: captioner.Invalid, Code: "too_many_captions",
			Message: "num_captions is larger than the beam width",
		}
	}
	req.LengthPenalty = decoding.LengthPenalty
	req.NoRepeatNGram = decoding.NoRepeatNGram
	return req, nil
}

// died reports whether p's process ends within the grace.
func died(ctx context.Context, p *process) bool {
	timer := time.NewTimer(deathGrace)
	defer timer.Stop()
	select {
	case <-p.engine.Done():
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// acquire returns the current engine and counts the caller among its users. It
// waits, for at most the retry timeout, while a dead engine is being replaced.
func (s *Server) acquire(ctx context.Context, avoid *process) (*process, error) {
	var timeout <-chan time.Time
	for {
		s.mu.Lock()
		p, err := s.current(avoid)
		changed := s.changed
		s.mu.Unlock()
		if p != nil || err != nil {
			return p, err
		}

		if timeout == nil {
			timer := time.NewTimer(s.opts.RetryTimeout)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-changed:
		case <-timeout:
			return nil, errNoEngine
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// current returns the engine with its user counted, an error when there is
// nothing to wait for, or neither. It needs s.mu.
func (s *Server) current(avoid *process) (*process, error) {
	switch {
	case s.stopping:
		return nil, errStopping
	case s.process != nil && s.process != avoid:
		s.process.users++
		return s.process, nil
	case s.live == nil && s.state() == None:
		return nil, errNoModel
	case s.live == nil:
		return nil, errLoading
	default:
		return nil, nil
	}
}

// release ends a use of p.
func (s *Server) release(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.users--
	if p.retired && p.users == 0 {
		close(p.idle)
	}
}

// process is an engine and who is using it.
type process struct {
	engine     Engine
	deployment *deployment
	started    time.Time

	// Guarded by the server's mutex. A retired process gets no new users; idle
	// is closed when it is retired and has none.
	users   int
	retired bool
	idle    chan struct{}
}

// retire ends the intake of users. It needs the server's mutex.
func (p *process) retire() {
	if p.retired {
		return
	}
	p.retired = true
	if p.users == 0 {
		close(p.idle)
	}
}
