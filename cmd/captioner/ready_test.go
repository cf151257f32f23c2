package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestReady: the exit code is the server's answer.
func TestReady(t *testing.T) {
	loading := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if loading {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, `{"title":"Service Unavailable","detail":"the model is being loaded","code":"model_loading"}`)
			return
		}
		io.WriteString(w, `{"ready":true,"model":"ready"}`)
	}))
	defer server.Close()
	for _, test := range []struct {
		loading bool
		address string
		code    int
		want    string
	}{
		{false, server.URL, 0, "ready, model: ready"},
		{true, server.URL, 1, "the model is being loaded"},
		{false, "http://127.0.0.1:1", 1, "no answer from the server"},
	} {
		loading = test.loading
		var out bytes.Buffer
		if code := run([]string{"ready", "--server", test.address}, nil, &out, &out); code != test.code || !strings.Contains(out.String(), test.want) {
			t.Errorf("ready: exit code %d, printed %q, want %d and %q", code, out.String(), test.code, test.want)
		}
	}
}
