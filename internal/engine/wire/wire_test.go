package wire_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/engine/wire"
)

func TestCaptionRoundTrip(t *testing.T) {
	request := captioner.CaptionRequest{
		Images:    []captioner.ImageInput{{Data: []byte{1, 2}}, {Shard: "/a/b", Index: 7}},
		Algorithm: "beam", BeamWidth: 3, LengthPenalty: 0.7, NoRepeatNGram: 2, NumCaptions: 3,
		Sampling: captioner.Sampling{Temperature: 0.5, TopK: 40, TopP: 0.9, Seed: 1 << 63},
	}
	if diff := cmp.Diff(request, wire.ToCaptionRequest(wire.FromCaptionRequest(request))); diff != "" {
		t.Errorf("request changed (-want +got):\n%s", diff)
	}
	reply := captioner.CaptionReply{Batch: 3, Waited: 7 * time.Millisecond, Results: []captioner.CaptionResult{
		{Hypotheses: []captioner.Hypothesis{{Text: "a dog", LogProbability: -1.5, Tokens: []int32{4, 5}}}, Width: 3, Height: 4},
		{Err: &captioner.Error{Kind: captioner.Invalid, Code: "image_truncated", Message: "the picture ends too early"}},
	}}
	if diff := cmp.Diff(reply, wire.ToCaptionReply(wire.FromCaptionReply(reply))); diff != "" {
		t.Errorf("reply changed (-want +got):\n%s", diff)
	}
}

func TestExtractRoundTrip(t *testing.T) {
	request := captioner.ExtractRequest{
		ImagesDir: "/pictures", Images: []string{"b.jpg", "ä.png"}, Model: captioner.DefaultConfig().Model,
		MaxPixels: 50_000_000, Output: "/out/shard",
	}
	message, err := wire.FromExtractRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	got, err := wire.ToExtractRequest(message)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(request, got); diff != "" {
		t.Errorf("request changed (-want +got):\n%s", diff)
	}
	result := captioner.ExtractResult{
		Images:     []string{"b.jpg"},
		Quarantine: []captioner.Quarantined{{Image: "ä.png", Line: 3, Reason: "image_corrupt", Detail: "no such marker"}},
	}
	if diff := cmp.Diff(result, wire.ToExtractResult(wire.FromExtractResult(result))); diff != "" {
		t.Errorf("result changed (-want +got):\n%s", diff)
	}
}

func TestTrainRoundTrip(t *testing.T) {
	request := captioner.TrainRequest{
		Config: captioner.DefaultConfig(), Dataset: "/d.json", Shards: []string{"/s0", "/s1"},
		Resume: "/c", WordVectors: "/v", WorkDir: "/w", OutputDir: "/o",
	}
	message, err := wire.FromTrainRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	got, err := wire.ToTrainRequest(message)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(request, got); diff != "" {
		t.Errorf("request changed (-want +got):\n%s", diff)
	}
	events := []captioner.TrainEvent{
		{Step: &captioner.TrainStep{Step: 1, Steps: 2, Epoch: 3, Epochs: 4, Loss: 5, LearningRate: 6, ImagesPerSecond: 7, SecondsLeft: 8}},
		{Epoch: &captioner.TrainEpoch{Epoch: 1, Step: 2, TrainLoss: 3, ValidationLoss: 4, Best: true,
			Samples: []captioner.TrainSample{{Image: "ä.png", Caption: "a dog", Reference: "the dog"}}}},
		{Checkpoint: &captioner.CheckpointSaved{Path: "/w/c", Step: 9}},
		{Phase: &captioner.TrainPhase{Name: captioner.PhaseValidation, Done: 10}},
	}
	for _, event := range events {
		got, ok := wire.ToTrainEvent(wire.FromTrainEvent(event))
		if diff := cmp.Diff(event, got); diff != "" || !ok {
			t.Errorf("event changed, ok %v (-want +got):\n%s", ok, diff)
		}
	}
	if _, ok := wire.ToTrainEvent(wire.FromTrainEvent(captioner.TrainEvent{})); ok {
		t.Error("an empty event came back as one")
	}
}

