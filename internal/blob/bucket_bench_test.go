package blob

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	cloud "gocloud.dev/blob"
	"golang.org/x/time/rate"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob/s3test"
)

// BenchmarkBucket takes Put and Local of a 64 MiB file in turn with the same
// client's upload of a file and download into one, without digests, ten times. The
// ratios are the client's over ours, of the shortest time and of processor time: 1 is
// the client's speed. Processor time includes the object store's, in this process. The
// line to it is the loopback, which is faster than SHA-256 and shares the processors
// with it, or one of 1 or 10 Gbit/s.
func BenchmarkBucket(b *testing.B) {
	for _, line := range []struct {
		name string
		rate rate.Limit
	}{{"1Gbit", 125e6}, {"10Gbit", 1250e6}, {"loopback", rate.Inf}} {
		b.Run(line.name, func(b *testing.B) { benchmarkBucket(b, s3test.StartAt(b, line.rate)) })
	}
}

func benchmarkBucket(b *testing.B, server *s3test.Server) {
	source := filepath.Join(b.TempDir(), "source")
	content := bytes.Repeat([]byte("0123456789abcdef"), 64<<20/16)
	var plainUp, up, plainDown, down cost
	const rounds = 10 // of which one at least finds nothing in its way
	round := func(i int) {
		copy(content, fmt.Sprintf("%16d", i))
		if err := os.WriteFile(source, content, 0o600); err != nil {
			b.Fatal(err)
		}
		from, to := openBucket(b, server.Address, b.TempDir()), openBucket(b, server.Address, b.TempDir())
		target := filepath.Join(b.TempDir(), "target")
		digest := captioner.DigestOf(content)
		plainUp.add(b, func() error {
			file, err := os.Open(source)
			if err != nil {
				return err
			}
			defer file.Close()
			return from.bucket.Upload(b.Context(), "plain", file, &cloud.WriterOptions{ContentType: "application/octet-stream"})
		})
		up.add(b, func() error {
			file, err := os.Open(source)
			if err != nil {
				return err
			}
			defer file.Close()
			_, _, err = from.Put(b.Context(), file)
			return err
		})
		plainDown.add(b, func() error {
			file, err := os.Create(target)
			if err != nil {
				return err
			}
			defer file.Close()
			return to.bucket.Download(b.Context(), "plain", file, nil)
		})
		down.add(b, func() error {
			_, err := to.Local(b.Context(), digest)
			return err
		})
		if err := to.Delete(b.Context(), digest); err != nil {
			b.Fatal(err)
		}
	}
	for n := 0; b.Loop(); n++ {
		for i := range rounds {
			round(n*rounds + i)
		}
	}
	b.ReportMetric(0, "ns/op") // of no meaning here
	for name, pair := range map[string][2]cost{"up": {plainUp, up}, "down": {plainDown, down}} {
		plain, ours := pair[0], pair[1]
		b.ReportMetric(ours.wall.Seconds(), name+"-s")
		b.ReportMetric(float64(plain.wall)/float64(ours.wall), name+"-speed")
		b.ReportMetric(float64(plain.cpu)/float64(ours.cpu), name+"-cpu")
	}
}

// cost is the shortest time that something takes, and all its processor time.
type cost struct{ wall, cpu time.Duration }

func (c *cost) add(b *testing.B, do func() error) {
	b.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began, before := time.Now(), used()
	if err := do(); err != nil {
		b.Fatal(err)
	}
	if wall := time.Since(began); c.wall == 0 || wall < c.wall {
		c.wall = wall
	}
	c.cpu += used() - before
}
