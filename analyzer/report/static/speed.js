// Speed: batches by variant, the seven stages as bars, and how many cores feed one device.

const DASHES = [undefined, "6 4", "2 3", "9 3 2 3"];

draws("speed", () => {
  const shown = models.filter((name) => result.speeds[name]);
  return [batchCharts(shown), shown.map((name) => stagePanel(name, result.speeds[name])), variantTable(shown)];
});

function batchCharts(shown) {
  const lines = (read, format) => shown.flatMap((name) => result.speeds[name].variants.map((variant, at) => ({
    name: `${name} ${variant.precision}${shown.length > 1 || result.speeds[name].variants.length > 1 ? "" : ` on ${variant.device}`}`, colour: colourOf(name), dash: DASHES[at % DASHES.length],
    points: variant.batches.map((batch) => ({ x: batch.batch_size, y: read(batch), tip: `${name}, ${variant.file} on ${variant.device}, batch of ${batch.batch_size}: ${format(batch)}` })),
  })));
  const batches = shown.flatMap((name) => result.speeds[name].variants.flatMap((variant) => variant.batches));
  if (!batches.length) return null;
  const sizes = [...new Set(batches.map((batch) => batch.batch_size))].sort((a, b) => a - b);
  const x = { label: "batch size", log: true, domain: [sizes[0], Math.max(sizes.at(-1), sizes[0] * 2)], ticks: sizes };
  const most = (read) => Math.max(...batches.map(read)) * 1.05;
  const slow = most((batch) => batch.latency_s);
  const unit = slow < 1 ? [1e3, "ms"] : [1, "s"];
  return el("div", { class: "halves" },
    lineChart({ title: "Throughput", x, y: { label: "images/s", domain: [0, most((batch) => batch.images_per_second)] }, series: lines((batch) => batch.images_per_second, (batch) => `${figure(batch.images_per_second)} images/s${known(batch.images_per_second_low) ? ` (at least ${figure(batch.images_per_second_low)})` : ""}`) }),
    lineChart({ title: "Latency of a batch, median", x, y: { label: unit[1], domain: [0, slow * unit[0]] }, series: lines((batch) => batch.latency_s * unit[0], (batch) => `${seconds(batch.latency_s)}, p99 ${seconds(batch.p99_s)}`) }));
}

function stagePanel(name, speed) {
  const capacities = speed.stages.map((stage) => stage.capacity).filter(known);
  const most = Math.max(...capacities, 1);
  const scale = (value) => Math.log1p(value) / Math.log1p(most);
  const rows = speed.stages.map((stage) => {
    const limits = stage.stage === speed.bottleneck;
    return el("tr", { class: limits ? "limits" : "" }, el("th", { scope: "row" }, stage.stage, limits && el("span", { class: "pill warn" }, "bottleneck")),
      el("td", { class: "bars" }, known(stage.capacity) ? bar(scale(stage.capacity), `${figure(stage.capacity)} images/s`, { colour: limits ? "var(--warn)" : colourOf(name) }) : "not measured here"),
      number(seconds(stage.seconds_per_image)), number(whole(stage.workers)));
  });
  return el("div", { class: "panel" }, el("h3", {}, name, " ", el("small", {}, speed.machine)), feed(speed),
    speed.stages.length > 0 && [table(`Stages of ${name}`, ["Stage", "Capacity", "Busy per image", "Workers"], rows), el("p", { class: "note" }, "Bars are on a logarithmic scale; the shortest one limits.")]);
}

function feed(speed) {
  if (!known(speed.cores_per_device)) return speed.note && el("p", { class: "callout" }, speed.note);
  const cores = Math.min(64, Math.ceil(speed.cores_per_device));
  const squares = Array.from({ length: cores }, (_, at) => el("i", { style: { "--full": `${100 * Math.min(1, speed.cores_per_device - at)}%` } }));
  const told = `${figure(speed.cores_per_device)} cores of decoding feed one device`;
  return el("div", { class: "feed" }, el("span", { class: "cores", role: "img", "aria-label": told, "data-tip": told }, squares),
    el("span", { class: "arrow", "aria-hidden": "true" }, "→"), el("span", { class: "device", "aria-hidden": "true" }, "1 device"), el("p", {}, speed.note || told));
}

function variantTable(shown) {
  const rows = shown.flatMap((name) => result.speeds[name].variants.map((variant) => {
    const best = [...variant.batches].sort((a, b) => b.images_per_second - a.images_per_second)[0];
    return el("tr", {}, swatched(name), el("td", {}, variant.file), el("td", {}, variant.precision), el("td", {}, variant.device), number(whole(variant.threads)), number(size(variant.file_bytes)), number(size(variant.memory_bytes)),
      number(best ? figure(best.images_per_second) : "–"), number(best ? whole(best.batch_size) : "–"), number(best ? seconds(best.latency_s) : "–"), number(best ? seconds(best.p99_s) : "–"));
  }));
  return rows.length ? table("Variants at their best", ["Model", "File", "Precision", "Device", "Threads", "Size", "Memory", "Images/s", "at batch", "Median", "p99"], rows, { class: "wide" }) : null;
}
