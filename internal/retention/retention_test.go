package retention_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob"
	"github.com/captioner/captioner/internal/blob/s3test"
	"github.com/captioner/captioner/internal/deployment"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/retention"
	"github.com/captioner/captioner/internal/store"
)

// old is the age of what is older than the grace time.
const old = 48 * time.Hour

// reporter is a test, or one round of a property's.
type reporter interface {
	Helper()
	Fatal(args ...any)
}

// fixture is a data folder with real records and blobs, made at a time in the past.
type fixture struct {
	dir   string
	store captioner.Store
	blobs captioner.BlobStore
	// makeBlobOld gives a blob the fixture's age.
	makeBlobOld func(tb reporter, d captioner.Digest)

	age  time.Duration // of what is made
	next int
	// contents has what was put.
	contents map[captioner.Digest]string
}

func newFixture(tb testing.TB, dir string) *fixture {
	tb.Helper()
	f := &fixture{dir: dir, age: old, contents: map[captioner.Digest]string{}}
	var err error
	f.store, err = store.Open(tb.Context(), "sqlite:"+filepath.Join(dir, "captioner.db"),
		store.WithClock(func() time.Time { return time.Now().Add(-f.age) }))
	must(tb, err)
	tb.Cleanup(func() { _ = f.store.Close() })
	f.blobs, err = blob.NewDisk(filepath.Join(dir, "blobs"))
	must(tb, err)
	f.makeBlobOld = func(tb reporter, d captioner.Digest) {
		f.makeOld(tb, filepath.Join("blobs", string(d[:2]), string(d)))
	}
	return f
}

// newBucketFixture is a fixture whose blobs are in an object store.
func newBucketFixture(tb testing.TB, dir string) *fixture {
	tb.Helper()
	f := newFixture(tb, dir)
	server := s3test.Start(tb)
	bucket, err := blob.OpenBucket(tb.Context(), server.Address, filepath.Join(dir, "cache", "blobs"), 1<<30)
	must(tb, err)
	tb.Cleanup(func() { must(tb, bucket.Close()) })
	f.blobs = bucket
	f.makeBlobOld = func(_ reporter, d captioner.Digest) { server.Age(tb, "blobs/"+string(d), f.age) }
	return f
}

// put stores a blob of the fixture's age.
func (f *fixture) put(tb reporter, content string) captioner.Digest {
	tb.Helper()
	digest, _, err := f.blobs.Put(context.Background(), strings.NewReader(content))
	must(tb, err)
	f.contents[digest] = content
	f.makeBlobOld(tb, digest)
	return digest
}

// makeOld gives a file of the data folder the fixture's age.
func (f *fixture) makeOld(tb reporter, path string) {
	tb.Helper()
	if f.age > 0 {
		at := time.Now().Add(-f.age)
		must(tb, os.Chtimes(filepath.Join(f.dir, path), at, at))
	}
}

// unique is a content that there was none of before.
func (f *fixture) unique(what string) string {
	f.next++
	return fmt.Sprintf("%s %d", what, f.next)
}

// key is that of a new result or training.
func (f *fixture) key() string { return string(captioner.DigestOf([]byte(f.unique("key")))) }

// bundle stores the tree of a version and returns it with the digests of all its
// blobs.
func (f *fixture) bundle(tb reporter, contents ...string) (captioner.Digest, []captioner.Digest) {
	tb.Helper()
	var m registry.Manifest
	var all []captioner.Digest
	for i, content := range contents {
		digest := f.put(tb, content)
		m.Files = append(m.Files, registry.File{Path: fmt.Sprintf("%03d", i), Size: int64(len(content)), SHA256: digest})
		all = append(all, digest)
	}
	data, err := m.Encode()
	must(tb, err)
	version := f.put(tb, string(data))
	return version, append(all, version)
}

// result keeps the result of a step that names blobs.
func (f *fixture) result(tb reporter, key string, names ...captioner.Digest) {
	tb.Helper()
	output, err := json.Marshal(map[string]any{"key": key, "blobs": names})
	must(tb, err)
	_, err = f.store.PutStepResult(context.Background(), key, "Step", output)
	must(tb, err)
}

