// Package examples_test runs the examples of docs/extending.md in a pipeline.
package examples_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/activities/activitiestest"
	_ "github.com/captioner/captioner/docs/examples/metric"
	_ "github.com/captioner/captioner/docs/examples/search"
	"github.com/captioner/captioner/internal/config"
)

// TestPipeline takes a run through the steps that a registered algorithm and a
// registered metric are part of: checked by name, captioned, scored, decided by.
func TestPipeline(t *testing.T) {
	f := activitiestest.New(t)
	f.Engine.Say = func(name, algorithm string) string { return algorithm + " field" }
	ctx := t.Context()
	cfg := f.Config()
	cfg.Data.ShardSize = 100 // all pictures in one
	cfg.Promotion.Metric, cfg.Promotion.Algorithm = "word_f1", "branch"
	if problems := config.Check(cfg); len(problems) > 0 {
		t.Fatalf("the configuration has problems: %v", problems)
	}

	data, err := f.Activities.PrepareData(ctx, activities.PrepareDataInput{Data: cfg.Data})
	if err != nil {
		t.Fatal(err)
	}
	shard, err := f.Activities.ExtractFeatures(ctx, activities.ExtractFeaturesInput{
		Dataset: data.Dataset, ShardSize: cfg.Data.ShardSize, ImagesDir: cfg.Data.Images,
		MaxPixels: cfg.Data.MaxPixels, Model: cfg.Model, Threads: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	trained, err := f.Activities.Train(ctx, activities.TrainInput{Dataset: data.Dataset, Shards: []captioner.Digest{shard.Shard}, Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	captions, err := f.Activities.CaptionShard(ctx, activities.CaptionShardInput{
		Model: trained.Model, Dataset: data.Dataset, Shard: shard.Shard, Evaluation: cfg.Evaluation,
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := f.Activities.Evaluate(ctx, activities.EvaluateInput{
		Dataset: data.Dataset, Captions: []captioner.Digest{captions.Captions}, Evaluation: cfg.Evaluation,
	})
	if err != nil {
		t.Fatal(err)
	}

	var algorithms []string
	for _, s := range out.Evaluation.Scores {
		algorithms = append(algorithms, s.Algorithm)
		if names := slices.Collect(maps.Keys(s.Metrics)); !slices.Equal(names, []string{"word_f1"}) {
			t.Errorf("%s has the scores %v, want word_f1", s.Algorithm, names)
		}
	}
	if diff := cmp.Diff([]string{"greedy", "beam", "branch"}, algorithms); diff != "" {
		t.Errorf("scored algorithms (-want +got):\n%s", diff)
	}
	branch, _ := out.Evaluation.Score("branch")
	encoded, err := json.Marshal(branch)
	if err != nil || !strings.Contains(string(encoded), `"metrics":{"word_f1":0.`) {
		t.Errorf("scores in JSON are %s (%v), want word_f1 in them", encoded, err)
	}

	decideBy(t, f, cfg.Promotion, out.Evaluation)
}

// decideBy compares the scores with those of a live version that has none of
// the metric, which is scored again, and then with better ones.
func decideBy(t *testing.T, f *activitiestest.Fixture, gate captioner.PromotionConfig, candidate captioner.Evaluation) {
	t.Helper()
	gate.CollapseShare = 1 // the engine of the test says the same of every picture
	ctx := t.Context()
	live := captioner.DigestOf([]byte("live"))
	score, _ := candidate.Score("branch")
	old := score
	old.Metrics = nil
	row := captioner.ModelVersion{Version: live, RunID: "live", Evaluation: captioner.Evaluation{Scores: []captioner.Scores{old}}}
	if err := f.Store.PutModelVersion(ctx, row); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Store.MoveAlias(ctx, captioner.Production, live, 0, "test", "first"); err != nil {
		t.Fatal(err)
	}

	better := score
	better.Metrics = map[string]float64{"word_f1": score.Metrics["word_f1"] + 0.1}
	out, err := f.Activities.DecidePromotion(ctx, activities.DecidePromotionInput{
		Version: captioner.DigestOf([]byte("candidate")), Evaluation: candidate, Promotion: gate,
		Rescored: &activities.RescoredVersion{Version: live, Evaluation: captioner.Evaluation{Scores: []captioner.Scores{better}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := out.Decision; d.Outcome != captioner.Hold || len(d.Reasons) != 1 || !strings.HasPrefix(d.Reasons[0], "word_f1 with branch search is ") {
		t.Errorf("decision %+v, want hold because of word_f1", d)
	}
	// Without that, the old score is not good enough to compare with: the
	// bundle is asked for its model, which this one, without files, cannot name.
	_, err = f.Activities.DecidePromotion(ctx, activities.DecidePromotionInput{
		Version: captioner.DigestOf([]byte("candidate")), Evaluation: candidate, Promotion: gate,
	})
	if captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("error %v, want that the live version's bundle is missing", err)
	}
}
