// Accuracy: how often the true class was among the best k, for every model on the chosen dataset.

draws("accuracy", () => {
  const shown = judgedOn(state.dataset);
  if (!shown.length) return el("p", { class: "nothing" }, `No image of ${state.dataset} has a known class.`);
  return [topChart(shown), confidences(shown)];
});

function topChart(shown) {
  const rates = shown.flatMap((one) => one.accuracy.top.map((top) => top.hits));
  const low = Math.max(0, Math.floor((Math.min(...rates.map((rate) => rate.low)) - 0.02) * 20) / 20);
  const most = Math.max(...shown.map((one) => one.accuracy.top.length));
  const groups = Array.from({ length: most }, (_, at) => at + 1).map((k) =>
    el("div", { class: "rates" }, el("h4", {}, `Top-${k}`), shown.map((one) => {
      const rate = topOf(one.accuracy, k);
      return rate && el("div", { class: "rate-line" },
        el("span", { class: "rate-name" }, el("i", { class: "swatch", style: { "--c": colourOf(one.model) } }), one.model),
        whisker(rate, { low, colour: colourOf(one.model) }), el("b", {}, percent(rate.rate)), el("small", {}, `${interval(rate)} · ${whole(rate.count)} of ${whole(rate.of)}`));
    })));
  const ends = el("p", { class: "ends", "aria-hidden": "true" }, el("span", {}, percent(low, 0)), el("span", {}, "100 %"));
  return el("div", { class: "panel" }, groups, ends);
}

function confidences(shown) {
  const rows = shown.map((one) => {
    const { images, answered, judged: known_, mean_confidence: all, mean_confidence_hits: hits, mean_confidence_misses: misses, balanced_accuracy: balanced, macro_f1: f1 } = one.accuracy;
    return el("tr", {}, el("th", { scope: "row" }, el("i", { class: "swatch", style: { "--c": colourOf(one.model) } }), one.model),
      number(whole(images)), number(whole(answered)), number(whole(known_)), number(fixed(all)), number(fixed(hits)), number(fixed(misses)), number(percent(balanced)), number(fixed(f1)));
  });
  return table(`Confidence and averages on ${state.dataset}`,
    ["Model", "Images", "Answered", "With truth", "Mean score", "… when right", "… when wrong", "Balanced accuracy", "Macro F1"], rows, { class: "wide" });
}