func (f *fixture) register(tb reporter, version captioner.Digest, run string, created time.Time, lineage captioner.Lineage) {
	tb.Helper()
	must(tb, f.store.PutModelVersion(context.Background(), captioner.ModelVersion{
		Version: version, RunID: run, CreatedAt: created, Lineage: lineage,
	}))
}

// present lists the blobs that are there.
func (f *fixture) present(tb reporter) map[captioner.Digest]bool {
	tb.Helper()
	there := map[captioner.Digest]bool{}
	must(tb, f.blobs.List(context.Background(), func(info captioner.BlobInfo) error {
		there[info.Digest] = true
		return nil
	}))
	return there
}

func (f *fixture) collect(tb testing.TB, o retention.Options) retention.Report {
	tb.Helper()
	o.Grace, o.DataDir = 24*time.Hour, f.dir
	report, err := retention.Collect(context.Background(), f.store, f.blobs, o)
	must(tb, err)
	return report
}

func must(tb reporter, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// history is a data folder in which runs have made four versions, one after the
// other; the last one is live, a fifth run trains, and a sixth has failed.
type history struct {
	*fixture
	versions []captioner.Digest
	// belong are the blobs and keys of each run, by name.
	belong map[string][]captioner.Digest
	keys   map[string][]string
}

func newHistory(t *testing.T) *history { return historyIn(t, newFixture) }

func historyIn(t *testing.T, newFixture func(testing.TB, string) *fixture) *history {
	h := &history{fixture: newFixture(t, t.TempDir()), belong: map[string][]captioner.Digest{}, keys: map[string][]string{}}
	ctx := t.Context()
	shared := h.put(t, "a file of every version")
	start := time.Now().Add(-100 * old)
	for i := range 6 {
		run := fmt.Sprintf("run-%d", i)
		state := captioner.RunCompleted
		dataset := h.put(t, fmt.Sprintf(`{"examples":[{"image":"a.png","sha256":%q}],"run":%d}`, captioner.DigestOf([]byte("a.png")), i))
		captions, deployment := h.put(t, fmt.Sprintf(`[{"image":"a.png","run":%d}]`, i)), h.put(t, fmt.Sprintf(`{"run":%d,"live":%q}`, i, last(h.versions)))
		runKey, checkpoint, picture := h.key(), h.put(t, h.unique("checkpoint")), h.put(t, h.unique("picture"))
		h.belong[run] = []captioner.Digest{dataset, captions, deployment, checkpoint, picture}
		h.keys[run] = []string{runKey}
		result := &captioner.RunResult{Deployment: deployment}
		switch i {
		case 4:
			state, result = captioner.RunRunning, nil
		case 5:
			state, result = captioner.RunFailed, nil
		}
		progress := &captioner.Progress{RunKey: runKey, Dataset: dataset, Captions: []captioner.Digest{captions}}
		_, _, err := h.store.PutRun(ctx, captioner.RunRecord{ID: run, Config: []byte("{}"), CreatedAt: start, Progress: progress})
		must(t, err)
		if state != captioner.RunRunning {
			must(t, h.store.FinishRun(ctx, run, state, result, ""))
		}
		must(t, h.store.PutCheckpoint(ctx, captioner.Checkpoint{RunKey: runKey, Attempt: 1, Blob: checkpoint, Step: 10}))
		must(t, h.store.PutSamples(ctx, 1, []captioner.Sample{{RunKey: runKey, Step: 1, Image: "a.png", Picture: picture}}))

		shard, key := h.put(t, h.unique("shard")), h.key()
		h.result(t, key, shard, dataset)
		must(t, h.store.NoteUse(ctx, run, key, runKey))
		h.belong[run] = append(h.belong[run], shard)
		h.keys[run] = append(h.keys[run], key)
		if i < 4 {
			version, blobs := h.bundle(t, "a file of every version", h.unique("weights"))
			h.register(t, version, run, start.Add(time.Duration(i)*time.Hour), captioner.Lineage{Dataset: dataset})
			h.versions = append(h.versions, version)
			registered := h.key()
			h.result(t, registered, version)
			must(t, h.store.NoteUse(ctx, run, registered))
			h.keys[run] = append(h.keys[run], registered)
			for _, d := range blobs {
				if d != shared {
					h.belong[run] = append(h.belong[run], d)
				}
			}
			_, err := h.store.MoveAlias(ctx, captioner.Production, version, int64(i), "test", "")
			must(t, err)
		} else { // a deployment is named once its run has completed
			h.belong[run] = []captioner.Digest{dataset, captions, checkpoint, picture, shard}
		}
	}
	h.belong["shared"] = []captioner.Digest{shared}
	return h
}

func last(list []captioner.Digest) captioner.Digest {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

// whose tells of which runs all blobs are there, and of which some are.
func (h *history) whose(t *testing.T) (whole, partly []string) {
	t.Helper()
	there := h.present(t)
	for _, run := range slices.Sorted(maps.Keys(h.belong)) {
		n := 0
		for _, d := range h.belong[run] {
			if there[d] {
				n++
			}
		}
		switch n {
		case 0:
		case len(h.belong[run]):
			whole = append(whole, run)
		default:
			partly = append(partly, fmt.Sprintf("%s %d/%d", run, n, len(h.belong[run])))
		}
	}
	return whole, partly
}

// TestKept: which runs' blobs stay, by what is kept and why.
func TestKept(t *testing.T)              { testKept(t, newFixture) }
func TestKeptInObjectStore(t *testing.T) { testKept(t, newBucketFixture) }

func testKept(t *testing.T, newFixture func(testing.TB, string) *fixture) {
	for _, test := range []struct {
		name    string
		options func(h *history) retention.Options
		prepare func(t *testing.T, h *history)
		want    []string
	}{
		{"live and running", func(*history) retention.Options { return retention.Options{} }, nil,
			[]string{"run-3", "run-4", "shared"}},
		{"the newest two", func(*history) retention.Options { return retention.Options{KeepVersions: 2} }, nil,
			[]string{"run-2", "run-3", "run-4", "shared"}},
		{"what a rollback goes to", func(h *history) retention.Options { return retention.Options{RollbackTarget: h.versions[1]} }, nil,
			[]string{"run-1", "run-3", "run-4", "shared"}},
		{"pinned", func(*history) retention.Options { return retention.Options{} }, func(t *testing.T, h *history) {
			must(t, h.store.PinVersion(t.Context(), h.versions[0], true))
		}, []string{"run-0", "run-3", "run-4", "shared"}},
		{"unpinned", func(*history) retention.Options { return retention.Options{} }, func(t *testing.T, h *history) {
			must(t, h.store.PinVersion(t.Context(), h.versions[0], true))
			must(t, h.store.PinVersion(t.Context(), h.versions[0], false))
		}, []string{"run-3", "run-4", "shared"}},
		{"served", func(*history) retention.Options { return retention.Options{} }, func(t *testing.T, h *history) {
			must(t, h.store.SeeReplica(t.Context(), captioner.Replica{ID: "r", Version: h.versions[2], SeenAt: time.Now()}))
		}, []string{"run-2", "run-3", "run-4", "shared"}},
		{"started again after it had failed", func(*history) retention.Options { return retention.Options{} }, func(t *testing.T, h *history) {
			h.age = 0
			must(t, h.store.NoteUse(t.Context(), "run-5", h.keys["run-5"][0]))
		}, []string{"run-3", "run-4", "run-5", "shared"}},
		{"everything is young", func(*history) retention.Options {
			return retention.Options{Now: func() time.Time { return time.Now().Add(-old) }}
		}, nil, []string{"run-0", "run-1", "run-2", "run-3", "run-4", "run-5", "shared"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := historyIn(t, newFixture)
			if test.prepare != nil {
				test.prepare(t, h)
			}
			o := test.options(h)
			dry := h.collect(t, o)
			if all, partly := h.whose(t); len(all) != 7 || len(partly) != 0 {
				t.Fatalf("a dry run has deleted: %v whole, %v partly left", all, partly)
			}
			o.Delete = true
			report := h.collect(t, o)
			whole, partly := h.whose(t)
			if diff := cmp.Diff(test.want, whole); diff != "" || len(partly) > 0 {
				t.Errorf("whole runs (-want +got):\n%s\nand partly there: %v", diff, partly)
			}
			dry.Deleted = true
			if diff := cmp.Diff(dry, report, sorted); diff != "" {
				t.Errorf("the report of the dry run and of the deletion (-dry +deleted):\n%s", diff)
			}
			if again := h.collect(t, o); len(again.Items) > 0 {
				t.Errorf("a second collection finds %v", again.Items)
			}
		})
	}
}

var sorted = cmp.Transformer("sorted", func(items []retention.Item) []string {
	var lines []string
	for _, i := range items {
		lines = append(lines, fmt.Sprint(i))
	}
	slices.Sort(lines)
	return lines
})

// TestDeletedVersion: its record stays, it cannot be pinned or go live, and a run
// that makes it again has it back.
func TestDeletedVersion(t *testing.T) {
	h := newHistory(t)
	report := h.collect(t, retention.Options{Delete: true})
	if n, _ := report.Of(retention.Version); n != 3 {
		t.Errorf("%d versions were deleted, want 3", n)
	}
	if n, bytes := report.Of(retention.Blob); n == 0 || bytes == 0 || report.Bytes < bytes {
		t.Errorf("%d blobs of %d bytes, %d bytes in all", n, bytes, report.Bytes)
	}
	v, err := h.store.ModelVersion(t.Context(), string(h.versions[0]))
	if err != nil || v.DeletedAt == nil || v.RunID != "run-0" {
		t.Fatalf("the record is %+v, %v; want it kept and marked", v, err)
	}
	if err := h.store.PinVersion(t.Context(), v.Version, true); captioner.CodeOf(err) != "version_deleted" {
		t.Errorf("pinning it gives %v", err)
	}
	if _, err := h.store.MoveAlias(t.Context(), captioner.Production, v.Version, 4, "test", ""); captioner.CodeOf(err) != "version_deleted" {
		t.Errorf("promoting it gives %v", err)
	}
	h.age = 0
	h.register(t, v.Version, "run-7", time.Now(), captioner.Lineage{})
	if v, err = h.store.ModelVersion(t.Context(), string(v.Version)); err != nil || v.DeletedAt != nil || v.RunID != "run-0" {
		t.Errorf("made again it is %+v, %v", v, err)
	}
}

// TestUnnotedRun: while a run goes on that has noted nothing, no result goes: it
// may use any.
func TestUnnotedRun(t *testing.T) {
	h := newHistory(t)
	_, _, err := h.store.PutRun(t.Context(), captioner.RunRecord{ID: "new", Config: []byte("{}")})
	must(t, err)
	report := h.collect(t, retention.Options{Delete: true})
	for _, kind := range []retention.Kind{retention.Result, retention.Checkpoint} {
		if n, _ := report.Of(kind); n != 0 {
			t.Errorf("%d of kind %q were deleted", n, kind)
		}
	}
	// One that was never heard of again does not keep them for ever.
	report = h.collect(t, retention.Options{Delete: true, Now: func() time.Time { return time.Now().Add(40 * 24 * time.Hour) }})
	if n, _ := report.Of(retention.Result); n == 0 {
		t.Error("after 40 days no result was deleted")
	}
}

// TestLogAndCheckpointsAreKept: the records of the deployment log, from the first
// one on, and the checkpoint before the latest.
func TestLogAndCheckpointsAreKept(t *testing.T) {
	h := newHistory(t)
	kept := deployment.KeepLog(h.store, h.blobs, slog.New(slog.DiscardHandler))
	_, err := kept.MoveAlias(t.Context(), captioner.Production, h.versions[2], 4, "test", "")
	must(t, err)
	moves, err := h.store.AliasMoves(t.Context(), captioner.Production, 0)
	must(t, err)
	needed := []captioner.Digest{h.put(t, "the checkpoint before")}
	for _, m := range moves {
		needed = append(needed, m.Record)
		h.makeOld(t, filepath.Join("blobs", string(m.Record[:2]), string(m.Record)))
	}
	must(t, h.store.PutCheckpoint(t.Context(), captioner.Checkpoint{
		RunKey: h.keys["run-4"][0], Attempt: 2, Blob: h.put(t, "the latest checkpoint"), Step: 30, PreviousBlob: needed[0], PreviousStep: 20,
	}))
	h.collect(t, retention.Options{Delete: true})
	there := h.present(t)
	for i, d := range needed {
		if !there[d] {
			t.Errorf("blob %d of the checkpoint and %d records was deleted", i, len(moves))
		}
	}
}

// TestDamagedBlob: what a damaged manifest names is not known, so nothing goes.
func TestDamagedBlob(t *testing.T) {
	h := newHistory(t)
	live := h.versions[3]
	path := filepath.Join(h.dir, "blobs", string(live[:2]), string(live))
	must(t, os.Chmod(path, 0o644))
	must(t, os.WriteFile(path, []byte(`{"files":[]}`), 0o644))
	before := len(h.present(t))
	_, err := retention.Collect(t.Context(), h.store, h.blobs, retention.Options{Delete: true, Grace: time.Hour})
	if captioner.KindOf(err) != captioner.Corrupt {
		t.Errorf("the collection gives %v, want Corrupt", err)
	}
	if after := len(h.present(t)); after != before {
		t.Errorf("%d blobs are left of %d", after, before)
	}
	if v, err := h.store.ModelVersion(t.Context(), string(h.versions[0])); err != nil || v.DeletedAt != nil {
		t.Errorf("the oldest version is %+v, %v; want it left alone", v, err)
	}
}

// TestFiles: unpacked bundles, files of old runs, and left-overs.
func TestFiles(t *testing.T) {
	h := newHistory(t)
	write := func(path string) {
		t.Helper()
		full := filepath.Join(h.dir, path)
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		must(t, os.WriteFile(full, []byte("content"), 0o644))
		for dir := path; dir != "."; dir = filepath.Dir(dir) {
			h.makeOld(t, dir)
		}
	}
	stays := []string{
		"cache/models/" + string(h.versions[3]) + "/file",
		"cache/models/." + string(h.versions[0]) + ".lock",
		"runs/run-0/run_summary.json", "runs/run-3/metrics.csv", "runs/run-4/metrics.csv",
	}
	goes := []string{
		"cache/models/" + string(h.versions[0]) + "/file",
		"cache/models/.build-1/new/file",
		"cache/jobs/" + string(h.versions[3]) + "/file",
		"runs/run-0/metrics.csv", "runs/run-5/metrics.csv",
		"runs/0123456789ab/attempt-1/work/file",
	}
	for _, path := range slices.Concat(stays, goes) {
		write(path)
	}
	h.age = 0
	write("runs/0123456789ab/attempt-2/file")
	stays = append(stays, "runs/0123456789ab/attempt-2/file")
	for _, remove := range []bool{false, true} {
		report := h.collect(t, retention.Options{Delete: remove})
		for _, want := range []struct {
			kind  retention.Kind
			count int
		}{{retention.Cache, 2}, {retention.RunFiles, 2}, {retention.LeftOver, 2}} {
			if n, bytes := report.Of(want.kind); n != want.count || bytes != int64(7*n) {
				t.Errorf("delete %v: %d of kind %q, %d bytes, want %d: %v", remove, n, want.kind, bytes, want.count, report.Items)
			}
		}
		for _, path := range slices.Concat(stays, goes) {
			_, err := os.Stat(filepath.Join(h.dir, path))
			if want := !remove || slices.Contains(stays, path); (err == nil) != want {
				t.Errorf("delete %v: %s is there: %v, want %v", remove, path, err == nil, want)
			}
		}
	}
}
