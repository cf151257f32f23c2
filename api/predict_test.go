package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/api"
)

// answer makes the captioner give one result.
func answer(result captioner.CaptionResult) func(*fake) {
	return func(f *fake) {
		f.caption = func(context.Context, captioner.CaptionRequest) (captioner.CaptionReply, error) {
			return captioner.CaptionReply{Version: version, Results: []captioner.CaptionResult{result}}, nil
		}
	}
}

// refuse makes the captioner fail.
func refuse(err error) func(*fake) {
	return func(f *fake) {
		f.caption = func(context.Context, captioner.CaptionRequest) (captioner.CaptionReply, error) {
			return captioner.CaptionReply{}, err
		}
	}
}

func TestPredict(t *testing.T) {
	jpg := picture(t)
	// A header that declares 65,535 × 65,535 pixels.
	huge := jpg[:strings.Index(jpg, "\xff\xc0")+5] + "\xff\xff\xff\xff" + jpg[strings.Index(jpg, "\xff\xc0")+9:]
	post := func(name string, fields ...string) scenario {
		return scenario{name: name, method: http.MethodPost, path: "/predict", header: formHeader, body: form(t, fields...)}
	}
	with := func(sc scenario, prepare func(*fake)) scenario { sc.prepare = prepare; return sc }
	asked := func(sc scenario, want captioner.CaptionRequest) scenario {
		want.Images = []captioner.ImageInput{{Data: []byte(jpg)}}
		sc.check = func(t *testing.T, f *fake) {
			if diff := gocmp.Diff([]captioner.CaptionRequest{want}, f.asked); diff != "" {
				t.Errorf("asked for (-want +got):\n%s", diff)
			}
		}
		return sc
	}

	run(t, []scenario{
		asked(post("defaults", "file", jpg), captioner.CaptionRequest{Algorithm: "beam"}),
		asked(post("greedy", "algorithm", "greedy", "file", jpg), captioner.CaptionRequest{Algorithm: "greedy"}),
		asked(post("beam", "file", jpg, "algorithm", "beam", "beam_width", "5", "num_captions", "2"),
			captioner.CaptionRequest{Algorithm: "beam", BeamWidth: 5, NumCaptions: 2}),
		asked(post("sample", "file", jpg, "algorithm", "sample", "temperature", "0.7", "top_k", "40", "top_p", "0.9", "seed", "9223372036854775807"),
			captioner.CaptionRequest{Algorithm: "sample", Sampling: captioner.Sampling{Temperature: 0.7, TopK: 40, TopP: 0.9, Seed: 1<<63 - 1}}),
		asked(post("unknown field is skipped", "file", jpg, "colour", "red"), captioner.CaptionRequest{Algorithm: "beam"}),
		with(post("empty caption", "file", jpg), answer(captioner.CaptionResult{Hypotheses: []captioner.Hypothesis{{LogProbability: -3}}})),
		with(post("several", "file", jpg, "num_captions", "2"), answer(captioner.CaptionResult{Width: 3, Height: 4, Hypotheses: []captioner.Hypothesis{
			{Text: "a cat", LogProbability: -1, Tokens: []int32{4, 5}}, {Text: "a <dog> & co", LogProbability: -2, Tokens: []int32{4, 6}}}})),

		post("no file", "algorithm", "greedy"),
		post("two files", "file", jpg, "file", jpg),
		post("empty file", "file", ""),
		post("not a picture", "file", "%PDF-1.7 and so on"),
		post("truncated", "file", jpg[:10]),
		post("too many pixels", "file", huge),
		post("body too large", "file", jpg+strings.Repeat("x", 64<<10)),
		post("unknown algorithm", "file", jpg, "algorithm", "sampling"),
		post("bad beam width", "file", jpg, "beam_width", "three"),
		post("beam too wide", "file", jpg, "beam_width", "11"),
		post("no captions wanted", "file", jpg, "num_captions", "0"),
		post("temperature of nothing", "file", jpg, "temperature", "0"),
		post("temperature no number", "file", jpg, "temperature", "NaN"),
		post("too many tokens to draw from", "file", jpg, "top_k", "1001"),
		post("no probability", "file", jpg, "top_p", "1.5"),
		post("seed below 0", "file", jpg, "seed", "-1"),
		post("long field", "file", jpg, "algorithm", strings.Repeat("b", 2000)),
		{name: "nothing", method: http.MethodPost, path: "/predict"},
		{name: "form without files", method: http.MethodPost, path: "/predict", body: "algorithm=greedy",
			header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}},
		{name: "not a form", method: http.MethodPost, path: "/predict", body: jpg, header: map[string]string{"Content-Type": "image/jpeg"}},
		{name: "cut off", method: http.MethodPost, path: "/predict", body: form(t, "file", jpg)[:200], header: formHeader},
		{name: "body of unknown length too large", method: http.MethodPost, path: "/predict", header: formHeader,
			body: form(t, "file", jpg), options: func(o *api.Options) { o.MaxUploadBytes = 300 }},

		with(post("undecodable", "file", jpg), answer(captioner.CaptionResult{
			Err: &captioner.Error{Kind: captioner.Invalid, Code: "image_corrupt", Message: "the picture cannot be decoded", Err: errors.New("TensorFlow: /secret/path")}})),
		with(post("no model", "file", jpg), refuse(&captioner.Error{Kind: captioner.Unavailable, Code: "no_model", Message: "no model version is live yet"})),
		with(post("model loading", "file", jpg), refuse(&captioner.Error{Kind: captioner.Unavailable, Code: "model_loading", Message: "the model is being loaded"})),
		with(post("engine restarting", "file", jpg), refuse(&captioner.Error{Kind: captioner.Unavailable, Code: "engine_unavailable", Message: "the model's engine is being restarted"})),
		with(post("more captions than beams", "file", jpg), refuse(&captioner.Error{Kind: captioner.Invalid, Code: "too_many_captions", Message: "num_captions is larger than the beam width"})),
		with(post("internal", "file", jpg), refuse(errors.New("open /secret/path: permission denied"))),
		with(post("corrupt", "file", jpg), refuse(captioner.Wrap(captioner.Corrupt, errors.New("x"), "the bundle /secret/path does not match"))),
		with(post("timeout", "file", jpg), refuse(context.DeadlineExceeded)),
		with(post("panic", "file", jpg), func(f *fake) {
			f.caption = func(context.Context, captioner.CaptionRequest) (captioner.CaptionReply, error) { panic("secret") }
		}),
		with(post("no hypothesis", "file", jpg), answer(captioner.CaptionResult{})),
		{name: "wrong method", path: "/predict"},
	})
}

