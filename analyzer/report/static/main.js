// What the whole page has: the choice of dataset and model, theme, the section in sight, paper.

const context = find("#context");
state.listeners.push(drawContext);

function drawContext() {
  context.replaceChildren(...[
    datasets.length > 1 && pick("Dataset", datasets, state.dataset, (dataset) => change({ dataset })),
    models.length > 1 && pick("Model", models, state.model, (model) => change({ model })),
  ].filter(Boolean));
  context.hidden = !context.children.length;
}

draws("about", () => {
  const facts = result.models.map((model) => el("tr", {}, swatched(model.name), el("td", { class: "words" }, model.source), el("td", {}, model.version), el("td", {}, model.variant ?? "–"), el("td", {}, model.precision ?? "–"), number(size(model.size_bytes)), el("td", { class: "words" }, model.input), el("td", {}, digest(model.sha256))));
  const data = result.datasets.map((one) => el("tr", {}, el("th", { scope: "row" }, one.name), el("td", { class: "words" }, one.source), number(whole(one.images)), number(whole(one.with_truth)), number(whole(Object.keys(one.classes).length)), el("td", {}, digest(one.digest))));
  return [table("Models", ["Model", "From", "Version", "Variant", "Precision", "Size", "Input", "sha256"], facts, { class: "wide" }),
    table("Datasets", ["Dataset", "From", "Images", "With truth", "Classes", "Digest"], data, { class: "wide" }),
    el("div", { class: "panel" }, el("p", { class: "note" }, "Made by"), el("pre", {}, result.command), el("p", { class: "note" }, Object.entries(result.tools).map(([name, version]) => `${name} ${version}`).join(" · ")))];
});

function digest(text) {
  return text ? el("code", { "data-tip": text, title: text }, text.slice(0, 12)) : "–";
}

// Theme: as the system has it, until somebody chooses.
const THEMES = ["auto", "light", "dark"];
const themeButton = find("#theme");

function stored(theme) {
  try {
    if (theme) localStorage.setItem("millrace-theme", theme);
    return localStorage.getItem("millrace-theme");
  } catch {
    return theme; // a page from disk may have no storage
  }
}

function dressed(theme) {
  document.documentElement.dataset.theme = theme;
  themeButton.textContent = `Theme: ${theme}`;
  Matrix.shown?.draw();
}

themeButton.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  stored(next);
  dressed(next);
});
dressed(THEMES.includes(stored()) ? stored() : "auto");
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Matrix.shown?.draw());

// The section in sight.
const links = new Map([...document.querySelectorAll(".side nav a")].map((link) => [link.hash.slice(1), link]));
const seen = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) isIntersecting ? seen.add(target.id) : seen.delete(target.id);
  const first = [...links.keys()].find((id) => seen.has(id));
  for (const [id, link] of links) id === first ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
}, { rootMargin: "-10% 0px -55% 0px" });
for (const section of document.querySelectorAll("main > section")) watcher.observe(section);

// Paper: light, tables cut to what fits, everything drawn.
function onPaper(on) {
  document.documentElement.classList.toggle("paper", on);
  for (const node of document.querySelectorAll(".grid-table")) node.grid.print(on);
  Matrix.shown?.draw();
}
addEventListener("beforeprint", () => onPaper(true));
addEventListener("afterprint", () => onPaper(false));

change({});
document.documentElement.dataset.ready = "true";
performance.mark("ready");
