// Package blobtest is the contract of captioner.BlobStore as a test suite.
// Every implementation runs it.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/captioner/captioner"
)

// Backend is a store under test.
type Backend struct {
	captioner.BlobStore
	// Damage replaces the stored bytes of a blob behind the store's back.
	Damage func(t *testing.T, d captioner.Digest, damaged []byte)
	// Reopen returns the same store as a new process finds it.
	Reopen func(t *testing.T) captioner.BlobStore
	// Age makes a blob one that was last put that long ago.
	Age func(t *testing.T, d captioner.Digest, age time.Duration)
}

// Run runs every test of the contract; open returns an empty store.
func Run(t *testing.T, open func(t *testing.T) Backend) {
	tests := []struct {
		name string
		test func(t *testing.T, b Backend)
	}{
		{"RoundTrip", testRoundTrip},
		{"Missing", testMissing},
		{"NoDigest", testNoDigest},
		{"PutTwice", testPutTwice},
		{"PutTogether", testPutTogether},
		{"SourceFails", testSourceFails},
		{"ContextEnded", testContextEnded},
		{"Damaged", testDamaged},
		{"DamagedLocal", testDamagedLocal},
		{"Repaired", testRepaired},
		{"Reopened", testReopened},
		{"Deleted", testDeleted},
		{"Listed", testListed},
		{"DeletedForAge", testDeletedForAge},
		{"PutAgainstDeletion", testPutAgainstDeletion},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

// sizes cross the buffers that copying and hashing use.
var sizes = []int{0, 1, 63, 64, 4096, 256<<10 - 1, 256 << 10, 256<<10 + 1, 5<<20 + 7}

func testRoundTrip(t *testing.T, b Backend) {
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			content := random(size)
			digest, n, err := b.Put(t.Context(), iotest.HalfReader(bytes.NewReader(content)))
			if err != nil {
				t.Fatal(err)
			}
			if want := captioner.DigestOf(content); digest != want || n != int64(size) {
				t.Fatalf("Put = %s, %d; want %s, %d", digest, n, want, size)
			}
			wantBlob(t, b, digest, content)
			r, err := b.Open(t.Context(), digest)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if size < 1<<20 {
				if err := iotest.TestReader(struct{ io.Reader }{r}, content); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func testMissing(t *testing.T, b Backend) {
	digest := captioner.DigestOf([]byte("never stored"))
	_, openErr := b.Open(t.Context(), digest)
	_, localErr := b.Local(t.Context(), digest)
	wantKind(t, openErr, captioner.NotFound)
	wantKind(t, localErr, captioner.NotFound)
	if has, err := b.Has(t.Context(), digest); has || err != nil {
		t.Errorf("Has = %v, %v", has, err)
	}
}

func testNoDigest(t *testing.T, b Backend) {
	for _, bad := range []captioner.Digest{"", "ab", "../../etc/passwd", "incoming",
		captioner.Digest(strings.Repeat("A", 64)), captioner.Digest(strings.Repeat("0", 63) + "/")} {
		_, openErr := b.Open(t.Context(), bad)
		_, localErr := b.Local(t.Context(), bad)
		_, hasErr := b.Has(t.Context(), bad)
		for _, err := range []error{openErr, localErr, hasErr} {
			wantKind(t, err, captioner.Invalid)
		}
	}
}

func testPutTwice(t *testing.T, b Backend) {
	content := random(1000)
	first := put(t, b, content)
	path, err := b.Local(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	if second := put(t, b, content); second != first {
		t.Errorf("the same bytes got %s and %s", first, second)
	}
	if again, err := b.Local(t.Context(), first); err != nil || again != path {
		t.Errorf("Local moved from %s to %s, %v", path, again, err)
	}
	wantBlob(t, b, first, content)
}

// testPutTogether stores few blobs from many goroutines, while others read.
func testPutTogether(t *testing.T, b Backend) {
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			content := fmt.Appendf(nil, "blob %d", i%3)
			digest, _, err := b.Put(t.Context(), bytes.NewReader(content))
			if err != nil {
				t.Error(err)
				return
			}
			path, err := b.Local(t.Context(), digest)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("read %q, %v; want %q", got, err, content)
			}
		})
	}
	wg.Wait()
}

func testSourceFails(t *testing.T, b Backend) {
	content := random(1 << 20)
	broken := captioner.Errorf(captioner.Corrupt, "the source is damaged")
	_, _, err := b.Put(t.Context(), io.MultiReader(bytes.NewReader(content), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("Put = %v, want the source's error", err)
	}
	if has, err := b.Has(t.Context(), captioner.DigestOf(content)); has || err != nil {
		t.Errorf("half a blob is there: %v, %v", has, err)
	}
}

func testContextEnded(t *testing.T, b Backend) {
	content := random(1 << 20)
	digest := put(t, b, content)
	opened, cancel := context.WithCancel(t.Context())
	r, err := b.Open(opened, digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	_, readErr := io.ReadAll(r)

	_, _, putErr := b.Put(opened, bytes.NewReader(content))
	_, openErr := b.Open(opened, digest)
	_, localErr := b.Local(opened, digest)
	for what, err := range map[string]error{"Read": readErr, "Put": putErr, "Open": openErr, "Local": localErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want context.Canceled", what, err)
		}
	}

	// A Put that is under way ends too, and keeps nothing.
	ctx, cancel := context.WithCancel(t.Context())
	fresh := random(1<<20 + 1)
	_, _, err = b.Put(ctx, io.MultiReader(bytes.NewReader(fresh), readerFunc(func([]byte) (int, error) {
		cancel()
		return 0, nil
	}), neverEnding{}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Put = %v, want context.Canceled", err)
	}
}

// damages are what disks and people do to a file.
func damages(content []byte) map[string][]byte {
	flip := func(i int) []byte {
		damaged := bytes.Clone(content)
		damaged[i] ^= 1
		return damaged
	}
	return map[string][]byte{
		"first byte":  flip(0),
		"last byte":   flip(len(content) - 1),
		"middle":      flip(len(content) / 2),
		"truncated":   content[:len(content)-1],
		"emptied":     {},
		"longer":      append(bytes.Clone(content), 0),
		"other bytes": random(len(content) + 1)[1:],
	}
}

func testDamaged(t *testing.T, b Backend) {
	content := random(300 << 10)
	for name, damaged := range damages(content) {
		digest := put(t, b, content)
		b.Damage(t, digest, damaged)
		r, err := b.Open(t.Context(), digest)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for range 2 { // the error stays
			_, err = io.Copy(io.Discard, struct{ io.Reader }{r})
			if captioner.KindOf(err) != captioner.Corrupt {
				t.Errorf("%s: reading gives %v, want corrupt", name, err)
			}
		}
		r.Close()
	}
}

func testDamagedLocal(t *testing.T, b Backend) {
	content := random(300 << 10)
	for name, damaged := range damages(content) {
		digest := put(t, b, content)
		if _, err := b.Local(t.Context(), digest); err != nil {
			t.Fatal(err)
		}
		b.Damage(t, digest, damaged)
		for who, store := range map[string]captioner.BlobStore{"new process": b.Reopen(t), "same process": b} {
			if _, err := store.Local(t.Context(), digest); captioner.KindOf(err) != captioner.Corrupt {
				t.Errorf("%s, %s: Local = %v, want corrupt", name, who, err)
			}
		}
	}
}

func testRepaired(t *testing.T, b Backend) {
	content := random(1000)
	digest := put(t, b, content)
	b.Damage(t, digest, content[1:])
	put(t, b, content)
	wantBlob(t, b, digest, content)
}

func testReopened(t *testing.T, b Backend) {
	content := random(1000)
	digest := put(t, b, content)
	wantBlob(t, b.Reopen(t), digest, content)
}

func testListed(t *testing.T, b Backend) {
	want := map[captioner.Digest]int64{}
	for _, size := range []int{0, 1, 1000} {
		want[put(t, b, random(size))] = int64(size)
	}
	old := put(t, b, random(7))
	want[old] = 7
	b.Age(t, old, time.Hour)
	got := map[captioner.Digest]int64{}
	err := b.List(t.Context(), func(info captioner.BlobInfo) error {
		got[info.Digest] = info.Size
		age := time.Since(info.PutAt)
		if isOld := age > 30*time.Minute; isOld != (info.Digest == old) {
			t.Errorf("blob %s was put %v ago", info.Digest.Short(), age)
		}
		return nil
	})
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("List gives %v, %v; want %v", got, err, want)
	}
	enough := errors.New("enough")
	if err := b.List(t.Context(), func(captioner.BlobInfo) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("List gives %v, want the error of its visitor", err)
	}
}

func testDeletedForAge(t *testing.T, b Backend) {
	cutoff := time.Now().Add(-30 * time.Minute)
	young, old, renewed := put(t, b, random(10)), put(t, b, random(11)), put(t, b, random(12))
	b.Age(t, old, time.Hour)
	b.Age(t, renewed, time.Hour)
	if again := put(t, b, random(12)); again != renewed {
		t.Fatalf("the same bytes got %s and %s", renewed, again)
	}
	for digest, want := range map[captioner.Digest]bool{young: false, old: true, renewed: false, captioner.DigestOf([]byte("none")): false} {
		deleted, err := b.DeleteOlder(t.Context(), digest, cutoff)
		if err != nil || deleted != want {
			t.Errorf("DeleteOlder = %v, %v; want %v", deleted, err, want)
		}
	}
	wantBlob(t, b, young, random(10))
	wantBlob(t, b, renewed, random(12))
	if has, err := b.Has(t.Context(), old); has || err != nil {
		t.Errorf("the old blob: Has = %v, %v", has, err)
	}
	_, err := b.DeleteOlder(t.Context(), "no digest", cutoff)
	wantKind(t, err, captioner.Invalid)
}

// testPutAgainstDeletion puts an old blob again while it is deleted for its age,
// many times: once Put has returned the blob is there.
func testPutAgainstDeletion(t *testing.T, b Backend) {
	other := b.Reopen(t)
	content := random(100)
	for range 50 {
		digest := put(t, b, content)
		b.Age(t, digest, time.Hour)
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := other.DeleteOlder(t.Context(), digest, time.Now().Add(-time.Minute)); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			if _, _, err := b.Put(t.Context(), bytes.NewReader(content)); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		wantBlob(t, b, digest, content)
	}
}

// wantBlob reads a blob in every way.
func wantBlob(t *testing.T, s captioner.BlobStore, digest captioner.Digest, want []byte) {
	t.Helper()
	if has, err := s.Has(t.Context(), digest); !has || err != nil {
		t.Errorf("Has = %v, %v", has, err)
	}
	r, err := s.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		t.Errorf("reading gives %d bytes, %v; want %d", len(got), err, len(want))
	}
	path, err := s.Local(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the local file has %d bytes, %v; want %d", len(got), err, len(want))
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o222 != 0 {
		t.Errorf("the local file has mode %v, %v; want it read-only", info.Mode(), err)
	}
}

func put(t *testing.T, s captioner.BlobStore, content []byte) captioner.Digest {
	t.Helper()
	digest, _, err := s.Put(t.Context(), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// random returns bytes that do not repeat, the same for the same size.
func random(size int) []byte {
	content := make([]byte, size)
	source := rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16)})
	_, _ = source.Read(content)
	return content
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// neverEnding gives nothing and no error, for ever.
type neverEnding struct{}

func (neverEnding) Read([]byte) (int, error) { return 0, nil }

func wantKind(t *testing.T, err error, want captioner.Kind) {
	t.Helper()
	if got := captioner.KindOf(err); got != want {
		t.Errorf("kind %q (%v), want %q", got, err, want)
	}
}

func testDeleted(t *testing.T, b Backend) {
	content := random(1000)
	digest, _, err := b.Put(t.Context(), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Local(t.Context(), digest); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to delete
		if err := b.Delete(t.Context(), digest); err != nil {
			t.Fatal(err)
		}
		if has, err := b.Has(t.Context(), digest); has || err != nil {
			t.Errorf("Has after Delete = %v, %v", has, err)
		}
		if _, err := b.Local(t.Context(), digest); captioner.KindOf(err) != captioner.NotFound {
			t.Errorf("Local after Delete = %v, want NotFound", err)
		}
	}
	if _, _, err := b.Put(t.Context(), bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	wantBlob(t, b, digest, content)
}
