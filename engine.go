package captioner

import (
	"context"
	"time"
)

// The interfaces of this file are what the control plane asks of an engine, a
// child process that holds TensorFlow. They are filled by internal/engine's
// client. An engine knows files only: paths of this machine go in, files come
// out, and the control plane verifies, hashes and stores them.
//
// All of them return an Error of kind Unavailable when the engine died or
// could not be started, so that the caller may try again, and ctx's error when
// ctx ended first.

// Captioner captions pictures with one model version.
type Captioner interface {
	// Caption returns one result per picture, in order. A picture that cannot
	// be decoded fails alone, in its result.
	Caption(ctx context.Context, req CaptionRequest) (CaptionReply, error)
	// Model describes the loaded version.
	Model() ModelInfo
}

// CaptionRequest is a batch of pictures and how to decode them.
type CaptionRequest struct {
	Images []ImageInput
	// Algorithm is the name of a search algorithm of ml/decode.
	Algorithm string
	// BeamWidth is the number of hypotheses that beam search keeps.
	BeamWidth int
	// LengthPenalty and NoRepeatNGram are as in EvaluationConfig.
	LengthPenalty float64
	NoRepeatNGram int
	// NumCaptions is how many hypotheses each picture gets, best first; at
	// most the beam width, where there is one. 0 means 1.
	NumCaptions int
	Sampling
}

// Sampling says how the algorithm "sample" draws a caption: equal values draw
// the same one again. Other algorithms take only the zero value.
type Sampling struct {
	// Temperature divides log-probabilities: close to 0 the likeliest tokens
	// are all that is drawn, above 1 unlikely ones come more often than the
	// model has them. 0 means 1.
	Temperature float64
	// TopK is how many of the likeliest tokens may be drawn; 0 means as many
	// as ml/decode looks at.
	TopK int
	// TopP is the probability that the likeliest of these tokens must reach
	// together before the others are left out. 0 means 1.
	TopP float64
	// Seed decides what is drawn.
	Seed uint64
}

// ImageInput is one picture: exactly one of its fields is set.
type ImageInput struct {
	// Data is the encoded file (JPEG, PNG, GIF, BMP or WebP).
	Data []byte
	// Shard and Index name a picture that ExtractFeatures has prepared: the
	// path of the shard and the position in it.
	Shard string
	Index int
}

// CaptionReply holds one result per picture, in the order of the request.
type CaptionReply struct {
	Results []CaptionResult
	// Batch is how many pictures were captioned together, those of other
	// requests included; Waited is how long the request's own waited for that.
	Batch  int
	Waited time.Duration
	// Version is the model version that answered. internal/serving sets it:
	// which version answers is known only once one has.
	Version Digest
}

// CaptionResult is what a model says about one picture.
type CaptionResult struct {
	Hypotheses []Hypothesis
	// Width and Height are the picture's in pixels after orientation; 0 for a
	// picture from a shard.
	Width, Height int
	// Err is set, of kind Invalid, when the picture could not be decoded.
	Err error
}

// ModelInfo describes a loaded model.
type ModelInfo struct {
	Version        Digest `json:"version"`
	VocabularySize int    `json:"vocab_size"`
	MaxTokens      int    `json:"max_length"`
	Encoder        string `json:"feature_extractor"`
	Decoder        string `json:"decoder"`
	ImageSize      int    `json:"image_size"`
	// TensorFlow is the version of the library that runs it.
	TensorFlow string `json:"tensorflow_version"`
	// Devices are TensorFlow's names of what it computes on.
	Devices []string `json:"devices"`
}

// FeatureExtractor decodes pictures into a shard that training maps into memory.
type FeatureExtractor interface {
	ExtractFeatures(ctx context.Context, req ExtractRequest, progress func(done int)) (ExtractResult, error)
}

// ExtractRequest names the pictures of one shard.
type ExtractRequest struct {
	// ImagesDir is the folder that the names are relative to.
	ImagesDir string
	Images    []string
	Model     ModelConfig
	// Precision is that of a frozen encoder's products; empty is float32.
	Precision string
	MaxPixels int
	// Output is the path of the shard file to write.
	Output  string
	Threads int
}

// ExtractResult says which pictures the shard holds, in its order, and which
// could not be decoded.
type ExtractResult struct {
	Images     []string
	Quarantine []Quarantined
}

// Trainer fits a model and exports it.
type Trainer interface {
	// Train calls progress for each event, from one goroutine. When ctx ends
	// it stops within one step; what the last CheckpointSaved event named is
	// where another call can resume.
	Train(ctx context.Context, req TrainRequest, progress func(TrainEvent)) (TrainResult, error)
	// Checkpoint asks a running Train to save its state and to return an
	// Unavailable error with code "stopped" after the CheckpointSaved event.
	Checkpoint()
}

// TrainRequest is all that training reads.
type TrainRequest struct {
	Config Config
	// Dataset is the path of the data set's JSON; Shards are the paths of the
	// shard files, which name the pictures that they hold.
	Dataset string
	Shards  []string
	// WordVectors is the path of a file of the words' vectors, as package ml/text
	// writes it; empty starts them at random.
	WordVectors string
	// Resume is the path of a checkpoint, empty to start from the seed. It is one
	// of this training, or of one that this continues: then the two share what
	// TrainingConfig.Lasting returns, and Config says what is new.
	Resume string
	// WorkDir is a folder for checkpoints; OutputDir gets the results: the
	// folder saved_model/ and the files vocabulary.json, model.json and
	// training.json.
	WorkDir   string
	OutputDir string
}

