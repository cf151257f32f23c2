package workflows_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/captioner/captioner"
)

// hold keeps the activities of one name from going on, where they first write or
// ask for something, until their context ends.
type hold struct {
	reached chan struct{}

	mu   sync.Mutex
	name string
}

func (h *hold) at(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.name = name
}

// wait returns when ctx ends if this is the activity that is held.
func (h *hold) wait(ctx context.Context) {
	h.mu.Lock()
	here := activity.IsActivity(ctx) && activity.GetInfo(ctx).ActivityType.Name == h.name
	h.mu.Unlock()
	if here {
		h.reached <- struct{}{}
		<-ctx.Done()
	}
}

type heldStore struct {
	captioner.Store
	*hold
}

func (s heldStore) PutRun(ctx context.Context, r captioner.RunRecord) (captioner.RunRecord, bool, error) {
	s.wait(ctx)
	return s.Store.PutRun(ctx, r)
}

func (s heldStore) NoteUse(ctx context.Context, run string, digests ...string) error {
	s.wait(ctx)
	return s.Store.NoteUse(ctx, run, digests...)
}

func (s heldStore) Alias(ctx context.Context, name string) (captioner.Alias, error) {
	s.wait(ctx)
	return s.Store.Alias(ctx, name)
}

type heldBlobs struct {
	captioner.BlobStore
	*hold
}

func (b heldBlobs) Put(ctx context.Context, r io.Reader) (captioner.Digest, int64, error) {
	b.wait(ctx)
	return b.BlobStore.Put(ctx, r)
}

// disturbed is a deployment whose runs are held.
type disturbed struct {
	*deployment
	*hold
}

func newDisturbed(t *testing.T) *disturbed {
	d := &disturbed{deploy(t), &hold{reached: make(chan struct{}, 8)}}
	a := d.fixture.Activities
	a.Store, a.Blobs = heldStore{a.Store, d.hold}, heldBlobs{a.Blobs, d.hold}
	return d
}

// start begins a run of which nothing is found done, and returns once it is held.
func (d *disturbed) start(t *testing.T, i int, stage string) string {
	t.Helper()
	cfg := d.fixture.Config()
	cfg.Training.Seed, cfg.Model.ImageSize, cfg.Data.Seed, cfg.Data.ShardSize = uint64(i+1), 32+8*i, uint64(i), 100
	d.at(stage)
	run, err := d.runs.Start(t.Context(), cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	<-d.reached
	return run.ID
}

// clean checks that no attempt has left its work folder.
func (d *disturbed) clean(t *testing.T, stage string) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(d.fixture.Activities.DataDir, "runs", "*", "attempt-*")); err != nil || len(left) > 0 {
		t.Errorf("%s: %v are left, %v", stage, left, err)
	}
}

// disturbedStages are a few, or in a long test all.
func disturbedStages(few ...string) []string {
	if os.Getenv("CAPTIONER_LONG_TESTS") == "" {
		return few
	}
	return stages
}

// TestCancelledInEachStage: the run ends within 5 s, and what is live stays live.
func TestCancelledInEachStage(t *testing.T) {
	d := newDisturbed(t)
	d.work(t)
	for i, stage := range disturbedStages("PrepareData", "CaptionShard", "Deploy") {
		id := d.start(t, i, stage)
		begin := time.Now()
		if err := d.runs.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		_, err := d.runs.WaitResult(t.Context(), id)
		took := time.Since(begin)
		t.Logf("cancelled in %s: ended after %v", stage, took.Round(time.Millisecond))
		if captioner.CodeOf(err) != "cancelled" || took > 6*time.Second {
			t.Errorf("cancelled in %s: %v after %v, want code cancelled within 5 s", stage, err, took)
		}
		if alias, err := d.fixture.Store.Alias(t.Context(), captioner.Production); captioner.KindOf(err) != captioner.NotFound {
			t.Errorf("cancelled in %s: %+v is live, %v", stage, alias, err)
		}
		d.clean(t, stage)
	}
}

// TestStoppedInEachStage: the worker gives the step back at once, and the next one
// completes the run.
func TestStoppedInEachStage(t *testing.T) {
	d := newDisturbed(t)
	for i, stage := range disturbedStages("ExtractFeatures", "WriteDeploymentManifest") {
		stop := d.work(t)
		id := d.start(t, i, stage)
		begin := time.Now()
		stop()
		took := time.Since(begin)
		t.Logf("stopped in %s: the worker ended after %v", stage, took.Round(time.Millisecond))
		if took > 30*time.Second {
			t.Errorf("stopped in %s: the worker took %v", stage, took)
		}
		d.clean(t, stage)
		d.at("")
		stop = d.work(t)
		if _, err := d.runs.WaitResult(t.Context(), id); err != nil {
			t.Errorf("stopped in %s: the run ended with %v", stage, err)
		}
		stop()
	}
}
