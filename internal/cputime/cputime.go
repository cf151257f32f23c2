// Package cputime says how much of the processors benchmarks have used, which
// other work on a machine disturbs less than the clock.
package cputime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Used returns what this process has used so far.
func Used() time.Duration { return used(unix.RUSAGE_SELF) }

// UsedByChildren returns what processes have used that this one has started and
// that have ended.
func UsedByChildren() time.Duration { return used(unix.RUSAGE_CHILDREN) }

func used(who int) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		panic(err) // fails for other values of who alone
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
