//go:build !linux && !darwin

package config

// freeSpace knows nothing on this system.
func freeSpace(string) (uint64, bool) { return 0, false }
