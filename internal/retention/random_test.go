package retention_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/retention"
)

// TestRandomGraphs collects random graphs of runs, results, versions and blobs,
// while others use old results, pin and promote old versions and put old blobs
// again, between any two calls of the collection. What can be reached stays,
// also by what came in between; what was old, could not be reached and was left
// alone goes. What can be reached is found a second time here, over the graph as
// it was drawn.
func TestRandomGraphs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "graph-")
		must(t, err)
		g := draw(rt, newFixture(t, dir))
		keep := rapid.IntRange(0, 3).Draw(rt, "kept versions")
		g.age = 0 // what happens from here on is young

		between := func() {
			if rapid.IntRange(0, 3).Draw(rt, "something happens") == 0 {
				g.disturb(rt)
			}
		}
		_, err = retention.Collect(context.Background(), hookedStore{g.store, between}, hookedBlobs{g.blobs, between}, retention.Options{
			KeepVersions: keep, Grace: time.Hour, Delete: true,
		})
		must(t, err)
		for range 3 {
			g.disturb(rt)
		}

		needed := append(slices.Concat(g.rootsOf(keep), g.used), string(g.live))
		there := g.present(t)
		for d := range g.reachable(needed) {
			if g.edges[d] != nil && !there[captioner.Digest(d)] {
				rt.Errorf("blob %s is gone, and can be reached", d[:8])
			}
		}
		mayStay := g.reachable(append(needed, g.touched...))
		for d := range g.edges {
			if !mayStay[d] && there[captioner.Digest(d)] {
				rt.Errorf("blob %s is still there, and cannot be reached", d[:8])
			}
		}
		must(t, g.store.Close())
	})
}

// graph is what was drawn: which blob, result, version or run names which.
type graph struct {
	*fixture
	files    []captioner.Digest  // any blobs
	results  []string            // keys
	names    map[string][]string // of results and runs
	edges    map[string][]string // of blobs
	versions []captioner.Digest  // the oldest first
	runs     []string
	running  map[string]bool
	pinned   map[captioner.Digest]bool
	maker    map[captioner.Digest]string
	live     captioner.Digest
	moves    int64
	// used is what was found in between and is needed from then on; touched is
	// what was put or looked at, and may stay.
	used, touched []string
}

// reachable follows the names from the roots.
func (g *graph) reachable(roots []string) map[string]bool {
	seen := map[string]bool{}
	for queue := slices.Clone(roots); len(queue) > 0; queue = queue[1:] {
		d := queue[0]
		if seen[d] {
			continue
		}
		seen[d] = true
		queue = append(queue, g.names[d]...)
		queue = append(queue, g.edges[d]...)
		if run := g.maker[captioner.Digest(d)]; run != "" {
			queue = append(queue, run)
		}
	}
	return seen
}

// rootsOf are the versions that are kept, but for the live one, and the runs that
// go on.
func (g *graph) rootsOf(keep int) []string {
	var roots []string
	for i, v := range g.versions {
		if g.pinned[v] || i >= len(g.versions)-keep {
			roots = append(roots, string(v))
		}
	}
	for _, run := range g.runs {
		if g.running[run] {
			roots = append(roots, run)
		}
	}
	return roots
}

