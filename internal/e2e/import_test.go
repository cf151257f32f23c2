package e2e_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/kerastest"
)

// TestImportedModel makes a version of a model that Keras has saved, twice the
// same one, and serves it.
func TestImportedModel(t *testing.T) {
	p := needPrograms(t)
	ml := filepath.Join("..", "..", "ml")
	encoders, models := kerastest.Folder(t, filepath.Join(ml, "encoder", "testdata", "reference.py")), t.TempDir()
	kerastest.Run(t, filepath.Join(ml, "original", "testdata", "reference.py"), models)
	data := filepath.Join(t.TempDir(), "data")
	picture := firstPicture(t, pictures(t, 10).Images)
	args := []string{"models", "import", filepath.Join(models, "unmasked.keras"), "--data-dir", data, "--vocabulary", filepath.Join(models, "wordtoix.json"),
		"--encoder-weights", filepath.Join(encoders, "inceptionv3.weights.h5"), "--images", picture}

	version, _, _ := strings.Cut(p.mustRun(t, args...), "\n")
	if again, _, _ := strings.Cut(p.mustRun(t, args...), "\n"); again != version {
		t.Errorf("the same files gave the versions %s and %s", version, again)
	}
	p.mustRun(t, "models", "verify", version, "--data-dir", data)
	if shown := p.mustRun(t, "models", "show", version, "--data-dir", data); !strings.Contains(shown, "encoder weights") {
		t.Errorf("models show says\n%s", shown)
	}
	args[2] = filepath.Join(models, "lambda.keras")
	if _, told, code := p.run(t, args...); code != 2 || !strings.Contains(told, "lambda: is a layer of the class Lambda") {
		t.Errorf("another model: exit code %d\n%s", code, told)
	}
	p.mustRun(t, "models", "promote", version, "--data-dir", data)

	l := startLocal(t, p, data)
	eventually(t, time.Minute, "the version is ready", func() bool { return l.get(t, "/ready", nil) == http.StatusOK })
	if r, code := l.predict(t, readFile(t, picture), "beam"); code != http.StatusOK || r.ModelVersion != captioner.Digest(version) {
		t.Errorf("status %d of version %s, want %s", code, r.ModelVersion.Short(), version)
	}
}
