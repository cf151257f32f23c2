package ui_test

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/captioner/captioner/api/ui"
)

func handler(t testing.TB) http.Handler {
	t.Helper()
	h, err := ui.Handler()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// get asks for an address with headers given as name, value, name, value …
func get(t testing.TB, address string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, address, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	handler(t).ServeHTTP(w, r)
	return w.Result()
}

func body(t testing.TB, r *http.Response) string {
	t.Helper()
	reader := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzip, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		reader = unzip
	}
	data, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var reference = regexp.MustCompile(`(?:src|href)="(/ui/assets/[^"]+)"`)

// base is the address of the files, as the page names it.
func base(t testing.TB) string {
	t.Helper()
	found := reference.FindStringSubmatch(body(t, get(t, "/ui/")))
	if found == nil {
		t.Fatal("the page names no file")
	}
	return strings.Join(strings.SplitAfter(found[1], "/")[:4], "")
}

// files are the names of all files but the page itself.
func files(t testing.TB) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir("assets", func(name string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && name != "assets/index.html" {
			names = append(names, strings.TrimPrefix(filepath.ToSlash(name), "assets/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestEveryViewIsThePage(t *testing.T) {
	want := body(t, get(t, "/ui/"))
	for _, address := range []string{"/ui/runs", "/ui/runs/by%2Fhand", "/ui/start", "/ui/models/0123456789ab", "/ui/data/train-01", "/ui/nothing"} {
		r := get(t, address)
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "text/html; charset=utf-8" || r.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: status %d, %v; want the page, which is not kept", address, r.StatusCode, r.Header)
		}
		if got := body(t, r); got != want {
			t.Errorf("%s is not the page", address)
		}
	}
	if strings.Contains(want, "{base}") {
		t.Error("the page names files by an address that is not filled in")
	}
}

func TestFiles(t *testing.T) {
	types := map[string]string{
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
		".txt": "text/plain; charset=utf-8", ".LICENSE": "text/plain; charset=utf-8",
	}
	base := base(t)
	for _, name := range files(t) {
		plain, zipped := get(t, base+name), get(t, base+name, "Accept-Encoding", "br, gzip")
		want, err := os.ReadFile(filepath.Join("assets", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []*http.Response{plain, zipped} {
			if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != types[path.Ext(name)] {
				t.Errorf("%s: status %d, type %q", name, r.StatusCode, r.Header.Get("Content-Type"))
			}
			if r.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" || r.Header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s: %v, want a reply to keep for ever", name, r.Header)
			}
			if got := body(t, r); got != string(want) {
				t.Errorf("%s comes with other bytes", name)
			}
		}
		if len(want) > 1000 && zipped.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s is not compressed", name)
		}
		if plain.Header.Get("ETag") == zipped.Header.Get("ETag") && zipped.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s has one ETag for two encodings", name)
		}
	}
}

func TestCaching(t *testing.T) {
	base := base(t)
	etag := get(t, base+"app.js").Header.Get("ETag")
	for _, tt := range []struct {
		name, address string
		headers       []string
		status        int
		cache         string
	}{
		{"known", base + "app.js", []string{"If-None-Match", etag}, http.StatusNotModified, "public, max-age=31536000, immutable"},
		{"changed", base + "app.js", []string{"If-None-Match", `"other"`}, http.StatusOK, "public, max-age=31536000, immutable"},
		{"known page", "/ui/", []string{"If-None-Match", get(t, "/ui/").Header.Get("ETag")}, http.StatusNotModified, "no-cache"},
		{"known in another encoding", base + "app.js", []string{"If-None-Match", etag, "Accept-Encoding", "gzip"}, http.StatusOK, "public, max-age=31536000, immutable"},
		{"another version's page", "/ui/assets/000000000000/app.js", nil, http.StatusOK, "no-cache"},
		{"unknown", base + "nothing.js", nil, http.StatusNotFound, ""},
		{"without a version", "/ui/assets/app.js", nil, http.StatusNotFound, ""},
		{"upwards", base + "../../../go.mod", nil, http.StatusNotFound, ""},
		{"the page as a file", base + "index.html", nil, http.StatusNotFound, ""},
	} {
		r := get(t, tt.address, tt.headers...)
		if r.StatusCode != tt.status || r.Header.Get("Cache-Control") != tt.cache {
			t.Errorf("%s: status %d, Cache-Control %q; want %d, %q", tt.name, r.StatusCode, r.Header.Get("Cache-Control"), tt.status, tt.cache)
		}
		if r.StatusCode == http.StatusNotModified && (body(t, r) != "" || r.Header.Get("Content-Encoding") != "") {
			t.Errorf("%s: 304 with a body or an encoding", tt.name)
		}
	}
}

func TestCompressionIsNegotiated(t *testing.T) {
	for accept, want := range map[string]string{
		"": "", "identity": "", "br": "", "gzip": "gzip", "GZIP": "gzip", "deflate, gzip;q=0.5": "gzip", "gzip;q=0": "", "*": "gzip",
	} {
		if got := get(t, "/ui/", "Accept-Encoding", accept).Header.Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: Content-Encoding %q, want %q", accept, got, want)
		}
	}
}

func TestPolicy(t *testing.T) {
	for _, address := range []string{"/ui/", "/ui/runs", base(t) + "app.js", base(t) + "nothing"} {
		r := get(t, address)
		policy := r.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'self';") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
			t.Errorf("%s: policy %q, want a strict one", address, policy)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: %v", address, r.Header)
		}
	}
	// What the policy would block: scripts and styles in the page.
	page := body(t, get(t, "/ui/"))
	if inline := regexp.MustCompile(`<script>|<style|style="| on[a-z]+="`).FindString(page); inline != "" {
		t.Errorf("the page holds %q", inline)
	}
}