// TrainEvent is one thing that happened in training: exactly one field is set.
type TrainEvent struct {
	Step       *TrainStep
	Epoch      *TrainEpoch
	Checkpoint *CheckpointSaved
	Phase      *TrainPhase
}

// TrainPhase is a sign of work other than steps: at the beginning of each of its
// phases and, in validation, at most once a second on the way.
type TrainPhase struct {
	// Name is PhaseValidation, PhaseSamples or PhaseExport.
	Name string
	// Done counts the batches of validation that are done, from 0.
	Done int
}

// The phases of a training that are not its steps.
const (
	PhaseValidation = "validation"
	PhaseSamples    = "samples"
	PhaseExport     = "export"
)

// TrainStep is progress within an epoch, sent at most once a second and at the
// end of each epoch.
type TrainStep struct {
	// Step and Epoch count from 1; Steps and Epochs are the planned totals.
	Step, Steps, Epoch, Epochs int
	// Loss is the mean over the steps since the last event, nats per token.
	Loss            float64
	LearningRate    float64
	ImagesPerSecond float64
	// SecondsLeft is an estimate.
	SecondsLeft float64
}

// TrainEpoch is the end of an epoch.
type TrainEpoch struct {
	Epoch, Step int
	// TrainLoss and ValidationLoss are nats per token.
	TrainLoss, ValidationLoss float64
	// Best says whether this is the lowest validation loss so far.
	Best bool
	// Samples are what the model now says about the first validation pictures,
	// as many as EvaluationConfig.SampleCaptions asks for, at most 32.
	Samples []TrainSample
}

// TrainSample is a greedy caption of a validation picture, beside its first
// reference.
type TrainSample struct{ Image, Caption, Reference string }

// CheckpointSaved names a complete, durable checkpoint file.
type CheckpointSaved struct {
	Path string
	Step int
}

// TrainResult is the outcome of training.
type TrainResult struct {
	BestEpoch          int     `json:"best_epoch"`
	BestValidationLoss float64 `json:"best_validation_loss"`
	Steps              int     `json:"steps"`
	Epochs             int     `json:"epochs"`
	Parameters         int     `json:"parameters"`
	StoppedEarly       bool    `json:"stopped_early"`
	// Threads is the number of CPU threads that computed the weights.
	Threads    int    `json:"threads"`
	TensorFlow string `json:"tensorflow_version"`
}

// ModelImporter makes a model of one that the original system has trained.
type ModelImporter interface {
	// ImportModel writes OutputDir as Trainer does. A file that is no model of
	// the original is Invalid, with every difference among its problems.
	ImportModel(ctx context.Context, req ImportRequest) (ImportResult, error)
}

// ImportRequest names the files of a caption model that the original system has
// trained.
type ImportRequest struct {
	// Model is the path of Keras' archive (*.keras) or of a file of weights, and
	// Vocabulary that of the original's wordtoix.json.
	Model      string `json:"model"`
	Vocabulary string `json:"vocabulary"`
	// EncoderWeights is the path of the encoder's weights; which encoder it is,
	// the model's width says.
	EncoderWeights string `json:"encoder_weights"`
	// MaxLength is how many tokens a model of a file of weights reads, and
	// MasksPadding whether it leaves out the padding behind them. An archive says
	// so itself.
	MaxLength    int    `json:"max_length"`
	MasksPadding bool   `json:"masks_padding"`
	OutputDir    string `json:"output_dir"`
}

// ImportResult is the imported model.
type ImportResult struct {
	Model    ModelConfig `json:"model"`
	Training TrainResult `json:"training"`
	Imported Imported    `json:"imported"`
}

// Imported are the digests of the files that a version was imported from.
type Imported struct {
	Model          Digest `json:"model"`
	Vocabulary     Digest `json:"vocabulary"`
	EncoderWeights Digest `json:"encoder_weights"`
}

// ModelDescription is the content of a bundle's model.json: what a program
// must know to drive the SavedModel beside it.
type ModelDescription struct {
	Model ModelConfig `json:"model"`
	// MaxTokens is the longest token sequence, start and end included.
	MaxTokens int `json:"max_tokens"`
	// Pixels is the side of the squares that preprocess gives and encode takes.
	Pixels int `json:"pixels"`
	// SeesPadding says that step goes on through padding up to MaxTokens-1
	// tokens, as some models of the original system do.
	SeesPadding bool `json:"sees_padding,omitempty"`
	// Features says what encode_features takes, where the encoder was frozen: of
	// which encoder with which weights. Others mean nothing to the model.
	Features   string `json:"features,omitempty"`
	Parameters int    `json:"parameters"`
	TensorFlow string `json:"tensorflow"`
}

// NoRepeatNGramNode is the constant in an exported graph that is to its
// signature serving_default what EvaluationConfig.NoRepeatNGram is to a search:
// training gives it the default, registering a version the version's own.
const NoRepeatNGramNode = "serving_default/no_repeat_ngram/Const/Const"

// WeightAttribute is the attribute of a constant in an exported graph that says
// which of the model's weights it is.
const WeightAttribute = "_weight"
