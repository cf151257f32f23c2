// The pieces that several views are made of.

import { announce, fill, h, icon, refocus, text } from "./dom.js";
import { ago, exactly, score, short, words } from "./format.js";
import { path } from "./api.js";

export const states = {
  running: ["Running", "running"],
  recovering: ["Recovering", "warn"],
  stalled: ["Stalled", "warn"],
  completed: ["Completed", "good"],
  failed: ["Failed", "bad"],
  cancelled: ["Cancelled", "quiet"],
  unchanged: ["Unchanged", "quiet"],
};

// goesOn says that a run has not ended.
export const goesOn = (run) => ["running", "recovering", "stalled"].includes(run.state);

export function badge(label, tone) {
  return h("span", { class: ["badge", tone] }, label);
}

export function stateBadge(state) {
  return badge(...(states[state] ?? [words(state), "quiet"]));
}

export const outcomes = { promote: ["Promote", "good"], hold: ["Hold", "warn"], reject: ["Reject", "bad"] };

// heading is a view's title with what can be done about it.
export function heading(title, ...actions) {
  return h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, title), actions.length > 0 && h("div", { class: "actions" }, actions));
}

export function card(title, ...children) {
  return h("section", { class: "card" }, title && h("h2", {}, title), children);
}

// empty says that there is nothing yet, and what to do about it.
export function empty(title, hint, ...actions) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), h("p", {}, hint), actions.length > 0 && h("div", { class: "actions" }, actions));
}

// failure shows an error and the ID under which the server's log has it.
export function failure(problem) {
  return h("div", { class: "notice bad", role: "alert" },
    h("p", {}, problem.message),
    problem.errors?.length > 0 && h("ul", {}, problem.errors.map((e) => h("li", {}, e.field ? `${e.field}: ${e.message}` : e.message))),
    problem.requestID && h("p", { class: "fine" }, "Request ", copyable("request ID", problem.requestID)));
}

export const loading = () => h("p", { class: "loading", role: "status" }, "Loading…");

// when is a time as people say it, with the exact one on hover.
export function when(time) {
  return h("time", { datetime: time, title: exactly(time) }, ago(time));
}

export function versionLink(version) {
  return h("a", { href: `/ui/models/${path(version)}`, class: "code" }, short(version));
}

export function runLink(id) {
  return h("a", { href: `/ui/runs/${path(id)}`, class: "code" }, id);
}

// copyable is an ID with a button that copies it; what names it.
export function copyable(what, value, shown = value) {
  const button = h("button", {
    type: "button", class: "copy", "aria-label": `Copy the ${what}`, title: "Copy",
    async onclick() {
      await navigator.clipboard.writeText(value);
      fill(button, icon("check"));
      announce("Copied");
      setTimeout(() => fill(button, icon("copy")), 1500);
    },
  }, icon("copy"));
  return h("span", { class: "copyable" }, h("span", { class: "code", title: value }, shown), navigator.clipboard && button);
}

// facts is a list of names and values; values that are missing are left out.
export function facts(entries) {
  return h("dl", { class: "facts" }, entries.filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false)
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

// table has its name for screen readers; cells carry their column's name for
// narrow screens, where each row becomes a block.
export function table(name, columns, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name },
    h("table", {}, h("caption", { class: "hidden" }, name),
      h("thead", {}, h("tr", {}, columns.map((c) => h("th", { scope: "col", class: c.class }, c.label)))),
      h("tbody", {}, rows.map((row) => tableRow(columns, row)))));
}

export function tableRow(columns, row) {
  return h("tr", {}, columns.map((c) => h("td", { class: c.class, "data-label": c.label }, c.cell(row))));
}

export function scoreTable(evaluation) {
  const bleu = (n) => ({ label: `BLEU-${n}`, class: "number", cell: (s) => score(s[`bleu${n}`]) });
  return table("Scores on the test split", [
    { label: "Algorithm", cell: (s) => words(s.algorithm) },
    bleu(1), bleu(2), bleu(3), bleu(4),
    { label: "Pictures", class: "number", cell: (s) => String(s.images) },
  ], evaluation.scores ?? []);
}

export function sampleTable(samples) {
  return table("Captions of test pictures", [
    { label: "Picture", class: "code", cell: (s) => s.image },
    { label: "Beam", cell: (s) => s.beam },
    { label: "Greedy", cell: (s) => s.greedy },
    { label: "Reference", class: "long", cell: (s) => h("span", { class: "muted" }, s.reference) },
  ], samples);
}

// ask opens a dialog and does what it offers when that is confirmed. It closes
// when done, and stays open with the error when that fails. With reason it asks
// for one, which may be empty; content stands below the detail.
export function ask({ title, detail, confirm, tone = "primary", reason = false, content, working = "Working…", act }) {
  const error = h("div");
  const input = reason && h("textarea", { id: "reason", rows: "2", maxlength: "1000", placeholder: "For the deployment log; may stay empty" });
  const yes = h("button", { type: "submit", class: ["button", tone] }, confirm);
  const no = h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Not now");
  const form = h("form", { method: "dialog", onsubmit: submit },
    h("h2", { id: "ask-title" }, title), h("p", {}, detail),
    reason && h("div", { class: "field" }, h("label", { for: "reason" }, "Reason"), input), content,
    error, h("div", { class: "actions end" }, no, yes));
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": "ask-title", onclose: () => (dialog.remove(), refocus()) }, form);

  async function submit(event) {
    event.preventDefault();
    yes.disabled = no.disabled = true;
    text(yes, working);
    fill(error);
    try {
      await act(input ? input.value.trim() : "");
      dialog.close();
    } catch (problem) {
      fill(error, failure(problem));
      text(yes, confirm);
      yes.disabled = no.disabled = false;
      yes.focus();
    }
  }

  document.body.append(dialog);
  dialog.showModal();
}
