// Start a run: a form made from the schema of the configuration.

import { announce, fill, h, show, text } from "../dom.js";
import { get, keys, path, post, sentence, valueOf } from "../api.js";
import { count, many, words } from "../format.js";
import { failure, heading, loading, runLink } from "../parts.js";

// These come first and open; every other field has a default that will do.
const first = ["data.images", "data.captions"];
const labels = { "data.images": "Images folder", "data.captions": "Captions file" };

// With ?like=RUN the form begins with that run's configuration.
export default function start(main, { signal, go }) {
  const like = new URLSearchParams(location.search).get("like");
  const body = h("div", {}, loading());
  fill(main, heading("Start a run"), like && h("p", { class: "subtitle" }, "As in ", runLink(like)), body);
  load();

  async function load() {
    try {
      const [schema, given] = await Promise.all([get("/config/schema", signal), like ? get(`/runs/${path(like)}/config`, signal, digits) : {}]);
      fill(body, form(schema, given, signal, go));
    } catch (problem) {
      if (problem.name !== "AbortError") fill(body, failure(problem));
    }
  }
  return "Start a run";
}

// form has a field for each property of the schema, with what the configuration
// given says, else the default.
function form(schema, given, signal, go) {
  const fields = new Map(); // by dotted name, in the order of the schema
  const groups = new Map(); // sections and groups of fields, by dotted name
  const sections = Object.entries(schema.properties).filter(([, section]) => section.properties).map(([name, section]) => sectionOf(name, section));
  const { preset: presets = {} } = schema.properties;
  const preset = h("select", { id: "preset", "aria-describedby": "d-preset", onchange: choose }, presets.enum?.map((name) => h("option", { value: name }, name || "none")));
  let chosen = "";
  const message = h("div");
  const check = h("button", { type: "button", class: "button", onclick: () => send(false) }, "Check");
  const begin = h("button", { type: "submit", class: "button primary" }, "Start");
  const summary = h("span", { class: "fine", role: "status" });
  const key = keys();
  const element = h("form", { class: "config", novalidate: true, onsubmit: (event) => (event.preventDefault(), send(true)), oninput: edited, onchange: edited },
    h("section", { class: "card" }, h("h2", {}, "Your pictures"),
      h("p", { class: "fine muted" }, "Where they are on the machine of this server. Leave both empty to train on the demonstration data set."), first.map((name) => fields.get(name).element)),
    presets.enum && h("section", { class: "card" }, h("h2", {}, h("label", { for: "preset" }, "Preset")),
      h("p", { class: "fine muted", id: "d-preset" }, "A known system, whose values fill the form in. What you have entered stays."), h("div", { class: "field" }, preset)),
    sections, h("div", { class: "submit" }, message, h("div", { class: "actions" }, begin, check, summary)));
  edited();
  return element;

  function sectionOf(name, section) {
    const badges = h("span", { class: "fine muted" });
    const group = { wrong: h("p", { class: "error", id: `e-${name}`, hidden: true }), badges, names: [] };
    groups.set(name, group);
    const inside = membersOf(name, section, group);
    group.element = h("details", { class: "card section", id: `f-${name}` }, h("summary", {}, h("h2", {}, words(name)), badges),
      h("p", { class: "fine muted" }, explain(name, section.description)), group.wrong, h("div", { class: "grid" }, inside));
    return group.element;
  }

  function membersOf(prefix, section, group) {
    return Object.entries(section.properties).map(([key, property]) => {
      const name = `${prefix}.${key}`;
      if (property.type === "object") return groupOf(name, key, property, group);
      const field = fieldOf(name, key, property);
      field.put(valueAt(given, name));
      fields.set(name, field);
      field.group = group;
      group.names.push(name);
      return first.includes(name) ? null : field.element;
    });
  }

  function groupOf(name, key, property, section) {
    const wrong = h("p", { class: "error", id: `e-${name}`, hidden: true });
    const element = h("fieldset", { class: "wide", id: `f-${name}`, tabindex: "-1" }, h("legend", {}, words(key)),
      h("p", { class: "fine muted" }, explain(key, property.description)), wrong, h("div", { class: "grid three" }, membersOf(name, withoutShared(property), section)));
    groups.set(name, { ...section, element, wrong, section });
    return element;
  }

  function edited() {
    let changed = 0;
    for (const field of fields.values()) {
      field.element.classList.toggle("changed", field.changed());
      changed += field.changed();
    }
    for (const group of groups.values()) {
      if (group.section) continue;
      const mine = group.names.filter((name) => !first.includes(name) && fields.get(name).changed()).length;
      text(group.badges, mine ? `${mine} changed` : `${group.names.filter((name) => !first.includes(name)).length} settings`);
    }
    text(summary, changed ? `${many(changed, "field")} set; everything else is the default.` : "Everything is the default.");
  }

  // choose fills in what the preset says; one that cannot be had here is not
  // chosen.
  async function choose() {
    const { value } = preset;
    forget();
    try {
      const config = await get(`/config?preset=${path(value)}`, signal, digits);
      if (preset.value !== value) return; // another was chosen meanwhile
      chosen = value;
      for (const [name, field] of fields) field.offer(valueAt(config, name));
      edited();
    } catch (problem) {
      if (problem.name === "AbortError" || preset.value !== value) return;
      preset.value = chosen;
      complain(problem);
    }
  }

  // send checks the configuration where the data is, and then starts the run.
  async function send(starts) {
    forget();
    check.disabled = begin.disabled = true;
    fill(message, h("p", { class: "loading", role: "status" }, "Checking…"));
    const config = collect(fields);
    try {
      await post("/runs?dry_run=1", config, { signal });
      if (starts) {
        const { body } = await post("/runs", config, { signal, headers: key(config) });
        announce("The run has started");
        go(`/ui/runs/${path(body.id)}`);
        return;
      }
      fill(message, h("p", { class: "notice good", role: "status" }, "No problems: this configuration can run. The run reads the pictures and captions themselves."));
    } catch (problem) {
      if (problem.name !== "AbortError") complain(problem);
    }
    check.disabled = begin.disabled = false;
  }

  function forget() {
    fill(message);
    for (const field of fields.values()) field.accuse(null);
    for (const group of groups.values()) show(group.wrong, false);
  }

  // complain puts each problem beside its field, and a list of all that leads
  // to them at the top of the buttons.
  function complain(problem) {
    if (problem.errors.length === 0) {
      fill(message, failure(problem));
      return;
    }
    const list = problem.errors.map((p) => {
      const field = fields.get(p.field);
      if (field) field.accuse(p.message);
      const group = field?.group ?? groups.get(p.field);
      if (group && !(field && first.includes(p.field))) (group.section ?? group).element.open = true;
      if (!field && group) {
        text(group.wrong, sentence(p.message));
        show(group.wrong, true);
      }
      const label = labels[p.field] ?? (p.field ? p.field.split(".").map(words).join(" › ") : "");
      if (!field && !group) return h("li", {}, label && `${label}: `, p.message);
      return h("li", {}, h("a", { href: `#f-${p.field}`, onclick: (event) => visit(event, field?.input ?? group.element) }, label), ` ${p.message}`);
    });
    const notice = h("div", { class: "notice bad", role: "alert", tabindex: "-1" }, h("p", {}, h("strong", {}, `${many(list.length, "problem")} to solve first`)), h("ul", {}, list));
    fill(message, notice);
    notice.focus({ preventScroll: true });
    notice.scrollIntoView({ block: "nearest" });
  }
}

