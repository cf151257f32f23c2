// Package wire turns the words of package captioner into the messages of the
// engine's contract and back. Client and server share it, so that each mapping
// stands in one place beside its inverse.
package wire

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/captioner/captioner"
	pb "github.com/captioner/captioner/internal/engine/enginepb"
)

// Protocol is the number of the contract. Raise it with every change to it.
const Protocol = 5

// MaxMessageBytes bounds a message either way: a batch of large pictures. gRPC's
// own default for received messages is 4 MiB.
const MaxMessageBytes = 512 << 20

// FromCaptionRequest gives the message of a request.
func FromCaptionRequest(r captioner.CaptionRequest) *pb.CaptionRequest {
	m := &pb.CaptionRequest{
		Images:        make([]*pb.ImageInput, len(r.Images)),
		Algorithm:     r.Algorithm,
		BeamWidth:     int32(r.BeamWidth),
		LengthPenalty: r.LengthPenalty,
		NoRepeatNgram: int32(r.NoRepeatNGram),
		NumCaptions:   int32(r.NumCaptions),
		Temperature:   r.Temperature,
		TopK:          int32(r.TopK),
		TopP:          r.TopP,
		Seed:          r.Seed,
	}
	for i, image := range r.Images {
		m.Images[i] = &pb.ImageInput{Data: image.Data, Shard: image.Shard, Index: int32(image.Index)}
	}
	return m
}

// ToCaptionRequest is the inverse of FromCaptionRequest.
func ToCaptionRequest(m *pb.CaptionRequest) captioner.CaptionRequest {
	r := captioner.CaptionRequest{
		Images:        make([]captioner.ImageInput, len(m.GetImages())),
		Algorithm:     m.GetAlgorithm(),
		BeamWidth:     int(m.GetBeamWidth()),
		LengthPenalty: m.GetLengthPenalty(),
		NoRepeatNGram: int(m.GetNoRepeatNgram()),
		NumCaptions:   int(m.GetNumCaptions()),
		Sampling: captioner.Sampling{
			Temperature: m.GetTemperature(), TopK: int(m.GetTopK()), TopP: m.GetTopP(), Seed: m.GetSeed(),
		},
	}
	for i, image := range m.GetImages() {
		r.Images[i] = captioner.ImageInput{Data: image.GetData(), Shard: image.GetShard(), Index: int(image.GetIndex())}
	}
	return r
}

// FromCaptionReply gives the message of a reply.
func FromCaptionReply(r captioner.CaptionReply) *pb.CaptionReply {
	m := &pb.CaptionReply{
		Results: make([]*pb.CaptionResult, len(r.Results)), Batch: int32(r.Batch), WaitedNanoseconds: r.Waited.Nanoseconds(),
	}
	for i, result := range r.Results {
		c := &pb.CaptionResult{Width: int32(result.Width), Height: int32(result.Height), Error: FromError(result.Err)}
		for _, h := range result.Hypotheses {
			c.Hypotheses = append(c.Hypotheses, &pb.Hypothesis{Text: h.Text, LogProbability: h.LogProbability, Tokens: h.Tokens})
		}
		m.Results[i] = c
	}
	return m
}

// ToCaptionReply is the inverse of FromCaptionReply.
func ToCaptionReply(m *pb.CaptionReply) captioner.CaptionReply {
	r := captioner.CaptionReply{
		Results: make([]captioner.CaptionResult, len(m.GetResults())),
		Batch:   int(m.GetBatch()), Waited: time.Duration(m.GetWaitedNanoseconds()),
	}
	for i, c := range m.GetResults() {
		result := captioner.CaptionResult{Width: int(c.GetWidth()), Height: int(c.GetHeight()), Err: ToError(c.GetError())}
		for _, h := range c.GetHypotheses() {
			result.Hypotheses = append(result.Hypotheses, captioner.Hypothesis{
				Text: h.GetText(), LogProbability: h.GetLogProbability(), Tokens: h.GetTokens(),
			})
		}
		r.Results[i] = result
	}
	return r
}

// FromExtractRequest gives the message of a request. Threads stay behind: they
// are the engine's from its start.
func FromExtractRequest(r captioner.ExtractRequest) (*pb.ExtractFeaturesRequest, error) {
	model, err := json.Marshal(r.Model)
	if err != nil {
		return nil, fmt.Errorf("write model configuration: %w", err)
	}
	return &pb.ExtractFeaturesRequest{
		ImagesDir: r.ImagesDir, Images: r.Images, ModelJson: model, MaxPixels: int64(r.MaxPixels), Output: r.Output,
		Precision: r.Precision,
	}, nil
}

// ToExtractRequest is the inverse of FromExtractRequest.
func ToExtractRequest(m *pb.ExtractFeaturesRequest) (captioner.ExtractRequest, error) {
	r := captioner.ExtractRequest{
		ImagesDir: m.GetImagesDir(), Images: m.GetImages(), MaxPixels: int(m.GetMaxPixels()), Output: m.GetOutput(),
		Precision: m.GetPrecision(),
	}
	if err := json.Unmarshal(m.GetModelJson(), &r.Model); err != nil {
		return r, fmt.Errorf("read model configuration: %w", err)
	}
	return r, nil
}

