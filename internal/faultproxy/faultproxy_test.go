package faultproxy_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/captioner/captioner/internal/faultproxy"
)

// echo serves lines back, and notes them.
func echo(t *testing.T) (address string, heard <-chan string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	lines := make(chan string, 10)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewScanner(c)
				for in.Scan() {
					lines <- in.Text()
					if _, err := io.WriteString(c, in.Text()+"\n"); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String(), lines
}

// client is a connection through the proxy.
type client struct {
	net.Conn
	lines *bufio.Reader
}

func dial(t *testing.T, p *faultproxy.Proxy) client {
	t.Helper()
	c, err := tryDial(t, p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tryDial(t *testing.T, p *faultproxy.Proxy) (client, error) {
	c, err := net.Dial("tcp", p.Address())
	if err != nil {
		return client{}, err
	}
	t.Cleanup(func() { c.Close() })
	return client{c, bufio.NewReader(c)}, nil
}

// ask sends a line and returns what comes back within a time.
func (c client) ask(line string, within time.Duration) (string, error) {
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return "", err
	}
	return c.lines.ReadString('\n')
}

const (
	soon   = 100 * time.Millisecond
	longer = 10 * time.Second
)

func TestFaults(t *testing.T) {
	target, heard := echo(t)
	p, err := faultproxy.Start(target)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()

	for _, tt := range []struct {
		fault faultproxy.Fault
		hears bool  // the server hears the client
		err   error // what the client gets for an answer; nil for one
	}{
		{faultproxy.None, true, nil},
		{faultproxy.Slow, true, nil},
		{faultproxy.Stutter, true, nil},
		{faultproxy.HalfOpen, true, os.ErrDeadlineExceeded},
		{faultproxy.BlackHole, false, os.ErrDeadlineExceeded},
	} {
		t.Run(string(tt.fault), func(t *testing.T) {
			p.Set(faultproxy.None)
			old := dial(t, p)
			if got, err := old.ask("before", longer); got != "before\n" {
				t.Fatalf("without a fault: %q, %v", got, err)
			}
			<-heard
			p.Set(tt.fault)
			for name, c := range map[string]client{"old connection": old, "new connection": dial(t, p)} {
				within := longer
				if tt.err != nil {
					within = soon
				}
				got, err := c.ask("hello", within)
				if !errors.Is(err, tt.err) || tt.err == nil && got != "hello\n" {
					t.Errorf("%s: got %q, %v; want error %v", name, got, err, tt.err)
				}
				if tt.hears {
					if line := <-heard; line != "hello" {
						t.Errorf("%s: the server heard %q", name, line)
					}
				}
			}
			p.Set(faultproxy.None)
			if _, err := old.ask("after", longer); (err == nil) != (tt.err == nil) {
				t.Errorf("the old connection after the fault: %v; one with a gap must be cut", err)
			}
			if tt.err == nil {
				<-heard
			}
			if got, err := dial(t, p).ask("again", longer); got != "again\n" {
				t.Errorf("a new connection after the fault: %q, %v", got, err)
			}
			<-heard
		})
	}

	t.Run(string(faultproxy.Cut), func(t *testing.T) {
		old := dial(t, p)
		if _, err := old.ask("before", longer); err != nil {
			t.Fatal(err)
		}
		p.Set(faultproxy.Cut)
		if _, err := old.lines.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the old connection: %v, want it reset", err)
		}
		if c, err := tryDial(t, p); err == nil { // else it was reset at once
			if got, err := c.ask("hello", longer); err == nil {
				t.Errorf("a new connection: %q, want it reset", got)
			}
		}
		p.Set(faultproxy.None)
		if got, err := dial(t, p).ask("again", longer); got != "again\n" {
			t.Errorf("after the fault: %q, %v", got, err)
		}
	})
}
