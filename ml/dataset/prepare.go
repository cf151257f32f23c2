package dataset

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/images"
	"github.com/captioner/captioner/ml/text"
)

// Prepare makes a data set of the captions, pictures and split files that cfg
// names. It reads every picture once, several at a time, and calls progress,
// unless it is nil, after each, from one goroutine at a time.
//
// Data that cannot be used is Invalid with all problems, see [CheckUsable]; a
// missing file or folder is NotFound. When ctx ends it returns ctx's error.
func Prepare(ctx context.Context, cfg captioner.DataConfig, progress func(done, total int)) (captioner.Dataset, error) {
	p := &preparation{cfg: cfg}
	if err := p.readTexts(); err != nil {
		return captioner.Dataset{}, err
	}
	root, err := os.OpenRoot(cfg.Images)
	if err != nil {
		return captioner.Dataset{}, fileError(err, "open the images folder")
	}
	defer root.Close()
	names := p.names()
	results, err := examine(ctx, root, names, cfg.MaxPixels, progress)
	if err != nil {
		return captioner.Dataset{}, err
	}
	ds := captioner.Dataset{Examples: []captioner.Example{}, Quarantine: []captioner.Quarantined{}}
	for i, name := range names {
		p.add(&ds, name, results[i])
	}
	ds.Quarantine = append(ds.Quarantine, p.quarantine...)
	sortQuarantine(ds.Quarantine)
	p.divide(ds.Examples, names, results)
	if err := CheckUsable(ds, cfg.MinUsable, p.source(ds.Examples)); err != nil {
		return captioner.Dataset{}, err
	}
	return ds, addVocabulary(&ds, cfg)
}

// preparation is what the text files say.
type preparation struct {
	cfg captioner.DataConfig
	// captions has the lines of each picture, in the order of the file.
	captions map[string][]CaptionLine
	// images are the pictures of the captions file, in its order.
	images []string
	// splits are those that files give.
	splits map[string]captioner.Split
	// files are the captions files.
	files      []string
	quarantine []captioner.Quarantined
}

// bySplitFiles says whether the pictures are those of the split files.
func (p *preparation) bySplitFiles() bool { return p.cfg.SplitFiles != (captioner.SplitFiles{}) }

func (p *preparation) readTexts() error {
	c, files, err := captionsAt(p.cfg.Captions, p.cfg.Format)
	if err != nil {
		return err
	}
	p.quarantine, p.images, p.splits, p.files = c.Quarantine, c.Images, c.Splits, files
	p.captions = map[string][]CaptionLine{}
	for _, line := range c.Lines {
		p.captions[line.Image] = append(p.captions[line.Image], line)
	}
	return p.readSplits()
}

func (p *preparation) readSplits() error {
	if !p.bySplitFiles() {
		return nil
	}
	s := splitReader{splits: map[string]captioner.Split{}, given: p.splits}
	for _, file := range splitFiles(p.cfg.SplitFiles) {
		f, err := os.Open(file.path)
		if err != nil {
			return fileError(err, "open the split file of "+file.field)
		}
		err = s.read(file, f)
		f.Close() // only read from
		if err != nil {
			return err
		}
	}
	if err := s.err(); err != nil {
		return err
	}
	maps.Copy(s.splits, p.splits)
	p.splits = s.splits
	return nil
}

// names returns the pictures of the data set, sorted: those that files put
// into a split, or without split files also those that have captions only.
// With such files these go to the quarantine.
func (p *preparation) names() []string {
	if !p.bySplitFiles() {
		names := maps.Clone(p.splits)
		if names == nil {
			names = map[string]captioner.Split{}
		}
		for name := range p.captions {
			names[name] = ""
		}
		return slices.Sorted(maps.Keys(names))
	}
	for name := range p.captions {
		if _, ok := p.splits[name]; !ok {
			p.quarantine = append(p.quarantine, captioner.Quarantined{Image: shownName(name), Reason: ReasonNoSplit, Detail: "no split file names the picture"})
		}
	}
	return slices.Sorted(maps.Keys(p.splits))
}

