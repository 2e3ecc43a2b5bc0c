// Summary: the answer in a sentence, every model on every dataset, the gate, and what is odd about the data.

const SEVERITY = { error: ["✗", "bad", "Error"], warning: ["!", "warn", "Warning"], info: ["i", "info", "Note"] };

draws("summary", () => [headline(), tiles(), evaluationTable(), gateBox(), findingsBox()]);

function headline() {
  const ranked = judgedOn(state.dataset).filter((one) => topOf(one.accuracy, 1))
    .sort((a, b) => topOf(b.accuracy, 1).rate - topOf(a.accuracy, 1).rate);
  const told = el("p", { class: "eyebrow" }, `${moment(result.created)} · ${plural(models.length, "model")} · ${plural(datasets.length, "dataset")}`);
  if (!ranked.length) {
    const images = result.datasets.reduce((sum, one) => sum + one.images, 0);
    return el("header", { class: "hero" }, told, el("p", { class: "headline" }, `${plural(images, "image")} classified; none has a known class, so nothing is said of accuracy.`));
  }
  const [best, second] = ranked;
  const top = topOf(best.accuracy, 1);
  const ties = ranked.filter((one) => topOf(one.accuracy, 1).rate === top.rate).length - 1;
  return el("header", { class: "hero" }, told,
    el("p", { class: "headline" },
      el("strong", {}, best.model), ranked.length < 2 ? " is right for " : ties ? ` and ${plural(ties, "other")} are right most often: ` : " is right most often: ", el("em", {}, percent(top.rate)),
      ` of ${plural(top.of, "image")} of ${state.dataset}.`),
    el("p", { class: "sub" }, unbroken(`With 95 % confidence between ${interval(top).replace("–", " and ")}. ${second ? lead(best, second) : ""} ${unjudged(best)}`.trim())));
}

function unjudged(one) {
  const count = one.accuracy.unknown_class;
  return count ? `${plural(count, "labelled image")} of classes that ${one.model} does not have ${count === 1 ? "is" : "are"} not judged.` : "";
}

function lead(best, second) {
  const [one, two] = [topOf(best.accuracy, 1), topOf(second.accuracy, 1)];
  const pair = result.agreements.find((each) => each.dataset === state.dataset && [each.first, each.second].sort().join("\0") === [best.model, second.model].sort().join("\0"));
  if (one.rate === two.rate) return `${second.model} is right just as often.`;
  const behind = `${second.model} follows with ${percent(two.rate)}; `;
  if (pair && known(pair.mcnemar_p)) {
    const sure = pair.mcnemar_p < 0.05;
    return `${behind}that difference is ${sure ? "more than chance" : "no more than chance allows"} (McNemar's test, p ${chance(pair.mcnemar_p)}).`;
  }
  return `${behind}their intervals ${one.low > two.high ? "do not overlap" : "overlap: the order may be chance"}.`;
}

const unbroken = (text) => text.replaceAll(" %", "\u00a0%");
const chance = (p) => (p < 0.001 ? "< 0.001" : `= ${p.toFixed(3)}`);

function tiles() {
  const found = [];
  if (result.gate) found.push(tile("Gate", result.gate.passed ? "passed" : "failed", `${result.gate.verdicts.filter((one) => one.passed).length} of ${plural(result.gate.verdicts.length, "rule")} held`, result.gate.passed ? "good" : "bad"));
  const [fastest] = models.filter((name) => result.speeds[name]).map((name) => [name, peakOf(result.speeds[name])]).filter((one) => one[1]).sort((a, b) => b[1].batch.images_per_second - a[1].batch.images_per_second);
  if (fastest) found.push(tile("Fastest", `${figure(fastest[1].batch.images_per_second)} images/s`, `${fastest[0]}, ${fastest[1].variant.precision} on ${fastest[1].variant.device}`));
  const limits = [...new Set(Object.values(result.speeds).map((speed) => speed.bottleneck).filter(Boolean))];
  if (limits.length) found.push(tile("Bottleneck", limits.join(", "), "the stage that limits serving"));
  const drops = evaluationsOn(state.dataset).filter((one) => one.robustness).sort((a, b) => a.robustness.mean_drop - b.robustness.mean_drop);
  if (drops.length) found.push(tile("Sturdiest", drops[0].model, `loses ${percent(drops[0].robustness.mean_drop)} on worse images`));
  const worst = result.datasets.flatMap((one) => one.findings).filter((one) => one.severity !== "info").length;
  const notes = result.datasets.reduce((sum, one) => sum + one.findings.length, 0) - worst;
  found.push(tile("Data", worst ? plural(worst, "finding") : notes ? plural(notes, "note") : "nothing odd", worst ? "to look at before trusting figures" : notes ? "nothing that spoils the figures" : "in any dataset", worst ? "warn" : "good"));
  return el("ul", { class: "tiles" }, found);
}

const tile = (name, value, note, tone = "") => el("li", { class: `tile ${tone}` }, el("span", {}, name), el("strong", {}, value), el("small", {}, note));

// The variant and batch size with the most images a second.
function peakOf(speed) {
  const all = speed.variants.flatMap((variant) => variant.batches.map((batch) => ({ variant, batch })));
  return all.sort((a, b) => b.batch.images_per_second - a.batch.images_per_second)[0];
}

