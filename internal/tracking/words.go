package tracking

import (
	"context"
	"path/filepath"

	"github.com/captioner/captioner"
	words "github.com/captioner/captioner/ml/text"
)

// writeWords writes the vocabulary as the original system's programs read it.
func (f *runFiles) writeWords(ctx context.Context, dataset captioner.Digest) error {
	var ds captioner.Dataset
	if err := captioner.ReadJSON(ctx, f.tracker.opts.Blobs, dataset, &ds); err != nil {
		return err
	}
	vocabulary, err := words.NewVocabulary(ds.Vocabulary)
	if err != nil {
		return err
	}
	if err := replaceJSON(f.tracker.opts.Files, filepath.Join(f.dir, wordIndexFile), vocabulary.WordIndex()); err != nil {
		return err
	}
	return replaceJSON(f.tracker.opts.Files, filepath.Join(f.dir, indexWordFile), vocabulary.IndexWord())
}
