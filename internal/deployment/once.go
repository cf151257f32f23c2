package deployment

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/captioner/captioner"
)

// asked is what a request's key stands for.
type asked struct {
	Kind    captioner.MoveKind `json:"kind"`
	Version string             `json:"version,omitempty"`
	Actor   string             `json:"actor"`
	Reason  string             `json:"reason"`
}

// answer is the outcome of a deployment that is kept under its key. A failed one
// has moved the alias forward and back.
type answer struct {
	Deployment captioner.Deployment `json:"deployment"`
	Failed     string               `json:"failed,omitempty"`
}

// deploy carries out what plan says, once for each key: a request that is sent
// again waits for what the first one has done, or is told what came of it. The
// store moves the alias for a key at most once, whoever carries it.
func (d *Deployer) deploy(ctx context.Context, key string, a asked, plan func() (captioner.AliasMove, error)) (captioner.Deployment, error) {
	if key == "" {
		m, err := plan()
		if err != nil {
			return captioner.Deployment{}, err
		}
		return d.carryOut(ctx, "", m)
	}
	digest, err := captioner.DigestJSON(a)
	if err != nil {
		return captioner.Deployment{}, err
	}
	request, err := d.claim(ctx, captioner.DigestOf([]byte(key)), digest)
	if err != nil {
		return captioner.Deployment{}, err
	}
	if request.Answer != nil {
		return request.outcome()
	}
	out, err := d.carryOutOnce(ctx, request, plan)
	if err != nil && captioner.CodeOf(err) != CodeFailed {
		return out, err // nothing has come of it yet: the key goes on standing for this request
	}
	return d.answer(ctx, request.Key, out, err)
}

// request is one under a key.
type request struct{ captioner.Request }

// claim returns the request that the key stands for.
func (d *Deployer) claim(ctx context.Context, key, asked captioner.Digest) (request, error) {
	kept, _, err := d.Store.ClaimRequest(ctx, key, asked)
	if err == nil && kept.Asked != asked {
		err = captioner.KeyReused()
	}
	return request{kept}, err
}

// carryOutOnce makes the move that is planned, unless the request has made one.
func (d *Deployer) carryOutOnce(ctx context.Context, r request, plan func() (captioner.AliasMove, error)) (captioner.Deployment, error) {
	if r.Moved == 0 {
		m, err := plan()
		if err != nil {
			return captioner.Deployment{}, err
		}
		out, err := d.carryOut(ctx, r.Key, m)
		if captioner.CodeOf(err) != codeMoved {
			return out, err
		}
		// Somebody was faster: perhaps this very request, sent twice.
		again, claimErr := d.claim(ctx, r.Key, r.Asked)
		switch {
		case claimErr != nil:
			return out, claimErr
		case again.Answer != nil:
			return again.outcome()
		case again.Moved == 0:
			return out, err
		}
		r = again
	}
	m, err := d.moveOf(ctx, r.Moved)
	if err != nil {
		return captioner.Deployment{}, err
	}
	return d.confirmed(ctx, m)
}

// moveOf returns the move that made an alias of the generation.
func (d *Deployer) moveOf(ctx context.Context, generation int64) (captioner.AliasMove, error) {
	moves, err := d.Store.AliasMoves(ctx, captioner.Production, 0)
	if err != nil {
		return captioner.AliasMove{}, err
	}
	for _, m := range moves {
		if m.Generation == generation {
			return m, nil
		}
	}
	return captioner.AliasMove{}, captioner.Errorf(captioner.Corrupt, "the deployment log has no move to generation %d", generation)
}

// answer keeps what came of a request, and returns what stands.
func (d *Deployer) answer(ctx context.Context, key captioner.Digest, out captioner.Deployment, failed error) (captioner.Deployment, error) {
	a := answer{Deployment: out}
	if failed != nil {
		a.Failed = messageOf(failed)
	}
	data, err := json.Marshal(a)
	if err != nil {
		return out, captioner.Wrap(captioner.Internal, err, "encode the answer to a request")
	}
	kept, err := d.Store.AnswerRequest(ctx, key, data)
	if err != nil {
		return out, err
	}
	return request{captioner.Request{Answer: kept}}.outcome()
}

// outcome is what the request's client was told.
func (r request) outcome() (captioner.Deployment, error) {
	var a answer
	if err := json.Unmarshal(r.Answer, &a); err != nil {
		return captioner.Deployment{}, captioner.Wrap(captioner.Corrupt, err, "decode the answer to a request")
	}
	if a.Failed != "" {
		return captioner.Deployment{}, failed("%s", a.Failed)
	}
	return a.Deployment, nil
}

// messageOf is the sentence for a client.
func messageOf(err error) string {
	var e *captioner.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}
