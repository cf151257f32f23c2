package fsck_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob"
	"github.com/captioner/captioner/internal/deployment"
	"github.com/captioner/captioner/internal/fsck"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/store"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/safetensors"
)

// fixture is a data folder of two versions that were live in turn, with all else
// that a run keeps.
type fixture struct {
	dir      string
	blobs    *blob.Disk
	versions [2]captioner.Digest
	// of are the blobs by what they are.
	of map[string]captioner.Digest
	// offset is how long ago all that was.
	offset time.Duration
}

const runKey = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir(), of: map[string]captioner.Digest{}}
	var err error
	f.blobs, err = blob.NewDisk(filepath.Join(f.dir, "blobs"))
	must(t, err)
	f.offset = time.Hour
	f.open(t, func(s captioner.Store) {
		for i := range f.versions {
			f.version(t, s, i)
		}
		for generation, i := range []int{0, 1, 0, 1} {
			_, err := s.MoveAlias(t.Context(), captioner.Production, f.versions[i], int64(generation), "train-1", fmt.Sprintf("move %d", generation+1))
			must(t, err)
		}
		f.put(t, "features", shard(t))
		f.put(t, "weights", tensors(t, 3))
		f.put(t, "dataset", []byte(`{"vocabulary":["<pad>","a","dog"]}`))
		f.put(t, "checkpoint before", tensors(t, 1))
		f.put(t, "checkpoint", tensors(t, 2))
		must(t, s.PutCheckpoint(t.Context(), captioner.Checkpoint{
			RunKey: runKey, Attempt: 1, Blob: f.of["checkpoint"], Step: 20, PreviousBlob: f.of["checkpoint before"], PreviousStep: 10,
		}))
	})
	return f
}

// version stores and registers a bundle, and unpacks it.
func (f *fixture) version(t *testing.T, s captioner.Store, i int) {
	t.Helper()
	v := captioner.ModelVersion{RunID: "train-1", CreatedAt: time.Now().Add(-time.Hour)}
	v.Evaluation.Scores = []captioner.Scores{{Algorithm: "beam", BLEU4: 0.25 + float64(i)/10}}
	v.Lineage = captioner.Lineage{Config: captioner.DigestOf([]byte("config")), ResultVersions: map[string]int{"Train": 3}, Threads: 2}
	v.Training = captioner.TrainResult{Steps: 100 + i, Epochs: 3}
	dir := t.TempDir()
	for name, content := range map[string]any{
		"evaluation.json": v.Evaluation, "lineage.json": v.Lineage, "training.json": v.Training,
		"vocabulary.json": []string{"<pad>", "<unk>", "dog"}, "model.json": i, "golden/golden.json": []int{1, 2, i},
	} {
		data, err := json.MarshalIndent(content, "", "  ")
		must(t, err)
		write(t, filepath.Join(dir, name), data)
	}
	write(t, filepath.Join(dir, "config.yaml"), []byte("training: {epochs: 3}\n"))
	write(t, filepath.Join(dir, "golden", "1.jpg"), random(500))
	write(t, filepath.Join(dir, "saved_model", "saved_model.pb"), random(3000))
	m, version, err := registry.StoreTree(t.Context(), f.blobs, dir)
	must(t, err)
	v.Version, f.versions[i] = version, version
	must(t, s.PutModelVersion(t.Context(), v))
	if i == 0 {
		f.of["manifest"] = version
		for _, file := range m.Files {
			f.of[file.Path] = file.SHA256
		}
	}
}

// open opens the database as a server does, and closes it.
func (f *fixture) open(t *testing.T, use func(captioner.Store)) {
	t.Helper()
	records, err := store.Open(t.Context(), f.address())
	must(t, err)
	use(deployment.KeepLog(records, f.blobs, slog.New(slog.DiscardHandler)))
	must(t, records.Close())
}

func (f *fixture) address() string { return "sqlite:" + filepath.Join(f.dir, "captioner.db") }

