// Classes: one row for each class of the chosen model, of which those in sight exist.

draws("classes", () => {
  const evaluation = evaluationOf(state.model, state.dataset);
  const all = evaluation ? classesOf(evaluation) : [];
  if (!all.length) return el("p", { class: "nothing" }, `Nothing is known of ${state.model} on ${state.dataset}.`);
  const colour = colourOf(state.model);
  const share = (key, of, label, tipped) => ({
    key, label, numeric: true, bars: true, width: "minmax(104px, 1fr)", tip: tipped,
    value: (one) => (of(one).of ? of(one).rate : null),
    cell: (one) => (of(one).of ? bar(of(one).rate, percent(of(one).rate), { colour, tip: `${whole(of(one).count)} of ${whole(of(one).of)}, 95 % interval ${interval(of(one))}` }) : "–"),
  });
  const column = (key, label, read, show, width = "84px", tipped = undefined) => ({ key, label, numeric: true, width, value: read, cell: (one) => show(read(one)), tip: tipped });
  const wanted = [
    { key: "label", label: "Class", width: "minmax(120px, 1.6fr)", value: (one) => one.label, cell: (one) => el("span", { class: "clip", title: one.label }, one.label) },
    column("support", "Images", (one) => one.support, whole, "76px"),
    share("recall", (one) => one.recall, "Recall", "of its images, how many were recognised: its top-1"),
    share("precision", (one) => one.precision, "Precision", "of the images said to be it, how many are"),
    column("f1", "F1", (one) => (one.support || one.predicted ? one.f1 : null), fixed, "66px", "harmonic mean of precision and recall"),
    share("top5", (one) => one.top5, "Top-5"),
    column("confidence", "Score", (one) => one.mean_confidence, fixed, "70px", "mean score of the images of the class"),
    column("auc", "AUC", (one) => one.roc_auc, fixed, "66px", "area under its ROC curve, one against the rest"),
    column("ap", "AP", (one) => one.average_precision, fixed, "66px", "average precision"),
    { key: "taken", label: "Taken for", width: "minmax(120px, 1.5fr)", value: (one) => one.confused_with[0]?.[1] ?? 0, cell: taken, numeric: false },
  ];
  const columns = wanted.filter(({ value }) => all.some((one) => known(value(one)) && value(one) !== ""));
  const grid = new Grid({
    label: `Classes of ${state.model}`, columns, rowHeight: 34, height: Math.min(440, 34 * all.length + 2),
    open: tables.get(state.dataset) && ((one) => showImages([[{ column: "truth", op: "is", value: one.label }]])),
  });
  const search = el("input", { type: "search", placeholder: "Find a class", "aria-label": "Find a class", oninput: () => narrow() });
  const seen = el("label", { class: "check" }, el("input", { type: "checkbox", checked: true, onchange: () => narrow() }), "only classes that have images");
  const count = el("span", { class: "note" });
  const narrow = () => {
    const [text, only] = [search.value.toLowerCase(), find("input", seen).checked];
    const rows = all.filter((one) => (!only || one.support || one.predicted) && one.label.toLowerCase().includes(text));
    count.textContent = `${whole(rows.length)} of ${plural(all.length, "class", "classes")}`;
    grid.setRows(rows);
  };
  grid.sorting = [["f1", 1]];
  grid.heads();
  narrow();
  return el("div", { class: "panel" }, el("div", { class: "tools" }, search, seen, count), grid.node);

  function taken(one) {
    const text = one.confused_with.map(([index, images]) => `${labelOf(state.model, index)} ${whole(images)}`).join(", ");
    return el("span", { class: "clip", title: text }, text || "–");
  }
});
