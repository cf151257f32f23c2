package fsck

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/captioner/captioner"
)

// logs checks the deployment log of each alias.
func (c *checker) logs(ctx context.Context) error {
	names, err := c.records.AliasNames(ctx)
	if err != nil {
		return err
	}
	all := map[string]bool{}
	for _, name := range names {
		all[name] = true
	}
	for _, r := range c.blobs.moves {
		all[r.Move.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := c.log(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// log compares the rows of one log with its records.
func (c *checker) log(ctx context.Context, name string) error {
	rows, err := c.records.AliasMoves(ctx, name, 0)
	if err != nil {
		return err
	}
	slices.Reverse(rows)
	c.report.Checked[Log] += len(rows)
	truth, unkept, err := c.truth(name, rows)
	if err != nil {
		return err
	}
	rewrite := func() error {
		if err := c.records.RewriteLog(ctx, name, truth); err != nil {
			return err
		}
		return c.keep(ctx, truth)
	}
	problems := compare(name, rows, truth)
	if slices.ContainsFunc(problems, func(p Problem) bool { return p.Repair == "" }) {
		rewrite = nil // it would lose rows that may be right
	}
	for _, p := range problems {
		if rewrite == nil {
			p.Repair, p.Advice = "", "restore a backup: what the log was cannot be told for sure"
		}
		if err := c.found(p, rewrite); err != nil {
			return err
		}
	}
	if rewrite == nil {
		return nil
	}
	if unkept > 0 {
		if err := c.found(Problem{Check: Log, Subject: name, Message: fmt.Sprintf("the records of %d moves are no blobs", unkept),
			Repair: "they are stored"}, func() error { return c.keep(ctx, truth) }); err != nil {
			return err
		}
	}
	return c.alias(ctx, name, truth, rewrite)
}

// alias compares where an alias points with the end of its log.
func (c *checker) alias(ctx context.Context, name string, truth []captioner.MoveRecord, rewrite func() error) error {
	var want captioner.Alias
	if len(truth) > 0 {
		want = truth[len(truth)-1].Move.Alias
	}
	got, err := c.records.Alias(ctx, name)
	if captioner.KindOf(err) == captioner.NotFound {
		err = nil
	}
	if err != nil || got == want || want == (captioner.Alias{}) {
		return err
	}
	return c.found(Problem{Check: Log, Subject: name,
		Message: fmt.Sprintf("the alias points to version %s, generation %d; its log ends at version %s, generation %d",
			cmp.Or(got.Version, "none").Short(), got.Generation, want.Version.Short(), want.Generation),
		Repair: "the alias is set to the end of its log"}, rewrite)
}

// truth returns the log as it was, as far as rows and records together know it, and
// how many of its records are no blobs. What the newest row names counts first: a
// database that was restored from an earlier time may have gone on since.
func (c *checker) truth(name string, rows []captioner.AliasMove) (truth []captioner.MoveRecord, unkept int, err error) {
	for _, row := range slices.Backward(rows) {
		if truth = c.chain(name, row.Record); truth != nil {
			break
		}
	}
	if truth == nil && !unchained(rows) {
		truth = c.longest(name)
	}
	byGeneration := map[int64]captioner.AliasMove{}
	for _, row := range rows {
		byGeneration[row.Generation] = row
	}
	for {
		var before captioner.Digest
		if len(truth) > 0 {
			if before, err = digestOfRecord(truth[len(truth)-1]); err != nil {
				return nil, 0, err
			}
		}
		generation := int64(len(truth) + 1)
		if next, ok := c.after(name, before, generation); ok {
			truth = append(truth, next)
			continue
		}
		row, ok := byGeneration[generation]
		if !ok {
			return truth, unkept, nil
		}
		r := captioner.MoveRecord{Move: row, Before: before}
		digest, err := digestOfRecord(r)
		if err != nil {
			return nil, 0, err
		}
		if row.Record != "" && row.Record != digest {
			return truth, unkept, nil // changed, and kept nowhere else
		}
		r.Move.Record = ""
		truth = append(truth, r)
		if row.Record != "" {
			unkept++
		}
	}
}

// chain returns the records from the first to the one with the digest; nil unless
// all are blobs.
func (c *checker) chain(name string, digest captioner.Digest) []captioner.MoveRecord {
	var chain []captioner.MoveRecord
	for digest != "" {
		r, ok := c.blobs.moves[digest]
		if !ok || r.Move.Name != name {
			return nil
		}
		chain, digest = append(chain, r), r.Before
	}
	slices.Reverse(chain)
	for i, r := range chain {
		if r.Move.Generation != int64(i+1) {
			return nil
		}
	}
	return chain
}

// unchained reports whether all rows are of before there were records.
func unchained(rows []captioner.AliasMove) bool {
	for _, row := range rows {
		if row.Record != "" {
			return false
		}
	}
	return len(rows) > 0
}

// longest returns the longest chain of records; of equal ones the one that ended
// last.
func (c *checker) longest(name string) []captioner.MoveRecord {
	var longest []captioner.MoveRecord
	for digest := range c.blobs.moves {
		chain := c.chain(name, digest)
		switch n := cmp.Compare(len(chain), len(longest)); {
		case n > 0, n == 0 && n < len(chain) && chain[len(chain)-1].Move.MovedAt.After(longest[len(longest)-1].Move.MovedAt):
			longest = chain
		}
	}
	return longest
}

// after returns the record that follows another; the latest where there are two.
func (c *checker) after(name string, before captioner.Digest, generation int64) (next captioner.MoveRecord, ok bool) {
	for _, r := range c.blobs.moves {
		if r.Before == before && r.Move.Name == name && r.Move.Generation == generation && (!ok || r.Move.MovedAt.After(next.Move.MovedAt)) {
			next, ok = r, true
		}
	}
	return next, ok
}

// compare lists how the rows differ from the truth.
func compare(name string, rows []captioner.AliasMove, truth []captioner.MoveRecord) []Problem {
	var problems []Problem
	add := func(generation int64, message, repair string) {
		problems = append(problems, Problem{Check: Log, Subject: fmt.Sprintf("%s, generation %d", name, generation), Message: message, Repair: repair})
	}
	there := map[int64]captioner.AliasMove{}
	for _, row := range rows {
		there[row.Generation] = row
	}
	var before captioner.Digest
	for _, want := range truth {
		generation := want.Move.Generation
		row, ok := there[generation]
		delete(there, generation)
		wanted, _ := want.Encode()
		got, _ := captioner.MoveRecord{Move: row, Before: before}.Encode()
		digest := captioner.DigestOf(wanted)
		switch {
		case !ok:
			add(generation, "the row is lost", "it is written again from its record")
		case !bytes.Equal(wanted, got), row.Record != "" && row.Record != digest:
			add(generation, "the row has changed since it was written", "it is written again from its record")
		}
		before = digest
	}
	for _, generation := range slices.Sorted(maps.Keys(there)) {
		add(generation, "the row does not follow from the one before it, and its record is kept nowhere", "")
	}
	return problems
}

// keep stores the records that are no blobs.
func (c *checker) keep(ctx context.Context, records []captioner.MoveRecord) error {
	for _, r := range records {
		data, err := r.Encode()
		if err != nil {
			return err
		}
		if _, _, err := c.Blobs.Put(ctx, bytes.NewReader(data)); err != nil {
			return err
		}
	}
	return nil
}

func digestOfRecord(r captioner.MoveRecord) (captioner.Digest, error) {
	data, err := r.Encode()
	return captioner.DigestOf(data), err
}

// checkpoints checks that each row names a blob that is whole.
func (c *checker) checkpoints(ctx context.Context) error {
	rows, err := c.records.Checkpoints(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		c.report.Checked[Checkpoint]++
		latest, before := c.blobs.whole(row.Blob), row.PreviousBlob == "" || c.blobs.whole(row.PreviousBlob)
		if latest && before {
			continue
		}
		p := Problem{Check: Checkpoint, Subject: captioner.Digest(row.RunKey).Short(),
			Message: fmt.Sprintf("the checkpoint at step %d is missing or damaged", row.Step), Repair: "the training starts over"}
		mended := captioner.Checkpoint{RunKey: row.RunKey}
		switch {
		case latest:
			p.Message = fmt.Sprintf("the checkpoint before the latest, at step %d, is missing or damaged", row.PreviousStep)
			p.Repair = "the row names the latest alone"
			mended.Blob, mended.Step = row.Blob, row.Step
		case row.PreviousBlob != "" && before:
			p.Repair = fmt.Sprintf("the training goes on from the one before, at step %d", row.PreviousStep)
			mended.Blob, mended.Step = row.PreviousBlob, row.PreviousStep
		}
		if err := c.found(p, func() error { return c.records.ReplaceCheckpoint(ctx, mended) }); err != nil {
			return err
		}
	}
	return nil
}
