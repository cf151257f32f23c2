package e2e_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var screenshots = flag.String("screenshots", "", "folder to leave pictures of every view of the page in, in both themes and at phone width")

// actionTimeout bounds one action in the browser, which nothing should take.
const actionTimeout = 30 * time.Second

// browser is a tab of a Chromium of its own.
type browser struct {
	t   testing.TB
	ctx context.Context

	mu       sync.Mutex
	requests []string          // addresses
	bodies   map[string]string // of POST requests, by address: the last one's
	bytes    float64           // received
	console  []string          // errors that scripts left
}

// startBrowser starts Chromium. Debian's package is called chromium.
func startBrowser(t testing.TB) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("chromium is not installed, and the page is not tested without it")
		}
		t.Skip("THE PAGE IS NOT TESTED: chromium is not installed (Debian and Ubuntu: apt-get install chromium)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", true))
	ctx, _ := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ = chromedp.NewContext(ctx)
	b := &browser{t: t, ctx: ctx, bodies: map[string]string{}}
	// The browser starts with the first action, and lives as long as its context.
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("end chromium: %v", err)
		}
	})
	if err := chromedp.Listen(ctx, b.event); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	b.size(1200, 800)
	return b
}

// event takes down what the page does.
func (b *browser) event(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
		if e.Request.Method == "POST" {
			var body strings.Builder
			for _, entry := range e.Request.PostDataEntries {
				body.Write(entry.Bytes)
			}
			b.bodies[e.Request.URL] = body.String()
		}
	case *network.EventLoadingFinished:
		b.bytes += e.EncodedDataLength
	case *runtime.EventExceptionThrown:
		b.console = append(b.console, e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" {
			b.console = append(b.console, fmt.Sprint(e.Args))
		}
	}
}

// do runs actions, each of which must succeed.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, actionTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.fail("%v", err)
	}
}

// fail ends the test with what the page shows.
func (b *browser) fail(format string, args ...any) {
	b.t.Helper()
	text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.pathname + "\n" + document.body.innerText`))
	b.t.Fatalf(format+"\nthe page shows %s", append(args, text)...)
}

// eval returns the value of an expression.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, actionTimeout)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.fail("%s: %v", expression, err)
	}
	return value
}

// await waits until an expression is true.
func (b *browser) await(limit time.Duration, expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, limit+actionTimeout)
	defer cancel()
	poll := chromedp.Poll[bool](expression, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(limit))
	_, err := chromedp.Run(ctx, poll)
	for err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "Cannot find context") { // of a document that another replaces
		_, err = chromedp.Run(ctx, poll)
	}
	if err != nil {
		b.fail("within %v it did not become true that %s: %v", limit, expression, err)
	}
}

// awaitText waits until the element's text contains some.
func (b *browser) awaitText(selector, text string) {
	b.t.Helper()
	b.await(actionTimeout, fmt.Sprintf(`[...document.querySelectorAll(%s)].some((e) => e.textContent.includes(%s))`, js(selector), js(text)))
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(chromedp.ScrollIntoView(chromedp.CSS(selector)), chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// clickText clicks the first visible link or button with that text.
func (b *browser) clickText(text string) {
	b.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll("a, button, summary, label")].find((e) => e.textContent.trim() === %s && e.checkVisibility())`, js(text))
	b.await(actionTimeout, find+" !== undefined")
	eval[bool](b, find+".click() ?? true")
}

// enter replaces what is in a field by typing.
func (b *browser) enter(selector, value string) {
	b.t.Helper()
	b.await(actionTimeout, fmt.Sprintf(`document.querySelector(%s)?.checkVisibility()`, js(selector)))
	eval[bool](b, fmt.Sprintf(`((e) => (e.focus(), e.select(), document.activeElement === e))(document.querySelector(%s))`, js(selector)))
	b.do(chromedp.KeyEvent(value))
	if got := eval[string](b, fmt.Sprintf(`document.querySelector(%s).value`, js(selector))); got != value {
		b.fail("%s holds %q after %q was typed", selector, got, value)
	}
}

