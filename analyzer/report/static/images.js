// Images: all rows of the chosen dataset, searched, narrowed by conditions, sorted, saved as CSV.

const ROW = 52;
const FEW = 3; // models for which said and score have a column of their own

const board = bodyOf("images") && {
  search: el("input", { type: "search", placeholder: "Search names and classes", "aria-label": "Search names and classes" }),
  count: el("span", { class: "note", role: "status" }),
  chips: el("div", { class: "chips", role: "group", "aria-label": "Common conditions" }),
  labels: el("datalist", { id: "labels" }),
};

draws("images", () => {
  const images = tables.get(state.dataset);
  if (!images) return el("p", { class: "nothing" }, `The page has no images of ${state.dataset}.`);
  board.chips.replaceChildren(...chips(images));
  if (board.images === images) return board.node;
  Object.assign(board, { images, fields: fieldsOf(images), words: null });
  board.grid = new Grid({ label: `Images of ${state.dataset}`, columns: columnsOf(images), rowHeight: ROW, height: 12 * ROW, open: (row, place) => openImage(images, board.grid.shown, place), nothing: "No image is like that." });
  board.conditions = new Conditions(board.fields, narrow);
  board.search.value = "";
  board.search.oninput = () => narrow();
  const known_ = new Set();
  for (const each of images.answers) for (const label of labelsOf.get(each.model) ?? []) known_.add(label);
  board.labels.replaceChildren(...[...known_].sort(COLLATOR.compare).map((label) => el("option", { value: label })));
  const missing = images.of > images.count && el("p", { class: "note" }, `The page has ${whole(images.count)} of ${whole(images.of)} images: mistakes first. The CSV files have all.`);
  board.node = el("div", { class: "panel" }, el("div", { class: "tools" }, board.search, board.count, button("Save these as CSV", save, { class: "quiet" })), board.chips, board.conditions.node, board.labels, missing, board.grid.node);
  narrow();
  return board.node;
});

function columnsOf(images) {
  const name = { key: "name", label: "Image", width: "minmax(150px, 1.5fr)", value: (row) => images.names[row], cell: (row) => el("span", { class: "clip", title: images.names[row] }, images.names[row]) };
  const truth = { key: "truth", label: "Truth", width: "minmax(90px, 1fr)", value: (row) => truthOf(images, row), cell: (row) => el("span", { class: "clip" }, truthOf(images, row) || "–") };
  const picture = { key: "picture", label: "", width: "56px", plain: true, value: () => "", cell: (row) => pictureOf(images, row) };
  const own = images.answers.flatMap((each) => [
    { key: `said:${each.model}`, label: each.model, width: "minmax(120px, 1.2fr)", tip: each.model, value: (row) => each.label(row), cell: (row) => saidCell(each, row) },
    images.answers.length <= FEW && { key: `score:${each.model}`, label: "score", numeric: true, bars: true, width: "108px", tip: `score of ${each.model}`, value: (row) => (each.said(row) < 0 ? null : each.score(row)), cell: (row) => (each.said(row) < 0 ? "" : bar(each.score(row), fixed(each.score(row)), { colour: colourOf(each.model) })) },
  ]).filter(Boolean);
  return [picture, name, truth, ...own];
}

function saidCell(each, row) {
  const error = each.errors.get(row);
  if (error) return el("span", { class: "clip warn-text", title: error }, "no answer");
  return [mark(each.right[row]), el("span", { class: "clip", title: each.label(row) }, each.label(row))];
}

function pictureOf(images, row) {
  const source = thumbnailOf(images, row);
  return source ? el("img", { class: "thumb", src: source, alt: "", loading: "lazy", decoding: "async" }) : el("span", { class: "thumb none", "aria-hidden": "true" }, initials(truthOf(images, row)));
}

const initials = (label) => [...label].slice(0, 2).join("") || "?";

function chips(images) {
  const mine = (images.answers.find((each) => each.model === state.model) ?? images.answers[0]).model;
  const right = (value) => ({ column: `right:${mine}`, op: "is", value });
  const score = (op, value) => ({ column: `score:${mine}`, op, value });
  const quick = [
    ["All", []],
    [images.answers.length > 1 ? `Mistakes of ${mine}` : "Mistakes", [[right("no")]]],
    ["Sure and wrong", [[right("no"), score("least", "0.9")]], -1],
    ["Right but unsure", [[right("yes"), score("most", "0.5")]], 1],
    images.answers.length > 1 && ["Models differ", [[{ column: "agree", op: "is", value: "no" }]]],
    images.answers.length > 1 && ["All wrong", [[{ column: "wrong", op: "least", value: String(images.answers.length) }]]],
    images.answers.some((one) => one.errors.size) && ["No answer", images.answers.map((one) => [{ column: `answered:${one.model}`, op: "is", value: "no" }])],
  ].filter(Boolean);
  return quick.map(([text, groups, way]) => button(text, () => {
    board.search.value = "";
    board.conditions.set(groups);
    if (way && board.grid.columns.some((column) => column.key === `score:${mine}`)) board.grid.sortBy(`score:${mine}`, false, way);
  }, { class: "chip" }));
}

function narrow() {
  const { images, conditions, fields, grid, search, count } = board;
  const holds = testOfGroups(conditions.groups, fields);
  const text = search.value.trim().toLowerCase();
  if (text) board.words ??= Array.from({ length: images.count }, (_, row) => [images.names[row], truthOf(images, row), ...images.answers.map((each) => each.label(row))].join("\n").toLowerCase());
  const rows = [];
  for (let row = 0; row < images.count; row++) if ((!text || board.words[row].includes(text)) && holds(row)) rows.push(row);
  count.textContent = rows.length === images.count ? plural(images.count, "image") : `${whole(rows.length)} of ${plural(images.count, "image")}`;
  grid.setRows(rows);
}

// Narrow the table and go there; others call it.
function showImages(groups) {
  if (!board || !tables.has(state.dataset)) return;
  board.search.value = "";
  board.conditions.set(groups);
  location.hash = "#images";
  find("#images").scrollIntoView();
}

function save() {
  const { images, grid } = board;
  const quoted = (text) => {
    const plain = String(text);
    const safe = /^[=+\-@\t\r]/.test(plain) && Number.isNaN(Number(plain)) ? `'${plain}` : plain; // no formula for a spreadsheet
    return `"${safe.replaceAll('"', '""')}"`;
  };
  const head = ["image", "truth", ...images.answers.flatMap((each) => [`${each.model} said`, `${each.model} score`, `${each.model} error`])];
  const lines = grid.shown.map((row) => [images.names[row], truthOf(images, row), ...images.answers.flatMap((each) => [each.label(row), each.said(row) < 0 ? "" : each.score(row).toFixed(4), each.errors.get(row) ?? ""])]);
  const address = URL.createObjectURL(new Blob([[head, ...lines].map((line) => line.map(quoted).join(",")).join("\r\n")], { type: "text/csv" }));
  el("a", { href: address, download: `${images.dataset}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
