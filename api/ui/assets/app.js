// The frame around the views: addresses, titles, focus, theme.

import { fill, h, text } from "./dom.js";
import { get } from "./api.js";
import { ago } from "./format.js";
import { empty, heading } from "./parts.js";
import caption from "./views/caption.js";
import runs from "./views/runs.js";
import run from "./views/run.js";
import start from "./views/start.js";
import models from "./views/models.js";
import model from "./views/model.js";
import data from "./views/data.js";

// A view fills the main element and returns its title. It gets the parts of the
// address that its pattern names, a signal that tells when it is left, and go to
// visit another address.
const views = [
  [/^\/ui\/?$/, caption],
  [/^\/ui\/runs$/, runs],
  [/^\/ui\/runs\/([^/]+)$/, run],
  [/^\/ui\/start$/, start],
  [/^\/ui\/models$/, models],
  [/^\/ui\/models\/([^/]+)$/, model],
  [/^\/ui\/data$/, data],
  [/^\/ui\/data\/([^/]+)$/, data],
];

const main = document.getElementById("main");
let leave = new AbortController();
let shown = ""; // the address of the view

function show({ focus }) {
  leave.abort();
  leave = new AbortController();
  fill(main);
  const { pathname } = location;
  shown = pathname;
  const title = mount(pathname);
  document.title = title === "captioner" ? title : `${title} · captioner`;
  markCurrent(pathname);
  if (!focus) return;
  scrollTo(0, 0);
  (main.querySelector("h1") ?? main).focus({ preventScroll: true });
}

function mount(pathname) {
  for (const [pattern, view] of views) {
    const match = pattern.exec(pathname);
    if (match) return view(main, { params: match.slice(1).map(decodeURIComponent), signal: leave.signal, go });
  }
  fill(main, heading("Not found"), empty("There is no view at this address", "It may have been misspelt.", h("a", { class: "button", href: "/ui/" }, "Caption a picture")));
  return "Not found";
}

// go visits an address of the page; replace leaves no step to go back to.
function go(address, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  show({ focus: !replace });
}

function markCurrent(pathname) {
  for (const link of document.querySelectorAll(".top nav a")) {
    const address = link.getAttribute("href");
    const here = address === "/ui/" ? pathname === "/ui/" || pathname === "/ui" : pathname.startsWith(address) || (address === "/ui/runs" && pathname === "/ui/start");
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// Links within the page do not load it again.
addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || event.defaultPrevented || link.target) return;
  const url = new URL(link.href);
  if (url.origin !== location.origin || !url.pathname.startsWith("/ui")) return;
  if (url.hash && url.pathname === location.pathname) return; // a place in the view
  event.preventDefault();
  if (url.pathname === location.pathname && url.search === location.search) show({ focus: true });
  else go(url.pathname + url.search);
});

addEventListener("popstate", () => {
  if (location.pathname !== shown) show({ focus: true }); // else a place in the view
});

const themes = { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" };
const button = document.getElementById("theme");
button.addEventListener("click", () => {
  const { names } = window.theme;
  window.theme.set(names[(names.indexOf(window.theme.get()) + 1) % names.length]);
  text(button, themes[window.theme.get()]);
});
text(button, themes[window.theme.get()]);

// How long ago something was changes while it is shown.
setInterval(() => main.querySelectorAll("time").forEach((time) => text(time, ago(time.dateTime))), 10000);

// What serves: the program's version, and the model's while one is live.
get("/").then(({ version }) => text(document.getElementById("served"), `captioner ${version}`)).catch(() => {});

show({ focus: false });