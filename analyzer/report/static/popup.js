// The pop-up of one image: its picture, and the best classes of every model. ← and → go through the
// rows that the table shows.

const COARSE = 100; // pixels of width below which an image is shown as the squares it is made of
const popup = find("#popup");
let opened = null; // {images, rows, place}

function openImage(images, rows, place) {
  opened = { images, rows, place };
  drawPopup();
  if (!popup.open) popup.showModal();
}

function openNamed(dataset, name) {
  const images = tables.get(dataset);
  const row = images ? images.names.indexOf(name) : NONE;
  if (row >= 0) openImage(images, [row], 0);
}

function step(by) {
  const next = opened.place + by;
  if (next < 0 || next >= opened.rows.length) return;
  opened.place = next;
  board?.grid?.shown === opened.rows && board.grid.choose(next);
  drawPopup();
}

popup.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else return;
  event.preventDefault();
});
popup.addEventListener("click", (event) => { if (event.target === popup) popup.close(); });

function drawPopup() {
  const { images, rows, place } = opened;
  const row = rows[place];
  const truth = truthOf(images, row);
  const held = popup.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
  popup.replaceChildren(
    el("header", {}, el("h2", { id: "popup-title" }, images.names[row]),
      el("span", { class: "note" }, `${whole(place + 1)} of ${whole(rows.length)}`),
      button("←", () => step(-1), { "aria-label": "Previous image", disabled: place === 0 }), button("→", () => step(1), { "aria-label": "Next image", disabled: place === rows.length - 1 }),
      button("×", () => popup.close(), { "aria-label": "Close", autofocus: true })),
    el("div", { class: "popup-body" },
      el("div", { class: "popup-picture" }, largePicture(images, row), el("p", {}, el("span", { class: "note" }, "truth "), el("b", {}, truth || "not known")), el("p", { class: "note" }, images.dataset)),
      el("div", { class: "popup-answers" }, images.answers.map((each) => answerOf(each, row)))));
  // What had the focus is gone with it; keys would go nowhere.
  if (popup.open) ((held && find(`[aria-label="${held}"]:not(:disabled)`, popup)) || popup).focus();
}

function largePicture(images, row) {
  const [small, file] = [thumbnailOf(images, row), fileOf(images, row)];
  if (!small && !file) return el("p", { class: "nothing" }, "no picture in this page");
  const picture = el("img", { alt: images.names[row], src: small ?? file, onload: () => picture.classList.toggle("coarse", picture.naturalWidth < COARSE) });
  const instead = el("p", { class: "nothing" }, "the file is not beside this page any more");
  if (!small) picture.onerror = () => picture.replaceWith(instead);
  else if (file) { // the file itself, if it is still there
    const whole_ = new Image();
    whole_.onload = () => { picture.src = file; };
    whole_.src = file;
  }
  return picture;
}

function answerOf(each, row) {
  const head = el("h3", {}, el("i", { class: "swatch", style: { "--c": colourOf(each.model) } }), each.model, " ", each.errors.has(row) ? "" : mark(each.right[row]));
  if (each.errors.has(row)) return el("div", {}, head, el("p", { class: "warn-text" }, each.errors.get(row)));
  const lines = [];
  for (let place = 0; place < each.k && each.said(row, place) >= 0; place++) {
    const index = each.said(row, place);
    const right = index === each.truth[row];
    lines.push(el("li", { class: right ? "true" : "" }, el("span", { class: "clip", title: labelOf(each.model, index) }, labelOf(each.model, index)), bar(each.score(row, place), fixed(each.score(row, place)), { colour: right ? "var(--good)" : place === 0 && each.truth[row] >= 0 ? "var(--bad)" : "var(--muted)" })));
  }
  const missed = each.truth[row] >= 0 && !each.rank[row] && el("p", { class: "note" }, `the truth, ${each.truthLabel(row)}, is not among them`);
  return el("div", {}, head, el("ol", { class: "top" }, lines), missed);
}
