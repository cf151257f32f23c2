package tracking

import (
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob"
	"github.com/captioner/captioner/internal/config"
	"github.com/captioner/captioner/internal/pythontest"
	"github.com/captioner/captioner/internal/store"
)

// fixture is a database with a run that a test drives, and the files of it.
type fixture struct {
	store   captioner.Store
	blobs   captioner.BlobStore
	dir     string // of the runs
	log     bytes.Buffer
	attempt int64
}

const (
	runID  = "train-1"
	runKey = "0123456789abcdef"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{dir: filepath.Join(t.TempDir(), "runs")}
	var err error
	if f.store, err = store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "captioner.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.store.Close() })
	if f.blobs, err = blob.NewDisk(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	cfg, err := json.Marshal(captioner.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.store.PutRun(t.Context(), captioner.RunRecord{ID: runID, Config: cfg, CreatedAt: start, Actor: "api"}); err != nil {
		t.Fatal(err)
	}
	return f
}

// tracker returns a new one, as a process that starts makes it.
func (f *fixture) tracker() *Tracker {
	return New(Options{
		Store: f.store, Blobs: f.blobs, Dir: f.dir, Build: Build{Version: "v1.2.3", Branch: "main"}, TensorFlow: "2.18.0",
		Devices: []string{"/device:CPU:0"},
		Logger:  slog.New(slog.NewTextHandler(&f.log, nil)),
	})
}

// begin claims the training for a new attempt.
func (f *fixture) begin(t *testing.T) {
	t.Helper()
	attempt, err := f.store.ClaimAttempt(t.Context(), runKey)
	must(t, err)
	f.attempt = attempt
	must(t, f.store.PutProgress(t.Context(), runID, captioner.Progress{RunKey: runKey}))
}

// trains reports a step, and after each third the end of an epoch.
func (f *fixture) trains(t *testing.T, steps ...int) {
	t.Helper()
	for _, step := range steps {
		at := start.Add(time.Duration(step) * time.Second)
		point := func(name string, value float64) captioner.Metric {
			return captioner.Metric{RunKey: runKey, Step: step, Name: name, Value: value, Time: at}
		}
		must(t, f.store.AppendMetrics(t.Context(), f.attempt, []captioner.Metric{
			point("step", float64(step)), point("steps", 9), point("epoch", float64((step+2)/3)), point("epochs", 3),
			point("loss", 1/float64(step)), point("learning_rate", 0.5), point("images_per_second", 100), point("seconds_left", 1),
		}))
		if step%3 == 0 {
			must(t, f.store.AppendMetrics(t.Context(), f.attempt, []captioner.Metric{
				point("train_loss", 2/float64(step)), point("validation_loss", math.Abs(float64(step)-6)+1),
			}))
			must(t, f.store.PutSamples(t.Context(), f.attempt, f.samples(t, step)))
		}
	}
}

func (f *fixture) samples(t *testing.T, step int) []captioner.Sample {
	t.Helper()
	digest, _, err := f.blobs.Put(t.Context(), bytes.NewReader(testPicture()))
	must(t, err)
	at := start.Add(time.Duration(step) * time.Second)
	return []captioner.Sample{
		{RunKey: runKey, Epoch: step / 3, Step: step, Image: "a|b.png", Caption: fmt.Sprintf("a dog %d", step), Reference: "the dog", Picture: digest, Time: at},
		{RunKey: runKey, Epoch: step / 3, Step: step, Image: "c.png", Caption: "a <unk>", Reference: "a cat", Time: at},
	}
}

func testPicture() []byte {
	var b bytes.Buffer
	_ = png.Encode(&b, image.NewNRGBA(image.Rect(0, 0, 5, 3))) // into memory
	return b.Bytes()
}

// finish records the outcome of a run that has captioned its test split.
func (f *fixture) finish(t *testing.T) {
	t.Helper()
	put := func(v any) captioner.Digest {
		data, err := json.Marshal(v)
		must(t, err)
		digest, _, err := f.blobs.Put(t.Context(), bytes.NewReader(data))
		must(t, err)
		return digest
	}
	progress := captioner.Progress{
		RunKey: runKey, Stages: []captioner.Stage{{Name: "Train", State: "completed"}},
		Dataset: put(captioner.Dataset{Vocabulary: []string{"<pad>", "a", "dog", "endseq", "startseq"}, Examples: []captioner.Example{
			{Image: "t.png", Split: captioner.Test, References: []string{"a red dog runs fast", "the dog, running"}},
			{Image: "v.png", Split: captioner.Validation, References: []string{"nothing"}},
		}}),
		Captions: []captioner.Digest{put([]captioner.CaptionedImage{{Image: "t.png", Greedy: "a red dog runs fast", Beam: "a red cat"}})},
	}
	must(t, f.store.PutProgress(t.Context(), runID, progress))
	must(t, f.store.FinishRun(t.Context(), runID, captioner.RunCompleted, &captioner.RunResult{
		Version: captioner.DigestOf([]byte("version")), Deployed: true, Decision: captioner.Decision{Outcome: captioner.Promote, Reasons: []string{"first"}},
		Warnings: []string{"the encoder's weights are random"},
		Evaluation: captioner.Evaluation{
			Scores:        []captioner.Scores{{Algorithm: "beam", BLEU1: 0.5, BLEU4: 0.25, Signature: "s"}},
			Demonstration: map[string]float64{"pair_f1": 0.75},
		},
	}, ""))
}

func (f *fixture) path(name string) string { return filepath.Join(f.dir, runID, name) }

func (f *fixture) read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(f.path(name))
	must(t, err)
	return string(data)
}

// table returns the steps of metrics.csv and its columns.
func (f *fixture) table(t *testing.T) (header []string, steps []string) {
	t.Helper()
	records, err := csv.NewReader(strings.NewReader(f.read(t, metricsFile))).ReadAll()
	must(t, err)
	for _, r := range records[1:] {
		steps = append(steps, r[1])
	}
	return records[0], steps
}

// eventFile returns the path of the one event file.
func (f *fixture) eventFile(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(f.path(eventsPrefix + "*"))
	must(t, err)
	if len(found) != 1 {
		t.Fatalf("event files %v, want one", found)
	}
	return found[0]
}

// kill has a tracker end as its process would: in the middle of a write.
func (f *fixture) kill(t *testing.T, tracker *Tracker) {
	t.Helper()
	must(t, tracker.lock.Close())
	for _, path := range []string{f.path(metricsFile), f.eventFile(t)} {
		file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		must(t, err)
		_, err = file.WriteString("2026-05-01T1")
		must(t, errors.Join(err, file.Close()))
	}
	must(t, os.WriteFile(f.path(".tmp-1"), []byte("torn"), 0o644))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// found is what tensorboard reads.
type found struct {
	Scalars map[string][][2]float64
	Texts   map[string][][2]any
	Images  map[string][][4]any
}

// tensorBoard reads the run's folder with the real tensorboard package.
func (f *fixture) tensorBoard(t *testing.T) found {
	t.Helper()
	python := pythontest.Interpreter(t, "tensorboard", "tensorboard")
	var out found
	cmd := exec.CommandContext(t.Context(), python, "testdata/read_events.py", filepath.Join(f.dir, runID))
	cmd.Stderr = os.Stderr
	data, err := cmd.Output()
	must(t, err)
	must(t, json.Unmarshal(data, &out))
	return out
}

// A run's files grow with it, survive the death of the process that writes them
// and of the training, and are complete in the end.
func TestRunFiles(t *testing.T) {
	f := newFixture(t)
	tracker := f.tracker()
	tracker.sync(t.Context())
	if s, ok := readSummary(f.path(summaryFile)); !ok || s.Status != captioner.RunRunning || s.complete(captioner.RunRecord{State: captioner.RunRunning}) {
		t.Errorf("summary at the start: %+v", s)
	}

	// It trains: the last step waits for the next, since more may come of it.
	f.begin(t)
	f.trains(t, 1, 2, 3)
	tracker.sync(t.Context())
	f.trains(t, 4, 5)
	tracker.sync(t.Context())
	if _, steps := f.table(t); cmp.Diff([]string{"1", "2", "3", "4"}, steps) != "" {
		t.Errorf("steps while training: %v", steps)
	}
	before := f.eventFile(t)
	tracker.sync(t.Context())
	if f.eventFile(t) != before {
		t.Error("a look without news has begun another event file")
	}

	// The process dies, and the training resumes after step 3, reporting other
	// steps than before; then the process goes on.
	f.kill(t, tracker)
	tracker = f.tracker()
	f.begin(t)
	f.trains(t, 4)
	tracker.sync(t.Context())
	f.trains(t, 5, 6, 7)
	tracker.sync(t.Context())
	f.trains(t, 8, 9)
	tracker.sync(t.Context())
	f.finish(t)
	tracker.sync(t.Context())
	tracker.sync(t.Context())
	if len(tracker.runs) != 0 {
		t.Error("a run that has ended is still being tracked")
	}
	f.checkFinished(t)
	if f.log.Len() > 0 {
		t.Errorf("log:\n%s", &f.log)
	}
}

func (f *fixture) checkFinished(t *testing.T) {
	t.Helper()
	header, steps := f.table(t)
	wantHeader := []string{"time", "step", "epoch", "loss", "learning_rate", "images_per_second", "train_loss", "validation_loss"}
	if diff := cmp.Diff(wantHeader, header); diff != "" {
		t.Errorf("columns of %s (-want +got):\n%s", metricsFile, diff)
	}
	if diff := cmp.Diff(strings.Split("1 2 3 4 5 6 7 8 9", " "), steps); diff != "" {
		t.Errorf("steps in %s (-want +got):\n%s", metricsFile, diff)
	}
	if want := "2026-05-01T12:00:06Z,6,2,0.16666666666666666,0.5,100,0.3333333333333333,1\n"; !strings.Contains(f.read(t, metricsFile), want) {
		t.Errorf("%s lacks %q:\n%s", metricsFile, want, f.read(t, metricsFile))
	}

	var snapshot struct {
		captioner.Config
		Hash captioner.Digest `json:"_config_hash"`
	}
	must(t, json.Unmarshal([]byte(f.read(t, configFile)), &snapshot))
	hash, err := config.Digest(captioner.DefaultConfig())
	must(t, err)
	if snapshot.Hash != hash || snapshot.Config != captioner.DefaultConfig() {
		t.Errorf("%s: %+v, want the configuration with the digest %s", configFile, snapshot, hash)
	}

	s, _ := readSummary(f.path(summaryFile))
	if s.Status != captioner.RunCompleted || s.ConfigHash != hash || s.TotalEpochs != 3 || s.TotalSteps != 9 || !s.Deployed || s.FinishedAt == nil ||
		s.BestMetrics["validation_loss"] != (best{1, 6}) || s.FinalMetrics["validation_loss"] != 4 || s.Scores[0].BLEU4 != 0.25 ||
		s.Decision.Outcome != captioner.Promote || s.Environment.TensorFlow != "2.18.0" || s.Environment.Devices == nil || s.Git.Branch != "main" ||
		!slices.Equal(s.Warnings, []string{"the encoder's weights are random"}) {
		t.Errorf("%s: %+v", summaryFile, s)
	}
	if diff := cmp.Diff([]string{scoresFile, configFile, filepath.Base(f.eventFile(t)), indexWordFile, metricsFile, wordIndexFile}, s.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}

	if got, want := f.read(t, indexWordFile), "{\n  \"1\": \"a\",\n  \"2\": \"dog\",\n  \"3\": \"endseq\",\n  \"4\": \"startseq\"\n}\n"; got != want {
		t.Errorf("%s is %s, want %s", indexWordFile, got, want)
	}
	if got, want := f.read(t, wordIndexFile), "{\n  \"a\": 1,\n  \"dog\": 2,\n  \"endseq\": 3,\n  \"startseq\": 4\n}\n"; got != want {
		t.Errorf("%s is %s, want %s", wordIndexFile, got, want)
	}

	// As NLTK 3.10's sentence_bleu with smoothing method 1.
	want := `image,algorithm,bleu1,bleu2,bleu3,bleu4,hypothesis,references
t.png,greedy,1,1,1,1,a red dog runs fast,"a red dog runs fast | the dog, running"
t.png,beam,0.6666666666666666,0.5773502691896257,0.32182979486854335,0.24028114141347542,a red cat,"a red dog runs fast | the dog, running"
`
	if got := f.read(t, scoresFile); got != want {
		t.Errorf("%s is\n%s\nwant\n%s", scoresFile, got, want)
	}
}

// The event files are read by TensorBoard itself.
func TestEventFiles(t *testing.T) {
	f := newFixture(t)
	tracker := f.tracker()
	f.begin(t)
	f.trains(t, 1, 2, 3, 4, 5)
	tracker.sync(t.Context())
	if got := f.tensorBoard(t).Scalars["loss"]; len(got) != 4 {
		t.Errorf("while training TensorBoard sees the losses %v, want those of 4 steps", got)
	}
	f.begin(t) // the training resumes after step 3; the process goes on
	f.trains(t, 4, 5)
	tracker.sync(t.Context())
	f.trains(t, 6, 7)
	tracker.sync(t.Context())
	f.kill(t, tracker)
	tracker = f.tracker()
	f.trains(t, 8, 9)
	f.finish(t)
	tracker.sync(t.Context())

	got := f.tensorBoard(t)
	scalars := map[string][][2]float64{
		"scores/beam/bleu1": {{9, 0.5}}, "scores/beam/bleu2": {{9, 0}}, "scores/beam/bleu3": {{9, 0}}, "scores/beam/bleu4": {{9, 0.25}},
		"scores/demonstration/pair_f1": {{9, 0.75}},
		"train_loss":                   {{3, 2. / 3}, {6, 2. / 6}, {9, 2. / 9}}, "validation_loss": {{3, 4}, {6, 1}, {9, 4}},
	}
	for step := 1.; step <= 9; step++ {
		for name, value := range map[string]float64{"epoch": math.Ceil(step / 3), "loss": 1 / step, "learning_rate": 0.5, "images_per_second": 100} {
			scalars[name] = append(scalars[name], [2]float64{step, value})
		}
	}
	single := cmp.Comparer(func(a, b float64) bool { return float32(a) == float32(b) })
	if diff := cmp.Diff(scalars, got.Scalars, single); diff != "" {
		t.Errorf("scalars (-want +got):\n%s", diff)
	}

	said := got.Texts["samples"]
	wantTable := "| picture | caption | reference |\n| --- | --- | --- |\n| a\\|b.png | a dog 9 | the dog |\n| c.png | a &lt;unk> | a cat |\n"
	if len(said) != 3 || said[2] != [2]any{9., wantTable} {
		t.Errorf("samples %v, want three tables, the last one\n%s", said, wantTable)
	}
	if text := fmt.Sprint(got.Texts["config"]); !strings.Contains(text, `"steps": `) {
		t.Errorf("the configuration reads %s", text)
	}
	checkPictures(t, got.Images)
}

// checkPictures: of the picture that is kept, one for each caption, in which the
// picture lies above the words.
func checkPictures(t *testing.T, images map[string][][4]any) {
	t.Helper()
	shown := images["samples/a|b.png"]
	if len(images) != 1 || len(shown) != 3 {
		t.Fatalf("pictures of %d samples, %d of the first, want 1 and 3", len(images), len(shown))
	}
	for i, s := range shown {
		data, err := hex.DecodeString(s[3].(string))
		must(t, err)
		picture, err := png.Decode(bytes.NewReader(data))
		must(t, err)
		bounds := picture.Bounds()
		if s[0] != float64(3*i+3) || s[1] != float64(bounds.Dx()) || s[2] != float64(bounds.Dy()) || bounds.Dx() != 210 || bounds.Dy() <= 126 {
			t.Errorf("picture %d is of step %v, %v by %v pixels, its file has %v", i, s[0], s[1], s[2], bounds)
		}
		if got := color.NRGBAModel.Convert(picture.At(209, 125)); got != (color.NRGBA{}) {
			t.Errorf("the corner of picture %d is %v, want the sample's", i, got)
		}
		if !dark(picture, image.Rect(0, 126, 210, bounds.Dy())) {
			t.Errorf("picture %d has no words", i)
		}
	}
	if shown[0][3] == shown[1][3] {
		t.Error("pictures with different captions are equal")
	}
}

// dark reports whether the area has a black pixel.
func dark(picture image.Image, area image.Rectangle) bool {
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			if r, g, b, a := picture.At(x, y).RGBA(); r+g+b == 0 && a > 0 {
				return true
			}
		}
	}
	return false
}

