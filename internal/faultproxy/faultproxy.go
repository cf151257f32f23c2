// Package faultproxy puts a network that fails between a client and a server of a
// test: it passes TCP connections on, and can delay, swallow and cut what they
// carry.
package faultproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Fault is what is wrong with the network.
type Fault string

const (
	// None passes everything on.
	None Fault = "none"
	// Slow passes everything on late.
	Slow Fault = "slow"
	// Stutter stops everything again and again, as a network does that loses packets
	// and sends them anew.
	Stutter Fault = "stutter"
	// Cut resets every connection, and refuses new ones.
	Cut Fault = "cut"
	// HalfOpen passes on what the client sends and swallows the answers.
	HalfOpen Fault = "half-open"
	// BlackHole swallows everything: connections are accepted and nothing comes.
	BlackHole Fault = "black hole"
)

// Faults are all that can be wrong.
var Faults = []Fault{Slow, Stutter, Cut, HalfOpen, BlackHole}

const (
	// delay is what Slow adds to each piece, in both directions.
	delay = 300 * time.Millisecond
	// stalls is how long Stutter stops, and flows how long it does not.
	stalls, flows = 700 * time.Millisecond, 300 * time.Millisecond
	// buffer is the largest piece that is passed on at once.
	buffer = 32 << 10
)

// Proxy is a listener whose connections lead to a target. What a fault swallows
// is lost: connections that it has touched are cut when the fault ends, as no TCP
// connection goes on with a gap in it.
type Proxy struct {
	listener net.Listener
	target   string
	done     chan struct{}
	running  sync.WaitGroup

	mu      sync.Mutex
	fault   Fault
	changed chan struct{} // closed when the fault changes
	links   map[*link]bool
}

// link is a connection and the one that it leads to.
type link struct {
	client, server net.Conn
	torn           bool // something was swallowed
}

// Start listens on a free port of the loopback.
func Start(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		listener: listener, target: target, done: make(chan struct{}),
		fault: None, changed: make(chan struct{}), links: map[*link]bool{},
	}
	p.running.Go(p.accept)
	return p, nil
}

// Address is where clients connect.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Set changes what is wrong, for connections that are there and for new ones.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
	close(p.changed)
	p.changed = make(chan struct{})
	for l := range p.links {
		if f == Cut || l.torn {
			l.cut()
		}
	}
}

// Close cuts every connection and waits until all is over.
func (p *Proxy) Close() error {
	close(p.done)
	err := p.listener.Close()
	p.Set(Cut)
	p.running.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	if fault, _ := p.now(); fault == Cut {
		reset(client)
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	l := &link{client: client, server: server}
	if !p.add(l) {
		reset(client)
		return
	}
	defer p.remove(l)
	var both sync.WaitGroup
	both.Go(func() { p.pump(l, server, client, true) })
	both.Go(func() { p.pump(l, client, server, false) })
	both.Wait()
}

// pump passes on what arrives, as the fault has it, until the connection ends.
func (p *Proxy) pump(l *link, to, from net.Conn, asks bool) {
	data := make([]byte, buffer)
	for {
		n, err := from.Read(data)
		if n > 0 && !p.pass(l, to, data[:n], asks) {
			break
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				l.cut()
				return
			}
			break
		}
	}
	// The rest of the other direction may still come.
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // it has ended if this fails
	}
}

// pass passes one piece on; false when the connection is over.
func (p *Proxy) pass(l *link, to net.Conn, data []byte, asks bool) bool {
	fault, _ := p.now()
	switch {
	case fault == BlackHole, fault == HalfOpen && !asks:
		p.tear(l)
		return true
	case fault == Cut:
		return false
	case fault == Slow:
		p.wait(delay)
	case fault == Stutter:
		if phase := time.Duration(time.Now().UnixNano()) % (stalls + flows); phase < stalls {
			p.wait(stalls - phase)
		}
	}
	_, err := to.Write(data)
	return err == nil
}

// wait sleeps, but no longer than the fault lasts.
func (p *Proxy) wait(d time.Duration) {
	_, changed := p.now()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	}
}

func (p *Proxy) now() (Fault, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault, p.changed
}

func (p *Proxy) tear(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.torn = true
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return false
	default:
	}
	p.links[l] = true
	return p.fault != Cut
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// cut resets both connections.
func (l *link) cut() {
	reset(l.client)
	reset(l.server)
}

// reset closes a connection so that its peer gets an error and no end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
