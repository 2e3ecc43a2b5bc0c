// Calibration, ROC and precision-recall, thresholds: all models on the chosen dataset, one curve each.

draws("calibration", () => {
  const shown = judgedOn(state.dataset).filter((one) => one.accuracy.calibration);
  if (!shown.length) return nothingOn();
  const series = shown.map((one) => ({
    name: one.model, colour: colourOf(one.model), marks: true,
    points: one.accuracy.calibration.bins.filter((bin) => bin.images && known(bin.confidence)).map((bin) => ({
      x: bin.confidence, y: bin.accuracy,
      tip: `${one.model}: said ${percent(bin.confidence)}, right ${percent(bin.accuracy)} (${plural(bin.images, "image")} from ${fixed(bin.low, 2)} to ${fixed(bin.high, 2)})`,
    })),
  }));
  const diagonal = (left, top) => [svg("line", { class: "diagonal", x1: left(0), y1: top(0), x2: left(1), y2: top(1) })];
  const rows = shown.map((one) => {
    const { ece, ece_low: low, ece_high: high, mce, brier } = one.accuracy.calibration;
    return el("tr", {}, swatched(one.model), number(known(low) ? `${fixed(ece)} (${fixed(low)}–${fixed(high)})` : fixed(ece)), number(fixed(mce)), number(fixed(brier)), el("td", {}, leaning(one.accuracy.calibration)));
  });
  return [el("div", { class: "halves" },
    lineChart({ title: "Reliability", x: shareAxis("mean score of the bin"), y: shareAxis("share that is right"), series, extra: diagonal }),
    countChart(shown)),
  table("Calibration", ["Model", "ECE", "MCE", "Brier", "In words"], rows, { class: "wide" })];
});

const nothingOn = () => el("p", { class: "nothing" }, `Nothing is known on ${state.dataset}.`);
const swatched = (model) => el("th", { scope: "row" }, el("i", { class: "swatch", style: { "--c": colourOf(model) } }), model);

function leaning({ bins, ece }) {
  let over = 0;
  let images = 0;
  for (const bin of bins) if (bin.images && known(bin.confidence)) [over, images] = [over + bin.images * (bin.confidence - bin.accuracy), images + bin.images];
  const lean = images ? over / images : 0;
  if (ece < 0.02) return "scores mean what they say";
  if (Math.abs(lean) < ece / 4) return "off both ways";
  return lean > 0 ? `too sure, by ${percent(lean)} on average` : `not sure enough, by ${percent(-lean)} on average`;
}

function countChart(shown) {
  const most = Math.max(...shown.flatMap((one) => one.accuracy.calibration.bins.map((bin) => bin.images)), 1);
  const series = shown.map((one) => ({
    name: one.model, colour: colourOf(one.model), area: shown.length === 1, marks: true,
    points: one.accuracy.calibration.bins.map((bin) => ({ x: (bin.low + bin.high) / 2, y: bin.images, tip: `${one.model}: ${plural(bin.images, "image")} with a score from ${fixed(bin.low, 2)} to ${fixed(bin.high, 2)}` })),
  }));
  return lineChart({ title: "How many images have such a score", x: shareAxis("best score"), y: { label: "images", domain: [0, most], format: whole }, series });
}

draws("curves", () => {
  const shown = judgedOn(state.dataset);
  const kinds = [["roc", "ROC", "false positive rate", "true positive rate", "AUC"], ["precision_recall", "Precision and recall", "recall", "precision", "AP"]];
  const drawn = kinds.filter(([field]) => shown.some((one) => one.accuracy[field])).map(([field, title, across, up, area]) => {
    const series = shown.filter((one) => one.accuracy[field]).map((one) => ({
      name: `${one.model} · ${area} ${fixed(one.accuracy[field].area)}`, colour: colourOf(one.model), marks: false,
      points: one.accuracy[field].x.map((x, at) => ({ x, y: one.accuracy[field].y[at] })),
    }));
    const chart = lineChart({ title, x: shareAxis(across), y: shareAxis(up), series });
    if (series.length === 1) chart.append(el("p", { class: "note" }, series[0].name));
    return chart;
  });
  return drawn.length ? el("div", { class: "halves" }, drawn) : nothingOn();
});

draws("thresholds", () => {
  const shown = evaluationsOn(state.dataset).filter((one) => one.accuracy.thresholds.length);
  if (!shown.length) return nothingOn();
  const line = (read, words) => shown.map((one) => ({
    name: one.model, colour: colourOf(one.model), marks: false,
    points: one.accuracy.thresholds.map((each) => ({ x: each.threshold, y: read(each, one), tip: `${one.model}: ${percent(read(each, one))} ${words} from a score of ${fixed(each.threshold, 2)}` })),
  }));
  const taken = (each, one) => each.taken / (one.accuracy.answered || 1);
  const right = line((each) => each.accuracy, "of those taken are right");
  const lowest = Math.min(...right.flatMap((one) => one.points.map((point) => point.y).filter(known)));
  const floor = Number.isFinite(lowest) ? Math.min(0.9, Math.floor(lowest * 10) / 10) : 0;
  const words = el("div", { class: "threshold-words", "aria-live": "polite" });
  const slider = el("input", { type: "range", min: 0, max: 100, value: 80, "aria-label": "Least score that is taken", oninput: () => tellThreshold() });
  const tellThreshold = () => words.replaceChildren(...shown.map((one) => thresholdWords(one, slider.value / 100)));
  tellThreshold();
  return [
    el("div", { class: "panel" }, el("label", { class: "slider" }, el("span", {}, "Least score that is taken"), slider), words),
    el("div", { class: "halves" },
      right.some((one) => one.points.some((point) => known(point.y))) && lineChart({ title: "Right, of those taken", x: shareAxis("least score"), y: { ...shareAxis("right"), domain: [floor, 1], ticks: undefined }, series: right }),
      lineChart({ title: "Taken", x: shareAxis("least score"), y: shareAxis("of all answers"), series: line(taken, "of answers are taken") })),
  ];
});

function thresholdWords(one, wanted) {
  const all = one.accuracy.thresholds;
  const at = all.reduce((best, each) => (Math.abs(each.threshold - wanted) < Math.abs(best.threshold - wanted) ? each : best));
  const answered = one.accuracy.answered || 1;
  const unknown = at.taken - at.right - at.wrong;
  const told = `${plural(at.right, "answer")} right, ${whole(at.wrong)} wrong, ${unknown ? `${whole(unknown)} without a truth, ` : ""}${whole(answered - at.taken)} not taken`;
  return el("div", { class: "stack-line" }, el("span", { class: "rate-name" }, el("i", { class: "swatch", style: { "--c": colourOf(one.model) } }), one.model),
    el("span", { class: "stack", role: "img", "aria-label": told, "data-tip": told, style: { "--right": `${(100 * at.right) / answered}%`, "--wrong": `${(100 * at.wrong) / answered}%`, "--unknown": `${(100 * unknown) / answered}%` } }, el("i"), el("b"), el("u")),
    el("span", { class: "note" }, `from ${fixed(at.threshold, 2)}: ${percent(at.taken / answered)} taken${known(at.accuracy) ? `, ${percent(at.accuracy)} of them right` : ""}`));
}
