package activities_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/activities/activitiestest"
)

// version puts a version with one score into the registry.
func version(t *testing.T, f *activitiestest.Fixture, name string, s captioner.Scores) captioner.Digest {
	t.Helper()
	digest := captioner.DigestOf([]byte(name))
	err := f.Store.PutModelVersion(t.Context(), captioner.ModelVersion{
		Version: digest, RunID: name, CreatedAt: time.Now(), Evaluation: captioner.Evaluation{Scores: []captioner.Scores{s}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestDecidePromotion(t *testing.T) {
	good := captioner.Scores{Algorithm: "beam", Signature: "a", BLEU4: 0.60, Images: 100, CollapseShare: 0.1, CollapseReferenceShare: 0.1}
	with := func(change func(*captioner.Scores)) captioner.Scores {
		s := good
		change(&s)
		return s
	}
	gate := captioner.DefaultConfig().Promotion // BLEU-4 of beam search, margin 0.01, collapse 0.5, 0.25, 50 images
	for _, test := range []struct {
		name   string
		score  captioner.Scores
		live   *captioner.Scores
		gate   func(*captioner.PromotionConfig)
		want   captioner.Outcome
		reason string
	}{
		{name: "nothing live", score: good, want: captioner.Promote, reason: "no version is live"},
		{name: "better", score: good, live: ref(with(func(s *captioner.Scores) { s.BLEU4 = 0.5 })), want: captioner.Promote,
			reason: "BLEU-4 with beam search is 60.00, that of the live version"},
		{name: "at the margin", score: good, live: ref(with(func(s *captioner.Scores) { s.BLEU4 = 0.61 })), want: captioner.Promote},
		{name: "beyond the margin", score: good, live: ref(with(func(s *captioner.Scores) { s.BLEU4 = 0.6101 })), want: captioner.Hold, reason: "61.01"},
		{name: "another metric", score: with(func(s *captioner.Scores) { s.BLEU1 = 0.9 }), live: ref(with(func(s *captioner.Scores) { s.BLEU1 = 0.8; s.BLEU4 = 0.9 })),
			gate: func(p *captioner.PromotionConfig) { p.Metric = "bleu1" }, want: captioner.Promote, reason: "BLEU-1"},
		{name: "collapsed", score: with(func(s *captioner.Scores) { s.CollapseShare = 0.51 }), want: captioner.Reject,
			reason: "one caption covers 51.00 % of 100 test pictures (more than 50.00 %) and 10.00 % of the references (less than 25.00 %)"},
		{name: "half is not more than half", score: with(func(s *captioner.Scores) { s.CollapseShare = 0.5 }), want: captioner.Promote},
		{name: "people say it too", score: with(func(s *captioner.Scores) { s.CollapseShare, s.CollapseReferenceShare = 0.9, 0.25 }), want: captioner.Promote},
		{name: "too few pictures to judge", score: with(func(s *captioner.Scores) { s.CollapseShare, s.Images = 0.9, 49 }), want: captioner.Promote},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := activitiestest.New(t)
			candidate := version(t, f, "candidate", test.score)
			var wantLive captioner.Digest
			if test.live != nil {
				wantLive = version(t, f, "live", *test.live)
				if _, err := f.Store.MoveAlias(t.Context(), captioner.Production, wantLive, 0, "test", "first"); err != nil {
					t.Fatal(err)
				}
			}
			p := gate
			if test.gate != nil {
				test.gate(&p)
			}
			out, err := f.Activities.DecidePromotion(t.Context(), activities.DecidePromotionInput{
				Version: candidate, Evaluation: captioner.Evaluation{Scores: []captioner.Scores{test.score}}, Promotion: p,
			})
			if err != nil || out.Rescore != nil {
				t.Fatalf("DecidePromotion() = %+v, %v", out, err)
			}
			d := out.Decision
			if d.Outcome != test.want || d.Live != wantLive || !strings.Contains(strings.Join(d.Reasons, "\n"), test.reason) {
				t.Errorf("decision %+v, want %s because of %q", d, test.want, test.reason)
			}
		})
	}
}

func ref[T any](v T) *T { return &v }

// TestDeployIsRepeatable: an attempt that was cut off is taken up by the next.
func TestDeployIsRepeatable(t *testing.T) {
	f := activitiestest.New(t)
	old := version(t, f, "old", captioner.Scores{})
	candidate := version(t, f, "new", captioner.Scores{})
	if _, err := f.Store.MoveAlias(t.Context(), captioner.Production, old, 0, "test", "first"); err != nil {
		t.Fatal(err)
	}
	in := activities.DeployInput{
		Version: candidate, RunID: "run",
		Decision: captioner.Decision{Outcome: captioner.Promote, Reasons: []string{"better"}, Live: old, Generation: 1},
	}
	var results []activities.DeployResult
	for range 2 {
		out, err := f.Activities.Deploy(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, out)
	}
	if diff := cmp.Diff(results[0], results[1]); diff != "" {
		t.Errorf("the second attempt differs (-first +second):\n%s", diff)
	}
	if results[0].Alias.Generation != 2 || results[0].Note == "" {
		t.Errorf("result %+v, want generation 2 and a note that nobody serves", results[0])
	}

	// The attempt after one that had moved the alias back.
	if _, err := f.Store.MoveAlias(t.Context(), captioner.Production, old, 2, "run", "server-1 could not"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Activities.Deploy(t.Context(), in); captioner.CodeOf(err) != "deployment_failed" || !strings.Contains(err.Error(), "server-1") {
		t.Errorf("Deploy() after it was moved back = %v, want deployment_failed because of server-1", err)
	}

	// Somebody else's move.
	if _, err := f.Store.MoveAlias(t.Context(), captioner.Production, old, 3, "someone", "by hand"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Activities.Deploy(t.Context(), in); captioner.KindOf(err) != captioner.Conflict {
		t.Errorf("Deploy() after another move = %v, want a Conflict", err)
	}
}

func TestDeployServers(t *testing.T) {
	for _, test := range []struct {
		name     string
		replicas func(now time.Time, candidate, old captioner.Digest) []captioner.Replica
		servers  int
		code     string
	}{
		{"all have it", func(now time.Time, candidate, _ captioner.Digest) []captioner.Replica {
			return []captioner.Replica{{ID: "a", Version: candidate, Generation: 2, SeenAt: now}, {ID: "b", Version: candidate, Generation: 2, SeenAt: now}}
		}, 2, ""},
		{"one was last seen long ago", func(now time.Time, candidate, old captioner.Digest) []captioner.Replica {
			return []captioner.Replica{{ID: "a", Version: candidate, Generation: 2, SeenAt: now}, {ID: "b", Version: old, SeenAt: now.Add(-11 * time.Second)}}
		}, 1, ""},
		{"one lags", func(now time.Time, candidate, old captioner.Digest) []captioner.Replica {
			return []captioner.Replica{{ID: "a", Version: candidate, Generation: 2, SeenAt: now}, {ID: "b", Version: old, SeenAt: now}}
		}, 0, "deployment_failed"},
		{"one complains", func(now time.Time, candidate, old captioner.Digest) []captioner.Replica {
			return []captioner.Replica{{ID: "b", Version: old, SeenAt: now.Add(8 * time.Second), Error: "the bundle is damaged"}}
		}, 0, "deployment_failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := activitiestest.New(t)
			f.Activities.DeployTimeout = 300 * time.Millisecond
			old, candidate := version(t, f, "old", captioner.Scores{}), version(t, f, "new", captioner.Scores{})
			if _, err := f.Store.MoveAlias(t.Context(), captioner.Production, old, 0, "test", "first"); err != nil {
				t.Fatal(err)
			}
			for _, r := range test.replicas(time.Now(), candidate, old) {
				if err := f.Store.SeeReplica(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			out, err := f.Activities.Deploy(t.Context(), activities.DeployInput{
				Version: candidate, RunID: "run", Decision: captioner.Decision{Live: old, Generation: 1},
			})
			if (err != nil) != (test.code != "") || err != nil && captioner.CodeOf(err) != test.code || out.Servers != test.servers {
				t.Errorf("Deploy() = %+v, %v; want %d servers, code %q", out, err, test.servers, test.code)
			}
			alias, err := f.Store.Alias(t.Context(), captioner.Production)
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]captioner.Digest{true: candidate, false: old}[test.code == ""]; alias.Version != want {
				t.Errorf("version %s is live, want %s", alias.Version.Short(), want.Short())
			}
		})
	}
}

// TestEngineThatDies: a step that ends the engine is not tried for ever.
func TestEngineThatDies(t *testing.T) {
	f := activitiestest.New(t)
	p := prepare(t, f)
	f.Engine.Say = func(string, string) string { return "" }
	trained, err := f.Activities.Train(t.Context(), p.train())
	if err != nil {
		t.Fatal(err)
	}
	f.Activities.OpenModel = f.Engine.Dies
	_, err = f.Activities.CaptionShard(t.Context(), activities.CaptionShardInput{
		Model: trained.Model, Dataset: p.data.Dataset, Shard: p.shards[0], Evaluation: p.cfg.Evaluation,
	})
	for attempt, final := range map[int32]bool{1: false, 7: false, 8: true} {
		if got := activities.ToFailure(err, attempt).(interface{ NonRetryable() bool }).NonRetryable(); got != final {
			t.Errorf("attempt %d is final: %v, want %v (%v)", attempt, got, final, err)
		}
	}
}
