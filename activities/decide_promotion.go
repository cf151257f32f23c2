package activities

import (
	"context"
	"fmt"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/ml/metrics"
)

// DecidePromotionInput is a version and its scores.
type DecidePromotionInput struct {
	Version    captioner.Digest          `json:"version"`
	Evaluation captioner.Evaluation      `json:"evaluation"`
	Promotion  captioner.PromotionConfig `json:"promotion"`
	// Rescored is what became of the request to score the live version again.
	Rescored *RescoredVersion `json:"rescored,omitempty"`
}

// RescoredVersion is a version with its scores on this run's test split.
type RescoredVersion struct {
	Version    captioner.Digest     `json:"version"`
	Evaluation captioner.Evaluation `json:"evaluation"`
}

// DecidePromotionResult is the decision, or what is needed to come to one.
type DecidePromotionResult struct {
	Decision captioner.Decision `json:"decision"`
	// Rescore is set instead of a decision when the live version's scores are
	// not comparable: it is to be scored again, decoded as the candidate was.
	Rescore *Rescore `json:"rescore,omitempty"`
}

// Rescore names a version to score again.
type Rescore struct {
	Version captioner.Digest `json:"version"`
	// Model says how its pictures are prepared.
	Model captioner.ModelConfig `json:"model"`
}

// DecidePromotion compares a version with the live one. A collapsed model is
// rejected. Where no version is live the candidate is promoted; else if it is
// not worse than the live one by more than the margin, under the same
// signature, and held otherwise. The decision names the alias' generation that
// it was made against.
func (a *Activities) DecidePromotion(ctx context.Context, in DecidePromotionInput) (DecidePromotionResult, error) {
	alias, err := a.Store.Alias(ctx, captioner.Production)
	if captioner.KindOf(err) == captioner.NotFound {
		alias, err = captioner.Alias{}, nil
	}
	if err != nil {
		return DecidePromotionResult{}, err
	}
	decide := func(outcome captioner.Outcome, reasons ...string) (DecidePromotionResult, error) {
		return DecidePromotionResult{Decision: captioner.Decision{
			Outcome: outcome, Reasons: reasons, Live: alias.Version, Generation: alias.Generation,
		}}, nil
	}

	score, ok := in.Evaluation.Score(in.Promotion.Algorithm)
	if !ok {
		return DecidePromotionResult{}, captioner.Errorf(captioner.Invalid, "there is no score of algorithm %q to decide by", in.Promotion.Algorithm)
	}
	value, ok := metrics.Value(score, in.Promotion.Metric)
	if !ok {
		return DecidePromotionResult{}, captioner.Errorf(captioner.Invalid, "there is no score %q to decide by, only %s",
			in.Promotion.Metric, strings.Join(metrics.Names(), ", "))
	}
	if reasons := collapseReasons(in.Evaluation, in.Promotion); len(reasons) > 0 {
		return decide(captioner.Reject, reasons...)
	}
	if alias.Version == "" {
		return decide(captioner.Promote, "no version is live yet, and this one has not collapsed")
	}
	if alias.Version == in.Version {
		return decide(captioner.Promote, "this version is live already")
	}

	live, err := a.liveScore(ctx, alias.Version, score, in)
	if err != nil {
		return DecidePromotionResult{}, err
	}
	if live == nil {
		return a.askForScore(ctx, alias.Version)
	}
	liveValue, _ := metrics.Value(*live, in.Promotion.Metric)
	comparison := fmt.Sprintf("%s with %s search is %s, that of the live version %s is %s; up to %s less is allowed",
		metrics.Label(in.Promotion.Metric), in.Promotion.Algorithm, percent(value),
		alias.Version.Short(), percent(liveValue), percent(in.Promotion.Margin))
	if value >= liveValue-in.Promotion.Margin {
		return decide(captioner.Promote, comparison)
	}
	return decide(captioner.Hold, comparison)
}

// liveScore returns the live version's score where it is comparable with the
// candidate's; nil where it has to be made.
func (a *Activities) liveScore(ctx context.Context, version captioner.Digest, candidate captioner.Scores, in DecidePromotionInput) (*captioner.Scores, error) {
	if in.Rescored != nil && in.Rescored.Version == version {
		score, ok := in.Rescored.Evaluation.Score(candidate.Algorithm)
		if !ok || !alike(score, candidate, in.Promotion.Metric) {
			return nil, captioner.Errorf(captioner.Internal, "version %s was scored again and is still not comparable", version.Short())
		}
		return &score, nil
	}
	row, err := a.Store.ModelVersion(ctx, string(version))
	if err != nil {
		return nil, err
	}
	score, ok := row.Evaluation.Score(candidate.Algorithm)
	if !ok || !alike(score, candidate, in.Promotion.Metric) {
		return nil, nil
	}
	return &score, nil
}

// alike reports whether two scores were made alike and both have the
// metric: a version that is older than a metric has no such score.
func alike(a, b captioner.Scores, metric string) bool {
	_, has := metrics.Value(a, metric)
	return has && a.Signature == b.Signature
}

// askForScore asks for the live version to be scored again.
func (a *Activities) askForScore(ctx context.Context, version captioner.Digest) (DecidePromotionResult, error) {
	description, err := a.describeModel(ctx, version)
	if err != nil {
		return DecidePromotionResult{}, err
	}
	return DecidePromotionResult{Rescore: &Rescore{Version: version, Model: description.Model}}, nil
}

// describeModel reads model.json of a bundle.
func (a *Activities) describeModel(ctx context.Context, version captioner.Digest) (captioner.ModelDescription, error) {
	var description captioner.ModelDescription
	manifest, err := registry.LoadManifest(ctx, a.Blobs, version)
	if err != nil {
		return description, err
	}
	file, ok := manifest.File(modelFile)
	if !ok {
		return description, captioner.Errorf(captioner.Corrupt, "version %s has no %s", version.Short(), modelFile)
	}
	return description, captioner.ReadJSON(ctx, a.Blobs, file.SHA256, &description)
}

// collapseReasons says by which algorithms the model has collapsed: its most
// frequent caption covers many pictures while people seldom say it.
func collapseReasons(e captioner.Evaluation, cfg captioner.PromotionConfig) []string {
	var reasons []string
	for _, s := range e.Scores {
		if s.Images >= cfg.CollapseMinImages && s.CollapseShare > cfg.CollapseShare &&
			s.CollapseReferenceShare < cfg.CollapseReferenceShare {
			reasons = append(reasons, fmt.Sprintf(
				"the model has collapsed: with %s search one caption covers %s %% of %d test pictures (more than %s %%) and %s %% of the references (less than %s %%)",
				s.Algorithm, percent(s.CollapseShare), s.Images, percent(cfg.CollapseShare),
				percent(s.CollapseReferenceShare), percent(cfg.CollapseReferenceShare)))
		}
	}
	return reasons
}

// percent prints a number in [0, 1] times 100.
func percent(v float64) string { return fmt.Sprintf("%.2f", 100*v) }
