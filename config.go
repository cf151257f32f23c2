package captioner

import (
	"cmp"
	"time"
)

// Config is everything a run of TrainAndDeploy can be told. A file or a request
// names only what differs from [DefaultConfig]. Package internal/config reads,
// checks and normalises it: one rule set for the command line, the API and
// the worker.
type Config struct {
	Data       DataConfig       `json:"data" yaml:"data"`
	Model      ModelConfig      `json:"model" yaml:"model"`
	Training   TrainingConfig   `json:"training" yaml:"training"`
	Evaluation EvaluationConfig `json:"evaluation" yaml:"evaluation"`
	Promotion  PromotionConfig  `json:"promotion" yaml:"promotion"`
}

// DataConfig says where the pictures and captions are and how they are split.
type DataConfig struct {
	// Images is the folder of pictures. With Captions empty too, the
	// demonstration data set is used, and made first where it is missing.
	Images string `json:"images" yaml:"images"`
	// Captions is the captions file; for COCO also the folder that holds its
	// captions_train….json and captions_val….json.
	Captions string `json:"captions" yaml:"captions"`
	// Format is the layout of the captions file: "kaggle", Kaggle's CSV of
	// Flickr8k (image,caption); "token", Flickr8k.token.txt; "results",
	// Flickr30k's results.csv; "karpathy", dataset_….json with its splits;
	// "coco", captions_….json. "auto" tells them apart.
	Format string `json:"format" yaml:"format"`
	// SplitFiles name files with one image name a line. All three or none:
	// without them the pictures are split as the captions file says, else by
	// SplitRatios.
	SplitFiles SplitFiles `json:"split_files" yaml:"split_files"`
	// SplitRatios are the shares of the pictures in each split; they sum to 1.
	SplitRatios SplitRatios `json:"split_ratios" yaml:"split_ratios"`
	// SplitMethod says how SplitRatios divide the pictures: "hash" by their
	// contents and Seed, equal pictures together, whatever their names;
	// "original" as the original system does, by Python's seeded shuffle of
	// their order in the captions file.
	SplitMethod string `json:"split_method" yaml:"split_method"`
	// Seed makes the split by ratios repeatable.
	Seed uint64 `json:"seed" yaml:"seed"`
	// MinWordCount is how often a word must occur in the training captions to
	// enter the vocabulary.
	MinWordCount int `json:"min_word_count" yaml:"min_word_count"`
	// Vocabulary is "standard", in which rarer words become the unknown token,
	// or "original", the original system's, which has no such token and drops
	// them.
	Vocabulary string `json:"vocabulary" yaml:"vocabulary"`
	// MaxTokens is the longest caption in tokens, start and end included;
	// longer ones are cut for training. 0 takes it from the data, by
	// MaxTokensPercentile.
	MaxTokens int `json:"max_tokens" yaml:"max_tokens"`
	// MaxTokensPercentile is the share in percent of the training captions that
	// are not cut where MaxTokens is 0. 100 takes the longest, as the original
	// system does, which also looks at the captions of the other splits.
	MaxTokensPercentile float64 `json:"max_tokens_percentile" yaml:"max_tokens_percentile"`
	// MinUsable is the share of the pictures that must be usable, in (0, 1].
	MinUsable float64 `json:"min_usable" yaml:"min_usable"`
	// ShardSize is how many pictures one ExtractFeatures or CaptionShard
	// activity handles at most; fewer where that lets several workers share the
	// work. It changes speed, never results.
	ShardSize int `json:"shard_size" yaml:"shard_size"`
	// MaxPixels bounds width × height of a picture, by its header.
	MaxPixels int `json:"max_pixels" yaml:"max_pixels"`
	// GloVe is a text file of word vectors (Pennington, Socher and Manning 2014):
	// a word and its numbers a line. The words' vectors start with them; their
	// size is model.embedding_dim. Empty starts them at random.
	GloVe string `json:"glove" yaml:"glove"`
}

// SplitFiles are paths of files with one image name a line.
type SplitFiles struct {
	Train      string `json:"train" yaml:"train"`
	Validation string `json:"validation" yaml:"validation"`
	Test       string `json:"test" yaml:"test"`
}

// SplitRatios are shares in [0, 1] that sum to 1.
type SplitRatios struct {
	Train      float64 `json:"train" yaml:"train"`
	Validation float64 `json:"validation" yaml:"validation"`
	Test       float64 `json:"test" yaml:"test"`
}