// exec changes the database behind captioner's back.
func (f *fixture) exec(t *testing.T, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(f.dir, "captioner.db"))
	must(t, err)
	defer db.Close()
	for _, s := range append([]string{`DROP TRIGGER IF EXISTS alias_moves_no_update`, `DROP TRIGGER IF EXISTS alias_moves_no_delete`}, statements...) {
		_, err := db.Exec(s)
		must(t, err)
	}
	_, err = db.Exec(`CREATE TRIGGER alias_moves_no_delete BEFORE DELETE ON alias_moves BEGIN SELECT RAISE(ABORT, 'append-only'); END`)
	must(t, err)
}

func (f *fixture) put(t *testing.T, name string, data []byte) {
	t.Helper()
	d, _, err := f.blobs.Put(t.Context(), strings.NewReader(string(data)))
	must(t, err)
	f.of[name] = d
}

// path is where a blob's file lies.
func (f *fixture) path(d captioner.Digest) string {
	return filepath.Join(f.dir, "blobs", string(d[:2]), string(d))
}

// flip turns one bit of a file and leaves its times as they were, as a disk does.
func flip(t testing.TB, path string, bit int) {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	must(t, os.Chmod(path, 0o644))
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer file.Close()
	var b [1]byte
	_, err = file.ReadAt(b[:], int64(bit/8))
	must(t, err)
	b[0] ^= 1 << (bit % 8)
	_, err = file.WriteAt(b[:], int64(bit/8))
	must(t, err)
	must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
}

func (f *fixture) run(t *testing.T, repair bool) fsck.Report {
	t.Helper()
	report, err := fsck.Run(t.Context(), fsck.Options{
		DataDir: f.dir, Database: f.address(), Blobs: f.blobs, Repair: repair,
		Now: func() time.Time { return time.Now().Add(f.offset) },
	})
	must(t, err)
	return report
}

// state is what the database says of versions and deployments.
func (f *fixture) state(t *testing.T) (state struct {
	Versions []captioner.ModelVersion
	Moves    []captioner.AliasMove
	Live     captioner.Alias
},
) {
	t.Helper()
	f.open(t, func(s captioner.Store) {
		var err error
		state.Versions, err = s.ModelVersions(t.Context(), 0)
		must(t, err)
		for i := range state.Versions {
			state.Versions[i].RegisteredAt, state.Versions[i].CreatedAt = time.Time{}, time.Time{}
		}
		slices.SortFunc(state.Versions, func(a, b captioner.ModelVersion) int { return strings.Compare(string(a.Version), string(b.Version)) })
		state.Moves, err = s.AliasMoves(t.Context(), captioner.Production, 0)
		must(t, err)
		state.Live, err = s.Alias(t.Context(), captioner.Production)
		must(t, err)
	})
	return state
}

func TestNothingIsWrong(t *testing.T) {
	f := newFixture(t)
	report := f.run(t, false)
	if !report.OK || len(report.Problems) > 0 {
		t.Fatalf("%+v", report)
	}
	want := map[fsck.Check]int{fsck.Database: 1, fsck.Blob: report.Checked[fsck.Blob], fsck.Bundle: 2, fsck.Version: 2, fsck.Log: 4, fsck.Checkpoint: 1}
	if diff := cmp.Diff(want, report.Checked); diff != "" || report.Checked[fsck.Blob] < 20 {
		t.Errorf("checked (-want +got):\n%s", diff)
	}
}

