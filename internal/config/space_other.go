//go:build !linux && !darwin

package config

// FreeSpace knows nothing on this system.
func FreeSpace(string) (uint64, bool) { return 0, false }
