package demodata

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/captioner/captioner"
)

// Truth is what scenes.json holds: what each picture shows.
type Truth struct {
	Seed uint64 `json:"seed"`
	// Unseen are the pairs that occur in the test split only.
	Unseen []Pair  `json:"unseen"`
	Scenes []Scene `json:"scenes"`
}

// LoadTruth reads the truth about the data set in dir. The error is NotFound
// when dir is not a demonstration data set, Corrupt when its file is damaged.
func LoadTruth(dir string) (*Truth, error) {
	data, err := os.ReadFile(filepath.Join(dir, ScenesFile))
	if os.IsNotExist(err) {
		return nil, captioner.Wrap(captioner.NotFound, err, "no truth about the pictures in %q", dir)
	} else if err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "read the truth about the pictures in %q", dir)
	}
	var t Truth
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, captioner.Wrap(captioner.Corrupt, err, "read the truth about the pictures in %q", dir)
	}
	return &t, nil
}

// Scene returns the truth about a picture, and whether there is any.
func (t *Truth) Scene(image string) (Scene, bool) {
	for _, s := range t.Scenes {
		if s.Image == image {
			return s, true
		}
	}
	return Scene{}, false
}

// marshal gives the JSON with a scene a line.
func (t Truth) marshal() ([]byte, error) {
	head, err := json.Marshal(Truth{Seed: t.Seed, Unseen: t.Unseen, Scenes: []Scene{}})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Write(bytes.TrimSuffix(head, []byte("]}")))
	for i, s := range t.Scenes {
		line, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		b.Write(line)
	}
	b.WriteString("\n]}\n")
	return b.Bytes(), nil
}
