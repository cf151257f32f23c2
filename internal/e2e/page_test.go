package e2e_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/captioner/captioner"
)

// TestPage walks a user's path in a browser: an empty page, a run started from
// the form after two mistakes and watched to its end, a picture captioned, the
// other version promoted and rolled back, a run cancelled.
func TestPage(t *testing.T) {
	p := needPrograms(t)
	b := startBrowser(t)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))
	data := pictures(t, 100)

	t.Run("first paint", func(t *testing.T) { firstPaint(t, b, l) })
	t.Run("empty", func(t *testing.T) {
		b.awaitText(".empty", "No model is live yet")
		b.look("caption-empty")
		for _, view := range []struct{ address, hint string }{{"runs", "No runs yet"}, {"models", "No versions yet"}, {"data", "No data yet"}} {
			b.do(chromedp.Navigate(l.api + "/ui/" + view.address))
			b.awaitText(".empty", view.hint)
			b.look(view.address + "-empty")
		}
	})
	var first captioner.Digest
	t.Run("start", func(t *testing.T) { first = startThroughTheForm(t, b, l, data) })
	if t.Failed() {
		t.FailNow()
	}

	cfg := smallConfig(data, 40)
	cfg.Promotion.Margin = 1 // whatever the scores, the newest version goes live
	second := l.trainVersion(t, cfg)
	t.Run("runs", func(t *testing.T) {
		b.clickText("Runs")
		b.await(actionTimeout, `document.querySelectorAll("main tbody tr").length === 2`)
		b.look("runs")
		b.enter("#search", "no such run")
		b.awaitText(".empty", "No such run")
	})
	t.Run("caption", func(t *testing.T) { captionPictures(t, b, l, firstPicture(t, data.Images), second) })
	t.Run("promote and roll back", func(t *testing.T) { promoteAndRollBack(t, b, l, first, second) })
	t.Run("data", func(t *testing.T) {
		b.clickText("Data")
		b.awaitText("main", "Vocabulary")
		for _, want := range []string{"Train", "60", "Caption lengths", "Nothing was left out"} {
			b.awaitText("main", want)
		}
		b.look("data")
	})
	t.Run("cancel", func(t *testing.T) { cancelRun(t, b, l, smallConfig(data, 100_000)) })
	t.Run("back and forth", func(t *testing.T) {
		b.do(chromedp.Navigate(l.api + "/ui/models/" + first.Short()))
		b.awaitText("h1", first.Short())
		b.clickText("Caption")
		b.awaitText("h1", "Caption a picture")
		if focused := eval[string](b, `document.activeElement.tagName`); focused != "H1" {
			t.Errorf("after a link the focus is on %s, want the heading", focused)
		}
		b.do(chromedp.NavigateBack())
		b.awaitText("h1", first.Short())
		if title := eval[string](b, `document.title`); !strings.Contains(title, first.Short()) {
			t.Errorf("the title is %q", title)
		}
	})
	t.Run("keyboard", func(t *testing.T) { useKeyboard(t, b, l) })
	t.Run("theme", func(t *testing.T) {
		for _, want := range []string{"light", "dark"} {
			b.click("#theme")
			b.do(chromedp.Reload())
			b.awaitText("#theme", "Theme: "+want)
			if got := eval[string](b, `getComputedStyle(document.documentElement).colorScheme`); got != want {
				t.Errorf("the theme is %s, want the chosen one, %s", got, want)
			}
		}
		b.click("#theme")
	})
	b.checkOrigin(l.api)
	l.stop(t)
}