// choose chooses an option of a list.
func (b *browser) choose(selector, value string) {
	b.t.Helper()
	b.await(actionTimeout, fmt.Sprintf(`document.querySelector(%s)?.checkVisibility()`, js(selector)))
	eval[bool](b, fmt.Sprintf(`((e) => (e.value = %s, e.dispatchEvent(new Event("change", { bubbles: true }))))(document.querySelector(%s))`, js(value), js(selector)))
}

// named is the selector of a field of the form.
func named(name string) string { return fmt.Sprintf("[name=%q]", name) }

func (b *browser) text(selector string) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf(`document.querySelector(%s)?.textContent ?? ""`, js(selector)))
}

// size sets the size of the window; narrow ones are a phone's.
func (b *browser) size(width, height int64) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600,
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// prefer sets what the system prefers: "light" or "dark".
func (b *browser) prefer(scheme string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// posted returns the body of the last POST request to an address.
func (b *browser) posted(address string, into any) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := json.Unmarshal([]byte(b.bodies[address]), into); err != nil {
		b.t.Errorf("POST %s: body %q: %v", address, b.bodies[address], err)
	}
}

// checkOrigin checks that no request has left the server, and no script failed.
func (b *browser) checkOrigin(origin string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, address := range b.requests {
		local := slices.ContainsFunc([]string{origin + "/", "blob:" + origin + "/", "data:", "about:blank"}, func(prefix string) bool {
			return strings.HasPrefix(address, prefix)
		})
		if !local {
			b.t.Errorf("the page asked for %s", address)
		}
	}
	if len(b.requests) == 0 {
		b.t.Error("no request was seen")
	}
	for _, message := range b.console {
		b.t.Errorf("a script left %s", message)
	}
}

// received returns the bytes that arrived since the last call.
func (b *browser) received() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := int(b.bytes)
	b.bytes = 0
	return n
}

// look checks the view that is shown in both themes and at phone width, and
// leaves pictures of it where -screenshots says.
func (b *browser) look(name string) {
	b.t.Helper()
	for _, mode := range []struct {
		name, scheme  string
		width, height int64
	}{{"light", "light", 1200, 800}, {"dark", "dark", 1200, 800}, {"phone", "light", 390, 844}, {"phone-dark", "dark", 390, 844}} {
		b.size(mode.width, mode.height)
		b.prefer(mode.scheme)
		for _, finding := range eval[[]string](b, audit) {
			b.t.Errorf("%s, %s: %s", name, mode.name, finding)
		}
		if *screenshots != "" {
			b.screenshot(name + "-" + mode.name)
		}
	}
	b.size(1200, 800)
	b.prefer("light")
}

func (b *browser) screenshot(name string) {
	b.t.Helper()
	eval[bool](b, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// audit lists what would keep somebody from using the view: text without enough
// contrast (WCAG 2.2, 1.4.3), controls and pictures without a name, more or less
// than one main heading, and content that is wider than the window.
const audit = `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
  const findings = [];
  const parse = (colour) => {
    const canvas = parse.canvas ??= new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const background = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility({ opacityProperty: true }) || element.closest(".hidden, script, noscript, .skip, :disabled, option")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(parse(style.color)), luminance(background(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5)) findings.push("contrast " + contrast.toFixed(2) + " of " + JSON.stringify(walker.currentNode.textContent.trim().slice(0, 40)));
  }
  for (const e of document.querySelectorAll("button, a[href], input, select, textarea, img, [role=img], progress, summary")) {
    if (!e.checkVisibility()) continue;
    const named = e.getAttribute("aria-label") || e.getAttribute("alt") || e.labels?.length > 0 || e.getAttribute("aria-labelledby") || e.textContent.trim();
    if (!named) findings.push("no name: " + e.outerHTML.slice(0, 80));
  }
  const headings = document.querySelectorAll("h1").length;
  if (headings !== 1) findings.push(headings + " main headings");
  for (const landmark of ["header", "nav", "main", "footer"]) if (!document.querySelector(landmark)) findings.push("no " + landmark);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) findings.push("two elements are " + id);
  const over = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (over > 0) findings.push("the view is " + over + " pixels wider than the window");
  done(findings);
})))`

// js writes a text as a literal of JavaScript.
func js(text string) string {
	data, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(data)
}
