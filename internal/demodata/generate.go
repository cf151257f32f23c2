package demodata

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"

	"github.com/captioner/captioner"
)

// Defaults of [Options].
const (
	DefaultImages = 2500
	DefaultSeed   = 1
)

// The names inside the folder of a data set.
const (
	ImagesDir      = "Images"
	CaptionsFile   = "captions.txt"
	TrainFile      = "Flickr_8k.trainImages.txt"
	ValidationFile = "Flickr_8k.devImages.txt"
	TestFile       = "Flickr_8k.testImages.txt"
	ScenesFile     = "scenes.json"
	infoFile       = "demodata.json"
)

// version changes whenever the same options give other bytes than before.
const version = 4

const minImages, maxImages = 10, 99_999

// Options say which data set to make.
type Options struct {
	// Images is the number of pictures, 10 to 99,999. 0 means DefaultImages.
	Images int
	// Seed makes the data set repeatable; DefaultSeed is the usual one.
	Seed uint64
}

func (o Options) withDefaults() Options {
	if o.Images == 0 {
		o.Images = DefaultImages
	}
	return o
}

// info is the content of demodata.json, the last file to be written.
type info struct {
	Version int    `json:"version"`
	Images  int    `json:"images"`
	Seed    uint64 `json:"seed"`
	// PictureBytes is the size of all pictures together.
	PictureBytes int64 `json:"picture_bytes"`
	// SHA256 has the digests of the text files.
	SHA256 map[string]string `json:"sha256"`
}

// Generate makes the data set in dir, which must not exist or be empty, and
// keeps what is there if it is the same data set, complete. It works in a
// folder beside dir that takes dir's name at the very end, so that dir is
// never half a data set; what a killed attempt left is removed by the next.
//
// progress, if not nil, is told how many pictures are done, one call at a
// time. The error is Invalid for options out of range, Conflict when dir holds
// something else, ctx.Err() when ctx ends, else Internal.
func Generate(ctx context.Context, dir string, opt Options, progress func(done, total int)) error {
	opt = opt.withDefaults()
	if opt.Images < minImages || opt.Images > maxImages {
		return captioner.Errorf(captioner.Invalid, "%d pictures: a demonstration data set has %d to %d", opt.Images, minImages, maxImages)
	}
	dir = filepath.Clean(dir)
	if Complete(dir, opt) {
		return nil
	}
	if err := checkVacant(dir); err != nil {
		return err
	}
	stage, release, err := openStage(dir)
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "make demonstration data set %q", dir)
	}
	defer release()
	if err := writeAll(ctx, stage, opt, progress); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return captioner.Wrap(captioner.Internal, err, "make demonstration data set %q", dir)
	}
	return publish(stage, dir, opt)
}

// checkVacant returns a Conflict unless dir does not exist or is empty.
func checkVacant(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case os.IsNotExist(err) || err == nil && len(entries) == 0:
		return nil
	case err != nil:
		return captioner.Wrap(captioner.Invalid, err, "folder %q cannot take the demonstration data set", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, infoFile)); err == nil {
		return captioner.Errorf(captioner.Conflict,
			"folder %q holds a demonstration data set that is damaged or was made with other options: delete it or choose another folder", dir)
	}
	return captioner.Errorf(captioner.Conflict, "folder %q is not empty: choose another for the demonstration data set", dir)
}

const lockFile = ".lock"

// openStage makes a folder beside dir to work in, after removing those that
// killed attempts left. release removes what is left of it.
func openStage(dir string) (stage string, release func(), err error) {
	parent, prefix := filepath.Dir(dir), "."+filepath.Base(dir)+".making-"
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", nil, err
	}
	removeStale(parent, prefix)
	for {
		if stage, err = os.MkdirTemp(parent, prefix); err != nil {
			return "", nil, err
		}
		// The lock lives as long as this process: it tells stale from busy.
		lock := flock.New(filepath.Join(stage, lockFile))
		if err := lock.Lock(); err != nil {
			os.RemoveAll(stage)
			return "", nil, err
		}
		// Another process may have locked it first and taken it for stale.
		if _, err := os.Stat(lock.Path()); err == nil {
			return stage, func() { lock.Close(); os.RemoveAll(stage) }, nil
		}
		lock.Close()
	}
}

// removeStale deletes the stages whose makers are gone. Failure to do so
// costs disk space only.
func removeStale(parent, prefix string) {
	stages, _ := filepath.Glob(filepath.Join(parent, prefix+"*"))
	for _, stage := range stages {
		name := filepath.Join(stage, lockFile)
		if _, err := os.Stat(name); err != nil {
			continue
		}
		lock := flock.New(name)
		if free, err := lock.TryLock(); err == nil && free {
			os.RemoveAll(stage)
			lock.Close()
		}
	}
}

