package atomicfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
	"github.com/captioner/captioner/internal/faultfs"
)

// TestEveryWriteCanFail replaces a file while each change fails in turn.
func TestEveryWriteCanFail(t *testing.T) {
	before, after := bytes.Repeat([]byte("old"), 10), bytes.Repeat([]byte("new"), 1000)
	faultfs.Each(t, func(t *testing.T, files atomicfile.FileSystem, dir string) faultfs.Writer {
		path := filepath.Join(dir, "folder", "file")
		if err := atomicfile.Write(atomicfile.OS{}, path, before); err != nil {
			t.Fatal(err)
		}
		is := func(allowed ...[]byte) func() error {
			return func() error {
				got, err := os.ReadFile(path)
				for _, want := range allowed {
					if err == nil && bytes.Equal(got, want) {
						return nil
					}
				}
				return fmt.Errorf("the file has %d bytes, %w", len(got), err)
			}
		}
		return faultfs.Writer{
			Write: func() error {
				return atomicfile.Classify(atomicfile.Write(files, path, after), "write a file", filepath.Dir(path), int64(len(after)))
			},
			Whole: is(before, after), Done: is(after),
		}
	})
}

func TestOutOfSpaceSaysWhatIsNeededAndWhere(t *testing.T) {
	for needed, want := range map[int64]string{
		12: "12 bytes are needed", 34_500: "34.5 kB are needed", 6_700_000: "6.7 MB are needed", -1: "free some",
	} {
		err := atomicfile.Classify(&os.PathError{Op: "write", Path: "/secret/data/blobs/x", Err: syscall.ENOSPC}, "store a blob", "/secret/data/blobs", needed)
		var e *captioner.Error
		if !errors.As(err, &e) || e.Code != "out_of_space" || !strings.Contains(e.Message, want) || strings.Contains(e.Message, "secret") ||
			needed >= 0 && !strings.Contains(e.Message, `"blobs"`) || !strings.Contains(err.Error(), "/secret/data/blobs/x") {
			t.Errorf("%v; want %q, the folder's name, and the path in the cause alone", err, want)
		}
	}
}

func TestAbortAfterCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	p, err := atomicfile.Create(atomicfile.OS{}, filepath.Dir(path), "file")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(path, 0o444); err != nil {
		t.Fatal(err)
	}
	p.Abort()
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o444 {
		t.Errorf("%v, %v; want a read-only file", info, err)
	}
}

// TestAbandoned: whoever writes to a folder removes what others who died have left
// there, and leaves alone what is being written.
func TestAbandoned(t *testing.T) {
	dir := t.TempDir()
	used, err := atomicfile.Create(atomicfile.OS{}, dir, "file")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Abort()
	left := filepath.Join(dir, ".tmp-1234567")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(atomicfile.OS{}, filepath.Join(dir, "file"), []byte("whole")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what nobody writes any more: %v, want it gone", err)
	}
	if err := used.Commit(filepath.Join(dir, "used"), 0o644); err != nil {
		t.Errorf("what is being written: %v", err)
	}
}
