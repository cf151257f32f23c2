package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/processor"
	"github.com/captioner/captioner/ml/dataset"
	"github.com/captioner/captioner/ml/keras"
	"github.com/captioner/captioner/ml/text"
)

// CheckMachine returns everything that keeps this machine from running a
// configuration: paths that are missing, of the wrong type, empty or
// unreadable, and too little space in workDirs, the folders that the run will
// write to. A relative path means what it means to this process.
//
// With a dataRoot every path must lie below that folder, symbolic links
// followed; of one that does not, nothing else is told. Messages name fields
// and never a path.
func CheckMachine(c captioner.Config, dataRoot string, workDirs ...string) []captioner.Problem {
	m := machine{open: openAnywhere}
	if dataRoot != "" {
		root, err := os.OpenRoot(dataRoot)
		if err != nil {
			return []captioner.Problem{{Field: "data", Message: "the folder that this server reads data from cannot be opened"}}
		}
		defer root.Close()
		m.open = inside(root)
	}
	pictures := demonstrationPictures
	for _, p := range c.Paths() {
		switch {
		case *p.Path == "":
		case p.Field == "data.images":
			pictures = m.folder(p.Field, *p.Path)
		case p.Field == "data.captions" && m.isCOCOFolder(*p.Path):
		case p.Field == "model.weights":
			m.weights(p.Field, *p.Path)
		default:
			m.file(p.Field, *p.Path)
		}
	}
	if c.Data.GloVe != "" && !m.refused("data.glove") {
		m.vectors(c)
	}
	m.space(spaceNeeded(c, pictures), workDirs)
	return m.problems
}

// CheckProcessor returns what keeps this machine from training in the precision
// of a configuration, as far as the processor tells. It is for machines that
// train: a control plane may run elsewhere.
func CheckProcessor(c captioner.Config) []captioner.Problem {
	return checkProcessor(c.Training.Precision, processor.Bfloat16())
}

func checkProcessor(precision string, bfloat16 bool) []captioner.Problem {
	if precision != captioner.PrecisionBfloat16 || bfloat16 {
		return nil
	}
	return []captioner.Problem{{
		Field:   "training.precision",
		Message: "bfloat16 needs a processor with AVX512-BF16 or AMX, and this machine's has neither: use float32",
	}}
}

// demonstrationPictures is how many pictures the generated data set has.
const demonstrationPictures = 2500

// machine collects what is wrong with a machine.
type machine struct {
	// open opens a file or folder that is allowed; what says which it must be.
	open     func(path string, folder bool) (*os.File, error)
	problems []captioner.Problem
}

// refusal is an error whose text is the problem's message.
type refusal string

func (r refusal) Error() string { return string(r) }

const (
	outside   refusal = "lies outside of the folder that this server reads data from"
	noFolder  refusal = "is a file where a folder is needed"
	noFile    refusal = "is a folder where a file is needed"
	irregular refusal = "is neither a file nor a folder"
)

// openAnywhere opens a path of the machine.
func openAnywhere(path string, folder bool) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := rightType(info, folder); err != nil {
		return nil, err
	}
	return os.Open(path)
}

// inside opens only what lies below root, also by links.
func inside(root *os.Root) func(path string, folder bool) (*os.File, error) {
	return func(path string, folder bool) (*os.File, error) {
		name, ok := relativeTo(root.Name(), path)
		if !ok {
			return nil, outside
		}
		info, err := root.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			return nil, err
		case err != nil:
			return nil, outside // a link leads out of it
		}
		if err := rightType(info, folder); err != nil {
			return nil, err
		}
		return root.Open(name)
	}
}

// relativeTo returns path relative to the folder root, and whether it lies
// below; root may be written with links or without.
func relativeTo(root, path string) (string, bool) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", false
	}
	roots := []string{root}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		roots = append(roots, real)
	}
	for _, root := range roots {
		root, err := filepath.Abs(root)
		if err != nil {
			continue
		}
		if name, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(name) {
			return name, true
		}
	}
	return "", false
}

// rightType refuses what must not be opened: opening a pipe would wait.
func rightType(info fs.FileInfo, folder bool) error {
	switch {
	case info.IsDir() && !folder:
		return noFile
	case info.Mode().IsRegular() && folder:
		return noFolder
	case !info.IsDir() && !info.Mode().IsRegular():
		return irregular
	}
	return nil
}

