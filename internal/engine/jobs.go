package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/captioner/captioner"
	pb "github.com/captioner/captioner/internal/engine/enginepb"
	"github.com/captioner/captioner/internal/engine/wire"
	"github.com/captioner/captioner/internal/processor"
	"github.com/captioner/captioner/internal/telemetry/span"
)

const (
	// jobNice is the nice value of a job engine: serving goes first.
	jobNice = 10
	// idleTimeout is how long a job engine is kept warm without a job by default.
	idleTimeout = 2 * time.Minute
	// cancelGrace is how long a cancelled training may take to stop, which it
	// does within one step; then its engine is killed.
	cancelGrace = 15 * time.Second
	// stoppedCode is the code of a training that stopped at a checkpoint.
	stoppedCode = "stopped"
)

// Jobs runs one job at a time in an engine of low priority, which stays warm
// between jobs and is replaced when it has died, or when a job wants other
// settings, which a process cannot change, or another model. It
// implements captioner.FeatureExtractor and captioner.Trainer. A second job
// waits until the first has ended.
type Jobs struct {
	options Options
	slot    chan struct{} // holds one value while a job runs

	mu     sync.Mutex
	warm   *warmEngine
	timer  *time.Timer
	stops  map[*stopper]struct{} // trainings that run or wait
	closed bool
}

// warmEngine is the engine that is kept, and what it was started for.
type warmEngine struct {
	*engine
	settings
	model string // identity of the loaded model; empty for none
}

// settings are what TensorFlow fixes when a process begins.
type settings struct {
	// threads is the number of CPU threads; 0 takes that of the options.
	threads int
	// oneDNN has convolutions computed by that library also on a processor where
	// TensorFlow does not by itself: there an encoder is up to 1.3 times as fast,
	// and decoding, of small products, slower.
	oneDNN bool
}

// fill replaces what is not set, or makes no difference here, by what holds. Who has
// set the variable for oneDNN decides for all engines.
func (s settings) fill(o Options) settings {
	s.threads = cmp.Or(max(0, s.threads), o.Threads, runtime.NumCPU())
	s.oneDNN = s.oneDNN && os.Getenv(processor.OneDNNVariable) == "" && !processor.OneDNN()
	return s
}

// NewJobs returns the job engine's keeper. It starts no process before the
// first job. Close it at the end.
func NewJobs(o Options) *Jobs {
	if o.Nice == 0 {
		o.Nice = jobNice
	}
	if o.Idle == 0 {
		o.Idle = idleTimeout
	}
	return &Jobs{options: o, slot: make(chan struct{}, 1), stops: make(map[*stopper]struct{})}
}

// ExtractFeatures writes one shard; see captioner.FeatureExtractor.
func (j *Jobs) ExtractFeatures(ctx context.Context, req captioner.ExtractRequest, progress func(done int)) (captioner.ExtractResult, error) {
	message, err := wire.FromExtractRequest(req)
	if err != nil {
		return captioner.ExtractResult{}, err
	}
	var result captioner.ExtractResult
	err = j.do(ctx, nil, settings{threads: req.Threads, oneDNN: req.Model.Weights != ""}, func(e *engine) error {
		result, err = e.extract(ctx, message, progress)
		return err
	})
	return result, err
}

// Train fits a model; see captioner.Trainer. It returns only once the engine
// has stopped working on it, also when ctx has ended.
func (j *Jobs) Train(ctx context.Context, req captioner.TrainRequest, progress func(captioner.TrainEvent)) (captioner.TrainResult, error) {
	message, err := wire.FromTrainRequest(req)
	if err != nil {
		return captioner.TrainResult{}, err
	}
	stop := j.registerStop()
	defer j.unregisterStop(stop)
	var result captioner.TrainResult
	err = j.do(ctx, stop.c, settings{threads: req.Config.Training.Threads}, func(e *engine) error {
		result, err = e.train(ctx, message, stop.c, progress)
		return err
	})
	return result, err
}

// ImportModel makes a model of one that the original system has trained; see
// captioner.ModelImporter.
func (j *Jobs) ImportModel(ctx context.Context, req captioner.ImportRequest) (captioner.ImportResult, error) {
	data, err := json.Marshal(req)
	if err != nil {
		return captioner.ImportResult{}, captioner.Wrap(captioner.Internal, err, "write the request")
	}
	var result captioner.ImportResult
	err = j.do(ctx, nil, settings{}, func(e *engine) error {
		reply, err := e.client.ImportModel(ctx, &pb.ImportModelRequest{RequestJson: data})
		if err != nil {
			return e.explain(ctx, err)
		}
		if err := json.Unmarshal(reply.GetResultJson(), &result); err != nil {
			return captioner.Wrap(captioner.Internal, err, "cannot read the engine's result")
		}
		return nil
	})
	return result, err
}

