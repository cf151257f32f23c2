package config

import (
	"cmp"
	"fmt"
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
	files    []string
	captions []string       // captions files, and folders of COCO's
	pictures map[string]int // by folder
}

// findInputs fills in the paths that a configuration leaves open: captions and
// pictures, word vectors of the right size and the encoder's weights. Only the
// first two must be there.
func findInputs(c *captioner.Config, d *decoder) []finding {
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
	if c.Data.GloVe == "" {
		c.Data.GloVe = in.file("glove", fmt.Sprintf(".%dd.txt", c.Model.EmbeddingSize()))
		if _, given := d.at["model.embedding_frozen"]; !given {
			c.Model.EmbeddingFrozen = c.Data.GloVe != "" // as the original's are
		}
	}
	if c.Model.Weights == "" {
		c.Model.Weights = in.file(c.Model.Encoder, "_notop.h5")
	}
	return nil
}

// file returns the first file whose name begins and ends so, as far as letters and
// digits go; empty for none.
func (in inputs) file(begin, end string) string {
	for _, path := range in.files {
		name := filepath.Base(path)
		if strings.HasPrefix(plainName(name), plainName(begin)) && strings.HasSuffix(strings.ToLower(name), end) {
			return path
		}
	}
	return ""
}

// searchInputs looks through the folder.
func searchInputs(root string) inputs {
	in := inputs{root: root, pictures: map[string]int{}}
	in.search(root, kaggleDepth)
	return in
}

// search takes in a folder and those below it; what cannot be read is not there.
func (in *inputs) search(dir string, depth int) {
	entries, _ := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir() && depth > 0:
			in.search(path, depth-1)
		case e.IsDir():
		case slices.Contains([]string{".jpg", ".jpeg", ".png"}, strings.ToLower(filepath.Ext(path))):
			in.pictures[dir]++
		default:
			names = append(names, e.Name())
			in.files = append(in.files, path)
			if kaggleCaptions.MatchString(e.Name()) {
				in.captions = append(in.captions, path)
			}
		}
	}
	if _, _, ok := dataset.COCOFiles(names); ok {
		in.captions = append(in.captions, dir)
	}
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
