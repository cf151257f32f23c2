// Package activitiestest gives tests of runs what activities need: a small data
// set on disk, a real store and blob store in a temporary folder, and an engine
// that computes nothing. Everything but the engine is what production uses.
package activitiestest

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/internal/blob"
	"github.com/captioner/captioner/internal/store"
)

// Fixture is a data directory with all that works in it.
type Fixture struct {
	Activities *activities.Activities
	Engine     *Engine
	Store      captioner.Store
	Blobs      captioner.BlobStore
	// Data is a data set of 40 pictures with two captions each.
	Data captioner.DataConfig
}

// New makes a fixture in a temporary folder.
func New(tb testing.TB) *Fixture {
	tb.Helper()
	return Open(tb, tb.TempDir(), WriteDataset(tb, tb.TempDir()))
}

// Open makes a fixture in a data directory that may have been used before.
func Open(tb testing.TB, dataDir string, data captioner.DataConfig) *Fixture {
	tb.Helper()
	f, err := Make(dataDir, data)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := f.Store.Close(); err != nil {
			tb.Errorf("close the store: %v", err)
		}
	})
	return f
}

// Make is Open for a program that is no test. Its store stays open.
func Make(dataDir string, data captioner.DataConfig) (*Fixture, error) {
	s, err := store.Open(context.Background(), "sqlite:"+filepath.Join(dataDir, "captioner.db"))
	if err != nil {
		return nil, err
	}
	blobs, err := blob.NewDisk(filepath.Join(dataDir, "blobs"))
	if err != nil {
		return nil, err
	}
	engine := &Engine{}
	return &Fixture{
		Activities: &activities.Activities{
			Store: s, Blobs: blobs, Extractor: engine, Trainer: engine, OpenModel: engine.OpenModel, DataDir: dataDir,
		},
		Engine: engine, Store: s, Blobs: blobs, Data: data,
	}, nil
}

// Config is a configuration for the fixture's data set.
func (f *Fixture) Config() captioner.Config {
	cfg := captioner.DefaultConfig()
	cfg.Data = f.Data
	cfg.Training.Steps = 20
	cfg.Training.WarmupSteps = 2
	cfg.Training.Threads = 1
	cfg.Promotion.CollapseMinImages = 5
	return cfg
}

// Colours are those of the pictures, by number modulo their count.
var colours = []struct {
	name string
	rgb  color.RGBA
}{
	{"red", color.RGBA{200, 30, 30, 255}},
	{"green", color.RGBA{30, 180, 40, 255}},
	{"blue", color.RGBA{40, 60, 210, 255}},
	{"grey", color.RGBA{120, 120, 120, 255}},
}

// pictures is how many pictures the data set has.
const pictures = 40

// WriteDataset writes pictures and captions into dir.
func WriteDataset(tb testing.TB, dir string) captioner.DataConfig {
	tb.Helper()
	images := filepath.Join(dir, "Images")
	if err := os.Mkdir(images, 0o755); err != nil {
		tb.Fatal(err)
	}
	var captions strings.Builder
	captions.WriteString("image,caption\n")
	for i := range pictures {
		name := fmt.Sprintf("%03d.png", i)
		write(tb, filepath.Join(images, name), picture(i))
		for _, caption := range references(i) {
			fmt.Fprintf(&captions, "%s,%s\n", name, caption)
		}
	}
	data := captioner.DefaultConfig().Data
	data.Images, data.Captions = images, filepath.Join(dir, "captions.txt")
	data.MinWordCount = 1
	data.ShardSize = 15 // three shards
	write(tb, data.Captions, []byte(captions.String()))
	return data
}

// picture draws picture i: a plain colour with a number of white dots, so that
// no two are the same.
func picture(i int) []byte {
	m := image.NewRGBA(image.Rect(0, 0, 12, 8))
	for y := range 8 {
		for x := range 12 {
			m.Set(x, y, colours[i%len(colours)].rgb)
		}
	}
	for dot := range i + 1 {
		m.Set(dot%12, dot/12, color.White)
	}
	var b bytes.Buffer
	_ = png.Encode(&b, m) // into memory: cannot fail
	return b.Bytes()
}

// references are the captions of picture i.
func references(i int) []string {
	colour := colours[i%len(colours)].name
	return []string{
		fmt.Sprintf("A %s field with %d white dots.", colour, i+1),
		fmt.Sprintf("There are %d dots on %s ground.", i+1, colour),
	}
}

func write(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		tb.Fatal(err)
	}
}
