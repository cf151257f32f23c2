package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/dataset"
	"github.com/captioner/captioner/ml/decode"
	"github.com/captioner/captioner/ml/metrics"
	"github.com/captioner/captioner/ml/text"
)

// The parts of a model that a configuration can choose from. They are built in
// the engine, whose packages ml/encoder and ml/model have the same names: the
// tests there compare. Algorithms and metrics have their registries here.
var (
	Encoders = []string{"EfficientNetB3", "InceptionV3", "conv"}
	Decoders = []string{"lstm-attention", "lstm-pooled", "transformer"}
)

// featureTypes are how features can be kept.
var featureTypes = []string{"float16", "float32"}

// Schedules and Precisions are what a training can choose from.
var (
	Schedules  = []string{captioner.ScheduleCosine, captioner.SchedulePlateau, captioner.ScheduleConstant}
	Precisions = []string{captioner.PrecisionFloat32, captioner.PrecisionBfloat16, captioner.PrecisionFloat16}
)

// Check returns everything that is wrong with a configuration whatever the
// machine: values out of range, unknown names, fields that contradict each
// other.
func Check(c captioner.Config) []captioner.Problem {
	var problems []captioner.Problem
	for _, f := range check(c).findings {
		problems = append(problems, f.Problem)
	}
	return problems
}

// check applies the rules, one or more for every field.
func check(cfg captioner.Config) *checker {
	c := &checker{covered: map[string]bool{}, limits: map[string]limits{}}
	c.data(cfg.Data)
	c.model(cfg.Model)
	c.words(cfg)
	c.training(cfg.Training)
	c.weights(cfg)
	c.evaluation(cfg.Evaluation)
	c.promotion(cfg.Promotion)
	return c
}

func (c *checker) data(d captioner.DataConfig) {
	c.path("data.images", d.Images)
	c.path("data.captions", d.Captions)
	switch {
	case d.Images != "" && d.Captions == "":
		c.clash("data.captions", "is missing: the pictures of data.images need captions", "data.images")
	case d.Images == "" && d.Captions != "":
		c.clash("data.images", "is missing: the captions of data.captions need pictures", "data.captions")
	}
	c.oneOf("data.format", d.Format, dataset.Formats())
	c.path("data.glove", d.GloVe)
	c.splitFiles(d)
	c.splitRatios(d)
	c.oneOf("data.split_method", d.SplitMethod, dataset.SplitMethods)
	c.any("data.seed")
	c.whole("data.min_word_count", d.MinWordCount, 1, 1_000_000)
	c.oneOf("data.vocabulary", d.Vocabulary, []string{text.Standard, text.Original})
	if d.MaxTokens != 0 {
		c.whole("data.max_tokens", d.MaxTokens, 3, 256) // start, a word, end
	}
	c.any("data.max_tokens")
	c.real("data.max_tokens_percentile", d.MaxTokensPercentile, above(0, 100))
	c.real("data.min_usable", d.MinUsable, above(0, 1))
	c.whole("data.shard_size", d.ShardSize, 1, 10_000_000)
	c.whole("data.max_pixels", d.MaxPixels, 1, 1_000_000_000)
}

func (c *checker) splitFiles(d captioner.DataConfig) {
	files := []struct{ field, path string }{
		{"data.split_files.train", d.SplitFiles.Train},
		{"data.split_files.validation", d.SplitFiles.Validation},
		{"data.split_files.test", d.SplitFiles.Test},
	}
	var given, missing []string
	seen := map[string]string{}
	for _, f := range files {
		c.path(f.field, f.path)
		if f.path == "" {
			missing = append(missing, f.field)
			continue
		}
		given = append(given, f.field)
		if other := seen[f.path]; other != "" {
			c.clash(f.field, "names the same file as "+other+": a picture belongs to one split", other)
		}
		seen[f.path] = f.field
	}
	if len(given) > 0 && len(missing) > 0 {
		for _, field := range missing {
			c.clash(field, "is missing: split files are all three or none", given...)
		}
	}
	if len(given) > 0 && d.Images == "" && d.Captions == "" {
		c.clash("data.split_files", "need data.images and data.captions: the demonstration data set has its own", given...)
	}
}

