package api_test

import (
	"net/http"
	"testing"
)

func TestIndexSendsBrowsersToThePage(t *testing.T) {
	for accept, want := range map[string]int{
		"":                 http.StatusOK,
		"*/*":              http.StatusOK,
		"application/json": http.StatusOK,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": http.StatusSeeOther,
	} {
		w := serve(newServer(t, newFake(), nil), scenario{path: "/", header: map[string]string{"Accept": accept}})
		if w.Code != want || w.Header().Get("Vary") != "Accept" || (want == http.StatusSeeOther) != (w.Header().Get("Location") == "/ui/") {
			t.Errorf("Accept %q: status %d, %v; want %d", accept, w.Code, w.Header(), want)
		}
	}
}

func TestPage(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		w := serve(newServer(t, newFake(), bundleOnly), scenario{method: method, path: "/ui/runs/by%2Fhand"})
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s /ui/runs/by%%2Fhand: status %d, %v", method, w.Code, w.Header())
		}
		checkCommon(t, w)
	}
}