// divide gives the pictures that no file puts into a split to one by ratios.
// Where files name the pictures of the test split only, as COCO's do, the
// others are for training and validation.
func (p *preparation) divide(examples []captioner.Example, names []string, results []examined) {
	var rest []captioner.Example
	var places []int
	for i, e := range examples {
		if e.Split == "" {
			rest, places = append(rest, e), append(places, i)
		}
	}
	ratios := p.cfg.SplitRatios
	if len(rest) < len(examples) {
		sum := ratios.Train + ratios.Validation
		ratios = captioner.SplitRatios{Train: ratios.Train / sum, Validation: ratios.Validation / sum}
	}
	if p.cfg.SplitMethod == SplitOriginal {
		splits := splitAsOriginal(p.undivided(names, results), ratios, p.cfg.Seed)
		for i := range rest {
			rest[i].Split = splits[rest[i].Image]
		}
	} else {
		splitByRatios(rest, ratios, p.cfg.Seed)
	}
	for i, place := range places {
		examples[place].Split = rest[i].Split
	}
}

// source says which field decides what is in a split: with split files theirs,
// else the captions file where it says all of it, else the ratios.
func (p *preparation) source(examples []captioner.Example) func(captioner.Split) string {
	divided := slices.ContainsFunc(examples, func(e captioner.Example) bool { return p.splits[e.Image] == "" })
	return func(split captioner.Split) string {
		switch {
		case p.bySplitFiles():
			return "data.split_files." + string(split)
		case len(p.splits) > 0 && (split == captioner.Test || !divided):
			return "data.captions"
		}
		return "data.split_ratios." + string(split)
	}
}

// undivided returns the pictures that no file puts into a split, in the order
// of the captions file. Those that cannot be used are among them, since the
// original system divides before it looks at a picture; those that are not
// there are not, since it cannot go on without them.
func (p *preparation) undivided(names []string, results []examined) []string {
	missing := map[string]bool{}
	for i, name := range names {
		missing[name] = results[i].missing
	}
	return slices.DeleteFunc(slices.Clone(p.images), func(name string) bool { return missing[name] || p.splits[name] != "" })
}

// add turns a picture and its lines into an example, or says why it is none.
func (p *preparation) add(ds *captioner.Dataset, name string, result examined) {
	if result.missing {
		p.addUnknown(ds, name)
		return
	}
	references := p.references(ds, name)
	switch {
	case result.reason != "":
		ds.Quarantine = append(ds.Quarantine, captioner.Quarantined{Image: name, Reason: result.reason, Detail: result.detail})
	case len(references) == 0:
		ds.Quarantine = append(ds.Quarantine, captioner.Quarantined{Image: name, Reason: ReasonNoCaption, Detail: "the picture has no caption that can be used"})
	default:
		ds.Examples = append(ds.Examples, captioner.Example{Image: name, SHA256: result.digest, Split: p.splits[name], References: references})
	}
}

// addUnknown reports each line that names a picture which is not there; or the
// picture, where only a split file names it.
func (p *preparation) addUnknown(ds *captioner.Dataset, name string) {
	q := captioner.Quarantined{Image: shownName(name), Reason: ReasonUnknownImage, Detail: "there is no such file in the images folder"}
	lines := p.captions[name]
	if len(lines) == 0 {
		ds.Quarantine = append(ds.Quarantine, q)
	}
	for _, line := range lines {
		q.Line = line.Line
		ds.Quarantine = append(ds.Quarantine, q)
	}
}

// references returns the cleaned captions of a picture, each once; for the
// original's vocabulary as often as the file has it, since it counts them all.
func (p *preparation) references(ds *captioner.Dataset, name string) []string {
	var references []string
	for _, line := range p.captions[name] {
		cleaned := text.Clean(line.Caption)
		if slices.Contains(references, cleaned) && p.cfg.Vocabulary != text.Original {
			ds.Quarantine = append(ds.Quarantine, captioner.Quarantined{Image: name, Line: line.Line, Reason: ReasonDuplicate, Detail: "the picture has this caption already"})
			continue
		}
		references = append(references, cleaned)
	}
	return references
}

