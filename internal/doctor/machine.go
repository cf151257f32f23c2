package doctor

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
)

const (
	// littleSpace is too little for the features of a data set, and noSpace for a
	// database and its journal.
	littleSpace, noSpace = 1 << 30, 64 << 20
	// askTimeout bounds the wait for a server that should answer at once.
	askTimeout = 5 * time.Second
)

// DataFolder checks that a folder can be written to, or made where it is
// missing, and that its disk has room.
func DataFolder(dir string) Check {
	return Check{"data folder", func(context.Context) Result {
		at, missing := existing(dir)
		if err := writable(at); err != nil {
			return Fail(captioner.Wrap(captioner.Invalid, err, "the data folder cannot be written to: take another with --data-dir"))
		}
		detail := dir
		if missing {
			detail += " (is made at the start)"
		}
		free, known := config.FreeSpace(at)
		switch {
		case !known:
			return Fine("%s", detail)
		case free < noSpace:
			return Fail(&captioner.Error{Kind: captioner.Unavailable, Code: "out_of_space",
				Message: "the disk of the data folder is full, " + humanize.IBytes(free) + " are free: make room, or take another folder with --data-dir"})
		case free < littleSpace:
			return Warn("%s, %s free: little for a run", detail, humanize.IBytes(free))
		}
		return Fine("%s, %s free", detail, humanize.IBytes(free))
	}}
}

// existing returns the folder, or the nearest one above it that exists.
func existing(dir string) (at string, missing bool) {
	for at = dir; ; missing = true {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			return at, missing
		}
		at = filepath.Dir(at)
	}
}

// writable tries to make a file in a folder.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".captioner-doctor-")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Listen checks that an address is free, which flag changes. It may be taken by
// captioner itself, which ours finds out.
func Listen(name, address, flag string, ours func(ctx context.Context) bool) Check {
	return Check{name, func(ctx context.Context) Result {
		listener, err := net.Listen("tcp", address)
		switch {
		case err == nil:
			_ = listener.Close()
			return Fine("%s is free", address)
		case errors.Is(err, syscall.EADDRINUSE) && ours(ctx):
			return Warn("captioner runs already at %s", address)
		case errors.Is(err, syscall.EADDRINUSE):
			return Fail(captioner.Wrap(captioner.Conflict, err, "%s is taken: end the program that uses it, or take another address with %s", address, flag))
		}
		return Fail(captioner.Wrap(captioner.Invalid, err, "cannot listen on %q (%s)", address, flag))
	}}
}

// ServesAt reports whether an API of captioner's answers at an address.
func ServesAt(address string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/health", nil)
		if err != nil {
			return false
		}
		reply, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		defer reply.Body.Close()
		return reply.StatusCode == http.StatusOK && reply.Header.Get("X-Request-ID") != ""
	}
}
