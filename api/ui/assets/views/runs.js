// The list of runs. It grows by pages; what is shown is brought up to date in
// place.

import { fill, h, show, text } from "../dom.js";
import { get, poll } from "../api.js";
import { between, duration, many, score } from "../format.js";
import { empty, failure, goesOn, heading, runLink, stateBadge, states, table, tableRow, versionLink, when } from "../parts.js";

const page = 50;
const most = 1000; // what the server gives at a time

const columns = [
  { label: "Run", cell: (r) => runLink(r.id) },
  { label: "State", cell: (r) => stateBadge(r.state) },
  { label: "Started", cell: (r) => when(r.started_at) },
  { label: "Took", class: "number", cell: (r) => duration(between(r.started_at, r.finished_at)) },
  { label: "BLEU-1", class: "number wide-only", cell: (r) => score(beam(r)?.bleu1) },
  { label: "BLEU-4", class: "number", cell: (r) => score(beam(r)?.bleu4) },
  { label: "Version", class: "wide-only", cell: (r) => (r.result?.version ? versionLink(r.result.version) : "–") },
];

const beam = (run) => run.result?.evaluation?.scores?.find((s) => s.algorithm === "beam");

export default function runs(main, { signal }) {
  let limit = page;
  let list = [];
  const rows = new Map(); // by run: the row and what it was made from

  const state = h("select", { id: "state", onchange: draw }, h("option", { value: "" }, "All"),
    Object.entries(states).map(([value, [label]]) => h("option", { value }, label)));
  const search = h("input", { id: "search", type: "search", placeholder: "train-01…", autocomplete: "off", spellcheck: "false", oninput: draw });
  const filters = h("div", { class: "filters", role: "search", hidden: true },
    h("div", { class: "field" }, h("label", { for: "state" }, "State"), state),
    h("div", { class: "field grow" }, h("label", { for: "search" }, "Run ID"), search));
  const shown = table("Runs", columns, []);
  const body = shown.querySelector("tbody");
  const total = h("p", { class: "fine", role: "status" });
  const more = h("button", { type: "button", class: "button", onclick: showMore }, "Show older runs");
  const message = h("div", {}, h("p", { class: "loading" }, "Loading…"));
  const below = h("div", { class: "below" }, total, more);
  fill(main, heading("Runs", h("a", { class: "button primary", href: "/ui/start" }, "Start a run")), filters, message, shown, below);
  show(shown, false);
  show(below, false);

  poll(signal, 3000, load);

  async function load() {
    try {
      list = (await get(`/runs?limit=${limit}`, signal)).runs;
      draw();
    } catch (problem) {
      if (problem.name !== "AbortError") fill(message, failure(problem));
    }
  }

  async function showMore() {
    limit = Math.min(limit + page, most);
    more.disabled = true;
    await load();
    more.disabled = false;
  }

  function draw() {
    const found = list.filter((r) => (!state.value || r.state === state.value) && r.id.includes(search.value.trim().toLowerCase()));
    show(filters, list.length > 0);
    show(shown, found.length > 0);
    show(below, list.length > 0);
    show(more, list.length >= limit && limit < most);
    text(total, found.length === list.length ? many(list.length, "run") : `${found.length} of ${many(list.length, "run")}`);
    if (list.length === 0) {
      fill(message, empty("No runs yet", "A run prepares your pictures and captions, trains a model on them, scores it, and makes it live if it is good enough.",
        h("a", { class: "button primary", href: "/ui/start" }, "Start a run")));
    } else if (found.length === 0) {
      fill(message, empty("No such run", "Among those that are loaded. Change the filter, or show older runs."));
    } else {
      fill(message);
    }
    place(found.map(row));
  }

  // row returns the row of a run, made anew only when the run has changed.
  function row(run) {
    const content = JSON.stringify([run.state, run.note, run.finished_at, run.result?.version, goesOn(run) && Math.floor(Date.now() / 1000), Math.floor(between(run.started_at) / 60)]);
    const known = rows.get(run.id);
    if (known?.content === content) return known.element;
    const element = tableRow(columns, run);
    if (known?.element.contains(document.activeElement)) return known.element; // keeps the focus
    rows.set(run.id, { content, element });
    return element;
  }

  // place puts the rows in order and leaves alone those that are there already.
  function place(elements) {
    elements.forEach((element, i) => {
      if (body.children[i] !== element) body.insertBefore(element, body.children[i] ?? null);
    });
    while (body.children.length > elements.length) body.lastChild.remove();
  }
  return "Runs";
}
