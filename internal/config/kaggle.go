package config

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/dataset"
)

// KaggleInputVariable names the folder that the preset "kaggle" searches instead
// of the one in which Kaggle mounts a notebook's inputs.
const KaggleInputVariable = "CAPTIONER_KAGGLE_INPUT"

const (
	kaggleInput = "/kaggle/input"
	// kaggleDepth is how many folders deep data may lie: Kaggle mounts a data set
	// as /kaggle/input/NAME, or datasets/OWNER/NAME.
	kaggleDepth = 8
)

// kaggleCaptions are the captions files of the data sets that people upload.
var kaggleCaptions = regexp.MustCompile(`^(captions\.txt|results\.csv|Flickr8k\.token\.txt|results_20130124\.token|dataset_(flickr8k|flickr30k|coco)\.json)$`)

// inputs are what lies below the input folder.
type inputs struct {
	root     string
	files    []string       // in lexical order
	captions []string       // captions files, and folders of COCO's
	pictures map[string]int // by folder
}

// findInputs fills in the paths that a configuration leaves open: captions and
// pictures, word vectors of the right size and the encoder's weights. Only the
// first two must be there.
func findInputs(c *captioner.Config) []finding {
	root := cmp.Or(os.Getenv(KaggleInputVariable), kaggleInput)
	in := searchInputs(root)
	if c.Data.Images == "" && c.Data.Captions == "" {
		pairs := in.pairs()
		if len(pairs) != 1 {
			message := "finds no data set among the notebook's inputs: add one with a captions file and a folder of pictures, or name them as data.captions and data.images"
			if len(pairs) > 1 {
				message = fmt.Sprintf("finds %d data sets among the notebook's inputs: name one's files as data.captions and data.images", len(pairs))
			}
			return []finding{{Problem: captioner.Problem{Field: presetKey, Message: message}}}
		}
		for images, captions := range pairs {
			c.Data.Images, c.Data.Captions = images, captions
		}
	}
	return nil
}

// searchInputs looks through the folder; what cannot be read is not there.
func searchInputs(root string) inputs {
	in := inputs{root: root, pictures: map[string]int{}}
	names := map[string][]string{}
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if d.IsDir() {
			if strings.Count(strings.TrimPrefix(path, root), string(filepath.Separator)) > kaggleDepth {
				return fs.SkipDir
			}
			return nil
		}
		dir, name := filepath.Split(path)
		dir = filepath.Clean(dir)
		switch strings.ToLower(filepath.Ext(name)) {
		case ".jpg", ".jpeg", ".png":
			in.pictures[dir]++
			return nil
		}
		in.files = append(in.files, path)
		names[dir] = append(names[dir], name)
		if kaggleCaptions.MatchString(name) {
			in.captions = append(in.captions, path)
		}
		return nil
	})
	for dir, of := range names {
		if _, _, ok := dataset.COCOFiles(of); ok {
			in.captions = append(in.captions, dir)
		}
	}
	slices.Sort(in.captions)
	return in
}

// pairs returns the captions for each folder of pictures that has some.
func (in inputs) pairs() map[string]string {
	pairs := map[string]string{}
	for _, captions := range in.captions {
		images := in.picturesOf(captions)
		if images == "" {
			continue
		}
		if filepath.Ext(captions) == "" || filepath.Base(captions) == "dataset_coco.json" {
			images = filepath.Dir(images) // the pictures' names begin with their folder
		}
		if _, known := pairs[images]; !known {
			pairs[images] = captions
		}
	}
	return pairs
}

// picturesOf returns the folder of pictures that belongs to captions: of those of
// the same data set that are nearest in the tree the one with the most.
func (in inputs) picturesOf(captions string) string {
	best, bestNear := "", shared(in.root, captions) // other data sets have that in common too
	for _, dir := range slices.Sorted(maps.Keys(in.pictures)) {
		near := shared(captions, dir)
		if near > bestNear || best != "" && near == bestNear && in.pictures[dir] > in.pictures[best] {
			best, bestNear = dir, near
		}
	}
	return best
}

// shared returns how many folders two paths have in common.
func shared(a, b string) int {
	x, y := strings.Split(a, string(filepath.Separator)), strings.Split(b, string(filepath.Separator))
	n := 0
	for n < min(len(x), len(y)) && x[n] == y[n] {
		n++
	}
	return n
}