func TestErrorRoundTrip(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want *captioner.Error
	}{
		{
			"everything",
			&captioner.Error{
				Kind: captioner.Invalid, Code: "config", Message: "wrong",
				Problems: []captioner.Problem{{Field: "a.b", Line: 1, Column: 2, Message: "no"}}, Err: errors.New("why"),
			},
			&captioner.Error{
				Kind: captioner.Invalid, Code: "config", Message: "wrong",
				Problems: []captioner.Problem{{Field: "a.b", Line: 1, Column: 2, Message: "no"}}, Err: errors.New("why"),
			},
		},
		{"not found", captioner.Errorf(captioner.NotFound, "no file"), &captioner.Error{Kind: captioner.NotFound, Message: "no file"}},
		{"conflict", captioner.Errorf(captioner.Conflict, "busy"), &captioner.Error{Kind: captioner.Conflict, Message: "busy"}},
		{"unavailable", captioner.Errorf(captioner.Unavailable, "away"), &captioner.Error{Kind: captioner.Unavailable, Message: "away"}},
		{"corrupt", captioner.Errorf(captioner.Corrupt, "flipped"), &captioner.Error{Kind: captioner.Corrupt, Message: "flipped"}},
		{"foreign", errors.New("boom"), &captioner.Error{Kind: captioner.Internal, Err: errors.New("boom")}},
		{
			"wrapped", fmt.Errorf("read shard: %w", captioner.Errorf(captioner.Corrupt, "flipped")),
			&captioner.Error{Kind: captioner.Corrupt, Message: "flipped", Err: errors.New("read shard: flipped")},
		},
		{"not UTF-8", captioner.Errorf(captioner.Invalid, "name \xff"), &captioner.Error{Kind: captioner.Invalid, Message: "name \uFFFD"}},
	}
	sameText := cmp.Comparer(func(a, b error) bool { return fmt.Sprint(a) == fmt.Sprint(b) })
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, told := wire.FromStatus(wire.Status(test.err))
			var e *captioner.Error
			if !errors.As(got, &e) || !told {
				t.Fatalf("got %v (told %v), want a captioner.Error", got, told)
			}
			if diff := cmp.Diff(test.want, e, cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Err" }, sameText)); diff != "" {
				t.Errorf("error changed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestForeignStatus(t *testing.T) {
	tests := []struct {
		err  error
		kind captioner.Kind
		told bool
	}{
		{nil, "", true},
		{wire.Status(fmt.Errorf("step 3: %w", context.Canceled)), captioner.Unavailable, false},
		{wire.Status(context.DeadlineExceeded), captioner.Unavailable, false},
		{status.Error(codes.Unavailable, "connection reset"), captioner.Unavailable, false},
		{status.Error(codes.ResourceExhausted, "message larger than max"), captioner.Invalid, false},
		{status.Error(codes.Unimplemented, "method"), captioner.Internal, false},
	}
	for _, test := range tests {
		got, told := wire.FromStatus(test.err)
		if captioner.KindOf(got) != test.kind || told != test.told {
			t.Errorf("%v: kind %q, told %v; want %q, %v", test.err, captioner.KindOf(got), told, test.kind, test.told)
		}
	}
}

func TestErrorIsBounded(t *testing.T) {
	problems := make([]captioner.Problem, 1000)
	err := &captioner.Error{Kind: captioner.Invalid, Message: "m", Problems: problems, Err: errors.New(strings.Repeat("ü", 10_000))}
	detail := wire.FromError(err)
	if len(detail.GetProblems()) != 100 || len(detail.GetCause()) > 5000 {
		t.Errorf("%d problems and a cause of %d bytes, want at most 100 and 5000", len(detail.GetProblems()), len(detail.GetCause()))
	}
}
