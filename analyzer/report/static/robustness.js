// Hierarchy, and robustness: a small chart for each augmentation, a line for each model.

const LEVEL_SCORES = [
  ["standard", "Standard", "top-1"],
  ["confidence_aware", "Confidence-aware", "a hit counts its score"],
  ["error_aware", "Error-aware", "and a mistake costs its score: −1 to 1"],
  ["hierarchy_aware", "Hierarchy-aware", "the less, the nearer it is: −1 to 1"],
];

draws("hierarchy", () => {
  const shown = judgedOn(state.dataset).filter((one) => one.accuracy.hierarchy);
  if (!shown.length) return nothingOn();
  const levels = shown[0].accuracy.hierarchy.levels;
  const group = (title, note, read, show) => el("div", { class: "rates" }, el("h4", {}, title, note && el("small", {}, note)), shown.map((one) =>
    el("div", { class: "rate-line short" }, el("span", { class: "rate-name" }, el("i", { class: "swatch", style: { "--c": colourOf(one.model) } }), one.model),
      bar(read(one.accuracy.hierarchy), show(read(one.accuracy.hierarchy)), { colour: colourOf(one.model) }))));
  return el("div", { class: "halves" },
    el("div", { class: "panel" }, el("h3", {}, "Right at least in the group"), levels.map((level, at) => group(level, "", (one) => one.accuracy_by_level[at], percent))),
    el("div", { class: "panel" }, el("h3", {}, "Scores"), LEVEL_SCORES.map(([field, title, note]) => group(title, note, (one) => one[field], fixed))));
});

draws("robustness", () => {
  const shown = evaluationsOn(state.dataset).filter((one) => one.robustness);
  if (!shown.length) return nothingOn();
  const names = [...new Set(shown.flatMap((one) => one.robustness.points.map((point) => point.augmentation)))];
  const drop = (name) => {
    const lost = shown.flatMap((one) => one.robustness.points.filter((point) => point.augmentation === name).map((point) => one.robustness.clean.rate - point.top1.rate));
    return lost.reduce((sum, value) => sum + value, 0) / (lost.length || 1);
  };
  const charts = names.sort((a, b) => drop(b) - drop(a)).map((name) => lineChart({
    kind: "small", title: name, x: { ...shareAxis("intensity"), ticks: [0, 0.5, 1], format: String }, y: { ...shareAxis(""), ticks: [0, 0.5, 1] },
    series: shown.map((one) => curveOf(one, name)),
  }));
  const rows = shown.map((one) => el("tr", {}, swatched(one.model), number(percent(one.robustness.clean.rate)), number(percent(one.robustness.mean_drop)),
    el("td", {}, one.robustness.worst), el("td", {}, one.robustness.against === "truth" ? "the truth" : "answers to the clean image")));
  return [table("Robustness", ["Model", "As they are", "Mean drop", "Worst", "Compared with"], rows, { class: "wide" }),
    legendOf(shown.map((one) => ({ name: one.model, colour: colourOf(one.model) }))), el("div", { class: "small-charts" }, charts)];
});

function curveOf(one, name) {
  const { clean } = one.robustness;
  const points = one.robustness.points.filter((point) => point.augmentation === name).sort((a, b) => a.intensity - b.intensity)
    .map((point) => ({ x: point.intensity, y: point.top1.rate, low: point.top1.low, high: point.top1.high, tip: `${one.model}, ${name} at ${point.intensity}: ${percent(point.top1.rate)} (${interval(point.top1)}), ${plural(point.images, "image")}` }));
  const start = { x: 0, y: clean.rate, low: clean.low, high: clean.high, tip: `${one.model}, as they are: ${percent(clean.rate)} (${interval(clean)})` };
  return { name: one.model, colour: colourOf(one.model), points: points[0]?.x === 0 ? points : [start, ...points] };
}
