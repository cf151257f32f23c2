package dataset

import (
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"github.com/captioner/captioner"
)

func init() {
	RegisterFormat(Format{Name: "coco", Title: cocoTitle, Matches: isCOCO, Read: func(r io.Reader, c *Captions) error {
		return readCOCO(r, c, "")
	}})
}

const cocoTitle = "COCO's JSON of captions"

func isCOCO(head []byte) bool {
	return hasKeys(head, "images", "file_name") || hasKeys(head, "annotations", "image_id")
}

// readCOCO reads captions_*.json of COCO (Chen et al. 2015): pictures with
// numbers, and annotations, which name a picture by its number; the two lists
// in any order. The pictures lie in folder, below the images folder.
func readCOCO(r io.Reader, c *Captions, folder string) error {
	type annotation struct {
		ImageID int64 `json:"image_id"`
		Caption *string
	}
	names := map[int64]string{}
	var annotations []annotation
	err := readLists(r, cocoTitle, map[string]func(*json.Decoder) error{
		"images": func(d *json.Decoder) error {
			var image struct {
				ID       int64
				FileName string `json:"file_name"`
			}
			err := d.Decode(&image)
			names[image.ID] = path.Join(folder, image.FileName)
			return err
		},
		"annotations": func(d *json.Decoder) error {
			var a annotation
			err := d.Decode(&a)
			annotations = append(annotations, a)
			if err == nil && a.Caption == nil { // of instances or of keypoints
				err = invalidCaptions("this is not %s: the annotations have no caption", cocoTitle)
			}
			return err
		},
	})
	if err != nil {
		return err
	}
	number := len(c.Lines) + len(c.Quarantine) // of the file before
	for _, a := range annotations {
		number++
		if name, known := names[a.ImageID]; known {
			c.Add(number, name, *a.Caption)
		} else {
			c.LeaveOut(number, "", ReasonUnknownImage, "the annotation's image_id is not among the images")
		}
	}
	return nil
}

// cocoFile is the name of a captions file of COCO: split and year, which are
// also the name of the folder of its pictures.
var cocoFile = regexp.MustCompile(`^captions_((train|val)\d*)\.json$`)

// COCOFiles returns which of the files in a folder are COCO's captions of
// training and of validation; false unless there is one of each.
func COCOFiles(names []string) (train, val string, ok bool) {
	found := map[string][]string{}
	for _, name := range names {
		if m := cocoFile.FindStringSubmatch(name); m != nil {
			found[m[2]] = append(found[m[2]], name)
		}
	}
	if len(found["train"]) != 1 || len(found["val"]) != 1 {
		return "", "", false
	}
	return found["train"][0], found["val"][0], true
}

// readCOCOFolder reads the captions of COCO's folder of annotations: those of
// train and of val, whose pictures lie in folders of that name, such as
// train2017. COCO publishes no captions of its test pictures: those of val are
// the test split, and those of train are divided into training and validation.
func readCOCOFolder(dir, format string) (*Captions, []string, error) {
	root, err := os.OpenRoot(dir) // its files cannot be links that lead elsewhere
	if err != nil {
		return nil, nil, fileError(err, "open the folder of captions files")
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, nil, fileError(err, "read the folder of captions files")
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	train, val, ok := COCOFiles(names)
	if !ok || format != Auto && format != "coco" {
		return nil, nil, invalidCaptions("a folder must be COCO's, with one captions_train….json and one captions_val….json; else name a file")
	}
	c := &Captions{Splits: map[string]captioner.Split{}}
	if err := readCOCOFile(root, train, c); err != nil {
		return nil, nil, err
	}
	before := len(c.Images)
	if err := readCOCOFile(root, val, c); err != nil {
		return nil, nil, err
	}
	for _, name := range c.Images[before:] {
		c.Splits[name] = captioner.Test
	}
	return c, []string{filepath.Join(dir, train), filepath.Join(dir, val)}, nil
}

func readCOCOFile(root *os.Root, name string, c *Captions) error {
	f, err := root.Open(name)
	if err != nil {
		return fileError(err, "open the captions file "+name)
	}
	defer f.Close()
	return readCOCO(f, c, cocoFile.FindStringSubmatch(name)[1])
}
