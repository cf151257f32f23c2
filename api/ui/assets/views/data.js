// What is in a run's data set: splits, lengths, words, and what was left out.

import { fill, h, show, text } from "../dom.js";
import { get, path } from "../api.js";
import { count, many, moment, percent, words } from "../format.js";
import { badge, card, copyable, empty, facts, failure, heading, loading, runLink, states, table } from "../parts.js";

const step = 100; // how many words and items are listed at first, and more each time

export default function data(main, { params: [id], signal, go }) {
  const choice = h("select", { id: "run", onchange: () => go(`/ui/data/${path(choice.value)}`) });
  const chooser = h("div", { class: "filters", hidden: true }, h("div", { class: "field grow" }, h("label", { for: "run" }, "Data set of run"), choice));
  const body = h("div", {}, loading());
  fill(main, heading("Data"), chooser, body);
  load();

  async function load() {
    try {
      const { runs } = await get("/runs?limit=200", signal);
      if (id === undefined && runs.length === 0) {
        fill(body, empty("No data yet", "A run reads your pictures and captions, sets aside what cannot be used, and counts the rest.", h("a", { class: "button primary", href: "/ui/start" }, "Start a run")));
        return;
      }
      id ??= (runs.find((r) => r.state === "completed") ?? runs[0]).id;
      if (!runs.some((r) => r.id === id)) choice.append(h("option", { value: id }, id));
      for (const r of runs) choice.append(h("option", { value: r.id }, `${r.id} · ${(states[r.state]?.[0] ?? r.state).toLowerCase()} · ${moment(r.started_at)}`));
      choice.value = id;
      show(chooser, true);
      await draw(step);
    } catch (problem) {
      failed(problem);
    }
  }

  async function draw(limit) {
    const summary = await get(`/runs/${path(id)}/data?limit=${limit}`, signal);
    const more = () => draw(Math.min(limit * 10, 1000)).catch(failed);
    fill(body, overview(summary, id), h("div", { class: "columns" }, lengths(summary), vocabulary(summary, limit, more)), quarantine(summary, limit, more));
  }

  function failed(problem) {
    if (problem.name === "AbortError") return;
    fill(body, problem.code === "no_data" ? empty("This run has not prepared its data", "It may have failed before, or still be reading. Its page says how far it is.",
      h("a", { class: "button", href: `/ui/runs/${path(id)}` }, "Show the run")) : failure(problem));
  }
  return "Data";
}

function overview({ dataset, splits, quarantine }, id) {
  const images = splits.reduce((n, s) => n + s.images, 0);
  const parts = splits.map((s, i) => {
    const part = h("span", { class: `part part-${i + 1}` });
    part.style.setProperty("--share", images ? s.images / images : 0);
    return part;
  });
  return card("Splits",
    h("div", { class: "parts", "aria-hidden": "true" }, parts),
    table("Splits", [
      { label: "Split", cell: (s) => h("span", { class: `key key-${splits.indexOf(s) + 1}` }, words(s.split)) },
      { label: "Pictures", class: "number", cell: (s) => count(s.images) },
      { label: "Share", class: "number", cell: (s) => (images ? percent(s.images / images) : "–") },
      { label: "Captions", class: "number", cell: (s) => count(s.captions) },
      { label: "Per picture", class: "number", cell: (s) => (s.images ? (s.captions / s.images).toFixed(1) : "–") },
    ], splits),
    facts([["Pictures", count(images)], ["Quarantined", count(quarantine.total)], ["Data set", copyable("data set", dataset, dataset.slice(0, 12))], ["Run", runLink(id)]]));
}