// firstPaint measures how long a browser that has seen nothing of the page takes
// to show it, and how much it loads.
func firstPaint(t *testing.T, b *browser, l *local) {
	if _, err := chromedp.Call(b.ctx, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true}); err != nil {
		t.Fatal(err)
	}
	best := time.Minute
	for range 5 {
		b.received()
		b.do(chromedp.Navigate(l.api + "/")) // which sends browsers to the page
		b.await(actionTimeout, `performance.getEntriesByName("first-contentful-paint").length > 0`)
		milliseconds := eval[float64](b, `performance.getEntriesByName("first-contentful-paint")[0].startTime`)
		took := time.Duration(milliseconds * float64(time.Millisecond))
		b.awaitText(".empty", "No model is live yet")
		size := b.received()
		t.Logf("first paint after %v, %d bytes", took.Round(time.Millisecond), size)
		best = min(best, took)
		if size == 0 || size > 300_000 {
			t.Errorf("%d bytes were loaded, want fewer than 300,000", size)
		}
	}
	if best > time.Second { // 300 ms on a quiet machine
		t.Errorf("the first paint took %v at best", best)
	}
	if _, err := chromedp.Call(b.ctx, network.SetCacheDisabled, network.SetCacheDisabledParams{}); err != nil {
		t.Fatal(err)
	}
	if got := eval[string](b, `location.pathname`); got != "/ui/" {
		t.Errorf("a browser at / is at %s, want /ui/", got)
	}
}

func startThroughTheForm(t *testing.T, b *browser, l *local, data captioner.DataConfig) captioner.Digest {
	b.do(chromedp.Navigate(l.api + "/ui/"))
	b.clickText("Start a run")
	b.awaitText("h1", "Start a run")
	b.awaitText("h2", "Your pictures")
	b.look("start")

	// A preset fills in what was not entered by hand, and takes it back.
	value := func(name string) string {
		return eval[string](b, fmt.Sprintf(`document.getElementsByName(%s)[0].value`, js(name)))
	}
	b.enter(named("data.images"), data.Images)
	b.choose("#preset", "original")
	b.await(actionTimeout, `document.getElementsByName("model.decoder")[0].value === "lstm-pooled"`)
	if images, epochs := value("data.images"), value("training.epochs"); images != data.Images || epochs != "20" {
		t.Errorf("with the preset the images are %q and the epochs %s, want what was entered and the preset's", images, epochs)
	}
	b.look("start-preset")
	b.choose("#preset", "kaggle")
	b.awaitText(".notice.bad", "problem") // there are no inputs of Kaggle's here
	if chosen := eval[string](b, `document.getElementById("preset").value`); chosen != "original" {
		t.Errorf("after a preset that cannot be had, %q is chosen, want the one before", chosen)
	}
	for _, p := range []struct{ preset, decoder, epochs string }{
		{"flickr8k", "lstm-attention", "30"}, {"flickr30k", "lstm-attention", "20"}, {"coco", "transformer", "15"},
	} {
		b.choose("#preset", p.preset)
		b.await(actionTimeout, fmt.Sprintf(`document.getElementsByName("model.decoder")[0].value === %s && document.getElementsByName("training.epochs")[0].value === %s`, js(p.decoder), js(p.epochs)))
	}
	b.choose("#preset", "")
	b.await(actionTimeout, `document.getElementsByName("model.encoder")[0].value === "conv"`)
	b.awaitText(".submit", "1 field set")

	// A mistake in a section that is folded, and one that only the machine with
	// the data can see.
	b.enter(named("data.images"), data.Images)
	b.enter(named("data.captions"), data.Captions+".missing")
	b.unfold("training")
	b.enter(named("training.batch_size"), "0")
	b.click("#f-training > summary")
	b.clickText("Check")
	b.awaitText(`[id="e-training.batch_size"]`, "Must be from 1 to 4096, is 0")
	b.awaitText(`[id="e-data.captions"]`, "Does not exist.")
	if !eval[bool](b, `document.getElementById("f-training").open && document.getElementsByName("training.batch_size")[0].getAttribute("aria-invalid") === "true"`) {
		t.Error("the section with the mistake is folded, or the field is not marked")
	}
	b.clickText("Training › Batch size")
	b.await(actionTimeout, `document.activeElement.name === "training.batch_size"`)
	b.look("start-mistake")
	b.enter(named("training.batch_size"), "8")

	// One of the two is left.
	for name, value := range map[string]string{
		"training.steps": "40", "training.warmup_steps": "10", "training.seed": "18446744073709551615",
		"model.image_size": "32", "model.width": "32", "model.layers": "1", "model.heads": "2", "model.feed_forward": "64",
		"promotion.margin": "1",
	} {
		section, _, _ := strings.Cut(name, ".")
		b.unfold(section)
		b.enter(named(name), value)
	}
	b.clickText("Start")
	b.awaitText(`[id="e-data.captions"]`, "Does not exist.")
	if got := b.text(`[id="e-training.batch_size"]`); got != "" {
		t.Errorf("the solved mistake is still shown: %q", got)
	}
	b.enter(named("data.captions"), data.Captions)
	b.clickText("Check")
	b.awaitText(".notice", "No problems")
	b.clickText("Start")
	b.await(actionTimeout, `location.pathname.startsWith("/ui/runs/train-")`)

	var sent map[string]map[string]any
	b.posted(l.api+"/runs", &sent)
	want := map[string]map[string]any{
		"data":      {"images": data.Images, "captions": data.Captions},
		"model":     {"image_size": 32.0, "width": 32.0, "layers": 1.0, "heads": 2.0, "feed_forward": 64.0},
		"training":  {"steps": 40.0, "warmup_steps": 10.0, "batch_size": 8.0, "seed": 18446744073709551615.0},
		"promotion": {"margin": 1.0},
	}
	if diff := gocmp.Diff(want, sent); diff != "" {
		t.Errorf("sent is not what differs from the defaults (-want +got):\n%s", diff)
	}
	version := watch(t, b, l)

	// Another run begins with what this one was started with, number by number.
	b.clickText("Start again")
	b.await(actionTimeout, fmt.Sprintf(`document.getElementsByName("data.images")[0]?.value === %s`, js(data.Images)))
	for name, want := range map[string]string{"training.steps": "40", "training.seed": "18446744073709551615", "training.epochs": "0"} {
		if got := value(name); got != want {
			t.Errorf("%s begins with %q, want %q", name, got, want)
		}
	}
	b.awaitText(".submit", "12 fields set")
	return version
}