// draw makes a data folder whose content is old.
func draw(rt *rapid.T, f *fixture) *graph {
	g := &graph{
		fixture: f, names: map[string][]string{}, edges: map[string][]string{},
		running: map[string]bool{}, pinned: map[captioner.Digest]bool{}, maker: map[captioner.Digest]string{},
	}
	ctx := context.Background()
	for range rapid.IntRange(1, 6).Draw(rt, "plain blobs") {
		g.blob(rt, f.unique("blob"), nil)
	}
	for range rapid.IntRange(0, 4).Draw(rt, "lists") {
		names := g.some(rt, g.files)
		data, err := json.Marshal(map[string]any{"list": f.unique("list"), "names": names})
		must(rt, err)
		g.blob(rt, string(data), names)
	}
	for range rapid.IntRange(0, 5).Draw(rt, "results") {
		key, names := f.key(), g.some(rt, g.files)
		f.result(rt, key, names...)
		g.results = append(g.results, key)
		g.names[key] = texts(names)
	}
	for i := range rapid.IntRange(0, 4).Draw(rt, "runs") {
		run := fmt.Sprintf("run-%d", i)
		g.runs = append(g.runs, run)
		_, _, err := f.store.PutRun(ctx, captioner.RunRecord{ID: run, Config: []byte("{}")})
		must(rt, err)
		// A run that has noted nothing keeps all results: that is another test's.
		uses := []string{f.key()}
		for _, key := range g.results {
			if rapid.Bool().Draw(rt, "uses the result") {
				uses = append(uses, key)
			}
		}
		must(rt, f.store.NoteUse(ctx, run, uses...))
		g.names[run] = uses
		if g.running[run] = rapid.Bool().Draw(rt, "goes on"); !g.running[run] {
			must(rt, f.store.FinishRun(ctx, run, captioner.RunFailed, nil, ""))
		}
	}
	start := time.Now().Add(-100 * old)
	for i := range rapid.IntRange(0, 5).Draw(rt, "versions") {
		contents := []string{f.unique("weights")}
		if rapid.Bool().Draw(rt, "shares a file") {
			contents = append(contents, "shared")
		}
		version, all := f.bundle(rt, contents...)
		for _, d := range all {
			if g.edges[string(d)] == nil {
				g.edges[string(d)] = []string{}
			}
		}
		g.edges[string(version)] = texts(all)
		run := ""
		if len(g.runs) > 0 {
			run = rapid.SampledFrom(g.runs).Draw(rt, "made by")
		}
		g.maker[version] = run
		f.register(rt, version, run, start.Add(time.Duration(i)*time.Minute), captioner.Lineage{})
		g.versions = append(g.versions, version)
		if rapid.IntRange(0, 3).Draw(rt, "pinned") == 0 {
			g.pinned[version] = true
			must(rt, f.store.PinVersion(ctx, version, true))
		}
	}
	if len(g.versions) > 0 && rapid.Bool().Draw(rt, "one is live") {
		g.promote(rt)
	}
	return g
}

func (g *graph) blob(tb reporter, content string, names []captioner.Digest) {
	d := g.put(tb, content)
	g.files = append(g.files, d)
	g.edges[string(d)] = texts(names)
}

// some draws a part of a list.
func (g *graph) some(rt *rapid.T, from []captioner.Digest) []captioner.Digest {
	var part []captioner.Digest
	for _, d := range from {
		if rapid.IntRange(0, 2).Draw(rt, "named") == 0 {
			part = append(part, d)
		}
	}
	return part
}

func texts(digests []captioner.Digest) []string {
	list := []string{}
	for _, d := range digests {
		list = append(list, string(d))
	}
	return list
}

// promote makes a version live, unless its files are deleted.
func (g *graph) promote(rt *rapid.T) {
	version := rapid.SampledFrom(g.versions).Draw(rt, "promoted")
	_, err := g.store.MoveAlias(context.Background(), captioner.Production, version, g.moves, "test", "")
	if captioner.CodeOf(err) == "version_deleted" {
		return
	}
	must(rt, err)
	g.moves++
	g.touched = append(g.touched, string(g.live)) // may stay, as what was live
	g.live = version
}

