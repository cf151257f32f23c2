package api

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/captioner/captioner"
)

// anywhere is the data root below which everything lies.
const anywhere = string(filepath.Separator)

// confine makes the configuration's paths absolute and reports those that lie
// outside the data root: by their text, and by the symbolic links in them where
// the root is on this machine too (an absolute link counts as leaving it). A
// relative path is taken from the root, and refused where anything may be named:
// it would mean another folder than its writer has in mind. A path that does not
// exist is left to the rules that run where the data is.
func confine(dataRoot string, cfg *captioner.Config) ([]captioner.Problem, error) {
	var problems []captioner.Problem
	for _, f := range cfg.Paths() {
		if *f.Path == "" {
			continue
		}
		if dataRoot == "" {
			problems = append(problems, captioner.Problem{Field: f.Field,
				Message: "paths cannot be named over HTTP: this server was started without a data root"})
			continue
		}
		if dataRoot == anywhere && !filepath.IsAbs(*f.Path) {
			problems = append(problems, captioner.Problem{Field: f.Field,
				Message: "must be an absolute path on the server's machine, such as /home/ada/pictures"})
			continue
		}
		inside, err := locate(dataRoot, *f.Path)
		if err != nil {
			return nil, err
		}
		if inside == "" {
			problems = append(problems, captioner.Problem{Field: f.Field, Message: "must lie under the server's data root"})
			continue
		}
		*f.Path = inside
	}
	return problems, nil
}

// hideOutside empties the paths that lie outside the data root.
func hideOutside(dataRoot string, cfg *captioner.Config) error {
	for _, f := range cfg.Paths() {
		if *f.Path == "" {
			continue
		}
		inside := ""
		if dataRoot != "" {
			var err error
			if inside, err = locate(dataRoot, *f.Path); err != nil {
				return err
			}
		}
		*f.Path = inside
	}
	return nil
}

// locate returns the absolute path of one below the root, empty for one that
// is outside.
func locate(dataRoot, path string) (string, error) {
	dir, err := filepath.Abs(dataRoot)
	if err != nil {
		return "", captioner.Wrap(captioner.Internal, err, "find the data root")
	}
	relative := path
	if filepath.IsAbs(path) {
		if relative, err = filepath.Rel(dir, path); err != nil {
			return "", nil
		}
	}
	if !filepath.IsLocal(relative) {
		return "", nil
	}

	if dir == anywhere {
		return filepath.Join(dir, relative), nil
	}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return filepath.Join(dir, relative), nil // only the workers have it
	}
	if err != nil {
		return "", captioner.Wrap(captioner.Internal, err, "open the data root")
	}
	defer root.Close()
	// Stat follows links inside the root and fails on those that leave it.
	if _, err := root.Stat(relative); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return filepath.Join(dir, relative), nil
}
