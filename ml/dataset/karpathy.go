package dataset

import (
	"encoding/json"
	"io"
	"path"

	"github.com/captioner/captioner"
)

func init() {
	RegisterFormat(Format{Name: "karpathy", Title: karpathyTitle, Matches: isKarpathy, Read: readKarpathy})
}

const karpathyTitle = "Karpathy's JSON"

func isKarpathy(head []byte) bool {
	return hasKeys(head, "images", "sentences", "split") && !hasKeys(head, "annotations")
}

// karpathySplits are the names of splits in Karpathy's files. COCO's "restval"
// are the validation pictures that are commonly trained on.
var karpathySplits = map[string]captioner.Split{
	"train": captioner.Train, "restval": captioner.Train, "val": captioner.Validation, "test": captioner.Test,
}

// readKarpathy reads dataset_flickr8k.json, dataset_flickr30k.json and
// dataset_coco.json of Karpathy and Fei-Fei (2015): pictures with sentences and
// a split. With a "filepath", as COCO's have, a picture is filepath/filename.
func readKarpathy(r io.Reader, c *Captions) error {
	number := 0
	return readLists(r, karpathyTitle, map[string]func(*json.Decoder) error{"images": func(d *json.Decoder) error {
		var image struct {
			Filepath, Filename, Split string
			Sentences                 []struct{ Raw string }
		}
		if err := d.Decode(&image); err != nil {
			return err
		}
		name := path.Join(image.Filepath, image.Filename)
		split, known := karpathySplits[image.Split]
		if known {
			c.Put(name, split)
		}
		for _, sentence := range image.Sentences {
			number++
			if !known {
				c.LeaveOut(number, name, ReasonUnknownSplit, "the picture's split is not train, restval, val or test")
				continue
			}
			c.Add(number, name, sentence.Raw)
		}
		return nil
	}})
}