// ModelConfig describes the network.
type ModelConfig struct {
	// Encoder names the image encoder: "conv" is the small convolutional one
	// that is trained from scratch; "EfficientNetB3" and "InceptionV3" are those
	// of Keras' applications. Capitals, dashes and underscores do not count.
	Encoder string `json:"encoder" yaml:"encoder"`
	// Weights is the file of the encoder's weights that Keras publishes (the
	// applications' *_notop.h5) or writes (*.weights.h5). Without one the encoder
	// is trained from random weights.
	Weights string `json:"weights" yaml:"weights"`
	// FeatureType is how a frozen encoder's output is kept: "float16", or
	// "float32" in twice the space.
	FeatureType string `json:"feature_type" yaml:"feature_type"`
	// Decoder names the caption decoder: "transformer"; "lstm-attention", an
	// LSTM that looks at the picture before each word; or "lstm-pooled", the
	// original system's, in which one vector of the whole picture looks at the
	// words so far.
	Decoder string `json:"decoder" yaml:"decoder"`
	// ImageSize is the side in pixels of the square that the encoder sees.
	// EfficientNetB3 takes 300 and InceptionV3 299, which need not be written.
	ImageSize int `json:"image_size" yaml:"image_size"`
	// Grayscale removes the colour from every picture, in training and serving.
	Grayscale bool `json:"grayscale" yaml:"grayscale"`
	// Width is the size of the decoder's vectors.
	Width int `json:"width" yaml:"width"`
	// Layers is the number of decoder layers, of lstm-attention too, where the
	// first alone looks at the picture. lstm-pooled has one.
	Layers int `json:"layers" yaml:"layers"`
	// Heads is the number of attention heads; it divides Width, but for
	// lstm-pooled, whose heads are as wide as Width. Ignored by lstm-attention.
	Heads int `json:"heads" yaml:"heads"`
	// FeedForward is the hidden size of each layer's feed-forward part. Ignored
	// by lstm-attention and lstm-pooled.
	FeedForward int `json:"feed_forward" yaml:"feed_forward"`
	// Dropout is the share of activations dropped in training, in [0, 1).
	Dropout float64 `json:"dropout" yaml:"dropout"`
	// RecurrentDropout is the share of the LSTM's hidden state that each of its
	// gates drops in training, in [0, 1): the same of it at every word of a
	// caption. Used by lstm-pooled alone.
	RecurrentDropout float64 `json:"recurrent_dropout" yaml:"recurrent_dropout"`
	// EmbeddingDim is the size of the words' vectors; 0 takes Width. A decoder
	// that needs them as wide as Width widens them by a learned projection.
	EmbeddingDim int `json:"embedding_dim" yaml:"embedding_dim"`
	// EmbeddingFrozen keeps the words' vectors as data.glove has them; false
	// trains them further.
	EmbeddingFrozen bool `json:"embedding_frozen" yaml:"embedding_frozen"`
}

// EmbeddingSize returns the size of the words' vectors.
func (c ModelConfig) EmbeddingSize() int { return cmp.Or(c.EmbeddingDim, c.Width) }

// StoredSize returns the side in pixels of the squares that pictures are
// prepared as: an eighth more than the encoder sees, so that training can shift
// its view. The encoders of Keras' applications see the whole picture, as they
// did in their pretraining.
func (c ModelConfig) StoredSize() int {
	if PretrainedShape(c.Encoder).Side != 0 {
		return c.ImageSize
	}
	return c.ImageSize + c.ImageSize/8/2*2
}

// SplitsWidth says whether the decoder cuts its vectors into Heads, so that
// Heads must divide Width.
func (c ModelConfig) SplitsWidth() bool {
	return c.Decoder != "lstm-attention" && c.Decoder != "lstm-pooled"
}

// Frozen says whether the encoder keeps the weights that it is given, so that its
// output is the same in every epoch.
func (c Config) Frozen() bool { return c.Model.Weights != "" && c.Training.FineTuneBlocks == 0 }

