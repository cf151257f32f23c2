package workspace_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner/internal/workspace"
)

// TestMake: each attempt has a folder of its own, and what dead ones at the same
// step have left is removed.
func TestMake(t *testing.T) {
	root := filepath.Join(t.TempDir(), "runs")
	dead, other := folder(t, root, "train", "attempt-1"), folder(t, root, "extract", "attempt-1")
	first, releaseFirst, err := workspace.Make(root, "train")
	if err != nil {
		t.Fatal(err)
	}
	second, releaseSecond, err := workspace.Make(root, "train")
	if err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{dead: false, other: true, first: true, second: true} {
		if exists(t, dir) != want {
			t.Errorf("%s is there: %v, want %v", dir, !want, want)
		}
	}
	if first == second {
		t.Errorf("two attempts work in %s", first)
	}
	releaseFirst()
	if exists(t, first) || !exists(t, second) {
		t.Error("release removes the folder of another attempt, or not its own")
	}
	releaseSecond()
	if exists(t, filepath.Join(root, "train")) {
		t.Error("the folder of a step at which nobody works is left")
	}
}

// TestAbandoned: the folders of dead attempts are found at all steps, with or
// without a lock, those of living ones are not, and to look changes nothing.
func TestAbandoned(t *testing.T) {
	root := t.TempDir()
	if err := workspace.Abandoned(filepath.Join(root, "none"), os.RemoveAll); err != nil {
		t.Errorf("without any folder: %v", err)
	}
	dead, unlocked := folder(t, root, "0123", "attempt-1"), folder(t, root, "4567", "attempt-1")
	if err := os.WriteFile(filepath.Join(dead, ".lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	used := folder(t, root, "4567", "attempt-2")
	lock := flock.New(filepath.Join(used, ".lock"))
	if err := lock.Lock(); err != nil {
		t.Fatal(err)
	}
	defer lock.Close()

	var found []string
	look := func(dir string) error { found = append(found, dir); return nil }
	if err := workspace.Abandoned(root, look); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{dead, unlocked}, found); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if exists(t, filepath.Join(unlocked, ".lock")) {
		t.Error("to look made a lock")
	}
	if err := workspace.Abandoned(root, os.RemoveAll); err != nil {
		t.Fatal(err)
	}
	if exists(t, filepath.Dir(dead)) || exists(t, unlocked) || !exists(t, used) {
		t.Error("what is left is not the folder of the living attempt")
	}
	failed := errors.New("failed")
	if err := workspace.Abandoned(root, func(string) error { return failed }); err != nil {
		t.Errorf("with nothing left to handle: %v", err)
	}
	folder(t, root, "0123", "attempt-1")
	if err := workspace.Abandoned(root, func(string) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("%v, want handle's error", err)
	}
}

func folder(t *testing.T, elements ...string) string {
	t.Helper()
	dir := filepath.Join(elements...)
	if err := os.MkdirAll(filepath.Join(dir, "work"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}
