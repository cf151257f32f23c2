// How numbers, times and names are written.

const whole = new Intl.NumberFormat("en");
const day = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });
const exact = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "long" });

export const count = (n) => whole.format(n);
export const many = (n, one, more = one + "s") => `${count(n)} ${n === 1 ? one : more}`;
export const short = (digest) => digest.slice(0, 12);

// score writes a score, which lies in [0, 1], the way papers do.
export const score = (value) => (value === undefined ? "–" : (value * 100).toFixed(1));
export const percent = (value) => `${(value * 100).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;

// signed writes a number with a real minus sign.
export const signed = (value, digits) => value.toFixed(digits).replace("-", "−");

// rate writes a number of any size with three digits.
export function rate(value) {
  if (value === 0) return "0";
  if (Math.abs(value) >= 0.0001 && Math.abs(value) < 10000) return String(Number(value.toPrecision(3)));
  return value.toExponential(1).replace("-", "−");
}

export const moment = (time) => day.format(new Date(time));
export const exactly = (time) => exact.format(new Date(time));

// ago writes how long ago a time was, and the date where that says more.
export function ago(time) {
  const seconds = (Date.now() - new Date(time)) / 1000;
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return moment(time);
}

// duration writes seconds with the two units that matter.
export function duration(seconds) {
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

export const between = (from, to) => (new Date(to ?? Date.now()) - new Date(from)) / 1000;

const known = {
  bleu1: "BLEU-1", bleu2: "BLEU-2", bleu3: "BLEU-3", bleu4: "BLEU-4",
  ValidateConfig: "Validate configuration", CaptionShard: "Caption test pictures",
};

// words writes a name such as "batch_size" or "PrepareData" for people.
export function words(name) {
  if (known[name]) return known[name];
  const spaced = name.replace(/_/g, " ").replace(/([a-z])([A-Z])/g, (_, a, b) => `${a} ${b.toLowerCase()}`);
  return spaced[0].toUpperCase() + spaced.slice(1);
}
