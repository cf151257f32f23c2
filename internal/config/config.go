// Package config reads, checks and writes the configuration of a run. There is
// one rule set, in two phases: static rules, which hold anywhere (command line,
// API, dry run), and the rules of a machine, where the data is. Both report
// everything that is wrong at once; for a file, with line and column.
//
// The fields themselves, with their documentation and defaults, are those of
// captioner.Config.
package config

import (
	"cmp"
	"path/filepath"
	"slices"

	"github.com/captioner/captioner"
)

// The formats that Parse reads.
const (
	YAML = "yaml"
	JSON = "json"
)

// Parse reads a configuration over the defaults, or over the preset that it
// names with the key "preset": empty input is the defaults.
// The format is YAML or JSON. It is strict: unknown and repeated keys, wrong
// types, values out of range and contradictions are all reported, in one error
// of kind Invalid with code "invalid_config", in the order of the file.
func Parse(data []byte, format string) (captioner.Config, error) {
	return merge(captioner.DefaultConfig(), data, format, nil)
}

// ParseWith is Parse with more rules, whose problems are reported together with
// its own, of which a field with a problem already has no more. They are given
// what could be read.
func ParseWith(data []byte, format string, rules func(captioner.Config) []captioner.Problem) (captioner.Config, error) {
	return merge(captioner.DefaultConfig(), data, format, rules)
}

// Machine is where a configuration is going to be used.
type Machine struct {
	// Base is the folder that relative paths are relative to; empty leaves
	// them as they are, relative to this process.
	Base string
	// DataRoot and WorkDirs are those of CheckMachine.
	DataRoot string
	WorkDirs []string
}

// ParseOn is Parse, Resolve and CheckMachine in one, so that what is wrong with
// the file and what this machine lacks are reported together, each with its
// place in the file.
func ParseOn(data []byte, format string, here Machine) (captioner.Config, error) {
	resolve := func(c captioner.Config) captioner.Config {
		if here.Base == "" {
			return c
		}
		return Resolve(c, here.Base)
	}
	c, err := ParseWith(data, format, func(c captioner.Config) []captioner.Problem {
		return append(CheckMachine(resolve(c), here.DataRoot, here.WorkDirs...), CheckProcessor(c)...)
	})
	if err != nil {
		return captioner.Config{}, err
	}
	return resolve(c), nil
}

// Locate adds to problems that another machine has found in a configuration
// their places in the file that it came from, and puts them in its order.
func Locate(problems []captioner.Problem, data []byte, format string) []captioner.Problem {
	tree, unreadable := read(data, format)
	if len(unreadable) > 0 {
		return problems
	}
	d := newDecoder()
	var cfg captioner.Config
	d.preset(&cfg, tree)
	d.decode(&cfg, tree)
	located := slices.Clone(problems)
	for i, p := range located {
		if p.Line == 0 { // else it is a place in a file of the data set
			at := d.find(finding{Problem: p})
			located[i].Line, located[i].Column = at.line, at.column
		}
	}
	sortProblems(located)
	return located
}

// Merge reads a JSON object over base, as strictly as Parse does: what the
// object does not name stays as it is. Empty input and null change nothing.
func Merge(base captioner.Config, partial []byte) (captioner.Config, error) {
	return merge(base, partial, JSON, nil)
}

// merge decodes data over base and checks the outcome, also by more rules where
// there are any.
func merge(base captioner.Config, data []byte, format string, more func(captioner.Config) []captioner.Problem) (captioner.Config, error) {
	tree, problems := read(data, format)
	if len(problems) > 0 {
		return captioner.Config{}, Error(problems)
	}
	d := newDecoder()
	preset := d.preset(&base, tree)
	d.decode(&base, tree)
	base.Model.Encoder = encoderName(base.Model.Encoder)
	if _, given := d.at["model.image_size"]; !given {
		base.Model.ImageSize = cmp.Or(captioner.PretrainedShape(base.Model.Encoder).Side, base.Model.ImageSize)
	}
	var findings []finding
	if preset == Kaggle {
		findings = findInputs(&base, d)
	}
	findings = append(findings, check(base).findings...)
	if more != nil {
		for _, p := range more(base) {
			known := slices.ContainsFunc(findings, func(f finding) bool { return p.Field != "" && f.Field == p.Field })
			if !known { // else a rule has said already what is wrong with the field
				findings = append(findings, finding{Problem: p})
			}
		}
	}
	for _, f := range findings {
		if d.concernsBroken(f) {
			continue
		}
		p := f.Problem
		at := d.find(f)
		p.Line, p.Column = at.line, at.column
		d.problems = append(d.problems, p)
	}
	if err := Error(d.problems); err != nil {
		return captioner.Config{}, err
	}
	return Normalise(base), nil
}

