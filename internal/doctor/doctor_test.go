package doctor

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // changes a schema behind the store's back

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/store"
)

// TestDatabase shows a database at every stage of its schema.
func TestDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "captioner.db")
	look := func(state State, text string) {
		t.Helper()
		r := Database("sqlite:" + path).Run(t.Context())
		if r.State != state || !strings.Contains(r.Detail, text) {
			t.Errorf("%s: %s, want %s: … %s …", r.State, r.Detail, state, text)
		}
	}
	look(OK, "empty")
	if _, err := os.Stat(path); err == nil {
		t.Error("the check has made the database")
	}
	if _, err := store.MigrateUp(t.Context(), "sqlite:"+path); err != nil {
		t.Fatal(err)
	}
	look(OK, "schema ")
	if _, err := store.MigrateDown(t.Context(), "sqlite:"+path, 1); err != nil {
		t.Fatal(err)
	}
	look(OK, "the start brings it up to date")
	execute(t, path, `UPDATE schema_migrations SET version = 99`)
	look(Failed, "use a newer captioner")
	execute(t, path, `PRAGMA application_id = 5`)
	look(Failed, "another application")
}

func execute(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

func TestListen(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			w.Header().Set("X-Request-ID", "1")
		}
	}))
	defer server.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	for url, want := range map[string]State{server.URL: Warning, other.URL: Failed, "http://127.0.0.1:0": OK, "http://127.0.0.1:99999": Failed} {
		r := Listen("API port", strings.TrimPrefix(url, "http://"), "--listen", ServesAt(url)).Run(t.Context())
		if r.State != want || want == Failed && !strings.Contains(r.Detail, "--listen") {
			t.Errorf("%s: %s: %s, want %s", url, r.State, r.Detail, want)
		}
	}
}

func TestCollector(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for endpoint, want := range map[string]State{
		"": OK, "http://" + listener.Addr().String(): OK, "http://127.0.0.1:1": Warning, "127.0.0.1": Failed,
	} {
		r := Collector(func(name string) string {
			return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}[name]
		}).Run(t.Context())
		if r.State != want {
			t.Errorf("%q: %s: %s, want %s", endpoint, r.State, r.Detail, want)
		}
	}
}

// TestErr: one failure is its own error, several are problems of one, and a
// warning is none.
func TestErr(t *testing.T) {
	check := func(name string, r Result) Check { return Check{name, func(context.Context) Result { return r }} }
	first := captioner.Errorf(captioner.Unavailable, "it is away")
	second := captioner.Errorf(captioner.Invalid, "it is wrong")
	fine := check("a", Fine("well"))
	warning := check("b", Warn("perhaps"))
	if err := Err(Run(t.Context(), []Check{fine, warning})); err != nil {
		t.Error(err)
	}
	if err := Err(Run(t.Context(), []Check{fine, check("c", Fail(first)), warning})); !errors.Is(err, first) {
		t.Errorf("%v, want %v", err, first)
	}
	err := Err(Run(t.Context(), []Check{check("c", Fail(first)), check("d", Fail(second))}))
	problems := captioner.ProblemsOf(err)
	if captioner.KindOf(err) != captioner.Invalid || len(problems) != 2 ||
		problems[0].String() != "c: it is away" || problems[1].String() != "d: it is wrong" {
		t.Errorf("kind %s, problems %v", captioner.KindOf(err), problems)
	}
}