const valueAt = (config, name) => name.split(".").reduce((inside, part) => inside?.[part], config);

function visit(event, target) {
  event.preventDefault();
  target.scrollIntoView({ block: "center" });
  target.focus({ preventScroll: true });
}

// withoutShared leaves out what is said of each member of a group alike: the
// group says it.
function withoutShared(group) {
  const members = Object.entries(group.properties);
  if (new Set(members.map(([, member]) => member.description)).size > 1) return group;
  return { ...group, properties: Object.fromEntries(members.map(([key, member]) => [key, { ...member, description: "" }])) };
}

// explain shortens a field's comment, which begins with its name: the label says
// that already. "steps is the number of …" becomes "The number of …".
function explain(key, description = "") {
  const said = description.replace(new RegExp(`^${key} (?:(?:is|are|describes|says|name) |(?=[a-z]+s ))`), "");
  return /^\S*[_\d]/.test(said) ? said : said && said[0].toUpperCase() + said.slice(1); // names stay as they are
}

function fieldOf(name, key, property) {
  const id = `f-${name}`;
  const original = property.default ?? "";
  const described = `d-${name} e-${name}`;
  const attributes = { id, name, "aria-describedby": described, autocomplete: "off", spellcheck: "false" };
  const wrong = h("p", { class: "error", id: `e-${name}`, hidden: true });
  const isBoolean = property.type === "boolean";
  let input;
  if (isBoolean) input = h("input", { ...attributes, type: "checkbox", checked: original });
  else if (property.enum) input = h("select", attributes, property.enum.map((v) => h("option", { value: v, selected: v === original }, v)));
  else input = h("input", { ...attributes, type: "text", value: String(original), ...typing(name, property) });
  const label = h("label", { for: id }, labels[name] ?? words(key));
  const about = h("p", { class: "fine muted", id: `d-${name}` }, explain(key, property.description), " ", limits(property));
  const element = h("div", { class: ["field", isBoolean && "check", first.includes(name) && "important"] },
    isBoolean ? [h("div", { class: "check-row" }, input, label)] : [label, input], wrong, about);
  const holds = (value) => (isBoolean ? input.checked === value : input.value.trim() === String(value));
  const put = (value) => {
    if (value === undefined) return;
    if (isBoolean) input.checked = value;
    else input.value = String(value);
  };
  let offered = original;
  return {
    element, input, put,
    changed: () => !holds(original),
    // offer puts a value unless the field holds another than the last one offered.
    offer(value) {
      if (holds(offered)) put(value);
      offered = value;
    },
    value: () => (isBoolean ? input.checked : valueOf(input.value.trim(), property.type)),
    accuse(message) {
      text(wrong, message ? sentence(message) : "");
      show(wrong, Boolean(message));
      if (message) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    },
  };
}

