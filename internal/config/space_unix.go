//go:build linux || darwin

package config

import "syscall"

// FreeSpace returns the bytes that this user may still write to the file
// system of path, and whether that is known.
func FreeSpace(path string) (uint64, bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, false
	}
	return s.Bavail * uint64(s.Bsize), true
}