// Checkpoint asks every Train that runs or waits to save its state and to
// return an Unavailable error with code "stopped".
func (j *Jobs) Checkpoint() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for s := range j.stops {
		s.stop()
	}
}

// OpenModel returns a model that captions in the job engine, for evaluation.
// It is a job of its own: no other runs until the returned function is called,
// which leaves the engine warm with the model.
func (j *Jobs) OpenModel(ctx context.Context, modelDir string) (captioner.Captioner, func() error, error) {
	e, release, err := j.acquire(ctx, nil, settings{}, modelDir)
	if err != nil {
		return nil, nil, err
	}
	model, err := e.model()
	if err != nil {
		release()
		return nil, nil, err
	}
	return model, func() error { release(); return nil }, nil
}

// Check starts the job engine, which the first job then finds ready, and
// returns the version of TensorFlow in it and the devices that it computes on.
// An engine that cannot be started, or that runs another version than this
// program needs, is an error that says what to do.
func (j *Jobs) Check(ctx context.Context) (tensorflow string, devices []string, err error) {
	e, release, err := j.acquire(ctx, nil, settings{}, "")
	if err != nil {
		return "", nil, err
	}
	defer release()
	return e.info.GetTensorflow(), e.info.GetDevices(), nil
}

// PID is the process ID of the job engine, 0 when none runs.
func (j *Jobs) PID() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.warm == nil || !j.warm.alive() {
		return 0
	}
	return j.warm.process.PID()
}

// Close ends the job engine. A training that runs saves a checkpoint first,
// other jobs fail as Unavailable, and so does every later one.
func (j *Jobs) Close() error {
	j.Checkpoint()
	j.mu.Lock()
	j.closed = true
	warm := j.warm
	j.warm = nil
	if j.timer != nil {
		j.timer.Stop()
	}
	j.mu.Unlock()
	if warm == nil {
		return nil
	}
	return warm.stop()
}

// do runs a job on an engine without a model of its own. An engine that was
// about to end when the job reached it, because someone sent it SIGTERM, is
// replaced once.
func (j *Jobs) do(ctx context.Context, stop <-chan struct{}, want settings, job func(*engine) error) error {
	for attempt := 0; ; attempt++ {
		e, release, err := j.acquire(ctx, stop, want, "")
		if err != nil {
			return err
		}
		err = job(e)
		again := attempt == 0 && errors.Is(err, errEnded)
		if again {
			_ = j.replace(nil) // or the next round would meet it again
		}
		release()
		if !again {
			return err
		}
	}
}

// acquire waits until no other job runs and returns an engine for this one,
// and what gives it back. stop, which may be nil, ends the wait.
func (j *Jobs) acquire(ctx context.Context, stop <-chan struct{}, want settings, modelDir string) (*engine, func(), error) {
	select {
	case j.slot <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-stop:
		return nil, nil, errStopped()
	}
	e, err := j.engine(ctx, want, modelDir)
	if err != nil {
		<-j.slot
		return nil, nil, err
	}
	var once sync.Once
	return e, func() { once.Do(j.release) }, nil
}

// release gives the slot back and lets the engine end if nothing follows.
func (j *Jobs) release() {
	j.mu.Lock()
	if !j.closed && j.warm != nil {
		j.timer = time.AfterFunc(j.options.Idle, j.endIdle)
	}
	j.mu.Unlock()
	<-j.slot
}

// endIdle ends the warm engine unless a job runs.
func (j *Jobs) endIdle() {
	select {
	case j.slot <- struct{}{}:
	default:
		return
	}
	_ = j.replace(nil)
	<-j.slot
}

// engine returns the warm engine if it fits, else a new one. The caller holds
// the slot.
func (j *Jobs) engine(ctx context.Context, want settings, modelDir string) (*engine, error) {
	want = want.fill(j.options)
	model, err := modelIdentity(modelDir)
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	if j.timer != nil {
		j.timer.Stop()
	}
	warm := j.warm
	j.mu.Unlock()
	if warm != nil && warm.alive() && warm.settings == want && (model == "" || warm.model == model) {
		return warm.engine, nil
	}

	if err := j.replace(nil); err != nil {
		return nil, err
	}
	if warm != nil && warm.process.Err() != nil && j.options.Restarted != nil {
		j.options.Restarted()
	}
	options := j.options
	options.Threads = want.threads
	if want.oneDNN {
		options.Env = slices.Concat(options.Env, []string{processor.OneDNNVariable + "=1"})
	}
	e, err := launch(ctx, options, modelDir)
	if err != nil {
		return nil, err
	}
	if err := j.replace(&warmEngine{engine: e, settings: want, model: model}); err != nil {
		return nil, err
	}
	return e, nil
}

