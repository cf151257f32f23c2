// Package deploy holds what captioner is deployed with, and renders the part of
// it that names a model version: the Kubernetes files, the Cloud Run service, and
// the variable that pins the service "inference" of docker-compose.yml.
//
// The files can be used as they are; where they name a version they say
// [Unpinned]. Tests of tools/deploytest hold all of them against the types of
// those who read them.
package deploy

import (
	"bytes"
	"embed"
	"io/fs"

	"github.com/captioner/captioner"
)

// Unpinned stands in the files in place of a version.
const Unpinned = "unpinned"

//go:embed cloudrun.yaml inference.env kubernetes
var files embed.FS

// Render returns the files with the version in them, by their path below this
// folder. They depend on the version alone.
func Render(version captioner.Digest) (map[string][]byte, error) {
	rendered := map[string][]byte{}
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := files.ReadFile(path)
		rendered[path] = bytes.ReplaceAll(content, []byte(Unpinned), []byte(version))
		return err
	})
	return rendered, err
}
