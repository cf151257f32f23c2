// Making and changing elements. Text is always set as text, so that nothing that
// comes from a server or a file is ever read as HTML.

// h makes an element: properties are attributes, except for functions, which are
// listeners ("onclick"), and for class, which may be a list. Children are nodes,
// texts, lists of them, or nothing.
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) set(element, name, value);
  append(element, children);
  return element;
}

function set(element, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (typeof value === "function") element.addEventListener(name.slice(2), value);
  else if (name === "class") element.className = [].concat(value).filter(Boolean).join(" ");
  else if (name === "value") element.value = value;
  else element.setAttribute(name, value === true ? "" : value);
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child);
  }
}

// fill replaces what is in an element.
export function fill(element, ...children) {
  const focused = element !== document.activeElement && element.contains(document.activeElement);
  element.replaceChildren();
  append(element, children);
  if (focused) refocus();
  return element;
}

// refocus puts the focus on the heading when what had it is gone: it would be
// nowhere, and the next tabulator at the top of the page.
export function refocus() {
  if (document.activeElement === document.body) document.querySelector("h1")?.focus({ preventScroll: true });
}

// text changes an element's text only when it differs: what has not changed is
// not painted and not announced again.
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

// show hides an element or shows it again.
export function show(element, visible) {
  const focused = !visible && element.contains(document.activeElement);
  element.hidden = !visible;
  if (!focused) return;
  document.activeElement.blur(); // the browser does it later
  refocus();
}

const svgSpace = "http://www.w3.org/2000/svg";

const paths = {
  check: "M3.5 8.5l3 3 6-7",
  cross: "M4 4l8 8M12 4l-8 8",
  dash: "M4 8h8",
  ring: "M8 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8",
  upload: "M8 11V3M4.5 6.5L8 3l3.5 3.5M3 13h10",
  link: "M6 3H3v10h10v-3M9 3h4v4M13 3L7 9",
  copy: "M6 6V3h7v7h-3M3 6h7v7H3z",
};

// icon is a small drawing beside words that say the same.
export function icon(name) {
  const svg = document.createElementNS(svgSpace, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(svgSpace, "path");
  path.setAttribute("d", paths[name]);
  svg.append(path);
  return svg;
}

// announce tells what has happened to those who do not see it.
export function announce(message) {
  text(document.getElementById("announce"), message);
}