// ratioTolerance is what the ratios' sum may lack: 0.333333 three times is meant to be 1.
const ratioTolerance = 1e-5

func (c *checker) splitRatios(d captioner.DataConfig) {
	ratios := []struct {
		field string
		value float64
	}{
		{"data.split_ratios.train", d.SplitRatios.Train},
		{"data.split_ratios.validation", d.SplitRatios.Validation},
		{"data.split_ratios.test", d.SplitRatios.Test},
	}
	if d.SplitFiles != (captioner.SplitFiles{}) {
		for _, r := range ratios {
			c.any(r.field) // not used
		}
		return
	}
	sum, good := 0.0, true
	var fields []string
	for _, r := range ratios {
		good = c.real(r.field, r.value, between(0, 1)) && good
		sum += r.value
		fields = append(fields, r.field)
	}
	if good && math.Abs(sum-1) > ratioTolerance {
		c.clash("data.split_ratios", fmt.Sprintf("must sum to 1, sum to %.6g", sum), fields...)
	}
}

func (c *checker) model(m captioner.ModelConfig) {
	c.oneOf("model.encoder", m.Encoder, Encoders)
	c.oneOf("model.feature_type", m.FeatureType, featureTypes)
	c.oneOf("model.decoder", m.Decoder, Decoders)
	size := c.whole("model.image_size", m.ImageSize, 32, 1024)
	if side := captioner.PretrainedShape(m.Encoder).Side; size && side != 0 && m.ImageSize != side {
		c.clash("model.image_size", fmt.Sprintf("must be %d for %s, is %d", side, m.Encoder, m.ImageSize), "model.encoder")
	}
	c.any("model.grayscale")
	width := c.whole("model.width", m.Width, 8, 4096)
	c.whole("model.layers", m.Layers, 1, 24)
	heads := c.whole("model.heads", m.Heads, 1, 64)
	if width && heads && m.SplitsWidth() && m.Width%m.Heads != 0 {
		c.clash("model.heads", fmt.Sprintf("must divide model.width, and %d does not divide %d", m.Heads, m.Width), "model.width")
	}
	c.whole("model.feed_forward", m.FeedForward, 8, 16_384)
	c.real("model.dropout", m.Dropout, below(0, 1))
	c.real("model.recurrent_dropout", m.RecurrentDropout, below(0, 1))
	c.whole("model.embedding_dim", m.EmbeddingDim, 0, 4096)
	c.any("model.embedding_frozen")
}

// words wants vectors that stay as they are to be those of a file.
func (c *checker) words(cfg captioner.Config) {
	if cfg.Model.EmbeddingFrozen && cfg.Data.GloVe == "" {
		c.clash("model.embedding_frozen", "needs data.glove: words whose vectors are random and stay so say nothing", "data.glove")
	}
}

// weights are for the encoders that have some, and only those can be fine-tuned.
func (c *checker) weights(cfg captioner.Config) {
	m, t := cfg.Model, cfg.Training
	c.path("model.weights", m.Weights)
	if m.Weights != "" && slices.Contains(Encoders, m.Encoder) && captioner.PretrainedShape(m.Encoder).Side == 0 {
		c.clash("model.weights", fmt.Sprintf("are for an encoder of Keras' applications, and %s is trained from scratch", m.Encoder), "model.encoder")
	}
	blocks := c.whole("training.fine_tune_blocks", t.FineTuneBlocks, -1, 1000)
	if blocks && t.FineTuneBlocks != 0 && m.Weights == "" {
		c.clash("training.fine_tune_blocks", "needs model.weights: without them all of the encoder is trained", "model.weights")
	}
	c.real("training.encoder_learning_rate_ratio", t.EncoderLearningRateRatio, above(0, 100))
}

