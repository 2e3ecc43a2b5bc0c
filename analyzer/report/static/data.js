// What the page carries, unpacked: the result, and rows of images with what each model said.

const payload = JSON.parse(find("#data").textContent);
const result = payload.head.result;
const models = result.models.map((model) => model.name);
const datasets = result.datasets.map((dataset) => dataset.name);
const SCORE_LEVELS = 65535;
const NONE = -1;

const labelsOf = new Map(result.models.map((model) => [model.name, model.labels]));
const labelOf = (model, index) => (index < 0 ? "" : labelsOf.get(model)?.[index] ?? `class ${index}`);
const colourOf = (model) => `var(--s${Math.max(0, models.indexOf(model)) % 8})`;

const evaluations = result.evaluations;
const evaluationOf = (model, dataset) => evaluations.find((one) => one.model === model && one.dataset === dataset);
const evaluationsOn = (dataset) => evaluations.filter((one) => one.dataset === dataset);
const judgedOn = (dataset) => evaluationsOn(dataset).filter((one) => one.accuracy.judged > 0);
const topOf = (accuracy, k) => accuracy.top.find((one) => one.k === k)?.hits;

const rateOf = ([count, of, rate, low, high]) => ({ count, of, rate, low, high });

// A model's classes, which the page has as columns.
function classesOf(evaluation) {
  const columns = evaluation.accuracy.classes;
  evaluation.classes ??= (columns.index ?? []).map((_, row) => {
    const one = Object.fromEntries(Object.entries(columns).map(([field, values]) => [field, values[row]]));
    for (const field of ["precision", "recall", "top5"]) one[field] = rateOf(one[field]);
    return one;
  });
  return evaluation.classes;
}

function unpacked(text, Kind) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at++) bytes[at] = raw.charCodeAt(at);
  return new Kind(bytes.buffer); // little-endian, as every machine with a browser is
}

function answersOf(packed, count) {
  const Kind = packed.bits === 16 ? Int16Array : Int32Array;
  const { model, k } = packed;
  const truth = unpacked(packed.truth, Kind);
  const indices = unpacked(packed.indices, Kind);
  const levels = unpacked(packed.scores, Uint16Array);
  const errors = new Map(Object.entries(packed.errors).map(([row, text]) => [Number(row), text]));
  const right = new Int8Array(count).fill(NONE);
  const rank = new Uint8Array(count); // from 1; 0 is none, or unknown
  for (let row = 0; row < count; row++) {
    if (truth[row] < 0 || indices[row * k] < 0) continue;
    for (let place = 0; place < k && !rank[row]; place++) if (indices[row * k + place] === truth[row]) rank[row] = place + 1;
    right[row] = rank[row] === 1 ? 1 : 0;
  }
  return {
    model, k, truth, errors, right, rank,
    said: (row, place = 0) => indices[row * k + place],
    score: (row, place = 0) => levels[row * k + place] / SCORE_LEVELS,
    label: (row) => labelOf(model, indices[row * k]),
    truthLabel: (row) => labelOf(model, truth[row]),
  };
}

function tableOf(packed, place) {
  const count = packed.names.length;
  const lengths = unpacked(payload.pictures[place].lengths, Uint32Array);
  const starts = new Uint32Array(count);
  let start = tableOf.next;
  for (let row = 0; row < count; row++) [starts[row], start] = [start, start + lengths[row]];
  tableOf.next = start;
  const answers = packed.answers.map((each) => answersOf(each, count));
  return { ...packed, answers, lengths, starts, link: payload.pictures[place].link, count };
}
tableOf.next = 0;

const tables = new Map(payload.rows.map((packed, place) => [packed.dataset, tableOf(packed, place)]));

// The true class's name, by the first model that knows it.
function truthOf(images, row) {
  for (const each of images.answers) if (each.truth[row] >= 0) return each.truthLabel(row);
  return "";
}

// Whether all models that answered said the same: 1, 0, or NONE where fewer than two did.
function agreeOn(images, row) {
  const said = images.answers.filter((each) => each.said(row) >= 0).map((each) => each.label(row));
  return said.length < 2 ? NONE : said.every((one) => one === said[0]) ? 1 : 0;
}

const wrongBy = (images, row) => images.answers.reduce((count, each) => count + (each.right[row] === 0), 0);

let thumbnailText = null;

function thumbnailOf(images, row) {
  const length = images.lengths[row];
  if (!length) return null;
  thumbnailText ??= find("#thumbnails").textContent;
  return `data:image/webp;base64,${thumbnailText.substr(images.starts[row], length)}`;
}

// The file itself where it lies beside the page. A name that would lead elsewhere leads nowhere.
function fileOf(images, row) {
  const parts = images.names[row].split("/");
  if (images.link === null || parts.some((part) => ["", ".", ".."].includes(part))) return null;
  try {
    return [...images.link.split("/"), ...parts].map(encodeURIComponent).join("/");
  } catch {
    return null; // a name that is no Unicode
  }
}

// The model that is right most often comes first, so that its mistakes are what one sees.
function bestOn(dataset) {
  const ranked = judgedOn(dataset).sort((a, b) => (topOf(b.accuracy, 1)?.rate ?? 0) - (topOf(a.accuracy, 1)?.rate ?? 0));
  return ranked[0]?.model ?? models[0];
}

// What the sections show; whoever draws by it is told of changes, the first of which is the start.
const state = {
  dataset: datasets.find((name) => judgedOn(name).length) ?? datasets[0],
  listeners: [],
};
state.model = bestOn(state.dataset);

function draws(id, draw) {
  const body = bodyOf(id);
  if (!body) return;
  state.listeners.push(() => body.replaceChildren(...[draw()].flat(3).filter(Boolean)));
}

function change(changes) {
  Object.assign(state, changes);
  for (const listener of state.listeners) listener();
}