// replace ends the warm engine and keeps the new one in its place. Once Jobs
// is closed it ends both and fails.
func (j *Jobs) replace(with *warmEngine) error {
	j.mu.Lock()
	old, closed := j.warm, j.closed
	if !closed {
		j.warm = with
	}
	j.mu.Unlock()
	if old != nil {
		_ = old.stop()
	}
	if closed {
		if with != nil {
			_ = with.stop()
		}
		return captioner.Errorf(captioner.Unavailable, "the job engine is closed")
	}
	return nil
}

// modelIdentity names what a model folder holds, so that a bundle that was
// materialised once more is known again, and a folder whose content was
// replaced is not taken for the old one; empty for no folder.
func modelIdentity(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	if manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json")); err == nil {
		return string(captioner.DigestOf(manifest)), nil
	}
	info, err := os.Stat(filepath.Join(dir, "saved_model", "saved_model.pb"))
	if err != nil {
		return "", captioner.Wrap(captioner.NotFound, err, "the folder holds no model")
	}
	return fmt.Sprintf("%s %d %d", dir, info.Size(), info.ModTime().UnixNano()), nil
}

// stopper is a stop channel that can be closed more than once.
type stopper struct {
	c    chan struct{}
	once sync.Once
}

func (s *stopper) stop() { s.once.Do(func() { close(s.c) }) }

func (j *Jobs) registerStop() *stopper {
	s := &stopper{c: make(chan struct{})}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stops[s] = struct{}{}
	return s
}

func (j *Jobs) unregisterStop(s *stopper) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.stops, s)
}

func errStopped() error {
	return &captioner.Error{Kind: captioner.Unavailable, Code: stoppedCode, Message: "the training was stopped before it had started"}
}

// extract runs one extraction on the engine.
func (e *engine) extract(ctx context.Context, req *pb.ExtractFeaturesRequest, progress func(done int)) (_ captioner.ExtractResult, err error) {
	ctx, s := call(ctx, pb.Engine_ExtractFeatures_FullMethodName)
	defer func() { span.End(s, err) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := e.client.ExtractFeatures(ctx, req)
	if err != nil {
		return captioner.ExtractResult{}, e.explain(ctx, err)
	}
	for {
		event, err := stream.Recv()
		if err != nil {
			return captioner.ExtractResult{}, e.explain(ctx, err)
		}
		if result := event.GetResult(); result != nil {
			return wire.ToExtractResult(result), nil
		}
		if progress != nil {
			progress(int(event.GetDone()))
		}
	}
}

// train runs one training on the engine. The stream outlives ctx until the
// engine has confirmed that it stopped: afterwards nothing writes to the
// training's folders any more.
func (e *engine) train(ctx context.Context, start *pb.TrainRequest, stop <-chan struct{}, progress func(captioner.TrainEvent)) (_ captioner.TrainResult, err error) {
	ctx, s := call(ctx, pb.Engine_Train_FullMethodName)
	defer func() { span.End(s, err) }()
	streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stream, err := e.client.Train(streamCtx)
	if err != nil {
		return captioner.TrainResult{}, e.explain(ctx, err)
	}
	if err := stream.Send(&pb.TrainInput{Input: &pb.TrainInput_Start{Start: start}}); err != nil && !errors.Is(err, io.EOF) {
		return captioner.TrainResult{}, e.explain(ctx, err)
	}
	steered := make(chan struct{})
	go func() {
		defer close(steered)
		e.steer(ctx, stream, stop)
	}()
	defer func() { cancel(); <-steered }()
	for {
		output, err := stream.Recv()
		if err != nil {
			if ctx.Err() != nil {
				return captioner.TrainResult{}, ctx.Err()
			}
			return captioner.TrainResult{}, e.explain(ctx, err)
		}
		if data := output.GetResultJson(); data != nil {
			var result captioner.TrainResult
			if err := json.Unmarshal(data, &result); err != nil {
				return result, captioner.Wrap(captioner.Internal, err, "cannot read the engine's training result")
			}
			return result, nil
		}
		if event, ok := wire.ToTrainEvent(output); ok && progress != nil {
			progress(event)
		}
	}
}

// steer passes a stop and the end of ctx on to the engine, until the stream
// has ended. An engine that does not obey the latter in time is killed.
func (e *engine) steer(ctx context.Context, stream grpc.BidiStreamingClient[pb.TrainInput, pb.TrainOutput], stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			// A failed Send shows in Recv.
			_ = stream.Send(&pb.TrainInput{Input: &pb.TrainInput_Checkpoint{Checkpoint: &pb.Stop{}}})
			stop = nil
			continue
		case <-ctx.Done():
		case <-stream.Context().Done():
			return
		}
		break
	}
	_ = stream.Send(&pb.TrainInput{Input: &pb.TrainInput_Cancel{Cancel: &pb.Stop{}}})
	timer := time.NewTimer(cancelGrace)
	defer timer.Stop()
	select {
	case <-stream.Context().Done():
	case <-timer.C:
		e.process.Kill()
	}
}