// FromExtractResult gives the message of a result.
func FromExtractResult(r captioner.ExtractResult) *pb.ExtractFeaturesResult {
	m := &pb.ExtractFeaturesResult{Images: r.Images}
	for _, q := range r.Quarantine {
		m.Quarantine = append(m.Quarantine, &pb.Quarantined{
			Image: q.Image, Line: int32(q.Line), Reason: q.Reason, Detail: valid(q.Detail),
		})
	}
	return m
}

// ToExtractResult is the inverse of FromExtractResult.
func ToExtractResult(m *pb.ExtractFeaturesResult) captioner.ExtractResult {
	r := captioner.ExtractResult{Images: m.GetImages()}
	for _, q := range m.GetQuarantine() {
		r.Quarantine = append(r.Quarantine, captioner.Quarantined{
			Image: q.GetImage(), Line: int(q.GetLine()), Reason: q.GetReason(), Detail: q.GetDetail(),
		})
	}
	return r
}

// FromTrainRequest gives the message of a request.
func FromTrainRequest(r captioner.TrainRequest) (*pb.TrainRequest, error) {
	config, err := json.Marshal(r.Config)
	if err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return &pb.TrainRequest{
		ConfigJson: config, Dataset: r.Dataset, Shards: r.Shards, Resume: r.Resume,
		WordVectors: r.WordVectors, WorkDir: r.WorkDir, OutputDir: r.OutputDir,
	}, nil
}

// ToTrainRequest is the inverse of FromTrainRequest.
func ToTrainRequest(m *pb.TrainRequest) (captioner.TrainRequest, error) {
	r := captioner.TrainRequest{
		Dataset: m.GetDataset(), Shards: m.GetShards(), Resume: m.GetResume(),
		WordVectors: m.GetWordVectors(), WorkDir: m.GetWorkDir(), OutputDir: m.GetOutputDir(),
	}
	if err := json.Unmarshal(m.GetConfigJson(), &r.Config); err != nil {
		return r, fmt.Errorf("read configuration: %w", err)
	}
	return r, nil
}

// FromTrainEvent gives the message of an event.
func FromTrainEvent(e captioner.TrainEvent) *pb.TrainOutput {
	switch {
	case e.Step != nil:
		return &pb.TrainOutput{Output: &pb.TrainOutput_Step{Step: &pb.TrainStep{
			Step: int64(e.Step.Step), Steps: int64(e.Step.Steps),
			Epoch: int32(e.Step.Epoch), Epochs: int32(e.Step.Epochs),
			Loss: e.Step.Loss, LearningRate: e.Step.LearningRate,
			ImagesPerSecond: e.Step.ImagesPerSecond, SecondsLeft: e.Step.SecondsLeft,
		}}}
	case e.Epoch != nil:
		epoch := &pb.TrainEpoch{
			Epoch: int32(e.Epoch.Epoch), Step: int64(e.Epoch.Step),
			TrainLoss: e.Epoch.TrainLoss, ValidationLoss: e.Epoch.ValidationLoss, Best: e.Epoch.Best,
		}
		for _, s := range e.Epoch.Samples {
			epoch.Samples = append(epoch.Samples, &pb.TrainSample{Image: s.Image, Caption: s.Caption, Reference: s.Reference})
		}
		return &pb.TrainOutput{Output: &pb.TrainOutput_Epoch{Epoch: epoch}}
	case e.Checkpoint != nil:
		return &pb.TrainOutput{Output: &pb.TrainOutput_Checkpoint{Checkpoint: &pb.CheckpointSaved{
			Path: e.Checkpoint.Path, Step: int64(e.Checkpoint.Step),
		}}}
	case e.Phase != nil:
		return &pb.TrainOutput{Output: &pb.TrainOutput_Phase{Phase: &pb.TrainPhase{Name: e.Phase.Name, Done: int64(e.Phase.Done)}}}
	}
	return &pb.TrainOutput{}
}

// ToTrainEvent is the inverse of FromTrainEvent; ok is false for a message that
// is no event.
func ToTrainEvent(m *pb.TrainOutput) (e captioner.TrainEvent, ok bool) {
	switch output := m.GetOutput().(type) {
	case *pb.TrainOutput_Step:
		s := output.Step
		e.Step = &captioner.TrainStep{
			Step: int(s.GetStep()), Steps: int(s.GetSteps()), Epoch: int(s.GetEpoch()), Epochs: int(s.GetEpochs()),
			Loss: s.GetLoss(), LearningRate: s.GetLearningRate(),
			ImagesPerSecond: s.GetImagesPerSecond(), SecondsLeft: s.GetSecondsLeft(),
		}
	case *pb.TrainOutput_Epoch:
		p := output.Epoch
		e.Epoch = &captioner.TrainEpoch{
			Epoch: int(p.GetEpoch()), Step: int(p.GetStep()),
			TrainLoss: p.GetTrainLoss(), ValidationLoss: p.GetValidationLoss(), Best: p.GetBest(),
		}
		for _, s := range p.GetSamples() {
			e.Epoch.Samples = append(e.Epoch.Samples, captioner.TrainSample{
				Image: s.GetImage(), Caption: s.GetCaption(), Reference: s.GetReference(),
			})
		}
	case *pb.TrainOutput_Checkpoint:
		e.Checkpoint = &captioner.CheckpointSaved{Path: output.Checkpoint.GetPath(), Step: int(output.Checkpoint.GetStep())}
	case *pb.TrainOutput_Phase:
		e.Phase = &captioner.TrainPhase{Name: output.Phase.GetName(), Done: int(output.Phase.GetDone())}
	default:
		return e, false
	}
	return e, true
}
