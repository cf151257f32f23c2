// Versions, what is live, and the log of what was.

import { announce, fill, h, show, text } from "../dom.js";
import { get, path, poll, post, sentence } from "../api.js";
import { moment, score, short, words } from "../format.js";
import { ask, badge, card, empty, facts, failure, heading, loading, runLink, table, versionLink, when } from "../parts.js";

export default function models(main, { signal }) {
  const back = h("button", { type: "button", class: "button", hidden: true, onclick: () => rollBack(current, signal, done) }, "Roll back");
  const note = h("div", { role: "status" });
  const live = h("div", {}, loading());
  const versions = h("div");
  const log = h("div");
  let current = null;
  let drawn = "";
  fill(main, heading("Models", back), note, live, versions, log);
  poll(signal, 5000, load);

  async function load() {
    try {
      const [{ models: list, production }, { deployments, rollback_to: target }] = await Promise.all([get("/models?limit=200", signal), get("/deployments?limit=200", signal)]);
      const seen = JSON.stringify([list.map((m) => [m.version, m.pinned_at, m.deleted_at]), production, deployments.length, target]);
      if (seen === drawn) return; // nothing has changed
      drawn = seen;
      current = { list, production, deployments, target };
      draw();
    } catch (problem) {
      if (problem.name !== "AbortError") fill(live, failure(problem));
    }
  }

  function draw() {
    const { list, production, deployments, target } = current;
    show(back, Boolean(target));
    if (list.length === 0) {
      fill(live, empty("No versions yet", "Each run that completes leaves one here, with its scores and what it was made from.", h("a", { class: "button primary", href: "/ui/start" }, "Start a run")));
      fill(versions);
      fill(log);
      return;
    }
    fill(live, liveCard(production, deployments));
    fill(versions, card("Versions", versionTable(list, (version) => promote(version, signal, done))));
    fill(log, card("Deployment log", history(signal), logTable(deployments)));
  }

  function done(message) {
    fill(note, h("p", { class: "notice good" }, message));
    announce(message);
    load();
  }
  return "Models";
}

function liveCard(production, deployments) {
  const move = deployments[0];
  if (!production || !move) return empty("Nothing is live", "Promote a version below, and it captions from then on.");
  return card("Live now", facts([
    ["Version", versionLink(production.version)],
    ["Since", [when(move.moved_at), ` (${moment(move.moved_at)})`]],
    ["By", actor(move.actor)],
    ["Why", sentence(move.reason)],
  ]));
}

const beam = (m) => m.evaluation.scores?.find((s) => s.algorithm === "beam");

function versionTable(list, onPromote) {
  const bleu = (n) => ({ label: `BLEU-${n}`, class: "number", cell: (m) => score(beam(m)?.[`bleu${n}`]) });
  return table("Versions", [
    { label: "Version", cell: (m) => versionLink(m.version) },
    { label: "Made", cell: (m) => when(m.created_at) },
    bleu(1), bleu(2), bleu(3), bleu(4),
    { label: "", class: "end", cell: (m) => [
      m.pinned_at && badge("Pinned", "quiet"), " ",
      m.live ? badge("Live", "good")
        : m.deleted_at ? badge("Deleted", "quiet")
          : h("button", { type: "button", class: "button small", "aria-label": `Promote ${m.short}`, onclick: () => onPromote(m.version) }, "Promote"),
    ] },
  ], list);
}

const kinds = { promote: ["Promotion", "good"], rollback: ["Rollback", "warn"] };

function logTable(deployments) {
  if (deployments.length === 0) return h("p", { class: "muted" }, "Nothing was ever live.");
  return table("Deployment log", [
    { label: "When", cell: (d) => when(d.moved_at) },
    { label: "What", cell: (d) => badge(...(kinds[d.kind] ?? [words(d.kind), "quiet"])) },
    { label: "Version", cell: (d) => versionLink(d.version) },
    { label: "Before", cell: (d) => (d.previous ? versionLink(d.previous) : "–") },
    { label: "By", cell: (d) => actor(d.actor) },
    { label: "Why", class: "long", cell: (d) => sentence(d.reason) },
  ], deployments);
}

// actor is who is behind a move; a run is a link to it.
function actor(name) {
  return /^(api|cli)(:|$)/.test(name) ? name : runLink(name);
}

// history answers what was live at a time.
function history(signal) {
  const input = h("input", { type: "datetime-local", id: "at", step: "1", onchange: answer });
  const output = h("output", { for: "at" });
  async function answer() {
    if (!input.value) return fill(output);
    try {
      const { deployments: [move] } = await get(`/deployments?at=${path(new Date(input.value).toISOString())}`, signal);
      return fill(output, move ? [versionLink(move.version), " was live, since ", moment(move.moved_at)] : "Nothing was live then.");
    } catch (problem) {
      return text(output, problem.message);
    }
  }
  return h("div", { class: "field inline" }, h("label", { for: "at" }, "What was live at"), input, output);
}

// promote asks for a reason and makes a version live.
export function promote(version, signal, done) {
  ask({
    title: `Promote ${short(version)}?`, confirm: "Promote", reason: true, working: "Waiting for the servers…",
    detail: "It captions every request from then on. The version that is live now stays, and you can roll back to it.",
    act: async (reason) => done(outcome((await post(`/models/${path(version)}/promote`, { reason }, { signal })).body)),
  });
}

function rollBack({ target }, signal, done) {
  ask({
    title: "Roll back?", confirm: "Roll back", tone: "danger", reason: true, working: "Waiting for the servers…",
    detail: ["The version that was live before, ", h("span", { class: "code" }, short(target)), ", captions again. Nothing is trained again, and the log keeps both."],
    act: async (reason) => done(outcome((await post("/models/rollback", { reason }, { signal })).body)),
  });
}

function outcome({ version, moved, confirmed, servers, note }) {
  const what = moved ? `Version ${short(version)} is live` : `Version ${short(version)} was live already`;
  const who = confirmed ? `, confirmed by ${servers === 1 ? "the running server" : `all ${servers} servers`}.` : ".";
  return what + who + (note ? ` ${note[0].toUpperCase()}${note.slice(1)}.` : "");
}
