// Package foreign makes a folder of pictures and captions that has nothing in
// common with the demonstration data set but its layout: painted landscapes,
// described by a grammar of their own. End-to-end tests train on it to prove
// that a user's own data works; nothing else uses it.
//
// The folder has a captions file without a header and no split files, and some
// of the pictures are PNGs.
package foreign

import (
	"bytes"
	"fmt"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// The names inside the folder, as in the Kaggle edition of Flickr8k.
const (
	ImagesDir    = "Images"
	CaptionsFile = "captions.txt"
)

// Generate fills dir with the number of pictures, 1 to 9,999, and five captions
// of each. The same seed gives the same bytes.
func Generate(dir string, images int, seed uint64) error {
	if err := os.MkdirAll(filepath.Join(dir, ImagesDir), 0o755); err != nil {
		return err
	}
	var lines strings.Builder
	for i := range images {
		words, pixels := streams(seed, i)
		v := newView(words)
		data, err := encode(pixels, v, isPNG(i))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, ImagesDir, imageName(i)), data, 0o644); err != nil {
			return err
		}
		for _, c := range captions(words, v) {
			fmt.Fprintf(&lines, "%s,%s\n", imageName(i), c)
		}
	}
	return os.WriteFile(filepath.Join(dir, CaptionsFile), []byte(lines.String()), 0o644)
}

// Captions returns what Generate would write, by picture, without painting.
func Captions(images int, seed uint64) map[string][]string {
	out := make(map[string][]string, images)
	for i := range images {
		words, _ := streams(seed, i)
		out[imageName(i)] = captions(words, newView(words))
	}
	return out
}

// streams returns the random numbers of picture i: those that decide what it
// shows and how it is described, and those that paint it.
func streams(seed uint64, i int) (words, pixels *rand.Rand) {
	return rand.New(rand.NewPCG(seed, uint64(2*i))), rand.New(rand.NewPCG(seed, uint64(2*i+1)))
}

// Every tenth picture is a PNG.
func isPNG(i int) bool { return i%10 == 9 }

func imageName(i int) string {
	if isPNG(i) {
		return fmt.Sprintf("IMG_%04d.PNG", i+1)
	}
	return fmt.Sprintf("IMG_%04d.JPG", i+1)
}

// encode paints the view.
func encode(r *rand.Rand, v view, asPNG bool) ([]byte, error) {
	var out bytes.Buffer
	img := paint(r, v)
	if asPNG {
		err := png.Encode(&out, img)
		return out.Bytes(), err
	}
	err := jpeg.Encode(&out, img, &jpeg.Options{Quality: 90})
	return out.Bytes(), err
}

// view is what a landscape shows. Each attribute is its plain name.
type view struct {
	place  string // "sea", "field", "desert", "snow"
	time   string // "day", "sunset", "night", "rain"
	thing  string // "boat", "house", "tree", "tent", "car"
	colour string // of the thing; "" for trees
	count  int    // 1; for trees 1 to 3
	side   string // "left", "middle", "right"
	// mountains stand on the horizon.
	mountains bool
}

func newView(r *rand.Rand) view {
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	v := view{
		place:     pick("sea", "field", "desert", "snow"),
		time:      pick("day", "sunset", "night", "rain"),
		thing:     pick("house", "tree", "tent", "car"),
		side:      pick("left", "middle", "right"),
		count:     1,
		mountains: r.IntN(3) == 0,
	}
	if v.place == "sea" {
		v.thing = "boat"
	}
	if v.thing == "tree" {
		v.count = 1 + r.IntN(3)
	} else {
		v.colour = pick("red", "white", "yellow", "blue")
	}
	if v.place == "snow" && v.colour == "white" { // not to be seen
		v.colour = pick("red", "yellow", "blue")
	}
	return v
}
