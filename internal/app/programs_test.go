package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/captioner/captioner"
)

// TestFindProgram looks where the guide says, in that order.
func TestFindProgram(t *testing.T) {
	program := func(path ...string) string {
		file := filepath.Join(path...)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cache, bin := t.TempDir(), t.TempDir()
	t.Setenv("CAPTIONER_CACHE", cache)
	t.Setenv("PATH", bin)
	find := func(given string) (string, error) {
		return findProgram(given, "thing", "CAPTIONER_TEST_THING", "make it")
	}

	if _, err := find(""); captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), "thing was not found: make it") {
		t.Errorf("without the program: error %v", err)
	}
	program(cache, "thing-1.0", "thing")
	for _, step := range []struct {
		what, given string
		path        []string
	}{
		{"in the cache", "", []string{cache, "thing-1.1", "thing"}},
		{"on the PATH", "", []string{bin, "thing"}},
		{"given", filepath.Join(cache, "other"), []string{cache, "other"}},
	} {
		want := program(step.path...)
		if got, err := find(step.given); err != nil || got != want {
			t.Errorf("%s: found %q, %v, want %q", step.what, got, err, want)
		}
	}
}
