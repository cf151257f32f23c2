package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
)

func TestContinue(t *testing.T) {
	const recorded = `{"data": {"seed": 8}, "training": {"epochs": 2, "batch_size": 4}}`
	before, after, err := config.Continue([]byte(recorded), []byte(`{"training": {"epochs": 4, "learning_rate": 0.01, "schedule": "plateau"}, "evaluation": {"beam_width": 5}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := captioner.DefaultConfig()
	want.Data.Seed, want.Training.BatchSize, want.Training.Epochs = 8, 4, 2
	if diff := cmp.Diff(want, before); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	want.Training.Epochs, want.Training.LearningRate, want.Training.Schedule, want.Evaluation.BeamWidth = 4, 0.01, "plateau", 5
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}

	_, _, err = config.Continue([]byte(recorded), []byte(`{"data": {"images": "/a"}, "model": {"decoder": "lstm-attention"}, "training": {"batch_size": 8, "epochs": -1}}`))
	var got []string
	for _, p := range captioner.ProblemsOf(err) {
		got = append(got, p.Field+" "+p.Message)
	}
	problems := []string{
		"data.captions is missing: the pictures of data.images need captions",
		"data.images must stay \"\", as in the run that is continued",
		"model.decoder must stay transformer, as in the run that is continued",
		"training.batch_size must stay 4, as in the run that is continued",
		"training.epochs must be from 0 to 100000, is -1",
	}
	if diff := cmp.Diff(problems, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
