// Caption a picture: drop, paste or choose one.

import { fill, h, icon, show } from "../dom.js";
import { get, post } from "../api.js";
import { duration, many, percent, signed } from "../format.js";
import { copyable, empty, facts, failure, versionLink } from "../parts.js";

export default function caption(main, { signal }) {
  let picture = null; // the file
  let asked = new AbortController(); // the request under way

  const file = h("input", { type: "file", id: "file", accept: "image/*", class: "cover", onchange: () => choose(file.files[0]) });
  const preview = h("img", { class: "preview", alt: "The chosen picture", hidden: true });
  const invitation = h("div", { class: "invitation" }, icon("upload"),
    h("p", { class: "empty-title" }, "Drop a picture here, paste one, or choose a file"),
    h("p", {}, "JPEG, PNG, GIF, BMP or WebP"));
  const drop = h("label", { class: "drop", for: "file" }, h("span", { class: "hidden" }, "Picture"), invitation, preview, file);
  const again = h("label", { class: "button", for: "file", hidden: true }, "Another picture");

  const algorithm = (value, label) => h("label", {}, h("input", { type: "radio", name: "algorithm", value, checked: value === "beam", onchange: send }), h("span", {}, label));
  const width = number("beam-width", 10, "default");
  const best = number("num-captions", 10, "3");
  const options = h("fieldset", { class: "options" }, h("legend", { class: "hidden" }, "How to caption"),
    h("div", { class: "field" }, h("span", { class: "label", id: "algorithm-label" }, "Algorithm"),
      h("div", { class: "segments", role: "radiogroup", "aria-labelledby": "algorithm-label" }, algorithm("beam", "Beam search"), algorithm("greedy", "Greedy"))),
    h("div", { class: "field" }, h("label", { for: "beam-width" }, "Beam width"), width),
    h("div", { class: "field" }, h("label", { for: "num-captions" }, "Captions"), best));

  const result = h("div", { class: "result", "aria-live": "polite", "aria-busy": "false" });
  fill(main, h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, "Caption a picture")),
    h("div", { class: "caption-view" }, h("div", {}, drop, h("div", { class: "below-drop" }, options, again)), result));
  describeModel();

  function number(id, most, placeholder) {
    return h("input", { id, type: "number", min: "1", max: String(most), step: "1", placeholder, inputmode: "numeric", onchange: send });
  }

  // Before the first caption, the result says which model would make it.
  async function describeModel() {
    try {
      const model = await get("/model/info", signal);
      if (picture) return;
      fill(result, empty("No picture yet", ["Model ", versionLink(model.version), " is ready."]));
    } catch (problem) {
      if (problem.name === "AbortError" || picture) return;
      fill(result, ["no_model", "model_loading"].includes(problem.code) ? noModel(problem) : failure(problem));
    }
  }

  function choose(chosen) {
    if (!chosen) return;
    picture = chosen;
    if (preview.src) URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(chosen);
    preview.onload = () => (show(preview, true), show(invitation, false));
    preview.onerror = () => (show(preview, false), show(invitation, true)); // the server says what is wrong
    show(again, true);
    send();
  }

  async function send() {
    const greedy = main.querySelector("input[name=algorithm]:checked").value === "greedy";
    width.disabled = greedy;
    if (!picture) return;
    asked.abort();
    asked = new AbortController();
    signal.addEventListener("abort", () => asked.abort(), { once: true });

    const form = new FormData();
    form.append("algorithm", greedy ? "greedy" : "beam");
    if (!greedy && width.value) form.append("beam_width", width.value);
    if (!greedy) form.append("num_captions", best.value || "3");
    else if (best.value) form.append("num_captions", best.value);
    form.append("file", picture, picture.name || "picture");
    result.setAttribute("aria-busy", "true");
    if (!result.querySelector(".hypotheses")) fill(result, h("p", { class: "loading" }, "Captioning…"));
    const { signal: given } = asked;
    try {
      const reply = await post("/predict", form, { signal: given });
      fill(result, captions(reply.body, reply.headers.get("X-Request-ID"), greedy ? null : width.value));
    } catch (problem) {
      if (problem.name === "AbortError") return;
      fill(result, problem.code === "no_model" ? noModel(problem) : failure(problem));
    }
    if (!given.aborted) result.setAttribute("aria-busy", "false");
  }

  // A picture can be dropped anywhere and pasted at any time.
  const listen = (type, listener) => addEventListener(type, listener, { signal });
  listen("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  listen("dragleave", (event) => event.relatedTarget === null && drop.classList.remove("over"));
  listen("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const [dropped] = event.dataTransfer.files;
    if (dropped) choose(dropped);
    else fill(result, failure({ message: "What was dropped is no file. Save the picture first." }));
  });
  listen("paste", (event) => {
    const files = [...event.clipboardData.files];
    choose(files.find((f) => f.type.startsWith("image/")) ?? files[0]);
  });
  signal.addEventListener("abort", () => preview.src && URL.revokeObjectURL(preview.src));
  return "captioner";
}

function noModel(problem) {
  if (problem.code === "model_loading") return empty("The model is being loaded", "It takes a few seconds. Try again then.");
  return empty("No model is live yet", "Train one: it goes live by itself if it is good enough, and then captions pictures here.",
    h("a", { class: "button primary", href: "/ui/start" }, "Start a run"));
}

function captions(reply, requestID, beamWidth) {
  const best = reply.captions[0].log_probability;
  return [
    h("p", { class: "best" }, reply.caption),
    reply.captions.length > 1 && h("h2", {}, `The ${reply.captions.length} best`),
    h("ol", { class: "hypotheses" }, reply.captions.map((c) => hypothesis(c, best))),
    facts([
      ["Algorithm", reply.algorithm === "beam" ? "Beam search" : "Greedy"],
      ["Beam width", beamWidth || null],
      ["Model version", versionLink(reply.model_version)],
      ["Time", duration(reply.processing_time_seconds)],
      ["Picture", `${reply.image_size[0]} × ${reply.image_size[1]} pixels`],
      ["Request ID", copyable("request ID", requestID)],
    ]),
  ];
}

// hypothesis has a bar for how probable it is beside the best one.
function hypothesis(c, best) {
  const bar = h("span", { class: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", Math.exp(c.log_probability - best));
  return h("li", {}, h("span", { class: "hypothesis" }, c.text || "(no words)"),
    h("span", { class: "number fine", title: `Probability ${percent(Math.exp(c.log_probability))}, ${many(c.tokens.length, "token")}` },
      h("span", { class: "hidden" }, "log-probability "), signed(c.log_probability, 3)), bar);
}
