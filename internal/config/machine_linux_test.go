package config

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCheckMachineUnreadable(t *testing.T) {
	dir := dataFolder(t)
	must(t, os.Chmod(filepath.Dir(dir), 0o755)) // made for its owner alone
	must(t, os.Chmod(filepath.Join(dir, "Images"), 0))
	must(t, os.Chmod(filepath.Join(dir, "captions.txt"), 0))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "Images"), 0o755) })
	withoutPrivileges(t)
	for _, root := range []string{"", dir} {
		problems := CheckMachine(configOf(dir, "Images", "captions.txt"), root)
		if len(problems) != 2 || !strings.Contains(problems[0].Message, "permission denied") || problems[0].Message != problems[1].Message {
			t.Errorf("root %q: %v", root, problems)
		}
	}
}

// withoutPrivileges has this thread open files as nobody for the rest of the
// test, since nothing is unreadable for root.
func withoutPrivileges(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	runtime.LockOSThread()
	if _, err := unix.SetfsuidRetUid(nobody); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := unix.SetfsuidRetUid(0); err != nil {
			t.Fatal(err) // the thread stays locked and ends with its goroutine
		}
		runtime.UnlockOSThread()
	})
}
