// Charts as SVG: lines over numbers, and bars. Colours are the page's, so that both themes and
// paper draw them right.

const SIZES = { usual: [520, 300], small: [300, 200], wide: [1060, 320] }; // of the drawing's own units
const EDGE = { left: 66, right: 18, top: 12, bottom: 42 };
const NEAR = 28; // pixels from a point within which the pointer means it

function ticksOf(low, high, about = 5) {
  const raw = (high - low) / about || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((one) => one * power >= raw) * power;
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, at) => +((first + at) * step).toPrecision(10));
}

function scaleOf(axis, from, to) {
  const place = axis.log ? Math.log : (value) => value;
  const [low, high] = axis.domain.map(place);
  return (value) => from + ((place(value) - low) / (high - low || 1)) * (to - from);
}

function axesOf(x, y, left, top, [width, height]) {
  const xTicks = x.ticks ?? ticksOf(...x.domain);
  const yTicks = y.ticks ?? ticksOf(...y.domain);
  const base = height - EDGE.bottom;
  return [
    yTicks.map((tick) => svg("g", { transform: `translate(0 ${top(tick)})` },
      svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right }),
      svg("text", { class: "tick", x: EDGE.left - 8, dy: "0.32em", "text-anchor": "end" }, (y.format ?? plain)(tick)))),
    xTicks.map((tick) => svg("g", { transform: `translate(${left(tick)} ${base})` },
      svg("line", { class: "axis", y2: 4 }),
      svg("text", { class: "tick", y: 17, "text-anchor": "middle" }, (x.format ?? plain)(tick)))),
    svg("line", { class: "axis", x1: EDGE.left, x2: width - EDGE.right, y1: base, y2: base }),
    svg("text", { class: "axis-name", x: (EDGE.left + width - EDGE.right) / 2, y: height - 6, "text-anchor": "middle" }, x.label),
    y.label && svg("text", { class: "axis-name", transform: `translate(12 ${(EDGE.top + base) / 2}) rotate(-90)`, "text-anchor": "middle" }, y.label),
  ].filter(Boolean);
}

// series: [{name, colour, dash, area, marks, points: [{x, y, low, high, tip}]}]. extra(left, top) adds what lies below.
function lineChart({ title, x, y, series, extra, kind = "usual" }) {
  const [width, height] = SIZES[kind];
  const left = scaleOf(x, EDGE.left, width - EDGE.right);
  const top = scaleOf(y, height - EDGE.bottom, EDGE.top);
  const drawn = svg("svg", { class: `chart ${kind}`, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title, "data-tells": "" });
  drawn.append(...axesOf(x, y, left, top, [width, height]).flat(), ...(extra ? extra(left, top) : []));
  const spots = [];
  for (const one of series) {
    const points = one.points.filter((point) => known(point.y));
    const place = (point, value) => `${left(point.x).toFixed(1)} ${top(value).toFixed(1)}`;
    const path = points.map((point) => place(point, point.y)).join("L");
    const group = svg("g", { style: { "--c": one.colour } });
    if (points.some((point) => known(point.low))) {
      const back = [...points].reverse();
      group.append(svg("path", { class: "band", d: `M${points.map((point) => place(point, point.high)).join("L")}L${back.map((point) => place(point, point.low)).join("L")}Z` }));
    }
    if (one.area && points.length) {
      const base = height - EDGE.bottom;
      group.append(svg("path", { class: "band", d: `M${left(points[0].x)} ${base}L${path}L${left(points.at(-1).x)} ${base}Z` }));
    }
    if (path) group.append(svg("path", { class: "line", d: `M${path}`, "stroke-dasharray": one.dash }));
    if (one.marks ?? points.length <= 12) for (const point of points) group.append(svg("circle", { class: "dot", cx: left(point.x), cy: top(point.y), r: 3.2 }));
    for (const point of points) spots.push([left(point.x), top(point.y), point.tip ?? `${one.name}: ${(y.format ?? figure)(point.y)} at ${(x.format ?? figure)(point.x)}`, one.colour]);
    drawn.append(group);
  }
  const cursor = svg("circle", { class: "cursor", r: 5, visibility: "hidden" });
  drawn.append(cursor);
  drawn.addEventListener("pointermove", (event) => pointed(event, drawn, spots, cursor));
  drawn.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); tell(""); });
  return el("figure", { class: "figure" }, title && el("figcaption", {}, title), drawn, legendOf(series));
}

function pointed(event, drawn, spots, cursor) {
  const box = drawn.getBoundingClientRect();
  const ratio = drawn.viewBox.baseVal.width / box.width;
  const [x, y] = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  let [best, distance] = [null, NEAR];
  for (const spot of spots) {
    const away = Math.hypot(spot[0] - x, spot[1] - y);
    if (away < distance) [best, distance] = [spot, away];
  }
  cursor.setAttribute("visibility", best ? "visible" : "hidden");
  if (!best) return tell("");
  cursor.setAttribute("cx", best[0]);
  cursor.setAttribute("cy", best[1]);
  cursor.style.setProperty("--c", best[3]);
  return tell(best[2], event.clientX, event.clientY);
}

function legendOf(series) {
  const named = series.filter((one) => one.name);
  if (named.length < 2) return null;
  return el("ul", { class: "legend" }, named.map((one) =>
    el("li", {}, el("i", { class: one.dash ? "dashed" : "", style: { "--c": one.colour } }), one.name)));
}

const shareAxis = (label) => ({ label, domain: [0, 1], ticks: [0, 0.25, 0.5, 0.75, 1], format: (value) => `${Math.round(value * 100)} %` });

// A rate with its interval on a line from low to high; where the page compares, low is not 0.
function whisker(rate, { low = 0, high = 1, colour = "var(--accent)", tip: told } = {}) {
  const at = (value) => `${(100 * Math.min(1, Math.max(0, (value - low) / (high - low || 1)))).toFixed(2)}%`;
  const text = told ?? `${percent(rate.rate)} (${interval(rate)}): ${whole(rate.count)} of ${whole(rate.of)}`;
  return el("span", { class: "whisker", "data-tip": text, role: "img", "aria-label": text, style: { "--c": colour, "--at": at(rate.rate), "--low": at(rate.low), "--high": at(rate.high) } }, el("i"), el("b"));
}

// A bar of a share of 1, with its text beside.
function bar(share, text, { colour = "var(--accent)", tip: told } = {}) {
  const part = Math.min(1, Math.max(0, share || 0)).toFixed(4);
  return el("span", { class: "bar", "data-tip": told, style: { "--c": colour, "--part": part } }, el("i"), el("span", {}, text));
}
