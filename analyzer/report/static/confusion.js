// Confusion: the matrix as a canvas that can be zoomed, so that a thousand classes fit, and the pairs
// that are confused most.

const BOARD = 560; // CSS pixels of the square
const MARGIN = 116; // for names, once cells are large enough to have any
const NAMED_FROM = 11; // pixels of a cell from which it has a name
const COUNTED_FROM = 24; // and a number
const PAIRS = 25;

draws("confusion", () => {
  const evaluation = evaluationOf(state.model, state.dataset);
  if (!evaluation?.accuracy.confusion.length) return el("p", { class: "nothing" }, `Nothing is known of ${state.model} on ${state.dataset}.`);
  const matrix = new Matrix(evaluation);
  return el("div", { class: "halves" }, matrix.node, pairList(evaluation, matrix));
});

class Matrix {
  constructor(evaluation) {
    this.model = evaluation.model;
    this.count = evaluation.accuracy.confusion.reduce((most, [truth, said]) => Math.max(most, truth + 1, said + 1), labelsOf.get(this.model).length);
    this.rows = new Map();
    for (const [truth, , images] of evaluation.accuracy.confusion) this.rows.set(truth, (this.rows.get(truth) ?? 0) + images);
    this.entries = evaluation.accuracy.confusion.map(([truth, said, images]) => ({ truth, said, images, share: images / this.rows.get(truth) }))
      .sort((a, b) => a.share - b.share);
    this.cells = new Map(this.entries.map((one) => [one.truth * this.count + one.said, one]));
    this.view = { x: 0, y: 0, span: this.count };
    this.canvas = el("canvas", {
      class: "matrix", tabindex: 0, role: "img", "data-tells": "",
      "aria-label": `Confusion matrix of ${plural(this.count, "class", "classes")}: rows are the truth, columns what ${this.model} said`,
      onwheel: (event) => this.wheeled(event), onpointerdown: (event) => this.grabbed(event), onpointermove: (event) => this.pointed(event),
      onpointerup: (event) => this.dropped(event), onpointerleave: () => tell(""), onkeydown: (event) => this.pressed(event),
    });
    this.node = el("div", { class: "panel matrix-panel" },
      el("div", { class: "tools" },
        button("−", () => this.zoom(1.5), { "aria-label": "Zoom out" }), button("+", () => this.zoom(1 / 1.5), { "aria-label": "Zoom in" }), button("Whole", () => this.reset()),
        el("span", { class: "note" }, "rows: truth · columns: said")),
      this.canvas, this.scale());
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    Matrix.shown = this;
  }

  scale() {
    return el("p", { class: "matrix-scale" }, el("span", { class: "ramp right" }), " right ", el("span", { class: "ramp wrong" }), " mistaken; the darker, the larger the share of the true class");
  }

  // Where cells begin, and their size.
  frame() {
    const side = this.canvas.clientWidth;
    const roomy = (side - MARGIN) / this.view.span >= NAMED_FROM;
    const margin = roomy ? MARGIN : 22;
    return { side, margin, cell: (side - margin) / this.view.span, named: roomy };
  }

  draw() {
    const { side, margin, cell, named } = this.frame();
    if (!side) return;
    const sharp = devicePixelRatio || 1;
    this.canvas.width = this.canvas.height = Math.round(side * sharp);
    const pen = this.canvas.getContext("2d");
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    const tone = (name) => getComputedStyle(this.canvas).getPropertyValue(name).trim();
    const [right, wrong, ink, faint, ground] = ["--good", "--bad", "--ink", "--line", "--ground"].map(tone);
    pen.fillStyle = ground;
    pen.fillRect(margin, margin, side - margin, side - margin);
    pen.save();
    pen.beginPath();
    pen.rect(margin, margin, side - margin, side - margin);
    pen.clip();
    const drawn = Math.max(cell, 1.7);
    for (const { truth, said, images, share } of this.entries) {
      const [x, y] = [margin + (said - this.view.x) * cell, margin + (truth - this.view.y) * cell];
      if (x < margin - drawn || y < margin - drawn || x > side || y > side) continue;
      pen.globalAlpha = 0.1 + 0.9 * Math.sqrt(share);
      pen.fillStyle = truth === said ? right : wrong;
      pen.fillRect(x, y, cell > 6 ? drawn - 1 : drawn, cell > 6 ? drawn - 1 : drawn);
      if (cell < COUNTED_FROM) continue;
      pen.globalAlpha = 1;
      pen.fillStyle = share > 0.35 ? tone("--on-mark") : ink;
      pen.font = `${Math.min(13, cell / 2.6)}px ${tone("--sans")}`;
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      pen.fillText(images > 9999 ? `${Math.round(images / 1000)}k` : String(images), x + cell / 2, y + cell / 2);
    }
    pen.restore();
    pen.globalAlpha = 1;
    pen.strokeStyle = faint;
    pen.strokeRect(margin + 0.5, margin + 0.5, side - margin - 1, side - margin - 1);
    this.names(pen, { side, margin, cell, named, ink, font: tone("--sans") });
  }

