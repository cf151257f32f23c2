package tracking

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/wamuir/graft/tensorflow/core/util/event_go_proto"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
)

// runFiles are the files of one run.
type runFiles struct {
	tracker *Tracker
	dir     string
	curves  curves
	table   table
	log     eventLog
	hash    captioner.Digest // of the configuration
	// pictures are those of the samples, which repeat after every epoch.
	pictures map[captioner.Digest][]byte
	// shown are the captions with which the event file has the pictures, by image.
	shown    map[string]string
	summary  []byte // as last written
	scored   bool   // whether the event file has the scores
	warned   string // the last warning
	failures int    // in a row
}

func (t *Tracker) newRunFiles(id string) *runFiles {
	dir := filepath.Join(t.opts.Dir, Folder(id))
	return &runFiles{
		tracker: t, dir: dir, pictures: map[captioner.Digest][]byte{}, shown: map[string]string{},
		table: table{files: t.opts.Files, path: filepath.Join(dir, metricsFile)}, log: eventLog{files: t.opts.Files, dir: dir},
	}
}

// close has everything written again the next time.
func (f *runFiles) close() {
	f.table.close()
	f.log.close()
	f.curves.unsettle()
	clear(f.shown)
	f.scored = false
}

// sync brings the files up to the record and the curves. The summary comes last:
// one of an ended run says that all is there.
func (f *runFiles) sync(ctx context.Context, r captioner.RunRecord) error {
	if f.hash == "" {
		if err := f.writeConfig(r); err != nil {
			return fmt.Errorf("%s: %w", configFile, err)
		}
	}
	if r.Progress != nil && r.Progress.RunKey != "" {
		if err := f.writeCurves(ctx, r); err != nil {
			return err
		}
	}
	if r.State != captioner.RunRunning && r.Progress != nil && len(r.Progress.Captions) > 0 {
		if err := f.unlessLost(scoresFile, f.writeScores(ctx, *r.Progress)); err != nil {
			return err
		}
		if err := f.unlessLost(wordIndexFile, f.writeWords(ctx, r.Progress.Dataset)); err != nil {
			return err
		}
	}
	if err := f.writeSummary(r); err != nil {
		return fmt.Errorf("%s: %w", summaryFile, err)
	}
	return nil
}

// writeConfig writes the configuration with its digest, which is that of a
// version's lineage and leaves the paths out.
func (f *runFiles) writeConfig(r captioner.RunRecord) error {
	var snapshot map[string]any
	if json.Unmarshal(r.Config, &snapshot) != nil || snapshot == nil {
		snapshot = map[string]any{} // what a run was refused for is in its summary
	}
	hash, err := configHash(r.Config)
	if err != nil { // the configuration of a run that has failed for it
		hash = captioner.DigestOf(r.Config)
	}
	snapshot["_config_hash"] = hash
	if err := replaceJSON(f.tracker.opts.Files, filepath.Join(f.dir, configFile), snapshot); err != nil {
		return err
	}
	f.hash = hash
	return nil
}

func configHash(data []byte) (captioner.Digest, error) {
	var cfg captioner.Config
	if err := json.Unmarshal(data, &cfg); err != nil {
		return "", err
	}
	return config.Digest(cfg)
}

// writeCurves appends what is new, or writes everything where the files are
// not open yet or what they hold was overtaken.
func (f *runFiles) writeCurves(ctx context.Context, r captioner.RunRecord) error {
	c := &f.curves
	if c.runKey != r.Progress.RunKey { // the training of a run that was started again
		f.close()
		*c = curves{runKey: r.Progress.RunKey}
	}
	if err := c.read(ctx, f.tracker.opts.Store); err != nil {
		return err
	}
	if c.disturbed || f.table.file == nil || f.log.file == nil {
		f.close()
	}
	ended := r.State != captioner.RunRunning
	rows, samples := c.fresh(ended)
	var events []*event_go_proto.Event
	if f.log.file == nil {
		events = append(events, event(r.CreatedAt, 0, text("config", codeBlock(r.Config))))
	}
	events = append(events, rowEvents(rows)...)
	events = append(events, sampleEvents(samples, func(s captioner.Sample) []byte { return f.show(ctx, s) })...)
	scores := ended && !f.scored && r.Result != nil && r.FinishedAt != nil && len(c.rows) > 0
	if scores {
		events = append(events, scoreEvents(*r.FinishedAt, c.rows[len(c.rows)-1].step, r.Result.Evaluation)...)
	}
	err := f.table.write(rows, c.rows[:c.settledRows+len(rows)])
	if err == nil {
		err = f.log.write(f.tracker.opts.Now(), events)
	}
	if err != nil {
		f.close() // nobody knows how much was written: the next time all of it is
		return fmt.Errorf("curves: %w", err)
	}
	c.settle(len(rows), len(samples))
	f.scored = f.scored || scores
	return nil
}