func TestPredictOverloaded(t *testing.T) {
	f := newFake()
	inside, gate := make(chan struct{}, 2), make(chan struct{})
	f.caption = func(context.Context, captioner.CaptionRequest) (captioner.CaptionReply, error) {
		inside <- struct{}{}
		<-gate
		return captioner.CaptionReply{Results: []captioner.CaptionResult{{Hypotheses: []captioner.Hypothesis{{Text: "a dog"}}}}}, nil
	}
	handler := newServer(t, f, func(o *api.Options) { o.MaxConcurrent, o.MaxQueued = 1, 1 }).Handler()
	body := form(t, "file", picture(t))
	sc := scenario{method: http.MethodPost, path: "/predict", header: formHeader, body: body}
	codes := make(chan int, 2)
	ask := func() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, sc.request())
		codes <- w.Code
	}
	go ask()
	<-inside

	// The second waits once its body has been read; then the third is refused.
	reading, send := make(chan struct{}), make(chan struct{})
	go func() {
		r := sc.request()
		r.Body = &slowBody{reading: reading, send: send, rest: strings.NewReader(body)}
		r.ContentLength = -1
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		codes <- w.Code
	}()
	<-reading
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, sc.request())
	checkCommon(t, w)
	compareGolden(t, w)
	if len(inside) > 0 {
		t.Error("a second picture was captioned at the same time")
	}

	close(send)
	close(gate)
	for range 2 {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("an admitted request got status %d", code)
		}
	}
}

// slowBody says when it is first read, and then waits.
type slowBody struct {
	reading, send chan struct{}
	begun         bool
	rest          *strings.Reader
}

func (b *slowBody) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		close(b.reading)
		<-b.send
	}
	return b.rest.Read(p)
}

func (b *slowBody) Close() error { return nil }

// FuzzPredict sends any body as a form: the reply is always complete and never
// an internal error.
func FuzzPredict(f *testing.F) {
	f.Add([]byte(form(f, "file", picture(f), "algorithm", "greedy")))
	f.Add([]byte(form(f, "file", "", "beam_width", "-1")))
	f.Add([]byte("--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nBM"))
	f.Add([]byte(""))
	handler := newServer(f, newFake(), nil).Handler()
	f.Fuzz(func(t *testing.T, body []byte) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, scenario{method: http.MethodPost, path: "/predict", header: formHeader, body: string(body)}.request())
		checkCommon(t, w)
		switch w.Code {
		case 200, 400, 413, 415, 422:
		default:
			t.Errorf("status %d for %q: %s", w.Code, body, w.Body)
		}
	})
}