// watch follows the run on the page to its end and returns its version.
func watch(t *testing.T, b *browser, l *local) captioner.Digest {
	b.awaitText(".badge", "Running")
	b.awaitText(".stages", "Validate configuration")
	b.await(2*time.Minute, `document.querySelector(".badge.running") === null`)
	id := eval[string](b, `decodeURIComponent(location.pathname.split("/").pop())`)
	run := l.describe(t, id)
	if run.State != captioner.RunCompleted || !run.Result.Deployed {
		b.fail("the run ended as %s: %s", run.State, run.Error)
	}
	b.awaitText(".badge", "Completed")
	b.awaitText(".card", run.Result.Version.Short())
	if n := eval[int](b, `document.querySelectorAll(".stages li[data-state=completed]").length`); n != len(run.Stages) {
		t.Errorf("%d stages are shown as completed, want %d", n, len(run.Stages))
	}
	b.awaitText(".figures", "40 of 40")
	b.await(actionTimeout, `document.querySelectorAll(".plot canvas").length >= 3`)
	b.await(actionTimeout, `document.querySelector(".plot.tall").getAttribute("aria-label").includes("Validation, per epoch")`)
	b.await(actionTimeout, `[...document.querySelectorAll(".samples img")].length === 8`)
	eval[bool](b, `(document.querySelector(".samples").scrollIntoView(), true)`) // pictures load when they come into view
	b.await(actionTimeout, `[...document.querySelectorAll(".samples img")].every((i) => i.naturalWidth > 0)`)
	if got := eval[string](b, `[...document.querySelectorAll("a")].find((a) => a.textContent.includes("Temporal"))?.href ?? ""`); got != run.TemporalURL {
		t.Errorf("the link into Temporal is %q, want %q", got, run.TemporalURL)
	}
	b.look("run")
	return run.Result.Version
}

// unfold opens a section of the form.
func (b *browser) unfold(section string) {
	b.t.Helper()
	if !eval[bool](b, fmt.Sprintf(`document.getElementById("f-%s").open`, section)) {
		b.click("#f-" + section + " > summary")
	}
}

