package s3test

import (
	"context"
	"net"

	"golang.org/x/time/rate"
)

// piece is how many bytes the line carries at a time.
const piece = 64 << 10

// line is a listener whose connections share a line of limited speed.
type line struct {
	net.Listener
	in, out *rate.Limiter
}

func newLine(l net.Listener, bytesPerSecond rate.Limit) net.Listener {
	if bytesPerSecond == rate.Inf {
		return l
	}
	return line{l, rate.NewLimiter(bytesPerSecond, piece), rate.NewLimiter(bytesPerSecond, piece)}
}

// Accept implements net.Listener.
func (l line) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return limited{conn, l}, nil
}

type limited struct {
	net.Conn
	line line
}

// Read implements net.Conn.
func (c limited) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), piece)])
	if waitErr := c.line.in.WaitN(context.Background(), n); err == nil {
		err = waitErr
	}
	return n, err
}

// Write implements net.Conn.
func (c limited) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		n := min(len(p), piece)
		if err := c.line.out.WaitN(context.Background(), n); err != nil {
			return written, err
		}
		n, err = c.Conn.Write(p[:n])
		written += n
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}
