// One run: how far it is, how its training goes, and what came of it.

import { announce, fill, h, icon, show, text } from "../dom.js";
import { get, keys, path, post, sentence, valueOf } from "../api.js";
import { Curves, chart } from "../chart.js";
import { between, count, duration, words } from "../format.js";
import { ask, badge, card, copyable, facts, failure, goesOn, heading, loading, outcomes, sampleTable, scoreTable, stateBadge, versionLink, when } from "../parts.js";

export default function run(main, { params: [id], signal, go }) {
  const address = `/runs/${path(id)}`;
  const state = h("span");
  const cancel = h("button", { type: "button", class: "button danger", hidden: true, onclick: confirmCancel }, "Cancel");
  const again = h("a", { class: "button", href: `/ui/start?like=${path(id)}`, hidden: true }, "Start again");
  const on = h("button", { type: "button", class: "button", hidden: true, onclick: trainOn }, "Train on");
  const why = h("p", { class: "notice warn", role: "status", hidden: true });
  const about = h("div");
  const outcome = h("div", {}, loading());
  const stages = stageList();
  const training = trainingView(address, signal);
  fill(main, heading("Run", on, again, cancel), h("p", { class: "subtitle" }, copyable("run ID", id), state), why, about, outcome, stages.element, training.element);
  show(stages.element, false);

  let current = null;
  load();

  async function load() {
    try {
      shown(await get(address, signal));
      fill(outcome, result(current));
      follow();
    } catch (problem) {
      if (problem.name !== "AbortError") fill(outcome, failure(problem));
    }
  }

  function shown(run) {
    current = run;
    standing(run);
    show(cancel, goesOn(run));
    show(again, !goesOn(run));
    show(on, !goesOn(run) && run.state !== "unchanged" && Boolean(run.dataset));
    fill(about, facts([
      ["Started", when(run.started_at)],
      ["Took", run.finished_at && duration(between(run.started_at, run.finished_at))],
      ["Trace", run.trace_id && copyable("trace ID", run.trace_id, run.trace_id.slice(0, 12))],
      ["Data set", run.dataset && h("a", { href: `/ui/data/${path(id)}` }, "Splits, words, quarantine")],
      ["Workflow", run.temporal_url && h("a", { href: run.temporal_url, rel: "noreferrer", target: "_blank" }, "Temporal Web UI ", icon("link"))],
      ["Tracking", run.mlflow_url && h("a", { href: run.mlflow_url, rel: "noreferrer", target: "_blank" }, "MLflow ", icon("link"))],
    ]));
    if (run.stages) stages.update(run.stages, run.state);
  }

  // standing shows the run's state and, where it does not get on, why.
  function standing(run) {
    fill(state, stateBadge(run.state));
    text(why, run.note ? sentence(run.note) : "");
    show(why, Boolean(run.note));
  }

  function stateArrived(now) {
    if (now.state !== current.state) announce(`The run is ${now.state}`);
    current = { ...current, note: undefined, ...now };
    standing(current);
  }

  // follow listens to the run's events. The browser comes back by itself after a
  // break and goes on where it was; it gives up only when it was refused. A
  // hidden page does not listen: browsers allow few connections to a server.
  function follow() {
    let source = null;
    let retry = 0;
    let ended = false;
    const open = () => {
      source = new EventSource(`${address}/events`);
      source.addEventListener("state", (event) => stateArrived(JSON.parse(event.data)));
      source.addEventListener("stages", (event) => stagesArrived(JSON.parse(event.data)));
      source.addEventListener("metrics", (event) => training.metrics(JSON.parse(event.data)));
      source.addEventListener("sample", (event) => training.samples(JSON.parse(event.data)));
      source.addEventListener("end", (event) => {
        ended = true;
        close();
        end(JSON.parse(event.data));
      });
      source.onopen = () => training.connected(true);
      source.onerror = () => {
        training.connected(false);
        if (source?.readyState === EventSource.CLOSED) retry = setTimeout(open, 5000);
      };
    };
    const close = () => {
      clearTimeout(retry);
      source?.close();
      source = null;
    };
    document.addEventListener("visibilitychange", () => {
      if (ended) return;
      close();
      if (!document.hidden) open();
    }, { signal });
    signal.addEventListener("abort", close);
    open();
  }

  function stagesArrived(list) {
    stages.update(list, current.state);
    // The data set and the training become known on the way.
    if (goesOn(current) && !current.dataset && list.some((s) => s.name === "PrepareData" && s.state === "completed")) {
      get(address, signal).then(shown, () => {});
    }
  }

  function end(run) {
    const wasRunning = goesOn(current);
    shown(run);
    training.connected(true);
    training.ended();
    fill(outcome, result(run));
    if (wasRunning) announce(`The run has ${endings[run.state] ?? "ended"}`);
  }

  function confirmCancel() {
    ask({
      title: "Cancel this run?", confirm: "Cancel the run", tone: "danger", working: "Cancelling…",
      detail: "It stops within a few seconds. What it has trained stays, and another run with the same configuration goes on from there.",
      act: async () => {
        await post(`${address}/cancel`, undefined, { signal });
        cancel.disabled = true;
        text(cancel, "Cancelling…");
      },
    });
  }

  // trainOn starts a run that goes on from the training of this one.
  function trainOn() {
    const key = keys();
    const field = (name, label, mode, about) => h("div", { class: "field" }, h("label", { for: `on-${name}` }, label),
      h("input", { id: `on-${name}`, name, type: "text", inputmode: mode, autocomplete: "off", "aria-describedby": `about-${name}` }),
      h("p", { class: "fine muted", id: `about-${name}` }, about));
    const fields = [
      field("epochs", "Epochs", "numeric", "In all, those done included. Empty for as many as before."),
      field("learning_rate", "Learning rate", "decimal", "From now on. Empty for the one before."),
    ];
    ask({
      title: "Train on?", confirm: "Train on", working: "Starting…", content: fields,
      detail: "Another run goes on from the last checkpoint of this one, with the same data and model.",
      act: async () => {
        const training = {};
        for (const { name, value } of fields.map((f) => f.querySelector("input"))) {
          if (value.trim()) training[name] = valueOf(value.trim(), "number");
        }
        const { body } = await post(`/runs?resume=${path(id)}`, { training }, { signal, headers: key(training) });
        announce("The run has started");
        go(`/ui/runs/${path(body.id)}`);
      },
    });
  }
  return "Run";
}

