package fsck

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/registry"
)

// The files of a bundle that a version's row repeats.
const (
	evaluationFile = "evaluation.json"
	lineageFile    = "lineage.json"
	trainingFile   = "training.json"
)

// versions compares the registered versions with their bundles, and finds bundles
// whose version is not registered.
func (c *checker) versions(ctx context.Context) error {
	digests, err := c.records.VersionDigests(ctx)
	if err != nil {
		return err
	}
	registered := map[captioner.Digest]bool{}
	for _, digest := range digests {
		v, err := c.records.ModelVersion(ctx, string(digest))
		switch captioner.KindOf(err) {
		case "":
			// What a repair of the log or of the database knew no more of than its name
			// is registered anew.
			bare := v.DeletedAt != nil && v.RunID == "" && v.Lineage.Config == ""
			registered[digest] = !bare
			if v.DeletedAt == nil {
				err = c.version(ctx, v)
			}
		case captioner.Corrupt:
			registered[digest] = true
			err = c.unreadable(ctx, digest)
		}
		if err != nil {
			return err
		}
	}
	return c.unregistered(ctx, registered)
}

// unreadable makes a row again that cannot be decoded.
func (c *checker) unreadable(ctx context.Context, digest captioner.Digest) error {
	p := Problem{Check: Version, Subject: string(digest), Message: "its row cannot be read"}
	if !c.complete(digest) {
		p.Advice = "restore a backup: its bundle is missing or damaged too"
		return c.found(p, nil)
	}
	v, err := c.lostVersion(ctx, digest)
	if err != nil {
		return err
	}
	p.Repair = "it is derived from the bundle"
	return c.found(p, func() error { return c.records.ReplaceModelVersion(ctx, v) })
}

// version checks one row and its bundle.
func (c *checker) version(ctx context.Context, v captioner.ModelVersion) error {
	c.report.Checked[Bundle]++
	if bad := c.lacks(v.Version); len(bad) > 0 {
		return c.found(Problem{Check: Bundle, Subject: string(v.Version),
			Message: "missing or damaged: " + strings.Join(bad, ", "),
			Advice:  "start run " + cmp.Or(v.RunID, "of the version") + " again with the same configuration and data: it makes the same bytes"}, nil)
	}
	c.report.Checked[Version]++
	derived, differs, err := c.derive(ctx, v)
	if err != nil || !differs {
		return err
	}
	return c.found(Problem{Check: Version, Subject: string(v.Version), Message: "its row does not say what its bundle does",
		Repair: "scores, lineage and training are taken from the bundle"},
		func() error { return c.records.ReplaceModelVersion(ctx, derived) })
}

// lacks lists the files of a bundle that are missing or damaged.
func (c *checker) lacks(version captioner.Digest) []string {
	m, ok := c.blobs.manifests[version]
	if !ok {
		return []string{registry.ManifestName}
	}
	var bad []string
	for _, f := range m.Files {
		if !c.blobs.whole(f.SHA256) || c.blobs.info[f.SHA256].Size != f.Size {
			bad = append(bad, f.Path)
		}
	}
	return bad
}

// complete reports whether all of a bundle is there.
func (c *checker) complete(version captioner.Digest) bool {
	_, ok := c.blobs.manifests[version]
	return ok && len(c.lacks(version)) == 0
}

// derive takes from the bundle what the row repeats, and reports whether the row
// says something else.
func (c *checker) derive(ctx context.Context, row captioner.ModelVersion) (derived captioner.ModelVersion, differs bool, err error) {
	derived = row
	for name, field := range map[string]any{evaluationFile: &derived.Evaluation, lineageFile: &derived.Lineage, trainingFile: &derived.Training} {
		f, ok := c.blobs.manifests[row.Version].File(name)
		if !ok {
			continue // an imported version has no scores
		}
		before, err := json.Marshal(field)
		if err != nil {
			return derived, false, captioner.Wrap(captioner.Internal, err, "compare version %s", row.Version.Short())
		}
		zero(field)
		if err := captioner.ReadJSON(ctx, c.Blobs, f.SHA256, field); err != nil {
			return derived, false, err
		}
		after, err := json.Marshal(field)
		if err != nil {
			return derived, false, captioner.Wrap(captioner.Internal, err, "compare version %s", row.Version.Short())
		}
		differs = differs || !bytes.Equal(before, after)
	}
	return derived, differs, nil
}

// zero empties a field before it is decoded into.
func zero(field any) {
	switch f := field.(type) {
	case *captioner.Evaluation:
		*f = captioner.Evaluation{}
	case *captioner.Lineage:
		*f = captioner.Lineage{}
	case *captioner.TrainResult:
		*f = captioner.TrainResult{}
	}
}

// unregistered finds whole bundles that no row names.
func (c *checker) unregistered(ctx context.Context, registered map[captioner.Digest]bool) error {
	var lost []captioner.Digest
	for digest, m := range c.blobs.manifests {
		_, isBundle := m.File(lineageFile)
		young := !c.salvaged && c.Now().Sub(c.blobs.info[digest].PutAt) < settles
		if isBundle && !registered[digest] && !young && c.complete(digest) {
			lost = append(lost, digest)
		}
	}
	slices.Sort(lost)
	for _, digest := range lost {
		v, err := c.lostVersion(ctx, digest)
		if err != nil {
			return err
		}
		if err := c.found(Problem{Check: Version, Subject: string(digest), Message: "its bundle is there, and it is not registered",
			Repair: "its row is derived from the bundle"},
			func() error { return c.records.ReplaceModelVersion(ctx, v) }); err != nil {
			return err
		}
	}
	return nil
}

// lostVersion derives a row, with the run and the time as far as others know them.
func (c *checker) lostVersion(ctx context.Context, digest captioner.Digest) (captioner.ModelVersion, error) {
	v, _, err := c.derive(ctx, captioner.ModelVersion{Version: digest})
	if err != nil {
		return v, err
	}
	runs, err := c.records.RunRecords(ctx, 0)
	if err != nil {
		return v, err
	}
	for _, r := range slices.Backward(runs) { // the first run that made it
		if r.Result != nil && r.Result.Version == digest {
			v.RunID, v.CreatedAt = r.ID, *cmp.Or(r.FinishedAt, &r.CreatedAt)
			return v, nil
		}
	}
	for _, r := range c.blobs.moves {
		if m := r.Move; m.Version == digest && (v.CreatedAt.IsZero() || m.MovedAt.Before(v.CreatedAt)) {
			v.CreatedAt = m.MovedAt
		}
	}
	if v.CreatedAt.IsZero() {
		v.CreatedAt = c.blobs.info[digest].PutAt.Truncate(time.Second)
	}
	return v, nil
}
