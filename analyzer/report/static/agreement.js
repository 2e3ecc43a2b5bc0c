// Agreement of two models: who is right where they differ, and which images those are.

const CHANGED_CLASSES = 14;

draws("agreement", () => {
  const here = result.agreements.filter((one) => one.dataset === state.dataset);
  if (!here.length) return nothingOn();
  const pairs = here.map((one, at) => [String(at), `${one.first} and ${one.second}`]);
  const chosen = here[Number(state.pair ?? 0)] ?? here[0];
  return [here.length > 1 && el("div", { class: "tools" }, pick("Models", pairs, String(here.indexOf(chosen)), (pair) => change({ pair }))),
    el("div", { class: "halves" }, squares(chosen), byClass(chosen)), changedGrid(chosen)];
});

function squares(one) {
  const judgedCount = one.both_right + one.only_first_right + one.only_second_right + one.both_wrong;
  const words = el("p", {}, `They say the same of ${percent(one.same.rate)} of ${plural(one.images, "image")} (${interval(one.same)}). `);
  if (!judgedCount) return el("div", { class: "panel" }, el("h3", {}, "The same answers"), words, el("p", { class: "note" }, "Without truths nobody can say who is right."));
  const cell = (count, tone, label, first, second) => {
    const open = () => showImages([[{ column: `right:${one.first}`, op: "is", value: first }, { column: `right:${one.second}`, op: "is", value: second }]]);
    return button([el("strong", {}, whole(count)), el("small", {}, percent(count / judgedCount)), el("span", {}, label)], open, { class: `square ${tone}` });
  };
  const { only_first_right: first, only_second_right: second, mcnemar_p: p } = one;
  const better = first > second ? one.first : one.second;
  const verdict = !known(p) ? "" : p < 0.05 ? `${better} is better, and that is more than chance: p ${chance(p)}.` : `That is no more than chance allows: p ${chance(p)}.`;
  return el("div", { class: "panel" }, el("h3", {}, "Who is right"),
    el("div", { class: "square-table" }, cell(one.both_right, "good", "both right", "yes", "yes"), cell(first, "one", `only ${one.first}`, "yes", "no"),
      cell(second, "two", `only ${one.second}`, "no", "yes"), cell(one.both_wrong, "bad", "both wrong", "no", "no")),
    words, el("p", {}, `Where only one is right, it is ${one.first} ${whole(first)} times and ${one.second} ${whole(second)} times. ${verdict}`),
    el("p", { class: "note" }, "McNemar's exact test, two-sided: how likely so uneven a split is if both are equally good."));
}

function byClass(one) {
  const labels = (index) => labelOf(one.first, index);
  const changes = one.by_class.map(([index, first, second]) => ({ index, first, second, gain: second - first })).filter((each) => each.gain)
    .sort((a, b) => Math.abs(b.gain) - Math.abs(a.gain)).slice(0, CHANGED_CLASSES).sort((a, b) => b.gain - a.gain);
  if (!changes.length) return null;
  const most = Math.max(...changes.map((each) => Math.abs(each.gain)));
  const rows = changes.map((each) => el("tr", {}, el("th", { scope: "row" }, labels(each.index)),
    el("td", { class: "bars" }, el("span", { class: `gain ${each.gain > 0 ? "up" : "down"}`, style: { "--share": `${(50 * Math.abs(each.gain)) / most}%` }, "data-tip": `${labels(each.index)}: ${whole(each.first)} right by ${one.first}, ${whole(each.second)} by ${one.second}` }, el("i"))),
    number(`${each.gain > 0 ? "+" : "−"}${whole(Math.abs(each.gain))}`)));
  return el("div", { class: "panel" }, el("h3", {}, `Images right by ${one.second} more than by ${one.first}`), table("Change by class", ["Class", "", "Images"], rows));
}

function changedGrid(one) {
  if (!one.changed.length) return null;
  const rows = one.changed.map(([name, truth, first, second]) => ({ name, truth, first, second }));
  const said = (model, index, truth) => [truth >= 0 && mark(index === truth ? 1 : 0), labelOf(model, index)];
  const grid = new Grid({
    label: "Images on which they differ", rowHeight: 32, height: Math.min(300, rows.length * 32 + 2), open: (row) => openNamed(one.dataset, row.name),
    columns: [
      { key: "name", label: "Image", width: "minmax(160px, 2fr)", value: (row) => row.name, cell: (row) => el("span", { class: "clip", title: row.name }, row.name) },
      { key: "truth", label: "Truth", value: (row) => labelOf(one.first, row.truth) },
      { key: "first", label: one.first, value: (row) => labelOf(one.first, row.first), cell: (row) => said(one.first, row.first, row.truth) },
      { key: "second", label: one.second, value: (row) => labelOf(one.first, row.second), cell: (row) => said(one.first, row.second, row.truth) }, // classes are the first's
    ],
  });
  grid.setRows(rows);
  return el("div", { class: "panel" }, el("h3", {}, "Images on which they differ ", el("small", {}, one.images - one.same.count > rows.length ? `the first ${whole(rows.length)} of ${whole(one.images - one.same.count)}` : whole(rows.length))), grid.node);
}