const endings = { completed: "completed", failed: "failed", cancelled: "been cancelled", unchanged: "found nothing to do" };

// result says how a run ended.
function result(run) {
  if (goesOn(run)) return null;
  if (run.state === "cancelled") return h("div", { class: "notice" }, h("p", {}, "The run was cancelled."));
  if (run.state === "unchanged") return h("div", { class: "notice" }, h("p", {}, "Nothing to do: the last run of the schedule was trained on the same data."));
  if (run.state === "failed" || !run.result) {
    return h("div", { class: "notice bad" }, h("p", {}, h("strong", {}, "The run failed. "), run.error && sentence(run.error)),
      run.problems?.length > 0 && h("ul", {}, run.problems.map((p) => h("li", {}, p.field && h("code", {}, p.field), p.field && ": ", p.message))));
  }
  const { decision, evaluation, version, deployed, note, left_out: leftOut, warnings } = run.result;
  const [label, tone] = outcomes[decision.outcome] ?? [words(decision.outcome), "quiet"];
  return card("Result",
    facts([["Version", versionLink(version)], ["Decision", badge(label, tone)], ["Went live", deployed ? "Yes" : "No"]]),
    h("ul", { class: "reasons" }, decision.reasons.map((reason) => h("li", {}, sentence(reason))), note && h("li", {}, sentence(note)),
      decision.outcome !== "promote" && h("li", {}, "The version is kept. If you know better, ", h("a", { href: `/ui/models/${path(version)}` }, "promote it by hand"), "."),
      leftOut && h("li", {}, "Not all of the data was used: ", h("a", { href: `/ui/data/${path(run.id)}` }, leftOut.reasons.map((r) => `${count(r.count)} ${words(r.reason).toLowerCase()}`).join(", ")), ".")),
    warnings?.map((warning) => h("p", { class: "notice" }, sentence(warning))),
    scoreTable(evaluation),
    evaluation.samples?.length > 0 && h("details", {}, h("summary", {}, "Captions of test pictures"), sampleTable(evaluation.samples)));
}

const marks = { completed: "check", failed: "cross", skipped: "dash" };

