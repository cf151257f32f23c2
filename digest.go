package captioner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
)

// Digest is a SHA-256 sum in lower-case hexadecimal, 64 characters. Blobs,
// data sets, configurations and model versions are named by theirs.
type Digest string

// ShortDigestLength is how many characters of a digest a person is shown.
const ShortDigestLength = 12

// DigestOf returns the digest of data.
func DigestOf(data []byte) Digest {
	sum := sha256.Sum256(data)
	return Digest(hex.EncodeToString(sum[:]))
}

// DigestReader reads r to its end and returns the digest and the size in bytes.
func DigestReader(r io.Reader) (Digest, int64, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return "", n, err
	}
	return Digest(hex.EncodeToString(h.Sum(nil))), n, nil
}

// DigestJSON returns the digest of the canonical JSON of v: encoding/json's,
// whose struct fields come in order and whose map keys are sorted.
func DigestJSON(v any) (Digest, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("digest of a %T: %w", v, err)
	}
	return DigestOf(data), nil
}

// Short returns the first 12 characters, or all of a shorter string.
func (d Digest) Short() string {
	if len(d) < ShortDigestLength {
		return string(d)
	}
	return string(d[:ShortDigestLength])
}

// Valid reports whether d has the form of a digest.
func (d Digest) Valid() bool {
	if len(d) != sha256.Size*2 {
		return false
	}
	for _, c := range []byte(d) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