// TrainingConfig describes how the weights are found.
type TrainingConfig struct {
	// Steps is the number of optimiser steps; the learning rate is scheduled
	// over all of them. Ignored when Epochs is set.
	Steps int `json:"steps" yaml:"steps"`
	// Epochs is the number of passes over the training pictures; 0 means as
	// many as Steps fill.
	Epochs int `json:"epochs" yaml:"epochs"`
	// BatchSize is the number of pictures a batch; AccumulationSteps of them make
	// a step.
	BatchSize int `json:"batch_size" yaml:"batch_size"`
	// CaptionsPerImage is how many of a picture's captions, drawn at random,
	// a step uses; they share one encoder pass.
	CaptionsPerImage int `json:"captions_per_image" yaml:"captions_per_image"`
	// AccumulationSteps is how many batches make a step: their gradients are
	// added up, one batch after another, before the weights move once. It is for
	// large steps in the memory of a small batch.
	AccumulationSteps int `json:"accumulation_steps" yaml:"accumulation_steps"`
	// LearningRate is the highest rate of Adam, reached after WarmupSteps and
	// then lowered as Schedule says.
	LearningRate float64 `json:"learning_rate" yaml:"learning_rate"`
	WarmupSteps  int     `json:"warmup_steps" yaml:"warmup_steps"`
	// Schedule lowers the rate: "cosine" along half a cosine over all steps, to
	// MinLearningRateRatio of LearningRate; "plateau" when the validation loss no
	// longer falls; "constant" not at all.
	Schedule             string  `json:"schedule" yaml:"schedule"`
	MinLearningRateRatio float64 `json:"min_learning_rate_ratio" yaml:"min_learning_rate_ratio"`
	// PlateauFactor multiplies the rate after PlateauPatience epochs in a row
	// whose validation loss is not at least 1e-4 below the best, down to
	// MinLearningRate, as Keras' ReduceLROnPlateau does. Only the schedule
	// "plateau" reads the three.
	PlateauFactor   float64 `json:"plateau_factor" yaml:"plateau_factor"`
	PlateauPatience int     `json:"plateau_patience" yaml:"plateau_patience"`
	MinLearningRate float64 `json:"min_learning_rate" yaml:"min_learning_rate"`
	// Beta1, Beta2 and Epsilon are Adam's (Kingma and Ba 2015).
	Beta1   float64 `json:"beta1" yaml:"beta1"`
	Beta2   float64 `json:"beta2" yaml:"beta2"`
	Epsilon float64 `json:"epsilon" yaml:"epsilon"`
	// ClipNorm bounds the global norm of the gradients; 0 does not.
	ClipNorm float64 `json:"clip_norm" yaml:"clip_norm"`
	// LabelSmoothing spreads this share of each target over the vocabulary. The
	// training loss that is reported includes it, the validation loss does not.
	LabelSmoothing float64 `json:"label_smoothing" yaml:"label_smoothing"`
	// AuxiliaryWeight weighs the loss that asks the encoder's grid which of the
	// telling words occur in the picture's captions; 0 drops it.
	AuxiliaryWeight float64 `json:"auxiliary_weight" yaml:"auxiliary_weight"`
	// FineTuneBlocks is how many of the last blocks of an encoder with Weights are
	// trained; 0 freezes it, so that its output is computed once a picture and
	// kept, and -1 trains all. The statistics of its batch normalisations stay.
	FineTuneBlocks int `json:"fine_tune_blocks" yaml:"fine_tune_blocks"`
	// EncoderLearningRateRatio is the learning rate of those blocks as a share of
	// LearningRate.
	EncoderLearningRateRatio float64 `json:"encoder_learning_rate_ratio" yaml:"encoder_learning_rate_ratio"`
	// Augmentation shifts each training picture of the encoder conv by a random
	// crop. Pictures are never mirrored: left and right are words.
	Augmentation bool `json:"augmentation" yaml:"augmentation"`
	// EarlyStoppingPatience is the number of epochs without a better
	// validation loss after which training stops; 0 never stops early.
	EarlyStoppingPatience int `json:"early_stopping_patience" yaml:"early_stopping_patience"`
	// CheckpointInterval is the longest time between two checkpoints.
	CheckpointInterval Duration `json:"checkpoint_interval" yaml:"checkpoint_interval"`
	// Seed makes initial weights, dropout, crops and the order repeatable.
	Seed uint64 `json:"seed" yaml:"seed"`
	// Threads is the number of CPU threads of the job engine. Results are
	// bit-identical only for equal numbers. 0 takes the machine's.
	Threads int `json:"threads" yaml:"threads"`
	// Precision is that of the matrix products in training, and of a frozen encoder
	// that prepares the pictures for it: "float32", "bfloat16" on processors that
	// compute it (AVX512-BF16 or AMX), or "float16" on a GPU, with the loss scaled
	// so that small gradients survive. Weights and Adam stay float32, and so does
	// serving.
	Precision string `json:"precision" yaml:"precision"`
	// Devices is how many devices of the machine share each batch. 0 takes all
	// GPUs, or the CPU where there is none. Without a GPU a higher number than 1
	// splits the CPU in so many, which serves to try it.
	Devices int `json:"devices" yaml:"devices"`
}

// Lasting returns what a training must share with one that it continues: all
// fields but those that say how long it takes, how fast and on what, which are
// zero.
func (c TrainingConfig) Lasting() TrainingConfig {
	c.Steps, c.Epochs, c.EarlyStoppingPatience = 0, 0, 0
	c.LearningRate, c.WarmupSteps, c.Schedule, c.MinLearningRateRatio = 0, 0, "", 0
	c.PlateauFactor, c.PlateauPatience, c.MinLearningRate = 0, 0, 0
	c.CheckpointInterval, c.Precision, c.Devices = 0, "", 0
	return c
}