func (c *checker) training(t captioner.TrainingConfig) {
	epochs := c.whole("training.epochs", t.Epochs, 0, 100_000)
	warmup := c.whole("training.warmup_steps", t.WarmupSteps, 0, 10_000_000)
	c.any("training.steps")
	if epochs && t.Epochs == 0 { // else the steps are ignored
		steps := c.whole("training.steps", t.Steps, 1, 10_000_000)
		if steps && warmup && t.WarmupSteps >= t.Steps {
			c.clash("training.warmup_steps", fmt.Sprintf(
				"must be fewer than training.steps, and %d is not fewer than %d", t.WarmupSteps, t.Steps), "training.steps", "training.epochs")
		}
	}
	c.whole("training.batch_size", t.BatchSize, 1, 4096)
	c.whole("training.captions_per_image", t.CaptionsPerImage, 1, 100)
	c.whole("training.accumulation_steps", t.AccumulationSteps, 1, 1024)
	c.learningRate(t)
	c.real("training.beta1", t.Beta1, below(0, 1))
	c.real("training.beta2", t.Beta2, below(0, 1))
	c.real("training.epsilon", t.Epsilon, above(0, 0.1))
	c.real("training.clip_norm", t.ClipNorm, closed(0, 1e6))
	c.real("training.label_smoothing", t.LabelSmoothing, below(0, 1))
	c.real("training.auxiliary_weight", t.AuxiliaryWeight, closed(0, 100))
	c.any("training.augmentation")
	c.whole("training.early_stopping_patience", t.EarlyStoppingPatience, 0, 100_000)
	c.duration("training.checkpoint_interval", t.CheckpointInterval, time.Second, 24*time.Hour)
	c.any("training.seed")
	c.whole("training.threads", t.Threads, 0, 1024)
	c.oneOf("training.precision", t.Precision, Precisions)
	c.whole("training.devices", t.Devices, 0, 64)
	if t.Devices > t.BatchSize {
		c.clash("training.devices", fmt.Sprintf("must not be more than training.batch_size, and %d is more than %d", t.Devices, t.BatchSize), "training.batch_size")
	}
}

// learningRate applies the rules of what training.schedule makes of the rate.
func (c *checker) learningRate(t captioner.TrainingConfig) {
	rate := c.real("training.learning_rate", t.LearningRate, above(0, 1))
	c.real("training.min_learning_rate_ratio", t.MinLearningRateRatio, closed(0, 1))
	c.oneOf("training.schedule", t.Schedule, Schedules)
	c.real("training.plateau_factor", t.PlateauFactor, between(0, 1))
	c.whole("training.plateau_patience", t.PlateauPatience, 1, 100_000)
	floor := c.real("training.min_learning_rate", t.MinLearningRate, closed(0, 1))
	if t.Schedule == captioner.SchedulePlateau && rate && floor && t.MinLearningRate > t.LearningRate {
		c.clash("training.min_learning_rate", fmt.Sprintf(
			"must not be higher than training.learning_rate, and %v is higher than %v", t.MinLearningRate, t.LearningRate), "training.learning_rate")
	}
}

func (c *checker) evaluation(e captioner.EvaluationConfig) {
	c.whole("evaluation.beam_width", e.BeamWidth, 1, 64)
	c.real("evaluation.length_penalty", e.LengthPenalty, closed(0, 10))
	c.whole("evaluation.no_repeat_ngram", e.NoRepeatNGram, 0, 20)
	c.whole("evaluation.sample_pictures", e.SamplePictures, 0, 10_000_000)
	c.whole("evaluation.sample_captions", e.SampleCaptions, 0, 1000)
}