// show returns a sample's picture with its caption, nil when the caption is the
// one that is shown already. Late in training few captions change, and the event
// file stays small.
func (f *runFiles) show(ctx context.Context, s captioner.Sample) []byte {
	if said, ok := f.shown[s.Image]; ok && said == s.Caption {
		return nil
	}
	f.shown[s.Image] = s.Caption
	return captioned(f.picture(ctx, s.Picture), s.Caption)
}

// picture returns a sample's picture, nil where it cannot be had.
func (f *runFiles) picture(ctx context.Context, digest captioner.Digest) []byte {
	if digest == "" {
		return nil
	}
	data, known := f.pictures[digest]
	if !known {
		var err error
		if data, err = captioner.ReadBlob(ctx, f.tracker.opts.Blobs, digest); err != nil {
			f.warn("a sample's picture", err)
			return nil
		}
		f.pictures[digest] = data
	}
	return data
}

func (f *runFiles) writeScores(ctx context.Context, p captioner.Progress) error {
	data, err := PictureScores(ctx, f.tracker.opts.Blobs, p)
	if err != nil {
		return err
	}
	return replaceFile(f.tracker.opts.Files, filepath.Join(f.dir, scoresFile), data)
}

// unlessLost returns the error of writing a file, which a later look may do
// better, but for what is lost for good: of that it warns.
func (f *runFiles) unlessLost(file string, err error) error {
	switch captioner.KindOf(err) {
	case "":
		return nil
	case captioner.NotFound, captioner.Corrupt: // and so it will be
		f.warn(file, err)
		return nil
	}
	return fmt.Errorf("%s: %w", file, err)
}

// writeSummary writes the summary where it has changed. What a run that has
// ended ran on is not this process's to say, if it was said before.
func (f *runFiles) writeSummary(r captioner.RunRecord) error {
	path := filepath.Join(f.dir, summaryFile)
	s := summarise(r, f.hash, &f.curves)
	s.Git, s.Environment = f.tracker.opts.Build, f.tracker.environment()
	if before, ok := readSummary(path); ok && r.State != captioner.RunRunning {
		s.Git, s.Environment = before.Git, before.Environment
	}
	var err error
	if s.Files, err = f.list(); err != nil {
		return err
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil || bytes.Equal(data, f.summary) {
		return err
	}
	if err := replaceFile(f.tracker.opts.Files, path, append(data, '\n')); err != nil {
		return err
	}
	f.summary = data
	return nil
}

// list names the files of the run, but for the summary.
func (f *runFiles) list() ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	files := []string{}
	for _, e := range entries {
		if name := e.Name(); e.Type().IsRegular() && name != summaryFile && !strings.HasPrefix(name, ".") {
			files = append(files, name)
		}
	}
	return files, nil
}

// warn logs what went wrong, once while it stays the same.
func (f *runFiles) warn(what string, err error) {
	if text := what + err.Error(); text != f.warned {
		f.warned = text
		f.tracker.opts.Logger.Warn("a run's files are not complete", "folder", f.dir, "what", what, "error", err)
	}
}

// codeBlock is JSON as Markdown shows it.
func codeBlock(data []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, data, "    ", "  ") != nil {
		return ""
	}
	return "    " + b.String()
}
