package deploy_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/deploy"
)

// TestRender: every file comes back, those that serve one version name it, and
// the same version gives the same bytes.
func TestRender(t *testing.T) {
	version := captioner.DigestOf([]byte("version"))
	files, err := deploy.Render(version)
	if err != nil {
		t.Fatal(err)
	}
	var pinned []string
	for name, content := range files {
		if bytes.Contains(content, []byte(deploy.Unpinned)) {
			t.Errorf("%s is not pinned:\n%s", name, content)
		}
		if bytes.Contains(content, []byte(version)) {
			pinned = append(pinned, name)
		}
	}
	slices.Sort(pinned)
	if diff := cmp.Diff([]string{
		"cloudrun.yaml", "inference.env", "kubernetes/base/api.yaml", "kubernetes/base/engine.yaml",
		"kubernetes/base/migrate.yaml", "kubernetes/base/worker.yaml", "kubernetes/inference/inference.yaml",
	}, pinned); diff != "" {
		t.Errorf("files that name the version (-want +got):\n%s", diff)
	}
	for _, name := range []string{"cloudrun.yaml", "kubernetes/inference/inference.yaml"} {
		if !strings.Contains(string(files[name]), "--bundle=/bundles/"+string(version)) {
			t.Errorf("%s does not serve the version:\n%s", name, files[name])
		}
	}
	again, err := deploy.Render(version)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, again); diff != "" {
		t.Errorf("rendered twice:\n%s", diff)
	}
}
