package config

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/captioner/captioner"
)

// Import is what became of a configuration file of the original system.
type Import struct {
	// File is the same configuration as a file of ours, over the preset
	// "original".
	File []byte `json:"-"`
	// Changes has an entry for each key, in the order of the original's file.
	Changes []Change `json:"changes"`
}

// Change says what became of a key.
type Change struct {
	Key string `json:"key"`
	// Old is the key's value, as YAML.
	Old string `json:"old"`
	// Fields are those that have taken its place; none for a key of no use.
	Fields []string `json:"fields"`
	// New is the fields' value, as YAML.
	New string `json:"new,omitempty"`
	// Why explains what is not the same; empty where the name alone is another.
	Why string `json:"why,omitempty"`
}

// importer holds what the conversion of one key reads and writes.
type importer struct {
	cfg      *captioner.Config
	problems []captioner.Problem
	side     []float64 // image_size
	width    float64   // feature_dim
}

// originalKey converts a key: it puts the value into the configuration, and says
// which fields have it and what is different.
type originalKey struct {
	name   string
	fields []string
	set    func(im *importer, value any) (why string, err error)
}

var errWrongType = errors.New("has a value of another type")

// original lists the keys of the original system's configuration, in its order.
var original = []originalKey{
	{"images_path", []string{"data.images"}, pathKey(func(c *captioner.Config) *string { return &c.Data.Images })},
	{"captions_file", []string{"data.captions"}, pathKey(func(c *captioner.Config) *string { return &c.Data.Captions })},
	{"glove_path", []string{"data.glove", "model.embedding_frozen"}, gloveKey},
	{"train_ratio", []string{"data.split_ratios.train"}, realKey(func(c *captioner.Config) *float64 { return &c.Data.SplitRatios.Train })},
	{"val_ratio", []string{"data.split_ratios.validation"}, realKey(func(c *captioner.Config) *float64 { return &c.Data.SplitRatios.Validation })},
	{"test_ratio", []string{"data.split_ratios.test"}, realKey(func(c *captioner.Config) *float64 { return &c.Data.SplitRatios.Test })},
	{"word_count_threshold", []string{"data.min_word_count"}, wholeKey(func(c *captioner.Config) *int { return &c.Data.MinWordCount })},
	{"random_seed", []string{"data.seed", "training.seed"}, seedKey},
	{"bleu_sample_size", []string{"evaluation.sample_pictures"}, because("it has an effect here: the original scored the same number of pictures whatever it said",
		wholeKey(func(c *captioner.Config) *int { return &c.Evaluation.SamplePictures }))},
	{"feature_extractor", []string{"model.encoder"}, because("its weights are not downloaded: name the file that Keras publishes as model.weights", textKey(func(c *captioner.Config) *string { return &c.Model.Encoder }))},
	{"feature_dim", nil, featureDimKey},
	{"image_size", []string{"model.image_size"}, imageSizeKey},
	{"embedding_dim", []string{"model.embedding_dim"}, wholeKey(func(c *captioner.Config) *int { return &c.Model.EmbeddingDim })},
	{"hidden_dim", []string{"model.width"}, wholeKey(func(c *captioner.Config) *int { return &c.Model.Width })},
	{"num_attention_heads", []string{"model.heads"}, wholeKey(func(c *captioner.Config) *int { return &c.Model.Heads })},
	{"dropout_rate", []string{"model.dropout"}, realKey(func(c *captioner.Config) *float64 { return &c.Model.Dropout })},
	{"recurrent_dropout", []string{"model.recurrent_dropout"}, realKey(func(c *captioner.Config) *float64 { return &c.Model.RecurrentDropout })},
	{"batch_size", []string{"training.batch_size", "training.captions_per_image"}, batchSizeKey},
	{"epochs", []string{"training.epochs"}, wholeKey(func(c *captioner.Config) *int { return &c.Training.Epochs })},
	{"learning_rate", []string{"training.learning_rate"}, realKey(func(c *captioner.Config) *float64 { return &c.Training.LearningRate })},
	{"lr_decay_factor", []string{"training.plateau_factor"}, realKey(func(c *captioner.Config) *float64 { return &c.Training.PlateauFactor })},
	{"lr_patience", []string{"training.plateau_patience"}, patienceKey(func(c *captioner.Config) *int { return &c.Training.PlateauPatience })},
	{"min_lr", []string{"training.min_learning_rate"}, realKey(func(c *captioner.Config) *float64 { return &c.Training.MinLearningRate })},
	{"early_stopping_patience", []string{"training.early_stopping_patience"}, patienceKey(func(c *captioner.Config) *int { return &c.Training.EarlyStoppingPatience })},
	{"use_mixed_precision", []string{"training.precision"}, precisionKey},
	{"artifacts_dir", nil, func(_ *importer, value any) (string, error) {
		if _, ok := value.(string); !ok {
			return "", errWrongType
		}
		return "where results go is no part of a run here: give the folder to captioner as --data-dir", nil
	}},
}