func captionPictures(t *testing.T, b *browser, l *local, picture string, live captioner.Digest) {
	want, code := l.predict(t, readFile(t, picture), "beam")
	if code != http.StatusOK {
		t.Fatalf("POST /predict: status %d", code)
	}
	b.clickText("Caption")
	b.awaitText(".empty", live.Short())
	b.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{picture}))
	b.awaitText(".best", want.Caption)
	b.await(actionTimeout, `document.querySelectorAll(".hypotheses li").length === 3`)
	b.await(actionTimeout, `document.querySelector(".preview").naturalWidth > 0`)
	shown := b.text(".result")
	for _, text := range []string{"Beam search", live.Short(), "Request ID", strings.Replace(fmt.Sprintf("%.3f", want.Captions[0].LogProbability), "-", "−", 1)} {
		if !strings.Contains(shown, text) {
			t.Errorf("the result does not show %q: %s", text, shown)
		}
	}
	b.look("caption")

	b.clickText("Greedy")
	b.awaitText(".result .facts", "Greedy")
	b.give("paste", []byte("no picture"))
	b.awaitText(".result .notice", "The file is not a JPEG, PNG, GIF, BMP or WebP picture.")
	b.look("caption-refused")
	greedy, _ := l.predict(t, readFile(t, picture), "greedy")
	b.give("drop", readFile(t, picture))
	b.awaitText(".best", greedy.Caption)
	eval[bool](b, `dispatchEvent(new DragEvent("drop", { dataTransfer: new DataTransfer(), cancelable: true })) || true`)
	b.awaitText(".result .notice", "no file")
}

// give pastes a file into the page or drops it there.
func (b *browser) give(how string, content []byte) {
	b.t.Helper()
	eval[bool](b, fmt.Sprintf(`(() => {
		const bytes = Uint8Array.from(atob(%s), (c) => c.charCodeAt(0));
		const data = new DataTransfer();
		data.items.add(new File([bytes], "picture.jpg", { type: "image/jpeg" }));
		const event = %s === "paste" ? new ClipboardEvent("paste", { clipboardData: data, cancelable: true }) : new DragEvent("drop", { dataTransfer: data, cancelable: true });
		dispatchEvent(event);
		return true;
	})()`, js(base64.StdEncoding.EncodeToString(content)), js(how)))
}

func promoteAndRollBack(t *testing.T, b *browser, l *local, first, second captioner.Digest) {
	b.clickText("Models")
	b.awaitText(".facts", second.Short())
	b.look("models")
	b.click(fmt.Sprintf("[aria-label=%q]", "Promote "+first.Short()))
	b.awaitText("dialog", "Promote "+first.Short())
	b.look("promote")
	b.enter("#reason", "it counts better")
	b.click("dialog button[type=submit]")
	b.awaitText(".notice.good", "Version "+first.Short()+" is live, confirmed by the running server.")
	b.awaitText(".facts", "It counts better.")
	b.await(actionTimeout, focusIsSomewhere)

	b.clickText("Roll back")
	b.awaitText("dialog", second.Short())
	b.enter("#reason", "worse after all")
	b.click("dialog button[type=submit]")
	b.awaitText(".notice.good", "Version "+second.Short()+" is live")
	b.awaitText("tbody", "Worse after all.")
	var log struct{ Deployments []captioner.AliasMove }
	l.get(t, "/deployments", &log)
	if len(log.Deployments) != 4 || log.Deployments[0].Kind != captioner.Rollback || log.Deployments[0].Version != second || log.Deployments[0].Reason != "worse after all" {
		t.Errorf("log = %+v, want a rollback to the second version on top", log.Deployments)
	}
	if n := eval[int](b, `[...document.querySelectorAll("section")].at(-1).querySelectorAll("tbody tr").length`); n != 4 {
		t.Errorf("the page shows %d moves, want 4", n)
	}
	b.look("models-log")
	b.do(chromedp.Navigate(l.api + "/ui/models/" + string(second)))
	b.awaitText("main", "Lineage")
	b.look("model")
	b.clickText("Pin")
	b.awaitText("main .subtitle", "Pinned")
	var version captioner.ModelVersion
	if l.get(t, "/models/"+string(second), &version); version.PinnedAt == nil {
		t.Error("the version is not pinned")
	}
	b.clickText("Unpin")
	b.await(actionTimeout, `!document.querySelector("main .subtitle").textContent.includes("Pinned")`)

	// Once more goes to the version before that one, never to and fro; there it ends.
	b.clickText("Models")
	b.clickText("Roll back")
	b.awaitText("dialog", first.Short())
	b.click("dialog button[type=submit]")
	b.awaitText(".notice.good", "Version "+first.Short()+" is live")
	b.await(actionTimeout, `!document.querySelector(".heading .button").checkVisibility()`)
}