// stageList is the timeline: when each stage ran, on the run's own time.
function stageList() {
  const list = h("ol", { class: "stages" });
  const element = card("Stages", list);
  const rows = new Map();
  let last = [];
  let over = false;
  let told = "";

  function row(name) {
    const parts = {
      mark: h("span", { class: "mark" }), name: h("span", { class: "stage-name" }, words(name)), state: h("span", { class: "hidden" }),
      bar: h("span", { class: "stage-bar" }), took: h("span", { class: "number fine" }), note: h("p", { class: "stage-note", hidden: true }), error: h("p", { class: "stage-error", hidden: true }),
    };
    parts.element = h("li", {}, parts.mark, h("span", {}, parts.name, parts.state), h("span", { class: "track", "aria-hidden": "true" }, parts.bar), parts.took, parts.note, parts.error);
    list.append(parts.element);
    return parts;
  }

  function draw() {
    const begun = last.filter((s) => s.started_at).map((s) => new Date(s.started_at).getTime());
    if (begun.length === 0) return;
    const first = Math.min(...begun);
    const ended = last.filter((s) => s.finished_at).map((s) => new Date(s.finished_at).getTime());
    const until = over ? Math.max(first + 1, ...ended) : Date.now();
    for (const stage of last) {
      const parts = rows.get(stage.name);
      const from = stage.started_at ? new Date(stage.started_at).getTime() : null;
      const to = stage.finished_at ? new Date(stage.finished_at).getTime() : until;
      parts.bar.style.setProperty("--from", from === null ? 0 : (from - first) / (until - first || 1));
      parts.bar.style.setProperty("--share", from === null ? 0 : Math.max(0, to - from) / (until - first || 1));
      const shards = stage.total > 1 ? `${stage.done ?? 0} of ${stage.total} · ` : "";
      text(parts.took, from === null ? "" : stage.cached ? "reused" : shards + duration((to - from) / 1000));
    }
  }

  const timer = setInterval(() => (element.isConnected ? over || draw() : clearInterval(timer)), 1000);
  return {
    element,
    update(stages, runState) {
      last = stages;
      over = !goesOn({ state: runState });
      show(element, true);
      for (const stage of stages) {
        if (!rows.has(stage.name)) rows.set(stage.name, row(stage.name));
        const parts = rows.get(stage.name);
        if (parts.element.dataset.state !== stage.state) {
          parts.element.dataset.state = stage.state;
          fill(parts.mark, marks[stage.state] && icon(marks[stage.state]));
        }
        text(parts.state, over && stage.state === "pending" ? ", not reached" : `, ${stage.state}`);
        for (const name of ["note", "error"]) {
          text(parts[name], stage[name] ? sentence(stage[name]) : "");
          show(parts[name], Boolean(stage[name]));
        }
      }
      const running = stages.find((s) => s.state === "running");
      if (running && running.name !== told && !over) announce(`Stage ${words(running.name)} has begun`);
      told = running?.name ?? told;
      draw();
    },
  };
}

const lines = {
  loss: [["loss", "Training, per step"], ["validation_loss", "Validation, per epoch"]],
  learning_rate: [["learning_rate", "Learning rate"]],
  images_per_second: [["images_per_second", "Pictures per second"]],
};