// The values of TrainingConfig.Schedule and Precision.
const (
	ScheduleCosine   = "cosine"
	SchedulePlateau  = "plateau"
	ScheduleConstant = "constant"

	PrecisionFloat32  = "float32"
	PrecisionBfloat16 = "bfloat16"
	PrecisionFloat16  = "float16"
)

// EvaluationConfig describes decoding and scoring of the test split. Beam
// settings are part of the version: serving uses the same ones.
type EvaluationConfig struct {
	// BeamWidth is the number of hypotheses that beam search keeps.
	BeamWidth int `json:"beam_width" yaml:"beam_width"`
	// LengthPenalty is the exponent of the length by which a hypothesis'
	// log-probability is divided; 0 turns it off.
	LengthPenalty float64 `json:"length_penalty" yaml:"length_penalty"`
	// NoRepeatNGram forbids a second occurrence of an n-gram of this order
	// in one caption; 0 allows all.
	NoRepeatNGram int `json:"no_repeat_ngram" yaml:"no_repeat_ngram"`
	// SamplePictures is how many pictures of the test split are captioned and
	// scored, always the same ones of the same split; 0 takes all.
	SamplePictures int `json:"sample_pictures" yaml:"sample_pictures"`
	// SampleCaptions is how many test pictures' captions the report shows, and
	// how many validation pictures, at most 32, are captioned after each epoch
	// to watch the model learn.
	SampleCaptions int `json:"sample_captions" yaml:"sample_captions"`
}

// PromotionConfig describes the gate before a version goes live.
type PromotionConfig struct {
	// Metric is the score that is compared: "bleu1" to "bleu4", or another
	// registered metric.
	Metric string `json:"metric" yaml:"metric"`
	// Algorithm whose score is compared: "greedy", "beam", or another registered
	// one.
	Algorithm string `json:"algorithm" yaml:"algorithm"`
	// Margin is how much lower than the live version's the score may be.
	Margin float64 `json:"margin" yaml:"margin"`
	// CollapseShare and CollapseReferenceShare define a collapsed model: its
	// most frequent caption covers more than the first share of the test
	// pictures while it covers less than the second share of the references.
	CollapseShare          float64 `json:"collapse_share" yaml:"collapse_share"`
	CollapseReferenceShare float64 `json:"collapse_reference_share" yaml:"collapse_reference_share"`
	// CollapseMinImages is the smallest test split on which it is judged.
	CollapseMinImages int `json:"collapse_min_images" yaml:"collapse_min_images"`
}

// DefaultConfig returns the defaults. The model and training numbers are those
// of the demonstration in docs/results.md; beam width, length penalty and the
// numbers of the schedule "plateau" are the original system's.
func DefaultConfig() Config {
	return Config{
		Data: DataConfig{
			SplitRatios:  SplitRatios{Train: 0.6, Validation: 0.2, Test: 0.2},
			Format:       "auto",
			SplitMethod:  "hash",
			Seed:         42,
			MinWordCount: 5,
			Vocabulary:   "standard",

			MaxTokensPercentile: 99,

			MinUsable: 0.95,
			ShardSize: 10_000,
			MaxPixels: 50_000_000,
		},
		Model: ModelConfig{
			Encoder: "conv", FeatureType: "float16", Decoder: "transformer", ImageSize: 64,
			Width: 128, Layers: 2, Heads: 4, FeedForward: 256, Dropout: 0.1,
		},
		Training: TrainingConfig{
			Steps: 3600, BatchSize: 16, CaptionsPerImage: 2, AccumulationSteps: 1,
			LearningRate: 2e-3, WarmupSteps: 100, Schedule: ScheduleCosine, MinLearningRateRatio: 0.01,
			PlateauFactor: 0.5, PlateauPatience: 3, MinLearningRate: 1e-6,
			Beta1: 0.9, Beta2: 0.98, Epsilon: 1e-9, ClipNorm: 1,
			LabelSmoothing: 0.1, AuxiliaryWeight: 0.1, EncoderLearningRateRatio: 0.1, Augmentation: true,
			EarlyStoppingPatience: 0,
			CheckpointInterval:    Duration(60 * time.Second),
			Seed:                  42,
			Precision:             PrecisionFloat32,
		},
		Evaluation: EvaluationConfig{BeamWidth: 3, LengthPenalty: 0.7, NoRepeatNGram: 3, SampleCaptions: 8},
		Promotion: PromotionConfig{
			Metric: "bleu4", Algorithm: "beam", Margin: 0.01,
			CollapseShare: 0.5, CollapseReferenceShare: 0.25, CollapseMinImages: 50,
		},
	}
}

// Duration is a time.Duration written as "60s" or "1m30s" in YAML and JSON.
type Duration time.Duration

// MarshalText gives the duration as time.Duration prints it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}
