package engine_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/engine"
	"github.com/captioner/captioner/internal/engine/server"
	"github.com/captioner/captioner/internal/telemetry/span"
)

// fakeVariable makes the test binary an engine whose backend is made of the
// functions below, and says how it misbehaves.
const fakeVariable = "ENGINE_TEST_FAKE"

func TestMain(m *testing.M) {
	if mode, ok := os.LookupEnv(fakeVariable); ok {
		if err := serveFake(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func serveFake(mode string) error {
	socket := flag.String("socket", "", "")
	model := flag.String("model", "", "")
	threads := flag.Int("threads", 0, "")
	traces := flag.Int("traces", 0, "")
	flag.Parse()
	if mode == "crash" {
		return errors.New("the library is broken")
	}
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	slog.SetDefault(logger)
	ctx, cancel := server.UntilParentEnds(os.Stdin)
	defer cancel()
	backend := server.Backend{
		Threads: *threads,
		Open: func() (server.Loaded, error) {
			loaded := server.Loaded{TensorFlow: engine.TensorFlowVersion, Devices: []string{"CPU:0"}}
			switch mode {
			case "old":
				loaded.TensorFlow = "2.17.1"
			case "corrupt":
				return loaded, captioner.Errorf(captioner.Corrupt, "golden picture 3 got another caption")
			case "slow":
				time.Sleep(time.Hour)
			}
			if *model != "" {
				loaded.Captioner = fakeModel{*model}
			}
			return loaded, nil
		},
		ExtractFeatures: fakeExtract,
		Train:           fakeTrain,
		ImportModel: func(_ context.Context, req captioner.ImportRequest) (captioner.ImportResult, error) {
			if req.Model == "" {
				return captioner.ImportResult{}, &captioner.Error{Kind: captioner.Invalid, Code: "not_the_original", Message: "no model"}
			}
			return captioner.ImportResult{Imported: captioner.Imported{Model: captioner.DigestOf([]byte(req.Model))}}, nil
		},
	}
	traced, flush, err := server.Traced(ctx, *traces, "test")
	if err != nil {
		return err
	}
	defer flush()
	return server.New(backend, logger, traced...).Run(ctx, *socket)
}

// fakeModel captions a picture with its size, and obeys what some of them say.
type fakeModel struct{ dir string }

func (m fakeModel) Model() captioner.ModelInfo {
	return captioner.ModelInfo{Version: captioner.DigestOf([]byte(m.dir)), MaxTokens: 20}
}

func (m fakeModel) Caption(ctx context.Context, req captioner.CaptionRequest) (captioner.CaptionReply, error) {
	var reply captioner.CaptionReply
	for _, image := range req.Images {
		var result captioner.CaptionResult
		switch order := string(image.Data); {
		case order == "broken":
			result.Err = &captioner.Error{Kind: captioner.Invalid, Code: "image_corrupt", Message: "no picture"}
		case order == "invalid":
			return reply, &captioner.Error{
				Kind: captioner.Invalid, Code: "beam_width", Message: "bad request",
				Problems: []captioner.Problem{{Field: "beam_width", Message: "must be positive"}},
			}
		case order == "panic":
			panic("a bug")
		case order == "die":
			os.Exit(7)
		case order == "hang":
			slog.Info("hanging")
			<-ctx.Done()
			return reply, ctx.Err()
		case strings.HasPrefix(order, "print:"):
			fmt.Fprintln(os.Stderr, strings.TrimPrefix(order, "print:"))
		case order == "wait": // until the file that is named appears
			slog.Info("waiting")
			awaitFile(filepath.Join(m.dir, "go"))
			fallthrough
		default:
			_, decode := span.Start(ctx, "decode")
			span.End(decode, nil)
			result.Hypotheses = []captioner.Hypothesis{{Text: fmt.Sprintf("%d bytes", len(image.Data)), Tokens: []int32{4}}}
			result.Width, result.Height = 2, 1
		}
		reply.Results = append(reply.Results, result)
	}
	return reply, nil
}

func awaitFile(path string) {
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func fakeExtract(ctx context.Context, req captioner.ExtractRequest, progress func(int)) (captioner.ExtractResult, error) {
	if req.ImagesDir == "hang" {
		progress(1)
		<-ctx.Done()
		return captioner.ExtractResult{}, ctx.Err()
	}
	progress(1)
	return captioner.ExtractResult{
		Images:     req.Images[1:],
		Quarantine: []captioner.Quarantined{{Image: req.Images[0], Reason: "image_empty", Detail: fmt.Sprintf("%d threads, size %d", req.Threads, req.Model.ImageSize)}},
	}, nil
}

// fakeTrain does two steps, then waits to be stopped unless told to finish.
// It leaves a trace in the work folder when it has really ended.
func fakeTrain(ctx context.Context, req captioner.TrainRequest, stop <-chan struct{}, progress func(captioner.TrainEvent)) (captioner.TrainResult, error) {
	defer os.WriteFile(filepath.Join(req.WorkDir, "ended"), nil, 0o644)
	progress(captioner.TrainEvent{Step: &captioner.TrainStep{Step: 1, Steps: 2, Loss: 0.5}})
	progress(captioner.TrainEvent{Checkpoint: &captioner.CheckpointSaved{Path: "first", Step: 1}})
	if req.Resume == "" && req.Dataset == "finish" || req.Resume == "first" {
		progress(captioner.TrainEvent{Epoch: &captioner.TrainEpoch{Epoch: 1, Step: 2, Best: true}})
		return captioner.TrainResult{Steps: 2, Threads: req.Config.Training.Threads}, nil
	}
	select {
	case <-stop:
		progress(captioner.TrainEvent{Checkpoint: &captioner.CheckpointSaved{Path: "last", Step: 2}})
		return captioner.TrainResult{}, &captioner.Error{Kind: captioner.Unavailable, Code: "stopped", Message: "stopped at step " + strconv.Itoa(2)}
	case <-ctx.Done():
		return captioner.TrainResult{}, fmt.Errorf("step 2: %w", ctx.Err())
	}
}
