// Curves over steps, drawn by uPlot, which is loaded when the first one is needed.

import { h, text } from "./dom.js";
import { rate } from "./format.js";

let library = null;

function load() {
  library ??= new Promise((resolve, reject) => {
    const address = (name) => new URL(`vendor/${name}`, import.meta.url).href;
    const style = h("link", { rel: "stylesheet", href: address("uPlot.min.css") });
    const script = h("script", { src: address("uPlot.iife.min.js") });
    const styled = new Promise((done) => (style.onload = style.onerror = done));
    script.onload = () => styled.then(() => resolve(window.uPlot));
    script.onerror = () => reject(new Error("the chart library cannot be loaded"));
    document.head.append(style, script);
  });
  return library;
}

// Curves hold points of many curves over one list of steps. A point with the
// step and name of an earlier one replaces it, which happens where a training
// resumes. Points mostly come in order, so that adding one costs nothing.
export class Curves {
  constructor() {
    this.steps = [];
    this.values = new Map(); // by name; undefined where a curve has no point
    this.listeners = new Set();
    this.due = false;
  }

  names() {
    return [...this.values.keys()];
  }

  put(name, step, value) {
    if (!this.values.has(name)) this.values.set(name, []);
    const at = this.index(step);
    this.values.get(name)[at] = value;
  }

  // index finds the place of a step, or makes one.
  index(step) {
    const { steps } = this;
    if (steps.length === 0 || step > steps[steps.length - 1]) return steps.push(step) - 1;
    let low = 0;
    let high = steps.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] < step) low = middle + 1;
      else high = middle;
    }
    if (steps[low] !== step) {
      steps.splice(low, 0, step);
      for (const values of this.values.values()) if (values.length > low) values.splice(low, 0, undefined);
    }
    return low;
  }

  // columns are the steps and the named curves, of one length.
  columns(names) {
    return [this.steps, ...names.map((name) => {
      const values = this.values.get(name) ?? [];
      values.length = this.steps.length;
      return values;
    })];
  }

  last(name) {
    const values = this.values.get(name) ?? [];
    for (let i = values.length - 1; i >= 0; i--) if (typeof values[i] === "number") return { step: this.steps[i], value: values[i] };
    return null;
  }

  // changed tells the charts, once for all that comes before the next frame.
  changed() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      for (const listener of this.listeners) listener();
    });
  }
}

// colour resolves one of the style sheet's colours, which depend on the theme.
const probe = h("span", { hidden: true });
let colours = new Map();
addEventListener("themechange", () => (colours = new Map()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (colours = new Map(), dispatchEvent(new Event("themechange"))));

function colour(name) {
  if (!colours.has(name)) {
    if (!probe.isConnected) document.body.append(probe);
    probe.style.color = `var(--${name})`;
    colours.set(name, getComputedStyle(probe).color);
  }
  return colours.get(name);
}

const strokes = ["curve-1", "curve-2", "curve-3", "curve-4"];

// chart returns a figure of some curves, given as pairs of name and label. It
// is drawn again whenever the curves change, in place.
export function chart(title, curves, lines, { signal, tall = false, zero = false, scale = 1, format = rate } = {}) {
  const names = lines.map(([name]) => name);
  const canvas = h("div", { class: ["plot", tall && "tall"], role: "img" });
  const element = h("figure", { class: "chart" }, h("figcaption", {}, title,
    lines.length > 1 && h("span", { class: "legend" }, lines.map(([, label], i) => h("span", { class: `legend-${i + 1}` }, label)))), canvas);
  let plot = null;

  load().then((uPlot) => {
    if (signal.aborted) return;
    const axis = { stroke: () => colour("muted"), grid: { stroke: () => colour("grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    plot = new uPlot({
      ...size(), padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: { points: { size: 6 }, drag: { x: true, y: false } },
      scales: { x: { time: false }, y: { range: (_, low, high) => bounds(zero ? Math.min(0, low) : low, high) } },
      axes: [
        { ...axis, size: 30, values: (_, steps) => steps.map((s) => (Number.isInteger(s) ? String(s) : "")) },
        { ...axis, size: 52, values: (_, values) => values.map((v) => format(v * scale)) },
      ],
      series: [{ label: "Step" }, ...lines.map(([, label], i) => ({
        label, stroke: () => colour(strokes[i % strokes.length]), width: 1.75, spanGaps: true,
        points: { show: i > 0 || undefined, size: 5, fill: () => colour("surface") },
      }))],
      plugins: [tooltip(lines, (v) => format(v * scale))],
    }, curves.columns(names), canvas);
    draw();
    curves.listeners.add(draw);
    const resized = new ResizeObserver(() => plot.setSize(size()));
    resized.observe(canvas);
    const recolour = () => plot.redraw(false);
    addEventListener("themechange", recolour, { signal });
    signal.addEventListener("abort", () => {
      resized.disconnect();
      curves.listeners.delete(draw);
      plot.destroy();
    });
  }, (error) => text(canvas, error.message));

  const size = () => ({ width: Math.max(200, canvas.clientWidth), height: canvas.clientHeight });

  function draw() {
    plot.setData(curves.columns(names));
    const said = lines.map(([name, label]) => [label, curves.last(name)]).filter(([, last]) => last)
      .map(([label, { step, value }]) => `${label}: ${format(value * scale)} at step ${step}`);
    canvas.setAttribute("aria-label", `${title}. ${said.join("; ")}`);
  }
  return { element };
}

// bounds leaves some room above and below the curves.
function bounds(low, high) {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1]; // no points yet
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

// tooltip shows the values under the pointer.
function tooltip(lines, format) {
  const box = h("div", { class: "tooltip", hidden: true });
  return {
    hooks: {
      init: (plot) => plot.over.append(box),
      setCursor(plot) {
        const { idx, left } = plot.cursor;
        const values = idx === null || idx === undefined ? [] : lines.map(([, label], i) => [label, plot.data[i + 1][idx]]).filter(([, v]) => typeof v === "number");
        box.hidden = values.length === 0 || left < 0;
        if (box.hidden) return;
        text(box, `Step ${plot.data[0][idx]}\n` + values.map(([label, v]) => `${label}  ${format(v)}`).join("\n"));
        box.style.left = `${Math.min(left + 12, plot.over.clientWidth - box.offsetWidth)}px`;
      },
    },
  };
}