// isCOCOFolder reports whether a path is that of an allowed folder with COCO's
// captions, which may stand where a captions file does.
func (m *machine) isCOCOFolder(path string) bool {
	f, err := m.open(path, true)
	if err != nil {
		return false
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	_, _, ok := dataset.COCOFiles(names)
	return err == nil && ok
}

// folder checks a folder of pictures and returns how many entries it has.
func (m *machine) folder(field, path string) int {
	f, err := m.open(path, true)
	if err != nil {
		m.report(field, err)
		return 0
	}
	defer f.Close()
	entries := 0
	for {
		names, err := f.Readdirnames(1000)
		entries += len(names)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			m.report(field, err)
			return entries
		}
	}
	if entries == 0 {
		m.report(field, refusal("is an empty folder"))
	}
	return entries
}

// file checks a file: that a byte of it can be read.
func (m *machine) file(field, path string) {
	f, err := m.open(path, false)
	if err != nil {
		m.report(field, err)
		return
	}
	defer f.Close()
	switch _, err := f.Read(make([]byte, 1)); {
	case errors.Is(err, io.EOF):
		m.report(field, refusal("is an empty file"))
	case err != nil:
		m.report(field, err)
	}
}

// weights checks that a file can hold weights of Keras. Whether they are the
// encoder's, the engine finds out, which knows what that looks like.
func (m *machine) weights(field, path string) {
	f, err := m.open(path, false)
	if err != nil {
		m.report(field, err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		m.report(field, err)
		return
	}
	if err := keras.Check(f, info.Size()); err != nil {
		m.report(field, refusal("are no weights of Keras: "+messageOf(err)))
	}
}

// messageOf returns the message of an error that is meant for a person.
func messageOf(err error) string {
	var known *captioner.Error
	if errors.As(err, &known) {
		return known.Message
	}
	return "the file cannot be read"
}

// vectors checks that the words' vectors are as wide as the model says, by the
// file's first line.
func (m *machine) vectors(c captioner.Config) {
	f, err := m.open(c.Data.GloVe, false)
	if err != nil {
		m.report("data.glove", err)
		return
	}
	defer f.Close()
	width, err := text.VectorWidth(f)
	switch want := c.Model.EmbeddingSize(); {
	case captioner.KindOf(err) == captioner.Invalid:
		m.report("data.glove", refusal("is no text file of word vectors: its first line is not a word and its numbers"))
	case err != nil:
		m.report("data.glove", err)
	case width != want:
		m.report("model.embedding_dim", refusal(fmt.Sprintf("must be %d, as the vectors of data.glove, is %d", width, want)))
	}
}

// refused says whether something is wrong with a field.
func (m *machine) refused(field string) bool {
	return slices.ContainsFunc(m.problems, func(p captioner.Problem) bool { return p.Field == field })
}

// report turns an error into a problem without a path.
func (m *machine) report(field string, err error) {
	message := "cannot be read"
	var known refusal
	var cause *fs.PathError
	switch {
	case errors.As(err, &known):
		message = known.Error()
	case errors.Is(err, fs.ErrNotExist):
		message = "does not exist"
	case errors.Is(err, fs.ErrPermission):
		message = "cannot be read: permission denied"
	case errors.As(err, &cause):
		message += ": " + cause.Err.Error()
	}
	m.problems = append(m.problems, captioner.Problem{Field: field, Message: message})
}

// Bytes beyond the shards that a run needs: checkpoints, bundle, databases.
const spaceForTheRest = 256 << 20

// spaceNeeded estimates what a run writes, in bytes: the pictures' pixels, or
// what a frozen encoder makes of them, as a shard and as a blob.
func spaceNeeded(c captioner.Config, pictures int) uint64 {
	side := uint64(max(c.Model.StoredSize(), 0))
	picture := side * side * 3
	if c.Frozen() {
		shape := captioner.PretrainedShape(c.Model.Encoder)
		picture = uint64(shape.Grid*shape.Grid*shape.Width) * 2
		if c.Model.FeatureType == "float32" {
			picture *= 2
		}
	}
	return 2*uint64(pictures)*picture + spaceForTheRest
}

// space checks that each folder's file system has room. A folder that does not
// exist yet is judged by the one above it; where nothing is known, nothing is
// said.
func (m *machine) space(need uint64, dirs []string) {
	for _, dir := range dirs {
		free, ok := FreeSpace(existing(dir))
		if ok && free < need {
			m.problems = append(m.problems, captioner.Problem{Message: fmt.Sprintf(
				"the disk has %s left and the run needs about %s: free some space", megabytes(free), megabytes(need))})
			return
		}
	}
}

// existing returns the path, or the nearest folder above it that exists.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil {
			return path
		}
		above := filepath.Dir(path)
		if above == path || strings.TrimSpace(above) == "" {
			return path
		}
		path = above
	}
}

func megabytes(n uint64) string { return fmt.Sprintf("%d MB", n/1_000_000) }