  names(pen, { side, margin, cell, named, ink, font }) {
    pen.fillStyle = ink;
    pen.textBaseline = "middle";
    pen.font = `${named ? Math.min(12, cell) : 11}px ${font}`;
    const [first, last] = [(from) => Math.max(0, Math.floor(from)), (from) => Math.min(this.count, Math.ceil(from + this.view.span))];
    if (!named) {
      pen.textAlign = "left";
      pen.fillText(`truth ${first(this.view.y)}–${last(this.view.y) - 1} ↓   said ${first(this.view.x)}–${last(this.view.x) - 1} →`, margin, margin / 2);
      return;
    }
    const inside = (at) => at > margin && at < side;
    for (let index = first(this.view.y); index < last(this.view.y); index++) {
      const at = margin + (index - this.view.y + 0.5) * cell;
      pen.textAlign = "right";
      if (inside(at)) pen.fillText(shortened(pen, labelOf(this.model, index), margin - 8), margin - 5, at);
    }
    for (let index = first(this.view.x); index < last(this.view.x); index++) {
      const at = margin + (index - this.view.x + 0.5) * cell;
      if (!inside(at)) continue;
      pen.save();
      pen.translate(at, margin - 5);
      pen.rotate(-Math.PI / 2);
      pen.textAlign = "left";
      pen.fillText(shortened(pen, labelOf(this.model, index), margin - 8), 0, 0);
      pen.restore();
    }
  }

  moved(view) {
    const span = Math.max(Math.min(4, this.count), Math.min(this.count, view.span));
    const held = (at) => Math.max(0, Math.min(this.count - span, at));
    this.view = { span, x: held(view.x), y: held(view.y) };
    this.draw();
  }

  reset() { this.moved({ x: 0, y: 0, span: this.count }); }

  zoom(factor, x = 0.5, y = 0.5) {
    const span = this.view.span * factor;
    const kept = Math.max(Math.min(4, this.count), Math.min(this.count, span));
    this.moved({ span, x: this.view.x + (this.view.span - kept) * x, y: this.view.y + (this.view.span - kept) * y });
  }

  show(truth, said, span = Math.min(this.count, 16)) {
    this.moved({ span, x: Math.round(said - span / 2), y: Math.round(truth - span / 2) });
  }

  cellAt(event) {
    const { side, margin, cell } = this.frame();
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - margin, event.clientY - box.top - margin];
    if (x < 0 || y < 0 || x >= side - margin || y >= side - margin) return null;
    return { said: Math.floor(this.view.x + x / cell), truth: Math.floor(this.view.y + y / cell), x: x / (side - margin), y: y / (side - margin) };
  }

  wheeled(event) {
    const at = this.cellAt(event);
    if (!at || this.count <= 4) return;
    if (this.view.span >= this.count && event.deltaY > 0) return; // whole already: the page scrolls
    event.preventDefault();
    this.zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, at.x, at.y);
  }

  grabbed(event) {
    this.grip = { x: event.clientX, y: event.clientY, view: { ...this.view }, moved: false };
    this.canvas.setPointerCapture(event.pointerId);
  }

  pointed(event) {
    if (this.grip) {
      const { cell } = this.frame();
      const [x, y] = [(event.clientX - this.grip.x) / cell, (event.clientY - this.grip.y) / cell];
      this.grip.moved ||= Math.hypot(event.clientX - this.grip.x, event.clientY - this.grip.y) > 4;
      if (this.grip.moved) this.moved({ ...this.grip.view, x: this.grip.view.x - x, y: this.grip.view.y - y });
      return;
    }
    const at = this.cellAt(event);
    const one = at && this.cells.get(at.truth * this.count + at.said);
    if (!at) return tell("");
    const [truth, said] = [labelOf(this.model, at.truth), labelOf(this.model, at.said)];
    const all = this.rows.get(at.truth) ?? 0;
    tell(`${truth} ${at.truth === at.said ? "recognised" : `taken for ${said}`}: ${whole(one?.images ?? 0)} of ${whole(all)} (${percent(one?.share ?? 0)})`, event.clientX, event.clientY);
  }

  dropped(event) {
    const dragged = this.grip?.moved;
    this.grip = null;
    const at = this.cellAt(event);
    if (at && !dragged && this.cells.has(at.truth * this.count + at.said)) showPair(this.model, at.truth, at.said);
  }

  pressed(event) {
    const step = this.view.span / 8;
    const ways = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key in ways) this.moved({ span: this.view.span, x: this.view.x + ways[event.key][0], y: this.view.y + ways[event.key][1] });
    else if (event.key === "+" || event.key === "=") this.zoom(1 / 1.3);
    else if (event.key === "-") this.zoom(1.3);
    else if (event.key === "0") this.reset();
    else return;
    event.preventDefault();
  }
}

function shortened(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let length = text.length - 1;
  while (length > 1 && pen.measureText(`${text.slice(0, length)}…`).width > room) length--;
  return `${text.slice(0, length)}…`;
}

function showPair(model, truth, said) {
  showImages([[{ column: "truth", op: "is", value: labelOf(model, truth) }, { column: `said:${model}`, op: "is", value: labelOf(model, said) }]]);
}

function pairList(evaluation, matrix) {
  const pairs = evaluation.accuracy.confused.slice(0, PAIRS);
  if (!pairs.length) return el("p", { class: "nothing" }, "Nothing was confused.");
  const most = pairs[0].images;
  const rows = pairs.map((pair) => el("tr", {},
    el("td", {}, labelOf(evaluation.model, pair.truth)), el("td", {}, labelOf(evaluation.model, pair.said)),
    el("td", { class: "bars" }, bar(pair.images / most, whole(pair.images), { colour: "var(--bad)", tip: `${percent(pair.share)} of ${labelOf(evaluation.model, pair.truth)}` })),
    number(percent(pair.share)),
    el("td", { class: "actions" }, button("find", () => matrix.show(pair.truth, pair.said), { class: "link", "aria-label": "Find in the matrix" }),
      tables.size > 0 && button("images", () => showPair(evaluation.model, pair.truth, pair.said), { class: "link" }))));
  return el("div", { class: "panel" }, el("h3", {}, "Most confused"), table("Most confused pairs", ["Truth", "Said", "Images", "Of the class", ""], rows));
}