// TestRepair damages one thing each time: it is found, the repair mends it, nothing
// is wrong afterwards, and records are what they were.
func TestRepair(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, f *fixture)
		check  fsck.Check
		loses  bool // what the database said of the versions is not all known to others
	}{
		{"row of the log changed", func(t *testing.T, f *fixture) {
			f.exec(t, `UPDATE alias_moves SET actor = 'nobody' WHERE generation = 2`)
		}, fsck.Log, false},
		{"row of the log changed with its digest", func(t *testing.T, f *fixture) {
			f.exec(t, `UPDATE alias_moves SET reason = 'another', record = '`+string(captioner.DigestOf(nil))+`' WHERE generation = 3`)
		}, fsck.Log, false},
		{"row in the middle lost", func(t *testing.T, f *fixture) { f.exec(t, `DELETE FROM alias_moves WHERE generation = 2`) }, fsck.Log, false},
		{"last rows lost", func(t *testing.T, f *fixture) {
			f.exec(t, `DELETE FROM alias_moves WHERE generation > 2`, `UPDATE aliases SET generation = 2`)
		}, fsck.Log, false},
		{"log lost", func(t *testing.T, f *fixture) { f.exec(t, `DELETE FROM alias_moves`, `DELETE FROM aliases`) }, fsck.Log, false},
		{"newest row forged", func(t *testing.T, f *fixture) {
			f.exec(t, `UPDATE alias_moves SET version = previous, record = '`+forged(t, f)+`' WHERE generation = 4`)
		}, fsck.Log, false},
		{"alias changed", func(t *testing.T, f *fixture) {
			f.exec(t, `UPDATE aliases SET version = '`+string(f.versions[0])+`'`)
		}, fsck.Log, false},
		{"version's row changed", func(t *testing.T, f *fixture) {
			f.exec(t, `UPDATE model_versions SET evaluation = CAST(replace(CAST(evaluation AS TEXT), '0.25', '0.95') AS BLOB)`)
		}, fsck.Version, false},
		{"version's row unreadable", func(t *testing.T, f *fixture) {
			f.exec(t, `UPDATE model_versions SET lineage = CAST('{"' AS BLOB)`)
		}, fsck.Version, false},
		{"versions' rows lost", func(t *testing.T, f *fixture) {
			f.exec(t, `PRAGMA foreign_keys = OFF`, `DELETE FROM alias_moves`, `DELETE FROM aliases`, `DELETE FROM model_versions`)
		}, fsck.Version, true},
		{"record of the log damaged", func(t *testing.T, f *fixture) { flip(t, f.path(f.state(t).Moves[0].Record), 77) }, fsck.Blob, false},
		{"records of the log lost", func(t *testing.T, f *fixture) {
			for _, m := range f.state(t).Moves {
				must(t, os.Remove(f.path(m.Record)))
			}
		}, fsck.Log, false},
		{"checkpoint damaged", func(t *testing.T, f *fixture) { flip(t, f.path(f.of["checkpoint"]), 1000) }, fsck.Checkpoint, false},
		{"checkpoints lost", func(t *testing.T, f *fixture) {
			must(t, os.Remove(f.path(f.of["checkpoint"])))
			must(t, os.Remove(f.path(f.of["checkpoint before"])))
		}, fsck.Checkpoint, false},
		{"features damaged", func(t *testing.T, f *fixture) { flip(t, f.path(f.of["features"]), 1000) }, fsck.Blob, false},
		{"blob that is unpacked too", func(t *testing.T, f *fixture) {
			f.unpack(t)
			flip(t, f.path(f.of["saved_model/saved_model.pb"]), 1000)
		}, fsck.Blob, false},
		{"manifest that is unpacked too", func(t *testing.T, f *fixture) {
			f.unpack(t)
			flip(t, f.path(f.versions[0]), 1000)
		}, fsck.Blob, false},
		{"unpacked bundle", func(t *testing.T, f *fixture) { flip(t, filepath.Join(f.unpack(t), "vocabulary.json"), 9) }, fsck.Folder, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			before := f.state(t)
			test.damage(t, f)
			report := f.run(t, false)
			if report.OK || !slices.ContainsFunc(report.Problems, func(p fsck.Problem) bool { return p.Check == test.check && p.Repair != "" && !p.Repaired }) {
				t.Fatalf("found %+v, want a problem of the %s that can be repaired", report.Problems, test.check)
			}
			if report := f.run(t, true); !report.OK {
				t.Fatalf("the repair left %+v", report.Problems)
			}
			if report := f.run(t, false); !report.OK || len(report.Problems) > 0 {
				t.Fatalf("after the repair: %+v", report.Problems)
			}
			after := f.state(t)
			if test.loses {
				for i := range before.Versions {
					before.Versions[i].RunID = ""
				}
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the records (-before +after):\n%s", diff)
			}
		})
	}
}

// forged returns the digest that the newest row would have, changed as the test does.
func forged(t *testing.T, f *fixture) string {
	moves := f.state(t).Moves
	newest := moves[0]
	newest.Version = newest.Previous
	data, err := captioner.MoveRecord{Move: newest, Before: moves[1].Record}.Encode()
	must(t, err)
	return string(captioner.DigestOf(data))
}