function typing(name, property) {
  if (property.type === "integer") return { inputmode: "numeric" };
  if (property.type === "number") return { inputmode: "decimal" };
  return first.includes(name) ? { placeholder: name === "data.images" ? "/data/flickr8k/Images" : "/data/flickr8k/captions.txt" } : {};
}

const bound = (n) => (Math.abs(n) >= 10000 ? count(n) : String(n));

// limits says the default and which values a field takes.
function limits(property) {
  const { minimum, maximum, exclusiveMinimum: above, exclusiveMaximum: below } = property;
  const parts = [];
  if (above !== undefined) parts.push(`more than ${above}`);
  if (minimum !== undefined) parts.push(`at least ${bound(minimum)}`);
  if (below !== undefined) parts.push(`less than ${below}`);
  else if (maximum !== undefined && maximum < 1e6) parts.push(`at most ${bound(maximum)}`);
  const range = parts.length ? parts.join(", ") : "";
  const original = property.default === "" || property.default === undefined || property.type === "boolean" ? "" : `default ${property.default}`;
  const all = [range, original].filter(Boolean).join("; ");
  return all && h("span", { class: "limits" }, all[0].toUpperCase() + all.slice(1) + ".");
}

// digits keeps numbers that JavaScript would round as they were written.
const digits = (_, value, context) => (Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source ? context.source : value);

// collect returns the fields that differ from the defaults.
function collect(fields) {
  const config = {};
  for (const [name, field] of fields) {
    if (!field.changed()) continue;
    const parts = name.split(".");
    const last = parts.pop();
    let section = config;
    for (const part of parts) section = section[part] ??= {};
    section[last] = field.value();
  }
  return config;
}