// ImportOriginal converts a configuration file of the original system: YAML with
// flat keys. What the rules refuse comes back as an Invalid error beside the
// conversion, which is complete all the same. A file that is none of the
// original's gives the error alone.
func ImportOriginal(data []byte) (Import, error) {
	var keys yaml.MapSlice
	if err := yaml.Unmarshal(data, &keys); err != nil {
		return Import{}, Error([]captioner.Problem{yamlProblem(err)})
	}
	if len(keys) == 0 {
		return Import{}, Error([]captioner.Problem{{Message: "has no keys"}})
	}
	base := captioner.DefaultConfig()
	applyPreset(&base, "original")
	cfg := base
	im := importer{cfg: &cfg}
	out := Import{Changes: []Change{}}
	known := 0
	for _, item := range keys {
		key := fmt.Sprint(item.Key)
		change := Change{Key: key, Old: flow(item.Value), Fields: []string{}}
		at := slices.IndexFunc(original, func(k originalKey) bool { return k.name == key })
		if at < 0 {
			change.Why = "is no key of the original, which ignored it"
			if name := nearest(key, originalNames()); name != "" {
				change.Why += fmt.Sprintf(": did you mean %q?", name)
			}
			out.Changes = append(out.Changes, change)
			continue
		}
		known++
		why, err := original[at].set(&im, item.Value)
		if err != nil {
			im.problems = append(im.problems, captioner.Problem{Field: key, Message: err.Error()})
		}
		change.Why = why
		if original[at].fields != nil {
			change.Fields, change.New = original[at].fields, valueOf(cfg, original[at].fields[0])
		}
		out.Changes = append(out.Changes, change)
	}
	if known == 0 {
		return Import{}, Error([]captioner.Problem{{Message: "has no key of the original's configuration"}})
	}
	im.encoder()
	base.Model.ImageSize = cfg.Model.ImageSize // it follows from the encoder
	out.File = append([]byte("preset: original\n"), marshalOver(cfg, base)...)
	return out, Error(append(im.problems, Check(cfg)...))
}

func originalNames() []string {
	var names []string
	for _, k := range original {
		names = append(names, k.name)
	}
	return names
}

// encoder checks what the original repeats about its encoder.
func (im *importer) encoder() {
	im.cfg.Model.Encoder = encoderName(im.cfg.Model.Encoder)
	shape := captioner.PretrainedShape(im.cfg.Model.Encoder)
	im.cfg.Model.ImageSize = shape.Side
	if shape.Side == 0 {
		return // Check refuses it
	}
	if im.width != 0 && im.width != float64(shape.Width) {
		im.problems = append(im.problems, captioner.Problem{Field: "feature_dim", Message: fmt.Sprintf("must be %d for %s, is %v", shape.Width, im.cfg.Model.Encoder, im.width)})
	}
	for _, side := range im.side {
		if side != float64(shape.Side) {
			im.problems = append(im.problems, captioner.Problem{Field: "image_size", Message: fmt.Sprintf(
				"must be [%d, %d] for %s, is %s", shape.Side, shape.Side, im.cfg.Model.Encoder, flow(im.side))})
			return
		}
	}
}

// The kinds of keys.

func pathKey(field func(*captioner.Config) *string) func(*importer, any) (string, error) {
	set := textKey(field)
	return func(im *importer, value any) (string, error) {
		why, err := set(im, value)
		switch path := *field(im.cfg); {
		case err != nil:
		case path == "":
			why = "is empty: name it"
		case !filepath.IsAbs(path):
			why = "is now relative to the file that it stands in"
		}
		return why, err
	}
}

func textKey(field func(*captioner.Config) *string) func(*importer, any) (string, error) {
	return func(im *importer, value any) (string, error) {
		s, ok := value.(string)
		if !ok {
			return "", errWrongType
		}
		*field(im.cfg) = s
		return "", nil
	}
}

func realKey(field func(*captioner.Config) *float64) func(*importer, any) (string, error) {
	return func(im *importer, value any) (string, error) {
		v, ok := numeric(value)
		if !ok {
			return "", errWrongType
		}
		*field(im.cfg) = v
		return "", nil
	}
}

func wholeKey(field func(*captioner.Config) *int) func(*importer, any) (string, error) {
	return func(im *importer, value any) (string, error) {
		v, ok := numeric(value)
		if !ok || v != math.Trunc(v) || math.Abs(v) > math.MaxInt32 {
			return "", errWrongType
		}
		*field(im.cfg) = int(v)
		return "", nil
	}
}

// patienceKey is for a number of epochs of which Keras takes 0 as it takes 1.
func patienceKey(field func(*captioner.Config) *int) func(*importer, any) (string, error) {
	set := wholeKey(field)
	return func(im *importer, value any) (string, error) {
		why, err := set(im, value)
		if err == nil && *field(im.cfg) == 0 {
			*field(im.cfg), why = 1, "Keras takes 0 as it takes 1"
		}
		return why, err
	}
}

