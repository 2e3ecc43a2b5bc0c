// A table of any number of rows of which only those in sight exist. Columns: {key, label, width,
// value(row), cell(row), numeric, bars, plain, tip}; rows are anything, and value is what they are sorted by.

const BEYOND = 6; // rows kept above and below those in sight
const GAP = 12; // pixels between columns
const ON_PAPER = 60; // rows that are printed
let gridCount = 0;

class Grid {
  constructor({ label, columns, rowHeight, height, open, nothing = "Nothing here." }) {
    Object.assign(this, { label, rowHeight, open, nothing });
    this.rows = [];
    this.shown = [];
    this.at = -1;
    this.sorting = []; // [[key, 1 or -1]], the first counts most
    this.printing = false;
    this.head = el("div", { class: "grid-row grid-head", role: "row" });
    this.space = el("div", { class: "grid-space", role: "presentation" });
    this.body = el("div", {
      class: "grid-body", role: "rowgroup", tabindex: 0, style: { "--height": `${height}px` },
      onscroll: () => this.draw(), onkeydown: (event) => this.pressed(event), "aria-label": label,
    }, this.space);
    this.node = el("div", { class: "grid-table", role: "grid", "aria-label": label }, this.head, this.body, this.paper = el("p", { class: "on-paper" }));
    this.setColumns(columns);
    new ResizeObserver(() => this.draw()).observe(this.body);
    this.node.grid = this;
    this.chosenId = `chosen-${++gridCount}`;
  }

  setColumns(columns) {
    this.columns = columns;
    this.sorting = this.sorting.filter(([key]) => columns.some((column) => column.key === key));
    this.widths();
    this.heads();
  }

  // On paper all columns share the width that there is.
  widths() {
    const wide = (column) => (this.printing && !column.plain ? "minmax(0, 1fr)" : column.width ?? "1fr");
    this.node.style.setProperty("--columns", this.columns.map(wide).join(" "));
    const least = this.columns.reduce((sum, column) => sum + Number(/\d+/.exec(column.width ?? "80")[0]) + GAP, 2 * GAP);
    this.node.style.setProperty("--least", `${this.printing ? 0 : least}px`);
  }

  heads() {
    const first = new Map(this.sorting);
    this.head.replaceChildren(...this.columns.map((column) => {
      const way = first.get(column.key);
      const sorted = way === 1 ? "ascending" : way === -1 ? "descending" : "none";
      const attributes = { role: "columnheader", class: column.numeric && !column.bars ? "number" : "", "aria-sort": column.plain ? null : sorted };
      if (column.plain) return el("div", attributes, column.label);
      const sort = (event) => this.sortBy(column.key, event.shiftKey);
      return el("div", attributes, button([column.label, el("i", {}, way === 1 ? "▲" : way === -1 ? "▼" : "")], sort, { "data-tip": column.tip, "data-key": column.key }));
    }));
  }

  sortBy(key, beside = false, way = null) {
    const before = this.sorting.find(([one]) => one === key);
    const column = this.columns.find((one) => one.key === key);
    const next = way ?? (before ? -before[1] : column.numeric ? -1 : 1);
    const rest = this.sorting.filter(([one]) => one !== key);
    this.sorting = beside ? [...rest, [key, next]] : [[key, next]];
    this.setRows(this.rows);
    this.heads();
    if (way === null) find(`[data-key="${CSS.escape(key)}"]`, this.head)?.focus();
  }

  setRows(rows) {
    this.rows = rows;
    this.shown = this.sorted(rows);
    this.at = -1;
    this.body.scrollTop = 0;
    this.node.setAttribute("aria-rowcount", rows.length + 1);
    this.space.style.height = `${Math.max(rows.length, 1) * this.rowHeight}px`;
    this.draw(true);
  }

  sorted(rows) {
    if (!this.sorting.length) return rows;
    const keys = this.sorting.map(([key, way]) => {
      const column = this.columns.find((one) => one.key === key);
      return [rows.map((row) => column.value(row)), way];
    });
    const order = rows.map((_, place) => place);
    order.sort((a, b) => {
      for (const [values, way] of keys) {
        const one = compare(values[a], values[b], way);
        if (one) return one;
      }
      return a - b;
    });
    return order.map((place) => rows[place]);
  }

  draw(afresh = false) {
    const height = this.body.clientHeight;
    let from = Math.max(0, Math.floor(this.body.scrollTop / this.rowHeight) - BEYOND);
    let to = Math.min(this.shown.length, Math.ceil((this.body.scrollTop + height) / this.rowHeight) + BEYOND);
    if (this.printing) [from, to] = [0, Math.min(ON_PAPER, this.shown.length)];
    if (!afresh && from === this.from && to === this.to) return;
    [this.from, this.to] = [from, to];
    if (!this.shown.length) return this.space.replaceChildren(el("p", { class: "nothing" }, this.nothing));
    const rows = [];
    for (let place = from; place < to; place++) rows.push(this.rowAt(place));
    return this.space.replaceChildren(...rows);
  }

  rowAt(place) {
    const row = this.shown[place];
    const chosen = place === this.at;
    return el("div", {
      class: chosen ? "grid-row chosen" : "grid-row", role: "row", id: chosen ? this.chosenId : null,
      "aria-rowindex": place + 2, "aria-selected": chosen ? "true" : null,
      style: { "--top": `${place * this.rowHeight}px`, "--row": `${this.rowHeight}px` },
      onclick: () => { this.choose(place); this.open?.(row, place); },
    }, this.columns.map((column) => el("div", { role: "gridcell", class: column.numeric && !column.bars ? "number" : "" }, column.cell ? column.cell(row) : column.value(row))));
  }

  choose(place) {
    if (!this.shown.length) return;
    this.at = Math.max(0, Math.min(place, this.shown.length - 1));
    const [top, height] = [this.at * this.rowHeight, this.body.clientHeight];
    if (top < this.body.scrollTop) this.body.scrollTop = top;
    if (top + this.rowHeight > this.body.scrollTop + height) this.body.scrollTop = top + this.rowHeight - height;
    this.draw(true);
    this.body.setAttribute("aria-activedescendant", this.chosenId);
  }

  pressed(event) {
    const page = Math.max(1, Math.floor(this.body.clientHeight / this.rowHeight) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps) {
      const step = steps[event.key];
      this.choose(step === Infinity ? this.shown.length - 1 : step === -Infinity ? 0 : this.at + step);
    } else if (event.key === "Enter" && this.at >= 0) this.open?.(this.shown[this.at], this.at);
    else return;
    event.preventDefault();
  }

  print(on) {
    this.printing = on;
    this.widths();
    this.node.classList.toggle("printing", on);
    const left = this.shown.length - ON_PAPER;
    this.paper.textContent = left > 0 ? `The first ${ON_PAPER} of ${whole(this.shown.length)} rows.` : "";
    this.draw(true);
  }
}

// Unknown values come last, whichever way the rest is sorted.
function compare(one, other, way) {
  const [lacks, lacksToo] = [!known(one) || one === "", !known(other) || other === ""];
  if (lacks || lacksToo) return lacks - lacksToo;
  if (typeof one === "number") return way * (one - other);
  return way * COLLATOR.compare(one, other);
}
const COLLATOR = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
