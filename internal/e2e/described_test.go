package e2e_test

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/captioner/captioner/api/apitest"
)

// checkDescribed asks every address that the server describes for what it has,
// and holds the answers against the description. The values stand for the
// parameters of paths; an address with another one is left out, and so is a
// stream.
func (l *local) checkDescribed(t *testing.T, values map[string]string) {
	t.Helper()
	_, data := l.fetch(t, "/openapi.json")
	doc, err := apitest.Load(data)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for path, item := range doc.Paths.Map() {
		for name, value := range values {
			path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(value))
		}
		if item.Get == nil || strings.Contains(path, "{") || apitest.IsStream(item.Get) {
			continue
		}
		resp, body := l.fetch(t, path)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %s: %.500s", path, resp.Status, body)
		}
		doc.CheckResponse(t, resp.Request, resp)
		asked++
	}
	if asked < 12 {
		t.Errorf("%d addresses were asked, want every one that is described", asked)
	}
}

// fetch gets what is at a path of the API; the response's body can be read too.
func (l *local) fetch(t *testing.T, path string) (*http.Response, []byte) {
	t.Helper()
	resp, err := http.Get(l.api + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, body
}