func because(why string, set func(*importer, any) (string, error)) func(*importer, any) (string, error) {
	return func(im *importer, value any) (string, error) {
		_, err := set(im, value)
		return why, err
	}
}

// The keys that are more than a value.

func gloveKey(im *importer, value any) (string, error) {
	why, err := pathKey(func(c *captioner.Config) *string { return &c.Data.GloVe })(im, value)
	if im.cfg.Data.GloVe != "" {
		im.cfg.Model.EmbeddingFrozen = true
		why = strings.TrimPrefix(why+"; the words' vectors stay as the file has them", "; ")
	}
	return why, err
}

func seedKey(im *importer, value any) (string, error) {
	v, ok := numeric(value)
	if !ok || v != math.Trunc(v) || v < 0 || v > 1<<53 {
		return "", errWrongType
	}
	im.cfg.Data.Seed, im.cfg.Training.Seed = uint64(v), uint64(v)
	return "the split is the original's; weights and order are seeded as well", nil
}

func featureDimKey(im *importer, value any) (string, error) {
	v, ok := numeric(value)
	if !ok {
		return "", errWrongType
	}
	im.width = v
	return "follows from the encoder, and need not be written", nil
}

func imageSizeKey(im *importer, value any) (string, error) {
	list, ok := value.([]any)
	if !ok || len(list) != 2 {
		return "", errWrongType
	}
	for _, side := range list {
		v, ok := numeric(side)
		if !ok {
			return "", errWrongType
		}
		im.side = append(im.side, v)
	}
	im.cfg.Model.ImageSize = int(im.side[0])
	return "follows from the encoder, and need not be written", nil
}

// wordsPerCaption is about how many words a step of the original learns from a
// caption: those of Flickr8k have 11 on average, and the end counts.
const wordsPerCaption = 12

// batchSizeKey turns words into pictures with all their captions.
func batchSizeKey(im *importer, value any) (string, error) {
	words, ok := numeric(value)
	if !ok || words != math.Trunc(words) || words < 1 || words > 1e6 {
		return "", errWrongType
	}
	t := &im.cfg.Training
	t.CaptionsPerImage = 5
	t.BatchSize = max(1, int(math.Round(words/(5*wordsPerCaption))))
	return fmt.Sprintf("counts words in the original, and whole pictures here: %v words are about as many as the captions of %s have; "+
		"more pictures a step are faster, and want a higher learning rate", words, plural(t.BatchSize, "picture")), nil
}

func precisionKey(im *importer, value any) (string, error) {
	mixed, ok := value.(bool)
	if !ok {
		return "", errWrongType
	}
	im.cfg.Training.Precision = captioner.PrecisionFloat32
	if !mixed {
		return "", nil
	}
	im.cfg.Training.Precision = captioner.PrecisionFloat16
	return "float16 needs a GPU: without one write float32, or bfloat16 where the processor computes it", nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// numeric returns a YAML number.
func numeric(value any) (float64, bool) {
	switch v := value.(type) {
	case float64:
		return v, true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case int:
		return float64(v), true
	case string: // 1e-4 is text in YAML 1.1
		number, err := strconv.ParseFloat(v, 64)
		return number, err == nil
	}
	return 0, false
}

// flow writes a value in one line of YAML.
func flow(value any) string {
	if list, ok := value.([]float64); ok {
		return strings.ReplaceAll(fmt.Sprint(list), " ", ", ")
	}
	text, err := yaml.MarshalWithOptions(value, yaml.Flow(true))
	if err != nil {
		return fmt.Sprint(value)
	}
	return strings.TrimSpace(string(text))
}

// valueOf returns a field's value as YAML.
func valueOf(cfg captioner.Config, name string) string {
	v := reflect.ValueOf(cfg)
	for _, key := range strings.Split(name, ".") {
		v, _ = fieldOf(v, key)
	}
	return scalar(v)
}

// marshalOver writes the fields of a configuration that are not those of base.
func marshalOver(cfg, base captioner.Config) []byte {
	var b strings.Builder
	var walk func(v, base reflect.Value, indent string)
	walk = func(v, base reflect.Value, indent string) {
		for i := range v.NumField() {
			field := v.Field(i)
			if field.Equal(base.Field(i)) {
				continue
			}
			fmt.Fprintf(&b, "%s%s:", indent, keyOf(v.Type().Field(i)))
			if field.Kind() == reflect.Struct {
				b.WriteByte('\n')
				walk(field, base.Field(i), indent+"  ")
				continue
			}
			fmt.Fprintf(&b, " %s\n", scalar(field))
		}
	}
	walk(reflect.ValueOf(cfg), reflect.ValueOf(base), "")
	return []byte(b.String())
}