// TestSize keeps all that a browser may ever load below 300 KB.
func TestSize(t *testing.T) {
	base, total := base(t), 0
	for _, address := range append(files(t), "") {
		if path.Ext(address) == ".txt" || path.Ext(address) == ".LICENSE" {
			continue // nobody loads them
		}
		address = base + address
		if strings.HasSuffix(address, "/") {
			address = "/ui/"
		}
		data, err := io.ReadAll(get(t, address, "Accept-Encoding", "gzip").Body)
		if err != nil {
			t.Fatal(err)
		}
		total += len(data)
	}
	t.Logf("%d bytes in all, compressed", total)
	if total > 300_000 || total < 10_000 {
		t.Errorf("%d bytes in all, want fewer than 300,000", total)
	}
}

var outside = regexp.MustCompile(`(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s"'\x60)]*|@import|\burl\([^)]*`)

// TestNothingComesFromElsewhere looks for addresses in all files. Two are names
// and not addresses: the namespace of SVG, and the comment that uPlot carries.
func TestNothingComesFromElsewhere(t *testing.T) {
	for _, name := range append(files(t), "index.html") {
		if path.Ext(name) == ".txt" || path.Ext(name) == ".LICENSE" {
			continue
		}
		data, err := os.ReadFile(filepath.Join("assets", name))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("http://www.w3.org/2000/svg", "", "/*! https://github.com/leeoniya/uPlot (v1.6.32) */", "").Replace(string(data))
		for _, address := range outside.FindAllString(text, -1) {
			t.Errorf("%s names %q", name, address)
		}
	}
}

// TestPreloads holds the page's list of modules against the modules there are.
func TestPreloads(t *testing.T) {
	page := body(t, get(t, "/ui/"))
	for _, name := range files(t) {
		if path.Ext(name) != ".js" || strings.HasPrefix(name, "vendor/") {
			continue
		}
		if !strings.Contains(page, base(t)+name) {
			t.Errorf("the page does not name %s: browsers would find it late", name)
		}
	}
}

// TestVendoredFiles holds what was taken from others against the digests beside it.
func TestVendoredFiles(t *testing.T) {
	readme, err := os.ReadFile("assets/vendor/README.txt")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`sha256 +([0-9a-f]{64})  (\S+)`).FindAllStringSubmatch(string(readme), -1)
	if len(found) != 2 {
		t.Fatalf("%d digests, want 2", len(found))
	}
	for _, f := range found {
		data, err := os.ReadFile(filepath.Join("assets/vendor", f[2]))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != f[1] {
			t.Errorf("%s is not the file that the README names; see tools/uplot", f[2])
		}
	}
}