func (c *checker) promotion(p captioner.PromotionConfig) {
	c.oneOf("promotion.metric", p.Metric, metrics.Names())
	c.oneOf("promotion.algorithm", p.Algorithm, decode.Scored())
	c.real("promotion.margin", p.Margin, closed(0, 1))
	c.real("promotion.collapse_share", p.CollapseShare, above(0, 1))
	c.real("promotion.collapse_reference_share", p.CollapseReferenceShare, closed(0, 1))
	c.whole("promotion.collapse_min_images", p.CollapseMinImages, 1, 10_000_000)
}

// finding is a problem and the other fields that the rule looked at.
type finding struct {
	captioner.Problem
	involves []string
}

// checker applies rules and remembers which fields have one.
type checker struct {
	findings []finding
	covered  map[string]bool
	limits   map[string]limits
}

// limits are the values that a rule allows a field, as a schema shows them.
type limits struct {
	interval *interval // of a number
	names    []string  // of a text
}

// any notes that every value of a field is allowed, as far as one rule goes.
func (c *checker) any(field string) { c.covered[field] = true }

// refuse reports a value.
func (c *checker) refuse(field, message string) {
	c.findings = append(c.findings, finding{Problem: captioner.Problem{Field: field, Message: message}})
}

// clash reports fields that contradict each other.
func (c *checker) clash(field, message string, involves ...string) {
	c.findings = append(c.findings, finding{captioner.Problem{Field: field, Message: message}, involves})
}

// whole wants low <= v <= high.
func (c *checker) whole(field string, v, low, high int) bool {
	bounds := closed(float64(low), float64(high))
	c.limits[field] = limits{interval: &bounds}
	return c.within(field, v >= low && v <= high, fmt.Sprintf("must be from %d to %d, is %d", low, high, v))
}

// duration wants low <= v <= high.
func (c *checker) duration(field string, v captioner.Duration, low, high time.Duration) bool {
	d := time.Duration(v)
	return c.within(field, d >= low && d <= high, fmt.Sprintf("must be from %v to %v, is %v", low, high, d))
}

// real wants a finite number of the interval.
func (c *checker) real(field string, v float64, i interval) bool {
	c.limits[field] = limits{interval: &i}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return c.within(field, false, fmt.Sprintf("must be a finite number %v", i))
	}
	return c.within(field, i.holds(v), fmt.Sprintf("must be %v, is %v", i, v))
}

// oneOf wants a known name.
func (c *checker) oneOf(field, v string, known []string) bool {
	c.limits[field] = limits{names: known}
	message := fmt.Sprintf("must be %s, is %s", strings.Join(known, " or "), short(v))
	if name := nearest(v, known); name != "" {
		message += fmt.Sprintf(": did you mean %q?", name)
	}
	return c.within(field, slices.Contains(known, v), message)
}

// path wants what an operating system can take; empty is no path.
func (c *checker) path(field, v string) bool {
	return c.within(field, !strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) && len(v) < 4096,
		"must be a path, without control characters and shorter than 4096 bytes")
}

func (c *checker) within(field string, ok bool, message string) bool {
	c.any(field)
	if !ok {
		c.refuse(field, message)
	}
	return ok
}

// interval is a range of numbers with or without its ends.
type interval struct {
	low, high         float64
	openLow, openHigh bool
}

func closed(low, high float64) interval  { return interval{low: low, high: high} }
func above(low, high float64) interval   { return interval{low: low, high: high, openLow: true} }
func below(low, high float64) interval   { return interval{low: low, high: high, openHigh: true} }
func between(low, high float64) interval { return interval{low, high, true, true} }

func (i interval) holds(v float64) bool {
	low, high := cmp.Compare(v, i.low), cmp.Compare(v, i.high)
	return (low > 0 || low == 0 && !i.openLow) && (high < 0 || high == 0 && !i.openHigh)
}

// String says the interval in words.
func (i interval) String() string {
	low, high := "at least", "at most"
	if i.openLow {
		low = "more than"
	}
	if i.openHigh {
		high = "less than"
	}
	return fmt.Sprintf("%s %v and %s %v", low, i.low, high, i.high)
}
