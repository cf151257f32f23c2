package store

import (
	"context"
	"database/sql"

	"github.com/captioner/captioner"
)

// PutSamples adds what a model said at the end of an epoch, all or none, with
// numbers from the same sequence as metrics. A sample with the same run key,
// step and image replaces the old one and is new for readers who follow.
func (s *Store) PutSamples(ctx context.Context, attempt int64, samples []captioner.Sample) error {
	counts := map[string]int{}
	for _, sample := range samples {
		counts[sample.RunKey]++
	}
	return s.change(ctx, "add sample captions", func(tx *sql.Tx) error {
		next, err := reserve(ctx, tx, attempt, counts)
		if err != nil {
			return err
		}
		for _, p := range samples {
			_, err := tx.ExecContext(ctx,
				`INSERT INTO samples (run_key, step, image, epoch, caption, reference, picture, time, sequence)
				 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
				 ON CONFLICT (run_key, step, image) DO UPDATE
				   SET epoch = excluded.epoch, caption = excluded.caption, reference = excluded.reference,
				       picture = excluded.picture, time = excluded.time, sequence = excluded.sequence`,
				p.RunKey, p.Step, text(p.Image), p.Epoch, text(p.Caption), text(p.Reference), string(p.Picture), micros(s.orNow(p.Time)), next[p.RunKey])
			if err != nil {
				return err
			}
			next[p.RunKey]++
		}
		return nil
	})
}

// Samples returns the samples of a training in the order of writing, from the
// sequence number after on; sequence is the last one returned, or after when
// there is nothing new.
func (s *Store) Samples(ctx context.Context, runKey string, after int64, limit int) ([]captioner.Sample, int64, error) {
	var samples []captioner.Sample
	sequence := after
	err := s.queryAll(ctx, "read sample captions", func(r rowScanner) error {
		p := captioner.Sample{RunKey: runKey}
		var time int64
		if err := r.Scan(&p.Step, &p.Image, &p.Epoch, &p.Caption, &p.Reference, &p.Picture, &time, &p.Sequence); err != nil {
			return err
		}
		sequence = p.Sequence
		p.Time = fromMicros(time)
		samples = append(samples, p)
		return nil
	}, `SELECT step, image, epoch, caption, reference, picture, time, sequence FROM samples
	    WHERE run_key = $1 AND sequence > $2 ORDER BY sequence LIMIT $3`, runKey, after, atMost(limit))
	if err != nil {
		return nil, after, err
	}
	return samples, sequence, nil
}

// SamplePicture returns the blob of a sample's picture; NotFound for an image
// that is no sample of the training, or whose picture was not kept.
func (s *Store) SamplePicture(ctx context.Context, runKey, image string) (captioner.Digest, error) {
	var picture captioner.Digest
	err := s.queryRow(ctx, "find a sample's picture", scanInto(&picture),
		`SELECT picture FROM samples WHERE run_key = $1 AND image = $2 AND picture <> '' ORDER BY step DESC LIMIT 1`, runKey, text(image))
	return picture, err
}
