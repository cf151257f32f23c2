package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob/s3test"
	"github.com/captioner/captioner/internal/faultproxy"
	"github.com/captioner/captioner/internal/store/postgrestest"
	"github.com/captioner/captioner/internal/temporaldev"
)

// TestObjectStore runs server and workers that share a Temporal server, a database
// in PostgreSQL and an object store, each with a data folder of its own, as on
// machines of their own, and one that serves the version without the rest. The worker that trains is killed, and one that has none of
// its files goes on from its checkpoint.
func TestObjectStore(t *testing.T) {
	p := needPrograms(t)
	objects := s3test.Start(t)
	shared := []string{"--database", postgrestest.Start(t).Database(t), "--blobs", objects.Address}
	temporal, err := temporaldev.Start(t.Context(), temporaldev.Options{Binary: p.temporal})
	if err != nil {
		t.Fatal(err)
	}
	defer temporal.Stop()
	dir := t.TempDir()
	machine := func(name string, command ...string) *local {
		command = append(append(command, "--temporal-address", temporal.Address()), shared...)
		return process(t, p, filepath.Join(dir, name), command...)
	}
	server := machine("server", "serve")
	server.start(t)
	control := machine("control", "worker", "--task-queues", "captioner")
	control.launch(t)
	victim := machine("victim", "worker", "--task-queues", "captioner-engine")
	victim.launch(t)

	cfg := smallConfig(pictures(t, 100), 400)
	cfg.Training.CheckpointInterval = captioner.Duration(time.Second)
	id := server.startRun(t, cfg)
	server.awaitTraining(t, id, 150)
	victim.kill(t)
	successor := machine("successor", "worker", "--task-queues", "captioner-engine")
	successor.launch(t)
	run := server.awaitEnd(t, id, 3*time.Minute)
	if run.State != captioner.RunCompleted || !run.Result.Deployed {
		t.Fatalf("the run ended as %s (%s), result %+v", run.State, run.Error, run.Result)
	}
	if !strings.Contains(successor.logText(), "training resumes") {
		t.Error("the second worker started the training over")
	}
	picture := readFile(t, firstPicture(t, cfg.Data.Images))
	predict := func(when string) {
		if r, code := server.predict(t, picture, "beam"); code != 200 || r.ModelVersion != run.Result.Version {
			t.Errorf("/predict %s: status %d by version %s, want version %s", when, code, r.ModelVersion, run.Result.Version)
		}
	}
	predict("with the object store")
	alone := process(t, p, filepath.Join(dir, "alone"), "serve", "--bundle", objects.Address+"#"+string(run.Result.Version))
	alone.start(t)
	eventually(t, 30*time.Second, "the version in the object store is served", func() bool { return alone.get(t, "/ready", nil) == http.StatusOK })
	if r, code := alone.predict(t, picture, "beam"); code != http.StatusOK || r.ModelVersion != run.Result.Version {
		t.Errorf("/predict of the version alone: status %d by version %s, want version %s", code, r.ModelVersion, run.Result.Version)
	}
	alone.stop(t)
	fsck := append([]string{"fsck", "--data-dir", filepath.Join(dir, "server")}, shared...)
	if out := p.mustRun(t, fsck...); !strings.Contains(out, "nothing is wrong") {
		t.Errorf("captioner fsck says of an undamaged object store:\n%s", out)
	}
	objects.Write(t, objects.Objects(t)[0], []byte("damaged"))
	if out, _, code := p.run(t, fsck...); code != 1 || !strings.Contains(out, "its bytes do not match its digest") {
		t.Errorf("captioner fsck says of a damaged object, with exit code %d:\n%s", code, out)
	}
	objects.Close()
	predict("without it")
	if left, err := filepath.Glob(filepath.Join(dir, "*", "blobs")); err != nil || len(left) > 0 {
		t.Errorf("there are blobs in %v, %v", left, err)
	}
	for _, l := range []*local{server, control, successor} {
		l.stop(t)
	}
}

// TestObjectStoreFaults breaks the network between a worker, or a server, and the
// object store while a run trains: pictures are captioned on, and the run goes on
// afterwards and deploys once.
func TestObjectStoreFaults(t *testing.T) {
	p := needPrograms(t)
	objects := s3test.Start(t)
	proxy, err := faultproxy.Start(strings.TrimPrefix(objects.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"), "--blobs", s3test.Address("http://"+proxy.Address()))
	cfg := smallConfig(pictures(t, 100), 300)
	cfg.Training.CheckpointInterval = captioner.Duration(time.Second)
	cfg.Promotion.Margin = 1 // whatever the scores, the newest version goes live
	picture := readFile(t, firstPicture(t, cfg.Data.Images))
	first := l.awaitEnd(t, l.startRun(t, cfg), 2*time.Minute)
	if first.State != captioner.RunCompleted || !first.Result.Deployed {
		t.Fatalf("the run ended as %s (%s), result %+v", first.State, first.Error, first.Result)
	}
	faults := faultproxy.Faults
	if os.Getenv("CAPTIONER_LONG_TESTS") == "" {
		faults = []faultproxy.Fault{faultproxy.Cut, faultproxy.BlackHole}
	}
	for _, length := range faultTimes() {
		for _, fault := range faults {
			t.Run(fmt.Sprintf("%s for %v", fault, length), func(t *testing.T) {
				cfg.Training.Seed++
				id := l.startRun(t, cfg)
				l.awaitTraining(t, id, 50)
				stopAsking := l.keepAsking(t, picture)
				proxy.Set(fault)
				time.Sleep(length) // the length is what is tried
				proxy.Set(faultproxy.None)
				healed := time.Now()
				run := l.awaitEnd(t, id, 3*time.Minute)
				stopAsking()
				t.Logf("the run ended %v after the fault", time.Since(healed).Round(10*time.Millisecond))
				if run.State != captioner.RunCompleted || !run.Result.Deployed {
					t.Fatalf("the run ended as %s (%s), result %+v", run.State, run.Error, run.Result)
				}
				if moves := l.moves(t, id); len(moves) != 1 || moves[0].Version != run.Result.Version {
					t.Errorf("the run has deployed %d times: %+v", len(moves), moves)
				}
			})
		}
	}
	l.stop(t)
}
