// One version: its scores, and what it was made from.

import { announce, fill, h, show, text } from "../dom.js";
import { get, path, post } from "../api.js";
import { count, short, words } from "../format.js";
import { badge, card, copyable, facts, failure, heading, loading, runLink, sampleTable, scoreTable, when } from "../parts.js";
import { promote } from "./models.js";

export default function model(main, { params: [version], signal }) {
  const note = h("div", { role: "status" });
  const body = h("div", {}, loading());
  const button = h("button", { type: "button", class: "button primary", hidden: true }, "Promote");
  const pin = h("button", { type: "button", class: "button", hidden: true });
  const id = h("span");
  const live = h("span");
  fill(main, h("p", { class: "crumb" }, h("a", { href: "/ui/models" }, "Models")), heading(`Version ${short(version)}`, pin, button), h("p", { class: "subtitle" }, id, live), note, body);
  load();

  async function load() {
    try {
      draw(await get(`/models/${path(version)}`, signal));
    } catch (problem) {
      if (problem.name !== "AbortError") fill(body, failure(problem));
    }
  }

  async function change(what) {
    try {
      draw((await post(`/models/${path(version)}/${what}`, undefined, { signal })).body);
      announce(what === "pin" ? "The version is pinned." : "The version is no longer pinned.");
    } catch (problem) {
      if (problem.name !== "AbortError") fill(note, failure(problem));
    }
  }

  function draw(m) {
    fill(id, copyable("version", m.version));
    fill(live, m.live ? badge("Live", "good") : badge("Not live", "quiet"),
      m.pinned_at && [" ", badge("Pinned", "quiet")], m.deleted_at && [" ", badge("Files deleted", "warn")]);
    show(button, !m.live && !m.deleted_at);
    show(pin, !m.deleted_at);
    text(pin, m.pinned_at ? "Unpin" : "Pin");
    pin.title = "A pinned version keeps its files for good";
    pin.onclick = () => change(m.pinned_at ? "unpin" : "pin");
    button.onclick = () => promote(m.version, signal, (message) => {
      fill(note, h("p", { class: "notice good" }, message));
      announce(message);
      load();
    });
    const { lineage, training, evaluation } = m;
    fill(body,
      card("Scores", scoreTable(evaluation), demonstration(evaluation), signatures(evaluation)),
      card("Lineage", facts([
        ...source(m),
        ["Configuration", copyable("configuration", lineage.config, short(lineage.config))],
        ["TensorFlow", lineage.tensorflow],
        ["Threads", lineage.threads],
        ["Seeds", `data ${lineage.seeds.data}, training ${lineage.seeds.training}`],
        ["Result versions", Object.entries(lineage.result_versions ?? {}).map(([step, n]) => `${words(step)} ${n}`).join(", ")],
      ])),
      card("Training", facts(Object.entries(training ?? {}).filter(([name, v]) => typeof v === "number" && !(name in lineage))
        .map(([name, v]) => [words(name), Number.isInteger(v) ? count(v) : v.toFixed(4)]))),
      evaluation.samples?.length > 0 && card("Captions of test pictures", sampleTable(evaluation.samples)));
  }
  return `Version ${short(version)}`;
}

// source says what a version comes from: a run, or files of the original system.
function source({ run_id: run, created_at: made, lineage }) {
  const digest = (name, d) => copyable(name, d, short(d));
  const { imported: files } = lineage;
  if (files) {
    return [["Imported", when(made)], ["Model", digest("model", files.model)], ["Vocabulary", digest("vocabulary", files.vocabulary)], ["Encoder weights", digest("encoder weights", files.encoder_weights)]];
  }
  return [
    ["Run", runLink(run)],
    ["Made", when(made)],
    ["Data set", h("span", {}, digest("data set", lineage.dataset), " ", h("a", { href: `/ui/data/${path(run)}` }, "what is in it"))],
  ];
}

function demonstration({ demonstration: measured }) {
  if (!measured) return null;
  return h("details", {}, h("summary", {}, "Measured against the truth of the demonstration"),
    facts(Object.entries(measured).map(([name, v]) => [words(name), v.toFixed(3)])));
}

function signatures({ scores }) {
  return h("details", {}, h("summary", {}, "What these numbers depend on"),
    h("p", { class: "fine" }, "Scores can be compared where their signatures are equal."),
    (scores ?? []).map((s) => h("p", { class: "code wrap" }, s.signature)));
}