func TestWrap(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil, "a dog": {"a dog"}, "a red dog runs": {"a red", "dog", "runs"}, "incomprehensible a": {"incomprehensible", "a"},
	} {
		if diff := cmp.Diff(want, wrap(text, 7)); diff != "" {
			t.Errorf("wrap(%q) (-want +got):\n%s", text, diff)
		}
	}
}

// Runs that have ended while nobody looked are caught up with at the start, and
// complete ones are left alone.
func TestCatchUp(t *testing.T) {
	f := newFixture(t)
	f.begin(t)
	f.trains(t, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	f.finish(t)
	tracker := f.tracker()
	tracker.Start()
	must(t, tracker.Stop(t.Context()))
	f.checkFinished(t)

	must(t, os.Remove(f.path(metricsFile)))
	tracker = f.tracker()
	tracker.Start()
	must(t, tracker.Stop(t.Context()))
	if _, err := os.Stat(f.path(metricsFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a run with a summary was written again")
	}
	must(t, os.Remove(f.path(summaryFile)))
	tracker = f.tracker()
	tracker.Start()
	must(t, tracker.Stop(t.Context()))
	f.checkFinished(t)
}

// A run that was refused for its configuration has files, too.
func TestRefusedRun(t *testing.T) {
	f := newFixture(t)
	for i, given := range []string{``, `null`, `[`, `{"model": 7}`} {
		id := fmt.Sprintf("refused-%d", i)
		_, _, err := f.store.PutRun(t.Context(), captioner.RunRecord{ID: id, Config: []byte(given), CreatedAt: start})
		must(t, err)
		must(t, f.store.FinishRun(t.Context(), id, captioner.RunFailed, nil, "the configuration is invalid"))
		tracker := f.tracker()
		tracker.sync(t.Context())
		must(t, tracker.lock.Close())
		s, _ := readSummary(filepath.Join(f.dir, id, summaryFile))
		if s.Status != captioner.RunFailed || s.Error == "" || !s.ConfigHash.Valid() || len(s.Files) != 1 {
			t.Errorf("summary of a run with the configuration %q: %+v", given, s)
		}
	}
}

// Of two processes that share a folder one writes.
func TestOneWrites(t *testing.T) {
	f := newFixture(t)
	first, second := f.tracker(), f.tracker()
	first.sync(t.Context())
	must(t, os.Remove(f.path(configFile)))
	second.sync(t.Context())
	if _, err := os.Stat(f.path(configFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the second process wrote while the first has the folder")
	}
	first.Start()
	must(t, first.Stop(t.Context()))
	second.sync(t.Context())
	f.read(t, configFile)
}

// What cannot be written or read is a warning, and said once.
func TestFailuresAreWarnings(t *testing.T) {
	f := newFixture(t)
	must(t, os.MkdirAll(f.dir, 0o755))
	must(t, os.WriteFile(filepath.Join(f.dir, runID), nil, 0o644)) // where the folder should be
	tracker := f.tracker()
	for range 3 {
		tracker.sync(t.Context())
	}
	if n := strings.Count(f.log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings, want one:\n%s", n, &f.log)
	}
	must(t, os.Remove(filepath.Join(f.dir, runID)))
	f.begin(t)
	f.trains(t, 1, 2, 3)
	f.finish(t)
	record, err := f.store.RunRecord(t.Context(), runID)
	must(t, err)
	must(t, f.blobs.Delete(t.Context(), record.Progress.Captions[0]))
	tracker.sync(t.Context())
	if s, ok := readSummary(f.path(summaryFile)); !ok || s.Status != captioner.RunCompleted {
		t.Errorf("without the captions the summary is %+v", s)
	}
	if !strings.Contains(f.log.String(), scoresFile) {
		t.Errorf("no warning about %s:\n%s", scoresFile, &f.log)
	}

	f.store.Close()
	before := f.log.Len()
	tracker.sync(t.Context())
	if !strings.Contains(f.log.String()[before:], "wait for the database") {
		t.Errorf("no warning about the database:\n%s", &f.log)
	}
}

func TestFolder(t *testing.T) {
	for id, want := range map[string]string{
		"train-01": "train-01", "by_hand.2": "by_hand.2",
		"..": "run-", "a/b": "run-", "": "run-", ".hidden": "run-", strings.Repeat("x", 200): "run-",
	} {
		if got := Folder(id); !strings.HasPrefix(got, want) || !plainName.MatchString(got) {
			t.Errorf("Folder(%q) = %q, want %q", id, got, want)
		}
	}
}

// The framing is that of the record writer of tensorboard 2.20.0.
func TestRecord(t *testing.T) {
	const want = "0900000000000000" + "37f97139" + "63617074696f6e6572" + "df35f19d"
	if got := hex.EncodeToString(appendRecord(nil, []byte("captioner"))); got != want {
		t.Errorf("record %s, want %s", got, want)
	}
}
