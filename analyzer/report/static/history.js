// Runs: this one beside earlier ones, and any other result.json that is added here. Figures of those that
// are chosen stand side by side; lines tell how they went.

const METRICS = [
  ["top1", "Top-1", percent, (one) => topOf(one.accuracy, 1)?.rate, 1],
  ["top5", "Top-5", percent, (one) => topOf(one.accuracy, 5)?.rate, 1],
  ["balanced", "Balanced accuracy", percent, (one) => one.accuracy.balanced_accuracy, 1],
  ["f1", "Macro F1", fixed, (one) => one.accuracy.macro_f1, 1],
  ["ece", "ECE", fixed, (one) => one.accuracy.calibration?.ece, -1],
  ["drop", "Drop on worse images", percent, (one) => one.robustness?.mean_drop, -1],
  ["speed", "Images/s at best", figure, (one, run) => run.speeds?.[one.model] && peakOf(run.speeds[one.model])?.batch.images_per_second, 1],
  ["p99", "p99 at best", seconds, (one, run) => run.speeds?.[one.model] && peakOf(run.speeds[one.model])?.batch.p99_s, -1],
];

const runs = payload.head.history.map((run, at, all) => ({ run, name: at === all.length - 1 ? "this run" : moment(run.created), chosen: true }));
const compared = { metric: "top1", refused: "" };

draws("history", () => {
  const chosen = runs.filter((one) => one.chosen).sort((a, b) => a.run.created.localeCompare(b.run.created));
  const metric = METRICS.find(([key]) => key === compared.metric);
  return [el("div", { class: "panel" }, runList(), el("div", { class: "tools" },
    pick("Figure", METRICS.map(([key, text]) => [key, text]), compared.metric, (key) => { compared.metric = key; change({}); }), adding(), compared.refused && el("span", { class: "warn-text", role: "alert" }, compared.refused))),
  chosen.length > 1 && historyChart(chosen, metric), chosen.length > 1 && historyTable(chosen, metric)];
});

function runList() {
  return el("ul", { class: "runs" }, runs.map((one) => el("li", {}, el("label", { class: "check" },
    el("input", { type: "checkbox", checked: one.chosen, onchange: (event) => { one.chosen = event.target.checked; change({}); } }),
    el("b", {}, one.name), el("span", { class: "note" }, `${one.name === moment(one.run.created) ? "" : `${moment(one.run.created)} · `}${one.run.models.map((model) => `${model.name} ${model.version}`).join(", ")}`),
    one.run.gate && el("span", { class: `pill ${one.run.gate.passed ? "good" : "bad"}` }, one.run.gate.passed ? "✓ gate" : "✗ gate")))));
}

function adding() {
  const input = el("input", { type: "file", accept: ".json,application/json", multiple: true, class: "unseen", onchange: async (event) => {
    compared.refused = "";
    for (const file of event.target.files) await addRun(file);
    change({});
  } });
  return el("label", { class: "as-button" }, input, "Add a result.json");
}

async function addRun(file) {
  try {
    const run = JSON.parse(await file.text());
    if (run.schema_version !== result.schema_version || !Array.isArray(run.evaluations) || !Array.isArray(run.models)) throw new Error("not a result of this version");
    for (const one of run.evaluations) topOf(one.accuracy, 1);
    runs.push({ run: { datasets: [], ...run, created: String(run.created) }, name: file.name, chosen: true });
  } catch (error) {
    compared.refused = `${file.name} cannot be compared: ${error.message}`;
  }
}

// The lines and rows: what was measured in any of the runs.
function pairsOf(chosen) {
  const pairs = new Map();
  for (const { run } of chosen) for (const one of run.evaluations) pairs.set(`${one.model}\0${one.dataset}`, [one.model, one.dataset]);
  return [...pairs.values()];
}

const within = (run, model, dataset) => run.evaluations.find((one) => one.model === model && one.dataset === dataset);

function historyChart(chosen, [key, title, format, read]) {
  const seen = pairsOf(chosen);
  const series = seen.map(([model, dataset], at) => ({
    name: `${model} on ${dataset}`, colour: models.includes(model) ? colourOf(model) : `var(--s${at % 8})`, dash: DASHES[Math.max(0, datasets.indexOf(dataset)) % DASHES.length], marks: true,
    points: chosen.map(({ run, name }, x) => {
      const one = within(run, model, dataset);
      const value = one ? read(one, run) : null;
      const rate = one && key.startsWith("top") ? topOf(one.accuracy, Number(key.slice(3))) : null;
      return { x, y: value, low: rate?.low, high: rate?.high, tip: `${model} on ${dataset}, ${name}: ${format(value)}${rate ? ` (${interval(rate)})` : ""}` };
    }),
  })).filter((one) => one.points.some((point) => known(point.y)));
  const values = series.flatMap((one) => one.points.flatMap((point) => [point.y, point.low, point.high])).filter(known);
  if (!values.length) return nothingOn();
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low) * 0.1 || Math.abs(high) * 0.05 || 1;
  const x = { label: "run", domain: [-0.2, chosen.length - 0.8], ticks: chosen.map((_, at) => at), format: (at) => (chosen[at].name === "this run" ? "this run" : day(chosen[at].run.created)) };
  return lineChart({ kind: "wide", title, x, y: { label: "", domain: [Math.max(0, low - room), high + room], format }, series });
}

function historyTable(chosen, [key, title, format, read, way]) {
  const rows = pairsOf(chosen).map(([model, dataset]) => {
    let before = null;
    const values = chosen.map(({ run }) => {
      const one = within(run, model, dataset);
      const value = one ? read(one, run) : null;
      const digest = run.datasets.find((each) => each.name === dataset)?.digest;
      const cell = el("td", { class: "number" }, format(value), changeOf(value, before, way, format), before?.digest && digest && digest !== before.digest && el("span", { class: "pill warn", "data-tip": "the dataset's digest differs from the run before: other images or labels" }, "other data"));
      if (known(value)) before = { value, digest, rate: key.startsWith("top") ? topOf(one.accuracy, Number(key.slice(3))) : null };
      return cell;
      function changeOf(now, then, better, shown) {
        if (!known(now) || !then || now === then.value) return null;
        const gain = (now - then.value) * better > 0;
        const rate = key.startsWith("top") ? topOf(one.accuracy, Number(key.slice(3))) : null;
        const apart = rate && then.rate ? rate.low > then.rate.high || rate.high < then.rate.low : true;
        return el("small", { class: apart ? (gain ? "good-text" : "bad-text") : "note", "data-tip": apart ? undefined : "the 95 % intervals overlap: may be chance" }, ` ${now > then.value ? "+" : "−"}${shown(Math.abs(now - then.value))}`);
      }
    });
    return el("tr", {}, el("th", { scope: "row" }, model), el("td", {}, dataset), values);
  });
  return table(`${title} in the runs chosen`, ["Model", "Dataset", ...chosen.map((one) => one.name)], rows, { class: "wide" });
}