// publish gives the finished stage its name.
func publish(stage, dir string, opt Options) error {
	if err := os.Chmod(stage, 0o755); err != nil {
		return captioner.Wrap(captioner.Internal, err, "publish demonstration data set %q", dir)
	}
	os.Remove(dir) // an empty folder; the rename fails on any other
	if err := os.Rename(stage, dir); err != nil {
		if Complete(dir, opt) { // another process was quicker
			return nil
		}
		return captioner.Wrap(captioner.Internal, err, "publish demonstration data set %q", dir)
	}
	// Only now: a stage without its lock might be taken for stale.
	os.Remove(filepath.Join(dir, lockFile))
	return nil
}

// writeAll fills the stage: pictures first, demodata.json last.
func writeAll(ctx context.Context, stage string, opt Options, progress func(done, total int)) error {
	if err := os.Mkdir(filepath.Join(stage, ImagesDir), 0o755); err != nil {
		return err
	}
	p := newPlan(opt)
	scenes := make([]Scene, opt.Images)
	captions := make([][]string, opt.Images)
	about := info{Version: version, Images: opt.Images, Seed: opt.Seed, SHA256: map[string]string{}}
	done, mu := 0, sync.Mutex{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range opt.Images {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			s := p.scene(opt.Seed, i)
			scenes[i], captions[i] = s, references(stream(opt.Seed, captionStream, i), s)
			data, err := render(stream(opt.Seed, pixelStream, i), s)
			if err != nil {
				return fmt.Errorf("encode %s: %w", s.Image, err)
			}
			if err := os.WriteFile(filepath.Join(stage, ImagesDir, s.Image), data, 0o644); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			done++
			about.PictureBytes += int64(len(data))
			if progress != nil {
				progress(done, opt.Images)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return writeTexts(stage, about, Truth{Seed: opt.Seed, Unseen: p.unseen, Scenes: scenes}, captions)
}

// writeTexts writes every file that is not a picture.
func writeTexts(stage string, about info, truth Truth, captions [][]string) error {
	files := map[string][]byte{CaptionsFile: captionLines(truth.Scenes, captions)}
	for split, name := range map[captioner.Split]string{
		captioner.Train: TrainFile, captioner.Validation: ValidationFile, captioner.Test: TestFile,
	} {
		files[name] = splitLines(truth.Scenes, split)
	}
	scenes, err := truth.marshal()
	if err != nil {
		return err
	}
	files[ScenesFile] = scenes
	for name, data := range files {
		sum := sha256.Sum256(data)
		about.SHA256[name] = hex.EncodeToString(sum[:])
		if err := os.WriteFile(filepath.Join(stage, name), data, 0o644); err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(about, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(stage, infoFile), append(data, '\n'), 0o644)
}

// captionLines is captions.txt. A caption with a comma is quoted, as in the
// Kaggle file.
func captionLines(scenes []Scene, captions [][]string) []byte {
	var b bytes.Buffer
	lines := [][]string{{"image", "caption"}}
	for i, s := range scenes {
		for _, c := range captions[i] {
			lines = append(lines, []string{s.Image, c})
		}
	}
	_ = csv.NewWriter(&b).WriteAll(lines) // a buffer takes every write
	return b.Bytes()
}

func splitLines(scenes []Scene, split captioner.Split) []byte {
	var b strings.Builder
	for _, s := range scenes {
		if s.Split == split {
			b.WriteString(s.Image + "\n")
		}
	}
	return []byte(b.String())
}

// Complete reports whether dir holds all of the data set that the options
// describe: the text files unchanged, the pictures all there and of the right
// size together.
func Complete(dir string, opt Options) bool {
	opt = opt.withDefaults()
	data, err := os.ReadFile(filepath.Join(dir, infoFile))
	if err != nil {
		return false
	}
	var about info
	if json.Unmarshal(data, &about) != nil {
		return false
	}
	if about.Version != version || about.Images != opt.Images || about.Seed != opt.Seed {
		return false
	}
	return textsMatch(dir, about.SHA256) && pictureBytes(dir, opt.Images) == about.PictureBytes
}

func textsMatch(dir string, digests map[string]string) bool {
	for _, name := range []string{CaptionsFile, TrainFile, ValidationFile, TestFile, ScenesFile} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		sum := sha256.Sum256(data)
		if err != nil || hex.EncodeToString(sum[:]) != digests[name] {
			return false
		}
	}
	return true
}

// pictureBytes returns the size of all pictures together, -1 if one is missing.
func pictureBytes(dir string, images int) (total int64) {
	for i := range images {
		st, err := os.Stat(filepath.Join(dir, ImagesDir, imageName(i)))
		if err != nil {
			return -1
		}
		total += st.Size()
	}
	return total
}