// unpack unpacks the first version as a server does.
func (f *fixture) unpack(t *testing.T) string {
	t.Helper()
	dir, err := registry.Materialise(t.Context(), f.blobs, f.versions[0], filepath.Join(f.dir, "cache", "models"))
	must(t, err)
	return dir
}

// TestBundleThatNobodyHas: what only the run can make again is told, and left.
func TestBundleThatNobodyHas(t *testing.T) {
	f := newFixture(t)
	flip(t, f.path(f.of["vocabulary.json"]), 3)
	report := f.run(t, true)
	if report.OK {
		t.Fatalf("%+v", report)
	}
	last := report.Problems[len(report.Problems)-1]
	if last.Check != fsck.Bundle || last.Repaired || !strings.Contains(last.Message, "vocabulary.json") || !strings.Contains(last.Advice, "train-1") {
		t.Errorf("%+v, want the bundle's file and the run that makes it again", last)
	}
}

// TestNewBundleIsNotMissed: a run that has stored a bundle is about to register it.
func TestNewBundleIsNotMissed(t *testing.T) {
	f := newFixture(t)
	f.offset = 0
	f.exec(t, `PRAGMA foreign_keys = OFF`, `DELETE FROM alias_moves`, `DELETE FROM aliases`, `DELETE FROM model_versions`)
	for _, p := range f.run(t, false).Problems {
		if p.Check == fsck.Version {
			t.Errorf("found %+v", p)
		}
	}
	// The log is mended with bare rows, and those are filled in later.
	if report := f.run(t, true); !report.OK {
		t.Fatalf("%+v", report.Problems)
	}
	f.offset = time.Hour
	if report := f.run(t, true); !report.OK || len(report.Problems) != 2 || report.Problems[0].Check != fsck.Version {
		t.Fatalf("%+v, want both versions derived", report.Problems)
	}
	if v := f.state(t).Versions[0]; v.DeletedAt != nil || v.Training.Epochs != 3 {
		t.Errorf("%+v", v)
	}
}

// TestLogWithoutProof: a row that fits nothing, and whose record is gone, is told
// and left alone.
func TestLogWithoutProof(t *testing.T) {
	f := newFixture(t)
	must(t, os.Remove(f.path(f.state(t).Moves[0].Record)))
	f.exec(t, `UPDATE alias_moves SET actor = 'nobody' WHERE generation = 4`)
	before := f.state(t)
	report := f.run(t, true)
	if report.OK || len(report.Problems) != 1 || report.Problems[0].Advice == "" {
		t.Errorf("%+v, want one problem with advice", report.Problems)
	}
	if diff := cmp.Diff(before, f.state(t)); diff != "" {
		t.Errorf("the repair has changed something:\n%s", diff)
	}
}

