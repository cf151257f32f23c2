// Requests to the server that the page came from.

// Problem is an error as the server describes it (application/problem+json).
export class Problem extends Error {
  constructor({ status = 0, code = "unreachable", detail = "", errors = [], request_id: requestID = "" }) {
    super(sentence(detail));
    Object.assign(this, { status, code, errors, requestID });
  }
}

// sentence makes one of the server's texts, which begin in lower case.
export function sentence(detail) {
  if (!detail) return "Something went wrong.";
  const begun = detail[0].toUpperCase() + detail.slice(1);
  return /[.!?]$/.test(begun) ? begun : begun + ".";
}

// request returns the reply's JSON and its headers, or throws a Problem. A
// request that was given up throws the AbortError that fetch throws.
async function request(path, options, revive) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ detail: "the server cannot be reached. Is it still running?" });
  }
  const body = await response.text().then((text) => JSON.parse(text, revive)).catch(() => null);
  if (response.ok && body) return { body, headers: response.headers };
  throw new Problem({
    status: response.status,
    detail: `the server answered with status ${response.status}`,
    code: "unexpected",
    request_id: response.headers.get("X-Request-ID") ?? "",
    ...body,
  });
}

export async function get(path, signal, revive) {
  return (await request(path, { signal, headers: { Accept: "application/json" } }, revive)).body;
}

// post sends a form as it is and everything else as JSON. Headers may be added.
export function post(path, body, { signal, headers = {} } = {}) {
  const isForm = body instanceof FormData;
  return request(path, {
    method: "POST",
    signal,
    headers: isForm || body === undefined ? headers : { "Content-Type": "application/json", ...headers },
    body: isForm || body === undefined || typeof body === "string" ? body : JSON.stringify(body),
  });
}

// keys returns what gives a body its Idempotency-Key: the same request sent again
// is done once, and another one is another.
export function keys() {
  let sent = null;
  let key = "";
  return (body) => {
    const text = JSON.stringify(body);
    if (text !== sent) [sent, key] = [text, crypto.randomUUID?.() ?? String(Math.random())];
    return { "Idempotency-Key": key };
  };
}

// valueOf sends what is a number as one, digit by digit, and the rest as it was
// typed: the server says what is wrong with it.
export function valueOf(typed, type) {
  if (type === "string" || !/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(typed)) return typed;
  const n = Number(typed);
  return !Number.isSafeInteger(n) && /^\d+$/.test(typed) && JSON.rawJSON ? JSON.rawJSON(typed) : n;
}

// poll calls a function again and again, with a pause between the calls, until
// the signal; not while the page is hidden.
export async function poll(signal, pause, call) {
  while (!signal.aborted) {
    if (!document.hidden) await call();
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, pause);
      signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    });
  }
}

export const path = encodeURIComponent;
