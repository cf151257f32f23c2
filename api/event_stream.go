package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
)

const (
	// keepAlive is the longest silence: proxies close what seems dead after 30
	// to 60 seconds.
	keepAlive = 15 * time.Second
	// slowClient is how long a client may take to receive one event.
	slowClient = 30 * time.Second
	// reconnectAfter is how long clients wait before they come back.
	reconnectAfter = time.Second
)

// eventStream writes server-sent events (WHATWG HTML, section 9.2). After an
// error, which means that the client has gone, it writes nothing more.
type eventStream struct {
	w       gin.ResponseWriter
	control *http.ResponseController
	written time.Time
	err     error
}

// openEventStream sends the header of an event stream. The server's deadline for
// writing, which bounds ordinary replies, gives way to one for each event.
func openEventStream(c *gin.Context) *eventStream {
	s := &eventStream{w: c.Writer, control: http.NewResponseController(c.Writer)}
	header := c.Writer.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx would hold events back
	c.Status(http.StatusOK)
	s.write(fmt.Appendf(nil, "retry: %d\n\n", reconnectAfter.Milliseconds()))
	return s
}

// send writes an event with v as JSON; an empty id leaves the client's as it is.
func (s *eventStream) send(name, id string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "write a %T as JSON", v)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\n", name)
	if id != "" {
		fmt.Fprintf(&b, "id: %s\n", id)
	}
	fmt.Fprintf(&b, "data: %s\n\n", data) // JSON has no line breaks
	s.write(b.Bytes())
	return nil
}

// stayAlive writes a comment when nothing was written for a while.
func (s *eventStream) stayAlive() {
	if time.Since(s.written) >= keepAlive {
		s.write([]byte(":\n\n"))
	}
}

func (s *eventStream) write(data []byte) {
	if s.err != nil {
		return
	}
	s.written = time.Now()
	if err := s.control.SetWriteDeadline(s.written.Add(slowClient)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.err = err
		return
	}
	if _, s.err = s.w.Write(data); s.err == nil {
		s.err = s.control.Flush()
	}
}