// addVocabulary numbers the words of the training captions.
func addVocabulary(ds *captioner.Dataset, cfg captioner.DataConfig) error {
	var captions, all []string
	for _, e := range ds.Examples {
		all = append(all, e.References...)
		if e.Split == captioner.Train {
			captions = append(captions, e.References...)
		}
	}
	measured := captions
	vocabulary := text.BuildVocabulary(captions, cfg.MinWordCount)
	if cfg.Vocabulary == text.Original {
		// The original measures the captions of all splits.
		vocabulary, measured = text.BuildOriginalVocabulary(captions, cfg.MinWordCount), all
	}
	ds.Vocabulary = vocabulary.Tokens()
	if vocabulary.Words() == 0 {
		return &captioner.Error{Kind: captioner.Invalid, Code: "unusable_data", Message: "the data set cannot be used", Problems: []captioner.Problem{
			{Field: "data.min_word_count", Message: "no word occurs that often in the training captions"},
		}}
	}
	ds.MaxTokens = cfg.MaxTokens
	if ds.MaxTokens == 0 {
		ds.MaxTokens = lengthPercentile(measured, cfg.MaxTokensPercentile)
	}
	return nil
}

// lengthPercentile returns the length in tokens, start and end included, that
// the percentile of the captions does not exceed (nearest rank).
func lengthPercentile(captions []string, percentile float64) int {
	lengths := make([]int, len(captions))
	for i, c := range captions {
		lengths[i] = len(text.Fields(c)) + 2
	}
	slices.Sort(lengths)
	return lengths[rank(len(lengths), percentile)-1]
}

// rank returns the least number of n things that are percentile percent of
// them, at least 1.
func rank(n int, percentile float64) int {
	// In hundredths, since 0.99 × 100 in floating point may round to either side.
	hundredths := int(math.Round(100 * percentile))
	return max(1, (n*hundredths+9_999)/10_000)
}

// examined is what a picture's file turned out to be.
type examined struct {
	missing        bool
	reason, detail string // why it cannot be used; empty if it can
	digest         captioner.Digest
}

// examine inspects and hashes the pictures below root, twice as many at a time
// as there are processors, so that reading and hashing overlap.
func examine(ctx context.Context, root *os.Root, names []string, maxPixels int, progress func(done, total int)) ([]examined, error) {
	results := make([]examined, len(names))
	var mu sync.Mutex
	done := 0
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	for i, name := range names {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			results[i] = examineOne(ctx, root, name, maxPixels)
			mu.Lock()
			defer mu.Unlock()
			done++
			if progress != nil && ctx.Err() == nil {
				progress(done, len(names))
			}
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return results, nil
}

func examineOne(ctx context.Context, root *os.Root, name string, maxPixels int) examined {
	// Stat first: opening a pipe would wait for a writer.
	stat, err := root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return examined{missing: true}
	}
	if err == nil && !stat.Mode().IsRegular() {
		return examined{reason: "unsupported", detail: "this is not a regular file"}
	}
	if err != nil {
		return unreadable
	}
	f, err := root.Open(name)
	if err != nil {
		return unreadable
	}
	defer f.Close()
	if _, err := images.InspectReader(f, stat.Size(), maxPixels); err != nil {
		return examined{reason: images.Reason(err), detail: message(err)}
	}
	digest, _, err := captioner.DigestReader(contextReader{ctx, f})
	if err != nil {
		return unreadable
	}
	return examined{digest: digest}
}

var unreadable = examined{reason: "unreadable", detail: "the file cannot be read, or is a link that leads out of the images folder"}

// contextReader stops a long read when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// message returns the sentence of an error that is meant for a person.
func message(err error) string {
	var e *captioner.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return "the file cannot be read"
}

func fileError(err error, what string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return captioner.Wrap(captioner.NotFound, err, "%s: it does not exist", what)
	}
	return captioner.Wrap(captioner.Internal, err, "%s", what)
}
