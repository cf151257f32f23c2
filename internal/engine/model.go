package engine

import (
	"context"
	"encoding/json"

	"github.com/captioner/captioner"
	pb "github.com/captioner/captioner/internal/engine/enginepb"
	"github.com/captioner/captioner/internal/engine/wire"
	"github.com/captioner/captioner/internal/telemetry/span"
)

// Model is a serving engine: a process with one loaded model. It implements
// captioner.Captioner and may be used from many goroutines.
type Model struct {
	engine *engine
	info   captioner.ModelInfo
}

// OpenModel starts an engine that loads the model in modelDir, and returns once
// it can caption. ctx bounds the start, not the life of the engine. What the
// engine says about a model that it cannot load keeps its kind: Corrupt, for
// example, when the golden captions come out differently.
func OpenModel(ctx context.Context, o Options, modelDir string) (*Model, error) {
	e, err := launch(ctx, o, modelDir)
	if err != nil {
		return nil, err
	}
	m, err := e.model()
	if err != nil {
		_ = e.stop()
		return nil, err
	}
	return m, nil
}

// model gives the engine's model.
func (e *engine) model() (*Model, error) {
	m := &Model{engine: e}
	if err := json.Unmarshal(e.info.GetModelInfoJson(), &m.info); err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "cannot read the engine's description of its model")
	}
	return m, nil
}

// Caption captions pictures; see captioner.Captioner. It fails as Unavailable
// once the engine has died or is being closed.
func (m *Model) Caption(ctx context.Context, req captioner.CaptionRequest) (_ captioner.CaptionReply, err error) {
	ctx, s := call(ctx, pb.Engine_Caption_FullMethodName)
	defer func() { span.End(s, err) }()
	reply, err := m.engine.client.Caption(ctx, wire.FromCaptionRequest(req))
	if err != nil {
		return captioner.CaptionReply{}, m.engine.explain(ctx, err)
	}
	return wire.ToCaptionReply(reply), nil
}

// Model describes the loaded version.
func (m *Model) Model() captioner.ModelInfo { return m.info }

// PID is the process ID of the engine.
func (m *Model) PID() int { return m.engine.process.PID() }

// Done is closed once the process has ended, for whatever reason.
func (m *Model) Done() <-chan struct{} { return m.engine.process.Done() }

// Close lets the engine finish the calls that it is answering and ends it. It
// returns an error only when the engine had to be killed.
func (m *Model) Close() error { return m.engine.stop() }
