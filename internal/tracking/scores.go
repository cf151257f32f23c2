package tracking

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/metrics"
)

// referencesJoint separates a picture's references in bleu_scores.csv.
const referencesJoint = " | "

// PictureScores gives bleu_scores.csv: a row for each test picture and algorithm.
func PictureScores(ctx context.Context, blobs captioner.BlobStore, p captioner.Progress) ([]byte, error) {
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

// Scores names the scores of the test split as charts of a run's metrics do,
// such as scores/beam/bleu4.
func Scores(e captioner.Evaluation) map[string]float64 {
	scores := map[string]float64{}
	for _, s := range e.Scores {
		for i, v := range []float64{s.BLEU1, s.BLEU2, s.BLEU3, s.BLEU4} {
			scores[fmt.Sprintf("scores/%s/bleu%d", s.Algorithm, i+1)] = v
		}
		for name, v := range s.Metrics {
			scores["scores/"+s.Algorithm+"/"+name] = v
		}
	}
	for name, v := range e.Demonstration {
		scores["scores/demonstration/"+name] = v
	}
	return scores
}
