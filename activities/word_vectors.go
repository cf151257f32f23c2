package activities

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/text"
)

// WordVectors describes the vectors of a vocabulary's words.
type WordVectors struct {
	// Vectors is the blob of them, which training reads; Source is the digest of
	// the file that they are from.
	Vectors captioner.Digest `json:"vectors"`
	Source  captioner.Digest `json:"source"`
	// Words is the number of words, Found that of those with a vector.
	Words int `json:"words"`
	Found int `json:"found"`
}

// String says how many words have a vector.
func (v WordVectors) String() string {
	return fmt.Sprintf("%d of %d words (%.1f %%) have a vector in data.glove", v.Found, v.Words, 100*float64(v.Found)/float64(max(1, v.Words)))
}

// digestVectors returns the digest of a file of word vectors, empty without one.
func digestVectors(path string) (d captioner.Digest, err error) {
	if path == "" {
		return "", nil
	}
	f, err := openVectors(path)
	if err != nil {
		return "", err
	}
	defer closing(f, &err)
	d, _, err = captioner.DigestReader(f)
	return d, err
}

func openVectors(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, captioner.Wrap(captioner.Invalid, err, "data.glove can no longer be read")
	}
	return f, nil
}

// putVectors stores the vectors of a vocabulary's words. source is the digest
// that the file had.
func (a *Activities) putVectors(ctx context.Context, path string, source captioner.Digest, vocabulary []string) (v *WordVectors, err error) {
	words, err := text.NewVocabulary(vocabulary)
	if err != nil {
		return nil, err
	}
	f, err := openVectors(path)
	if err != nil {
		return nil, err
	}
	defer closing(f, &err)
	sum := sha256.New()
	vectors, err := text.ReadVectors(io.TeeReader(f, sum), words)
	if err != nil {
		return nil, err
	}
	if captioner.Digest(hex.EncodeToString(sum.Sum(nil))) != source {
		return nil, &captioner.Error{Kind: captioner.Invalid, Code: "data_changed", Message: "data.glove was changed during the run: start it again"}
	}
	var file bytes.Buffer
	if err := vectors.Write(&file); err != nil {
		return nil, err
	}
	v = &WordVectors{Source: source, Words: vectors.Words, Found: vectors.Found}
	v.Vectors, _, err = a.Blobs.Put(ctx, &file)
	return v, err
}
