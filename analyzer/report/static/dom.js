// Elements and figures. Text only ever enters the page as text, never as markup: names and labels
// are somebody else's.

const find = (selector, root = document) => root.querySelector(selector);
const SVG = "http://www.w3.org/2000/svg";

function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, one] of Object.entries(value)) node.style.setProperty(key, one);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const el = (tag, attributes = {}, ...children) => dress(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => dress(document.createElementNS(SVG, tag), attributes, children);

// The body of a section, or null where the page has none of that name.
const bodyOf = (id) => find(`#${id} > .body`);

const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);
const GROUPS = new Intl.NumberFormat("en");
const plain = (value) => GROUPS.format(value);
const whole = (value) => (known(value) ? GROUPS.format(Math.round(value)) : "–");
const fixed = (value, digits = 3) => (known(value) ? value.toFixed(digits) : "–");
const percent = (value, digits = 1) => (known(value) ? `${(100 * value).toFixed(digits)} %` : "–");
const interval = (rate) => `${(100 * rate.low).toFixed(1)}–${(100 * rate.high).toFixed(1)} %`;
const plural = (count, one, many) => `${whole(count)} ${count === 1 ? one : many || `${one}s`}`;

// Three significant digits: 7.43, 128, 1,290.
function figure(value) {
  if (!known(value)) return "–";
  const size = Math.abs(value);
  return size >= 100 ? whole(value) : size >= 10 ? value.toFixed(1) : size >= 1 ? value.toFixed(2) : String(+value.toPrecision(3));
}

function seconds(value) {
  if (!known(value)) return "–";
  if (value >= 1) return `${figure(value)} s`;
  return value >= 1e-3 ? `${figure(value * 1e3)} ms` : `${figure(value * 1e6)} µs`;
}

function size(bytes) {
  if (!known(bytes)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (bytes >= 1000 && at < units.length - 1) [bytes, at] = [bytes / 1000, at + 1];
  return `${at ? figure(bytes) : whole(bytes)} ${units[at]}`;
}

const moment = (iso) => iso.replace("T", " ").replace(/(:\d\d)(\.\d+)?(Z|\+00:00)?$/, "$1 UTC");
const day = (iso) => iso.slice(0, 10);

function table(caption, heads, rows, attributes = {}) {
  const aligned = (at) => (rows[0]?.children[at]?.classList.contains("number") ? "number" : null);
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", attributes,
      el("caption", { class: "unseen" }, caption),
      el("thead", {}, el("tr", {}, heads.map((head, at) => el("th", { scope: "col", class: aligned(at) }, head)))),
      el("tbody", {}, rows)));
}

const pick = (label, options, chosen, onchange) =>
  el("label", { class: "pick" }, el("span", {}, label),
    el("select", { "aria-label": label, onchange: (event) => onchange(event.target.value) },
      options.map((option) => {
        const [value, text] = Array.isArray(option) ? option : [option, option];
        return el("option", { value, selected: value === chosen }, text);
      })));

const button = (text, onclick, attributes = {}) => el("button", { type: "button", onclick, ...attributes }, text);

function mark(right) {
  if (right === 1) return el("span", { class: "mark good", title: "right" }, "✓");
  if (right === 0) return el("span", { class: "mark bad", title: "wrong" }, "✗");
  return el("span", { class: "mark", title: "no truth, or no answer" }, "·");
}

// Whatever carries data-tip tells it beside the pointer, or when it is focused.
const tip = find("#tip");

function tell(text, x, y) {
  tip.textContent = text;
  tip.hidden = !text;
  if (!text) return;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 16}px`;
}

addEventListener("pointermove", (event) => {
  const told = event.target.closest?.("[data-tip]");
  if (told) tell(told.getAttribute("data-tip"), event.clientX, event.clientY);
  else if (!event.target.closest?.("[data-tells]")) tell("");
});
addEventListener("scroll", () => tell(""), { passive: true, capture: true });
