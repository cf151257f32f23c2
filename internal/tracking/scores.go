package tracking

import (
	"bytes"
	"context"
	"encoding/csv"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/metrics"
)

// referencesJoint separates a picture's references in bleu_scores.csv.
const referencesJoint = " | "

// pictureScores gives bleu_scores.csv: a row for each test picture and algorithm.
func pictureScores(ctx context.Context, blobs captioner.BlobStore, p captioner.Progress) ([]byte, error) {
	var ds captioner.Dataset
	if err := captioner.ReadJSON(ctx, blobs, p.Dataset, &ds); err != nil {
		return nil, err
	}
	references := map[string][]string{}
	for _, e := range ds.Examples {
		references[e.Image] = e.References
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"image", "algorithm", "bleu1", "bleu2", "bleu3", "bleu4", "hypothesis", "references"}) // into memory
	for _, digest := range p.Captions {
		var captions []captioner.CaptionedImage
		if err := captioner.ReadJSON(ctx, blobs, digest, &captions); err != nil {
			return nil, err
		}
		for _, c := range captions {
			for _, algorithm := range c.Algorithms() {
				caption := c.Caption(algorithm)
				bleu, err := metrics.SentenceBLEU(caption, references[c.Image])
				if err != nil {
					return nil, err
				}
				record := []string{c.Image, algorithm}
				for _, v := range bleu {
					record = append(record, number(v))
				}
				_ = w.Write(append(record, caption, strings.Join(references[c.Image], referencesJoint)))
			}
		}
	}
	w.Flush()
	return b.Bytes(), nil
}