func cancelRun(t *testing.T, b *browser, l *local, cfg captioner.Config) {
	id := l.startRun(t, cfg)
	l.awaitTraining(t, id, 100)
	b.do(chromedp.Navigate(l.api + "/ui/runs/" + id))
	b.awaitText(".figures", "of 100,000")
	b.await(actionTimeout, `document.querySelector(".plot.tall")?.getAttribute("aria-label")?.includes("Training, per step")`)
	b.look("run-running")
	b.clickText("Cancel")
	b.clickText("Cancel the run")
	b.await(time.Minute, `document.querySelector(".subtitle").textContent.includes("Cancelled")`)
	b.await(actionTimeout, focusIsSomewhere)
	if run := l.describe(t, id); run.State != captioner.RunCancelled {
		t.Errorf("the run is %s", run.State)
	}

	// What was trained can be trained on.
	b.clickText("Train on")
	b.awaitText("dialog", "Learning rate")
	b.look("train-on")
	b.enter("#on-epochs", "many")
	b.click("dialog button[type=submit]")
	b.awaitText("dialog .notice.bad", "training.epochs")
	b.enter("#on-epochs", "20000")
	b.enter("#on-learning_rate", "0.0001")
	b.click("dialog button[type=submit]")
	b.await(actionTimeout, fmt.Sprintf(`location.pathname.startsWith("/ui/runs/train-") && !location.pathname.endsWith(%s)`, js(id)))
	next := eval[string](b, `decodeURIComponent(location.pathname.split("/").pop())`)
	var sent map[string]map[string]float64
	b.posted(l.api+"/runs?resume="+id, &sent)
	if diff := gocmp.Diff(map[string]map[string]float64{"training": {"epochs": 20000, "learning_rate": 0.0001}}, sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	l.awaitTraining(t, next, 100)
	b.clickText("Cancel")
	b.clickText("Cancel the run")
	b.await(time.Minute, `document.querySelector(".subtitle").textContent.includes("Cancelled")`)
}

// focusIsSomewhere is true unless what had the focus is gone.
const focusIsSomewhere = `document.activeElement !== document.body`

// useKeyboard goes through the first view with the tabulator alone.
func useKeyboard(t *testing.T, b *browser, l *local) {
	b.do(chromedp.Navigate(l.api + "/ui/"))
	b.awaitText("h1", "Caption a picture")
	b.awaitText(".empty", "ready")
	var order []string
	for range 12 {
		b.do(chromedp.KeyEvent(kb.Tab))
		order = append(order, eval[string](b, `document.activeElement.id || document.activeElement.value || document.activeElement.textContent.trim()`))
		if !eval[bool](b, `(() => {
			const e = document.activeElement;
			const shown = e.matches(".cover") ? e.closest(".drop") : e.matches(".segments input") ? e.nextElementSibling : e;
			return getComputedStyle(shown).outlineStyle !== "none";
		})()`) {
			t.Errorf("the focus on %q cannot be seen", order[len(order)-1])
		}
	}
	want := []string{"Skip to the content", "captioner", "Caption", "Runs", "Models", "Data", "theme", "file", "beam", "beam-width", "num-captions"}
	if diff := gocmp.Diff(want, order[:len(want)]); diff != "" {
		t.Errorf("order of the focus (-want +got):\n%s", diff)
	}
	b.do(chromedp.Navigate(l.api+"/ui/runs"), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	b.await(actionTimeout, `document.activeElement.id === "main"`)
}
