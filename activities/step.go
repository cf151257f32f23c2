package activities

import (
	"context"
	"encoding/json"

	"go.temporal.io/sdk/activity"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/registry"
)

// Provenance is the part that the results of all pure steps share.
type Provenance struct {
	// Key is the digest of all that the result depends on.
	Key string `json:"key"`
	// ResultVersion is the version of the step that made the result.
	ResultVersion int `json:"result_version"`
	// Cached says that the result was found and not made.
	Cached bool `json:"cached,omitempty"`
}

// Made returns how the result came about.
func (p *Provenance) Made() *Provenance { return p }

// made is a pointer to a result with a Provenance.
type made[Out any] interface {
	*Out
	Made() *Provenance
}

// step is one execution of a pure step.
type step[Out any, P made[Out]] struct {
	// Name is the step's; Inputs is all else that the result depends on. It
	// holds no path, time or run ID.
	Name   string
	Inputs any
	// Key is the key where the caller has made it already; Inputs is not used.
	Key string
	// Present reports whether all blobs that a kept result names are there and
	// undamaged. Making the result again repairs those that are not.
	// Nil: it names none.
	Present func(ctx context.Context, out Out) (bool, error)
	// Compute makes the result. It fills all but the Provenance.
	Compute func(ctx context.Context, key string) (Out, error)
}

// run returns the result kept under the step's key, or makes and keeps it. Of
// two results made at the same time the first one kept wins.
func (s step[Out, P]) run(ctx context.Context, a *Activities) (Out, error) {
	var none Out
	key := s.Key
	if key == "" {
		var err error
		if key, err = stepKey(s.Name, s.Inputs); err != nil {
			return none, err
		}
	}
	if err := a.noteUse(ctx, key); err != nil {
		return none, err
	}
	out, found, err := s.lookUp(ctx, a, key)
	if err != nil || found {
		return out, err
	}

	out, err = s.Compute(ctx, key)
	if err != nil {
		return none, err
	}
	*P(&out).Made() = Provenance{Key: key, ResultVersion: resultVersions[s.Name]}
	return s.keep(ctx, a, key, out)
}

// lookUp finds a kept result. One that cannot be read or that names a missing
// blob is forgotten, and counts as none.
func (s step[Out, P]) lookUp(ctx context.Context, a *Activities, key string) (out Out, found bool, err error) {
	var none Out
	data, err := a.Store.StepResult(ctx, key)
	if captioner.KindOf(err) == captioner.NotFound {
		return none, false, nil
	}
	if err != nil {
		return none, false, err
	}

	usable := json.Unmarshal(data, &out) == nil
	if usable && s.Present != nil {
		if usable, err = s.Present(ctx, out); err != nil {
			return none, false, err
		}
	}
	if !usable {
		logger(ctx).Warn("a kept result is no longer usable and is made again", "step", s.Name, "key", key)
		return none, false, a.Store.DeleteStepResult(ctx, key)
	}
	P(&out).Made().Cached = true
	return out, true, nil
}

// keep stores a result and returns the one that stands under the key.
func (s step[Out, P]) keep(ctx context.Context, a *Activities, key string, out Out) (Out, error) {
	var kept Out
	data, err := json.Marshal(out)
	if err != nil {
		return kept, captioner.Wrap(captioner.Internal, err, "encode the result of %s", s.Name)
	}
	// The work is done: a stop or a cancellation should not throw it away.
	data, err = a.Store.PutStepResult(context.WithoutCancel(ctx), key, s.Name, data)
	if err != nil {
		return kept, err
	}
	if err := json.Unmarshal(data, &kept); err != nil {
		return kept, captioner.Wrap(captioner.Corrupt, err, "decode the result of %s", s.Name)
	}
	return kept, nil
}

// noteUse records that this run uses kept results or blobs, which retention then
// leaves alone. It comes before they are looked for.
func (a *Activities) noteUse(ctx context.Context, digests ...string) error {
	id := runID(ctx)
	if id == "" {
		return nil
	}
	return a.Store.NoteUse(ctx, id, digests...)
}

// stepKey names a pure step's result by all that it depends on.
func stepKey(name string, inputs any) (string, error) {
	key, err := captioner.DigestJSON(struct {
		Step    string `json:"step"`
		Version int    `json:"version"`
		Inputs  any    `json:"inputs"`
	}{name, resultVersions[name], inputs})
	return string(key), err
}

// present reports whether all blobs are there and undamaged.
func (a *Activities) present(ctx context.Context, digests ...captioner.Digest) (bool, error) {
	for _, d := range digests {
		if _, err := a.Blobs.Local(ctx, d); err != nil {
			return false, unlessLost(err)
		}
	}
	return true, nil
}

// treePresent does the same for all files of a tree.
func (a *Activities) treePresent(ctx context.Context, tree captioner.Digest) (bool, error) {
	manifest, err := registry.LoadManifest(ctx, a.Blobs, tree)
	if err != nil {
		return false, unlessLost(err)
	}
	for _, f := range manifest.Files {
		if ok, err := a.present(ctx, f.SHA256); !ok {
			return false, err
		}
	}
	return true, nil
}

// unlessLost returns nil for an error that says that a blob is gone or damaged.
func unlessLost(err error) error {
	switch captioner.KindOf(err) {
	case captioner.NotFound, captioner.Corrupt:
		return nil
	default:
		return err
	}
}

// logger returns the activity's logger, which names run and step.
func logger(ctx context.Context) interface {
	Info(msg string, keyvals ...any)
	Warn(msg string, keyvals ...any)
} {
	if activity.IsActivity(ctx) {
		return activity.GetLogger(ctx)
	}
	return discard{}
}

type discard struct{}

func (discard) Info(string, ...any) {}
func (discard) Warn(string, ...any) {}
