package blob

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"

	"github.com/captioner/captioner"
)

// copyBuffer is how much is read, hashed and written at a time.
const copyBuffer = 256 << 10

// buffers have copyBuffer bytes each.
var buffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// hasher takes the SHA-256 of bytes while the next ones are read and written: it
// makes some 2 GB a second, hardly more than a disk or a line carries.
type hasher struct {
	full   chan part
	digest chan captioner.Digest
}

// part is the beginning of a buffer.
type part struct {
	buffer *[copyBuffer]byte
	n      int
}

func newHasher() *hasher {
	h := &hasher{full: make(chan part, 2), digest: make(chan captioner.Digest, 1)}
	go func() {
		sum := sha256.New()
		for p := range h.full {
			sum.Write(p.buffer[:p.n])
			buffers.Put(p.buffer)
		}
		h.digest <- captioner.Digest(hex.EncodeToString(sum.Sum(nil)))
	}()
	return h
}

// add hashes the beginning of a buffer of buffers, which is the hasher's from now on.
func (h *hasher) add(buffer *[copyBuffer]byte, n int) { h.full <- part{buffer, n} }

// copy hashes a copy of p.
func (h *hasher) copy(p []byte) {
	for len(p) > 0 {
		buffer := buffers.Get().(*[copyBuffer]byte)
		n := copy(buffer[:], p)
		h.add(buffer, n)
		p = p[n:]
	}
}

// sum ends the hasher, which must happen once, and returns the digest.
func (h *hasher) sum() captioner.Digest {
	close(h.full)
	return <-h.digest
}
