// Package ui is the page: HTML, CSS and JavaScript modules, embedded as they
// are, that use the API as any other client does. It leaves everything that it
// shows to that API and knows none of its types.
//
// The page itself is not cached. All else lies below an address that holds the
// digest of all files, may be cached for ever, and changes with any of them.
// Nothing is requested from elsewhere: the Content-Security-Policy holds the
// browser to it.
package ui

import (
	"bytes"
	"compress/gzip"
	"embed"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/captioner/captioner"
)

//go:embed assets
var embedded embed.FS

// policy is the Content-Security-Policy. Pictures that a user chooses are shown
// from memory, as blobs.
const policy = "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"

const (
	forEver = "public, max-age=31536000, immutable"
	revised = "no-cache" // may be kept, and is asked for each time
)

// asset is a file, ready to be sent.
type asset struct {
	contentType   string
	etag          string
	plain, zipped []byte
}

// Prefix is the address of the page, below which everything of it is.
const Prefix = "/ui/"

// Handler answers what is below Prefix. Any address that names no file is a view
// of the page.
func Handler() (http.Handler, error) { return build() }

// build compresses the files once, however many servers show the page.
var build = sync.OnceValues(newPage)

type page struct {
	base   string // the address of the files, which ends with their digest
	assets map[string]asset
	index  asset
}

const assetsPrefix = Prefix + "assets/"

func newPage() (*page, error) {
	files, err := fs.Sub(embedded, "assets")
	if err != nil {
		return nil, err
	}
	p := &page{assets: map[string]asset{}}
	all, err := p.load(files)
	if err != nil {
		return nil, err
	}
	p.base = assetsPrefix + captioner.DigestOf(all).Short() + "/"

	index := bytes.ReplaceAll(p.assets["index.html"].plain, []byte("{base}"), []byte(p.base))
	delete(p.assets, "index.html")
	p.index, err = newAsset("index.html", index)
	return p, err
}

// load reads the files and returns all of their bytes, with their names.
func (p *page) load(files fs.FS) (all []byte, err error) {
	err = fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		all = append(append(all, name+"\n"...), data...)
		p.assets[name], err = newAsset(name, data)
		return err
	})
	return all, err
}

func newAsset(name string, data []byte) (asset, error) {
	var zipped bytes.Buffer
	w, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err != nil {
		return asset{}, err
	}
	if _, err := w.Write(data); err != nil {
		return asset{}, err
	}
	if err := w.Close(); err != nil {
		return asset{}, err
	}
	return asset{
		contentType: contentType(name), etag: string(captioner.DigestOf(data)), plain: data, zipped: zipped.Bytes(),
	}, nil
}

// contentType does not depend on what the machine knows about extensions.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "text/plain; charset=utf-8"
}

// ServeHTTP answers GET and HEAD.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("Referrer-Policy", "same-origin")
	header.Set("X-Content-Type-Options", "nosniff")

	name, isAsset := strings.CutPrefix(r.URL.Path, assetsPrefix)
	if !isAsset {
		header.Set("Cache-Control", revised)
		p.index.send(w, r)
		return
	}
	digest, name, _ := strings.Cut(name, "/")
	found, ok := p.assets[name]
	if !ok {
		http.Error(w, "there is no such file", http.StatusNotFound)
		return
	}
	// The page of another version of the program, while replicas change over:
	// it gets what there is, and must not keep it.
	header.Set("Cache-Control", revised)
	if assetsPrefix+digest+"/" == p.base {
		header.Set("Cache-Control", forEver)
	}
	found.send(w, r)
}

// send answers with the asset, compressed if the client takes that.
func (a asset) send(w http.ResponseWriter, r *http.Request) {
	header, body, etag := w.Header(), a.plain, `"`+a.etag+`"`
	header.Add("Vary", "Accept-Encoding")
	if acceptsGzip(r.Header.Get("Accept-Encoding")) && len(a.zipped) < len(a.plain) {
		header.Set("Content-Encoding", "gzip")
		body, etag = a.zipped, `"`+a.etag+`-gzip"`
	}
	header.Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		header.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Type", a.contentType)
	if _, err := w.Write(body); err != nil {
		return // the client has gone
	}
}

// acceptsGzip reads an Accept-Encoding header; "gzip;q=0" refuses it.
func acceptsGzip(header string) bool {
	for _, item := range strings.Split(header, ",") {
		coding, params, err := mime.ParseMediaType(strings.TrimSpace(item))
		if err == nil && (coding == "gzip" || coding == "*") && params["q"] != "0" {
			return true
		}
	}
	return false
}