// Error returns the error of kind Invalid for the problems, nil for none. They
// are put in the order of the file; those without a line come last.
func Error(problems []captioner.Problem) error {
	if len(problems) == 0 {
		return nil
	}
	sortProblems(problems)
	return &captioner.Error{Kind: captioner.Invalid, Code: "invalid_config", Message: "the configuration is invalid", Problems: problems}
}

// encoderName returns the encoder's name as it is written here; an unknown one
// stays as it is.
func encoderName(name string) string {
	for _, known := range Encoders {
		if plainName(name) == plainName(known) {
			return known
		}
	}
	return name
}

// Normalise writes the same configuration in one way: the encoder's own name,
// and paths without detours.
func Normalise(c captioner.Config) captioner.Config {
	c.Model.Encoder = encoderName(c.Model.Encoder)
	for _, p := range c.Paths() {
		if *p.Path != "" {
			*p.Path = filepath.Clean(*p.Path)
		}
	}
	return c
}

// Resolve makes relative paths absolute, below the folder base.
func Resolve(c captioner.Config, base string) captioner.Config {
	for _, p := range c.Paths() {
		if *p.Path != "" && !filepath.IsAbs(*p.Path) {
			*p.Path = filepath.Join(base, *p.Path)
		}
	}
	return c
}

// WithoutPaths empties every path: what remains says the same on any machine.
func WithoutPaths(c captioner.Config) captioner.Config {
	for _, p := range c.Paths() {
		*p.Path = ""
	}
	return c
}

// Portable empties every path, and gives what is ignored because of another
// field its default: what remains says the same on any machine, and alike
// configurations say it alike. Whether there are weights is gone with their path.
func Portable(c captioner.Config) captioner.Config {
	unused := captioner.DefaultConfig()
	if c.Data.MaxTokens != 0 {
		c.Data.MaxTokensPercentile = unused.Data.MaxTokensPercentile
	}
	if !c.Frozen() {
		c.Model.FeatureType = unused.Model.FeatureType
	}
	if c.Training.FineTuneBlocks == 0 {
		c.Training.EncoderLearningRateRatio = unused.Training.EncoderLearningRateRatio
	}
	if c.Training.Schedule != captioner.SchedulePlateau {
		c.Training.PlateauFactor, c.Training.PlateauPatience, c.Training.MinLearningRate =
			unused.Training.PlateauFactor, unused.Training.PlateauPatience, unused.Training.MinLearningRate
	}
	if c.Model.Decoder != "lstm-pooled" {
		c.Model.RecurrentDropout = unused.Model.RecurrentDropout
	}
	return WithoutPaths(c)
}

// Digest names what a configuration asks for. It leaves out paths, since the
// data set and the weights have digests of their own, what changes speed but no
// result, and what is ignored because of another field.
func Digest(c captioner.Config) (captioner.Digest, error) {
	if c.Data.SplitFiles != (captioner.SplitFiles{}) {
		c.Data.SplitRatios, c.Data.Seed = captioner.SplitRatios{}, 0
		c.Data.SplitMethod = captioner.DefaultConfig().Data.SplitMethod
	}
	c = Portable(c)
	c.Data.ShardSize = 0
	c.Training.CheckpointInterval = 0
	if c.Training.Epochs > 0 {
		c.Training.Steps = 0
	}
	digest, err := captioner.DigestJSON(c)
	if err != nil {
		return "", captioner.Wrap(captioner.Invalid, err, "digest of the configuration")
	}
	return digest, nil
}