function evaluationTable() {
  const tops = evaluations.map((one) => topOf(one.accuracy, 1)).filter((rate) => rate?.of);
  const low = Math.max(0, Math.min(...tops.map((rate) => rate.low)) - 0.03);
  const high = Math.min(1, Math.max(...tops.map((rate) => rate.high)) + 0.01);
  const has = (test) => evaluations.some(test);
  const columns = [
    ["Images", (one) => number(whole(one.accuracy.images)), true],
    ["Unknown class", (one) => number(whole(one.accuracy.unknown_class)), has((one) => one.accuracy.unknown_class)],
    ["Top-1", (one) => rateCell(topOf(one.accuracy, 1), one, low, high), tops.length],
    ["Top-5", (one) => number(judged(one, topOf(one.accuracy, 5)?.rate)), has((one) => topOf(one.accuracy, 5))],
    ["Macro F1", (one) => number(fixed(one.accuracy.macro_f1)), has((one) => known(one.accuracy.macro_f1))],
    ["ECE", (one) => number(fixed(one.accuracy.calibration?.ece)), has((one) => one.accuracy.calibration)],
    ["Drop", (one) => number(percent(one.robustness?.mean_drop)), has((one) => one.robustness)],
    ["Images/s here", (one) => number(figure(one.images_per_second)), true],
  ].filter((column) => column[2]);
  const rows = evaluations.map((one) => el("tr", {},
    el("th", { scope: "row" }, el("span", { class: "named" }, el("i", { class: "swatch", style: { "--c": colourOf(one.model) } }),
      button(one.model, () => { change({ model: one.model, dataset: one.dataset }); location.hash = "#accuracy"; }, { class: "link" }))),
    el("td", {}, one.dataset), columns.map((column) => column[1](one))));
  return table("Every model on every dataset", ["Model", "Dataset", ...columns.map((column) => column[0])], rows, { class: "wide" });
}

const number = (text) => el("td", { class: "number" }, text);
const judged = (one, value) => (one.accuracy.judged ? percent(value) : "–");

function rateCell(rate, one, low, high) {
  if (!rate?.of) return el("td", {}, "no truth");
  return el("td", { class: "rate" }, el("div", {}, el("b", {}, percent(rate.rate)), whisker(rate, { low, high, colour: colourOf(one.model) }), el("small", {}, interval(rate))));
}

function gateBox() {
  const gate = result.gate;
  if (!gate) return null;
  const state_ = (one) => (one.passed ? ["good", "✓ held"] : one.decided === false ? ["warn", "? undecided"] : ["bad", "✗ failed"]);
  const rows = gate.verdicts.map((one) => el("tr", { class: one.passed ? "" : "failed" },
    el("td", {}, el("span", { class: `pill ${state_(one)[0]}`, "data-tip": one.decided === false ? "neither proven nor refuted: more of the same could tell" : null }, state_(one)[1])),
    el("td", {}, one.rule), el("td", {}, one.model), el("td", {}, one.dataset ?? "–"),
    number(figure(one.figure)), number(figure(one.bound)), number(figure(one.threshold)), el("td", { class: "words" }, one.text)));
  return el("div", { class: "panel" },
    el("h3", {}, "Gate ", el("span", { class: `pill ${gate.passed ? "good" : "bad"}` }, gate.passed ? "✓ passed" : "✗ failed")),
    el("p", { class: "note" }, `${gate.file}${gate.champion ? `, against the champion ${gate.champion}` : ""}. What is compared is the unlucky end of the 95 % interval, so that small samples do not pass by luck.`),
    table("Rules of the gate", ["", "Rule", "Model", "Dataset", "Figure", "Compared", "Threshold", "In words"], rows));
}

function findingsBox() {
  const order = Object.keys(SEVERITY);
  const all = result.datasets.flatMap((dataset) => dataset.findings.map((one) => ({ dataset: dataset.name, ...one })))
    .sort((a, b) => order.indexOf(a.severity) - order.indexOf(b.severity));
  const parities = evaluations.filter((one) => one.parity);
  if (!all.length && !parities.length) return null;
  return el("div", { class: "panel" }, el("h3", {}, "The data"),
    el("ul", { class: "findings" }, all.map(findingItem), parities.map((one) =>
      el("li", {}, el("span", { class: "mark info", title: "Note" }, "i"), el("div", {}, el("b", {}, `${one.dataset} through ${one.model}`), el("p", {}, one.parity))))));
}

function findingItem(one) {
  const [sign, tone, word] = SEVERITY[one.severity];
  const more = one.images.length > 0 && el("details", {}, el("summary", {}, one.count > one.images.length ? `${one.images.length} of ${plural(one.count, "image")}` : plural(one.images.length, "image")),
    el("ul", { class: "names" }, one.images.map((name) => el("li", {}, tables.get(one.dataset)?.names.includes(name) ? button(name, () => openNamed(one.dataset, name), { class: "link" }) : name))));
  return el("li", {}, el("span", { class: `mark ${tone}`, title: word }, sign), el("div", {}, el("b", {}, `${one.dataset}: ${one.kind}`), el("p", {}, one.text), more));
}