// TestLogOfBefore: rows without records, as an earlier version wrote them, are
// covered by the first record after them.
func TestLogOfBefore(t *testing.T) {
	f := newFixture(t)
	for _, m := range f.state(t).Moves {
		must(t, os.Remove(f.path(m.Record)))
	}
	f.exec(t, `UPDATE alias_moves SET record = ''`)
	if report := f.run(t, false); !report.OK {
		t.Fatalf("%+v", report.Problems)
	}
	f.open(t, func(s captioner.Store) {
		_, err := s.RollBackAlias(t.Context(), captioner.Production, f.versions[0], 4, "cli", "worse")
		must(t, err)
	})
	if report := f.run(t, false); !report.OK {
		t.Fatalf("%+v", report.Problems)
	}
	before := f.state(t)
	f.exec(t, `UPDATE alias_moves SET actor = 'nobody' WHERE generation = 1`)
	if report := f.run(t, true); !report.OK || len(report.Problems) != 1 {
		t.Errorf("%+v, want one problem, repaired", report.Problems)
	}
	after := f.state(t)
	for i := range before.Moves {
		before.Moves[i].Record, after.Moves[i].Record = "", ""
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

// TestDamagedDatabase overwrites each page of the database in turn: the check at
// the start finds it, and a repair brings versions, log and alias back.
func TestDamagedDatabase(t *testing.T) {
	f := newFixture(t)
	f.offset = 0 // no grace for what is new
	want := f.state(t)
	path := filepath.Join(f.dir, "captioner.db")
	whole, err := os.ReadFile(path)
	must(t, err)
	pageSize := int(whole[16])<<8 | int(whole[17])
	found := 0
	for page := range len(whole) / pageSize {
		data := slices.Clone(whole)
		copy(data[page*pageSize:], random(pageSize))
		for _, old := range []string{path + "-wal", path + "-shm"} {
			os.Remove(old)
		}
		must(t, os.WriteFile(path, data, 0o644))
		err := store.QuickCheck(t.Context(), f.address())
		if err != nil && captioner.KindOf(err) != captioner.Corrupt {
			t.Errorf("page %d: %v, want corrupt", page+1, err)
		}
		if err != nil {
			found++
		}
		if report := f.run(t, true); !report.OK {
			t.Errorf("page %d: the repair left %+v", page+1, report.Problems)
		}
		if report := f.run(t, false); !report.OK {
			t.Errorf("page %d: after the repair: %+v", page+1, report.Problems)
		}
		got := f.state(t)
		for i := range got.Versions { // that of a lost row is in the runs' rows, of which there are none
			got.Versions[i].RunID = "train-1"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("page %d (-want +got):\n%s", page+1, diff)
		}
	}
	if pages := len(whole) / pageSize; found != pages {
		t.Errorf("the quick check has found %d of %d damaged pages", found, pages)
	}
}

// TestAnyTurnedBitIsFound turns 10,000 bits of whatever is kept, one at a time, and
// uses it as captioner does: each is found before anything is done with the bytes.
func TestAnyTurnedBitIsFound(t *testing.T) {
	const flips = 10_000
	f := newFixture(t)
	folder := f.unpack(t)
	kinds := slices.Sorted(func(yield func(string) bool) {
		for name := range f.of {
			if !yield(name) {
				return
			}
		}
	})
	r := rand.New(rand.NewPCG(1, 2))
	turned := map[string]int{}
	for i := range flips {
		kind := kinds[i%len(kinds)]
		path, use := f.path(f.of[kind]), f.use(kind)
		if inFolder := filepath.Join(folder, filepath.FromSlash(kind)); i%2 == 1 {
			if _, err := os.Stat(inFolder); err == nil {
				path, use = inFolder, func(context.Context) error { return registry.VerifyDir(folder, f.versions[0]) }
			}
		}
		info, err := os.Stat(path)
		must(t, err)
		bit := r.IntN(int(info.Size()) * 8)
		flip(t, path, bit)
		if err := use(t.Context()); captioner.KindOf(err) != captioner.Corrupt {
			t.Fatalf("bit %d of %s: %v, want corrupt", bit, kind, err)
		}
		flip(t, path, bit)
		turned[kind]++
		if i%100 == 0 {
			must(t, use(t.Context()))
		}
	}
	t.Logf("%d bits in %d kinds of things: %v", flips, len(kinds), turned)
}

// use reads a thing as what needs it does.
func (f *fixture) use(kind string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		switch kind {
		case "features", "weights", "checkpoint", "checkpoint before":
			_, err := f.blobs.Local(ctx, f.of[kind])
			return err
		case "dataset":
			return captioner.ReadJSON(ctx, f.blobs, f.of[kind], new(captioner.Dataset))
		}
		return registry.VerifyBlobs(ctx, f.blobs, f.versions[0])
	}
}

func shard(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shard")
	w, err := features.Create(path, features.Pixels(16))
	must(t, err)
	for i := range 3 {
		must(t, w.Add(fmt.Sprintf("%d.jpg", i), random(16*16*3)))
	}
	must(t, w.Close())
	data, err := os.ReadFile(path)
	must(t, err)
	return data
}

func tensors(t *testing.T, seed byte) []byte {
	t.Helper()
	var b strings.Builder
	must(t, safetensors.Encode(&b, map[string]safetensors.Tensor{"w": {DType: "U8", Shape: []int64{600}, Data: append(random(599), seed)}}, map[string]string{"state": "{}"}))
	return []byte(b.String())
}

func random(n int) []byte {
	r := rand.New(rand.NewPCG(3, uint64(n)))
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, data, 0o644))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