// disturb is what somebody else does while the collection is under way.
func (g *graph) disturb(rt *rapid.T) {
	ctx := context.Background()
	switch rapid.SampledFrom([]string{"use", "pin", "promote", "put"}).Draw(rt, "what happens") {
	case "use": // as a step does: note, look, and make again what is gone
		if len(g.results) == 0 {
			return
		}
		key := rapid.SampledFrom(g.results).Draw(rt, "result")
		must(rt, g.store.NoteUse(ctx, "another run", key))
		g.used = append(g.used, key)
		_, err := g.store.StepResult(ctx, key)
		if err == nil && g.all(rt, g.names[key]) {
			return
		}
		must(rt, g.store.DeleteStepResult(ctx, key))
		var names []captioner.Digest
		for _, d := range g.names[key] {
			names = append(names, captioner.Digest(d))
			g.again(rt, d)
		}
		g.result(rt, key, names...)
	case "pin":
		if len(g.versions) == 0 {
			return
		}
		version := rapid.SampledFrom(g.versions).Draw(rt, "version")
		err := g.store.PinVersion(ctx, version, true)
		if captioner.CodeOf(err) != "version_deleted" {
			must(rt, err)
			g.used = append(g.used, string(version))
		}
	case "promote":
		if len(g.versions) > 0 {
			g.promote(rt)
		}
	case "put": // and name it in a new result
		d := rapid.SampledFrom(g.files).Draw(rt, "blob")
		g.again(rt, string(d))
		key := g.key()
		must(rt, g.store.NoteUse(ctx, "another run", key))
		g.result(rt, key, d)
		g.names[key] = []string{string(d)}
		g.used = append(g.used, key)
	}
}

// all reports whether those blobs and what they name are there.
func (g *graph) all(rt *rapid.T, digests []string) bool {
	there := g.present(rt)
	for d := range g.reachable(digests) {
		if !there[captioner.Digest(d)] {
			return false
		}
	}
	return true
}

// again puts a blob and what it names, as who makes it again does.
func (g *graph) again(rt *rapid.T, d string) {
	for name := range g.reachable([]string{d}) {
		g.touched = append(g.touched, name)
		_, _, err := g.blobs.Put(context.Background(), strings.NewReader(g.contents[captioner.Digest(name)]))
		must(rt, err)
	}
}

// hookedStore and hookedBlobs let something happen before each call.
type hookedStore struct {
	captioner.Store
	between func()
}

func (s hookedStore) RunRecords(ctx context.Context, limit int) ([]captioner.RunRecord, error) {
	s.between()
	return s.Store.RunRecords(ctx, limit)
}

func (s hookedStore) Uses(ctx context.Context) ([]captioner.Use, error) {
	s.between()
	return s.Store.Uses(ctx)
}

func (s hookedStore) ForgetUses(ctx context.Context, run string, before time.Time) error {
	s.between()
	return s.Store.ForgetUses(ctx, run, before)
}

func (s hookedStore) StepResults(ctx context.Context) ([]captioner.StepResult, error) {
	s.between()
	return s.Store.StepResults(ctx)
}

func (s hookedStore) ForgetStepResult(ctx context.Context, key string, before time.Time) (bool, error) {
	s.between()
	return s.Store.ForgetStepResult(ctx, key, before)
}

func (s hookedStore) ModelVersions(ctx context.Context, limit int) ([]captioner.ModelVersion, error) {
	s.between()
	return s.Store.ModelVersions(ctx, limit)
}

func (s hookedStore) Alias(ctx context.Context, name string) (captioner.Alias, error) {
	s.between()
	return s.Store.Alias(ctx, name)
}

func (s hookedStore) RetireVersion(ctx context.Context, version captioner.Digest, before time.Time) (bool, error) {
	s.between()
	return s.Store.RetireVersion(ctx, version, before)
}

type hookedBlobs struct {
	captioner.BlobStore
	between func()
}

func (b hookedBlobs) Open(ctx context.Context, d captioner.Digest) (io.ReadCloser, error) {
	b.between()
	return b.BlobStore.Open(ctx, d)
}

func (b hookedBlobs) List(ctx context.Context, visit func(captioner.BlobInfo) error) error {
	b.between()
	return b.BlobStore.List(ctx, visit)
}

func (b hookedBlobs) DeleteOlder(ctx context.Context, d captioner.Digest, before time.Time) (bool, error) {
	b.between()
	return b.BlobStore.DeleteOlder(ctx, d, before)
}
