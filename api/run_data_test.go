package api_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/captioner/captioner"
)

// prepared gives the fake's first run a data set.
func prepared(f *fake) {
	data, err := json.Marshal(captioner.Dataset{
		Examples: []captioner.Example{
			{Image: "a.png", Split: captioner.Train, References: []string{"a red dog", "a dog"}},
			{Image: "b.png", Split: captioner.Test, References: []string{"a cat"}},
		},
		Vocabulary: []string{"<pad>", "<unk>", "startseq", "endseq", "a", "dog"}, MaxTokens: 5,
		Quarantine: []captioner.Quarantined{
			{Line: 3, Reason: "no_comma", Detail: "the line has no comma between picture and caption"},
			{Image: "c.png", Reason: "truncated"},
		},
	})
	if err != nil {
		panic(err)
	}
	digest := captioner.DigestOf([]byte("data set"))
	f.runs[0].Dataset = digest
	if f.pictures == nil {
		f.pictures = map[captioner.Digest]string{}
	}
	f.pictures[digest] = string(data)
}

func TestRunData(t *testing.T) {
	etag := `"` + string(captioner.DigestOf([]byte("data set"))) + `-50"`
	run(t, []scenario{
		{name: "all", path: "/runs/train-01/data", prepare: prepared},
		{name: "the first", path: "/runs/train-01/data?limit=1", prepare: prepared},
		{name: "known", path: "/runs/train-01/data", prepare: prepared, header: map[string]string{"If-None-Match": etag}},
		{name: "bad limit", path: "/runs/train-01/data?limit=0", prepare: prepared},
		{name: "not prepared", path: "/runs/train-01/data"},
		{name: "blob gone", path: "/runs/train-01/data", prepare: func(f *fake) { prepared(f); f.pictures = nil }},
		{name: "blob damaged", path: "/runs/train-01/data", prepare: func(f *fake) { prepared(f); f.pictures[f.runs[0].Dataset] = "{" }},
		{name: "blobs away", path: "/runs/train-01/data", prepare: func(f *fake) {
			prepared(f)
			f.away = captioner.Errorf(captioner.Unavailable, "the blobs cannot be reached")
		}},
		{name: "unknown run", path: "/runs/nothing/data"},
		{name: "bundle", path: "/runs/x/data", options: bundleOnly},
	})
}

// TestRunDataIsCounted asks twice, and for another data set.
func TestRunDataIsCounted(t *testing.T) {
	f := newFake()
	prepared(f)
	s := newServer(t, f, nil)
	first := serve(s, scenario{path: "/runs/train-01/data?limit=1"})
	f.pictures = nil // the summary is kept
	second := serve(s, scenario{path: "/runs/train-01/data"})
	if first.Code != http.StatusOK || second.Code != http.StatusOK {
		t.Fatalf("status %d, then %d %s", first.Code, second.Code, second.Body)
	}
	var got struct {
		Vocabulary struct{ Words []any }
		Quarantine struct{ Items []any }
	}
	if err := json.Unmarshal(second.Body.Bytes(), &got); err != nil || len(got.Vocabulary.Words) != 2 || len(got.Quarantine.Items) != 2 {
		t.Errorf("the second reply lists %+v (%v): the first one's limit has shortened it", got, err)
	}
}