// lengths is a histogram of all captions' lengths.
function lengths({ splits, max_tokens: maxTokens }) {
  const bars = new Map();
  for (const split of splits) for (const { words: n, captions } of split.lengths) bars.set(n, (bars.get(n) ?? 0) + captions);
  if (bars.size === 0) return card("Caption lengths", h("p", { class: "muted" }, "There are no captions."));
  const total = [...bars.values()].reduce((a, b) => a + b, 0);
  const mean = [...bars].reduce((sum, [n, captions]) => sum + n * captions, 0) / total;
  const low = Math.min(...bars.keys());
  const high = Math.max(...bars.keys());
  const wide = Math.max(1, Math.ceil((high - low + 1) / 30)); // words to a bar
  const bins = [];
  for (let from = low; from <= high; from += wide) {
    let captions = 0;
    for (let n = from; n < from + wide; n++) captions += bars.get(n) ?? 0;
    bins.push({ label: wide === 1 ? String(from) : `${from}–${Math.min(high, from + wide - 1)}`, captions });
  }
  const most = Math.max(...bins.map((b) => b.captions));
  return card("Caption lengths",
    h("p", { class: "fine muted" }, `In words; ${mean.toFixed(1)} on average, ${low} to ${high}. Longer ones than ${many(maxTokens - 2, "word")} are cut for training.`),
    h("ol", { class: "histogram", "aria-label": "Captions by length" }, bins.map((b) => {
      const bar = h("span", { class: "histogram-bar" });
      bar.style.setProperty("--share", b.captions / most);
      return h("li", { title: `${b.label} words: ${many(b.captions, "caption")}` }, bar, h("span", { class: "hidden" }, `${b.label} words: ${count(b.captions)}`), h("span", { class: "histogram-label", "aria-hidden": "true" }, b.label));
    })));
}

function vocabulary({ vocabulary: v }, limit, more) {
  const most = v.words[0]?.count ?? 1;
  const known = v.occurrences ? 1 - v.unknown_occurrences / v.occurrences : 0;
  const hidden = v.words.length === limit && limit < 1000;
  return card("Vocabulary",
    h("p", { class: "fine muted" }, `${many(v.size, "token")}, which cover ${percent(known)} of ${many(v.occurrences, "word")} in the training captions.`),
    h("ol", { class: "words", tabindex: "0", "aria-label": "Most frequent words" }, v.words.map(({ word, count: n }) => {
      const bar = h("span", { class: "bar", "aria-hidden": "true" });
      bar.style.setProperty("--share", n / most);
      return h("li", {}, h("span", {}, word), h("span", { class: "number fine" }, count(n)), bar);
    })),
    hidden && h("button", { type: "button", class: "button small", onclick: more }, "Show more words"));
}

function quarantine({ quarantine: q }, limit, more) {
  if (q.total === 0) return card("Quarantine", h("p", { class: "muted" }, "Nothing was left out: every picture and every caption is used."));
  const body = h("div");
  const reason = h("select", { id: "reason", onchange: draw }, h("option", { value: "" }, `All, ${count(q.total)}`), q.reasons.map((r) => h("option", { value: r.reason }, `${words(r.reason)}, ${count(r.count)}`)));
  const note = h("p", { class: "fine muted" });
  function draw() {
    const items = q.items.filter((i) => !reason.value || i.reason === reason.value);
    fill(body, table("Quarantine", [
      { label: "Picture", class: "code", cell: (i) => i.image || "–" },
      { label: "Line", class: "number", cell: (i) => (i.line ? String(i.line) : "–") },
      { label: "Reason", cell: (i) => badge(words(i.reason), "warn") },
      { label: "Detail", class: "long", cell: (i) => i.detail ?? "" },
    ], items));
    text(note, q.items.length < q.total ? `The first ${count(q.items.length)} of ${count(q.total)} are listed.` : "");
  }
  draw();
  return card("Quarantine", h("p", { class: "fine muted" }, "Pictures and caption lines that are not used, and why."),
    h("div", { class: "filters" }, h("div", { class: "field" }, h("label", { for: "reason" }, "Reason"), reason)), body,
    q.items.length < q.total && h("div", { class: "below" }, note, limit < 1000 && h("button", { type: "button", class: "button small", onclick: more }, "Show more")));
}