// trainingView shows progress, curves and samples. Points only change data; what
// is on the screen changes once a frame.
function trainingView(address, signal) {
  const latest = {};
  const curves = new Curves();
  const bar = h("progress", { max: "1", value: "0", "aria-label": "Training" });
  const numbers = {};
  const figure = (name, label) => h("div", {}, h("dt", {}, label), (numbers[name] = h("dd", {}, "–")));
  const progress = h("div", { class: "training" }, bar, h("dl", { class: "figures" },
    figure("step", "Step"), figure("epoch", "Epoch"), figure("loss", "Loss"), figure("validation", "Validation"),
    figure("speed", "Pictures/s"), figure("left", "Time left")));
  const lost = h("p", { class: "notice warn", role: "status", hidden: true }, "The connection is lost. Trying again…");
  const main = chart("Loss, in nats per token", curves, lines.loss, { signal, tall: true });
  const scores = h("div", { class: "scores", hidden: true });
  const small = h("div", { class: "charts" },
    chart("Learning rate", curves, lines.learning_rate, { signal, zero: true }).element,
    chart("Pictures per second", curves, lines.images_per_second, { signal, zero: true }).element);
  const samples = sampleView(address);
  const charts = card("Training", progress, main.element, scores, small);
  const element = h("div", {}, lost, charts, samples.element);
  show(charts, false);
  let scoreNames = "";
  let tenth = 0;
  let over = false;

  // Scores are whatever else grows and is named like one.
  function drawScores() {
    const names = curves.names().filter((name) => /bleu|rouge|meteor|cider|accuracy|f1/.test(name)).sort();
    if (names.length === 0 || names.join() === scoreNames) return;
    scoreNames = names.join();
    fill(scores, chart("Scores of the sample captions", curves, names.map((name) => [name, words(name.replace(/^sample_/, ""))]), { signal, zero: true, scale: 100 }).element);
    show(scores, true);
  }

  function drawNumbers() {
    const { step = 0, steps = 0, epoch, epochs } = latest;
    bar.value = steps ? step / steps : 0;
    text(numbers.step, steps ? `${count(step)} of ${count(steps)}` : "–");
    text(numbers.epoch, epochs ? `${count(epoch)} of ${count(epochs)}` : "–");
    text(numbers.loss, latest.loss === undefined ? "–" : latest.loss.toFixed(3));
    text(numbers.validation, latest.validation_loss === undefined ? "–" : latest.validation_loss.toFixed(3));
    text(numbers.speed, latest.images_per_second === undefined ? "–" : count(Math.round(latest.images_per_second)));
    text(numbers.left, over || latest.seconds_left === undefined ? "–" : duration(latest.seconds_left));
    const now = steps ? Math.floor((10 * step) / steps) : 0;
    if (now !== tenth && !over) announce(`Training: ${now * 10} %, ${duration(latest.seconds_left ?? 0)} left`);
    tenth = now;
  }

  return {
    element,
    metrics(points) {
      show(charts, true);
      for (const { name, step, value } of points) {
        if (value !== null) latest[name] = value;
        curves.put(name, step, value);
      }
      drawScores();
      curves.changed();
      drawNumbers();
    },
    samples: samples.add,
    connected: (yes) => show(lost, !yes),
    ended() {
      over = true;
      show(progress.querySelector("progress"), false);
      drawNumbers();
    },
  };
}

// sampleView shows what the model said about the same pictures after each epoch.
function sampleView(address) {
  const epochs = new Map();
  const figures = new Map();
  let following = true; // the newest epoch
  const range = h("input", { type: "range", id: "epoch", min: "0", max: "0", value: "0", step: "1", oninput: () => ((following = Number(range.value) === Number(range.max)), draw()) });
  const label = h("output", { for: "epoch", class: "number" });
  const grid = h("div", { class: "samples" });
  const element = card("Sample captions", h("div", { class: "field inline" }, h("label", { for: "epoch" }, "After epoch"), range, label), grid);
  show(element, false);

  function figureOf(sample) {
    if (!figures.has(sample.image)) {
      const caption = h("p", { class: "sample-caption" });
      const picture = sample.has_picture
        ? h("img", { src: `${address}/samples/${path(sample.image)}`, alt: `Validation picture ${sample.image}`, loading: "lazy", width: "96", height: "96" })
        : h("span", { class: "no-picture" });
      const node = h("figure", {}, picture, h("figcaption", {}, caption, h("p", { class: "fine muted" }, sample.reference)));
      grid.append(node);
      figures.set(sample.image, { caption });
    }
    return figures.get(sample.image);
  }

  function draw() {
    const known = [...epochs.keys()].sort((a, b) => a - b);
    range.max = String(known.length - 1);
    if (following) range.value = range.max;
    const epoch = known[Number(range.value)];
    text(label, String(epoch));
    range.setAttribute("aria-valuetext", `epoch ${epoch}`);
    for (const sample of epochs.get(epoch)) text(figureOf(sample).caption, sample.caption || "(no words)");
  }

  let due = false;
  return {
    element,
    add({ epoch, samples }) {
      const before = epochs.get(epoch) ?? [];
      const names = new Set(samples.map((s) => s.image));
      epochs.set(epoch, [...before.filter((s) => !names.has(s.image)), ...samples]);
      if (due) return;
      due = true;
      requestAnimationFrame(() => {
        due = false;
        show(element, true);
        draw();
      });
    },
  };
}
