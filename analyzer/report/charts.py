"""The report's charts as PNG files, for slides, wikis and MLflow; only here is matplotlib used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.errors import ReportError
from analyzer.result import Accuracy, Evaluation, Result, Robustness, Speed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Draw = Callable[[Axes, Accuracy, dict[str, Any]], None]

COLOURS = ("#0b7f79", "#c8591c", "#5355c9", "#ad2e75", "#6c7a06", "#2477b5", "#85543c", "#5c6670")
NAMED_CLASSES = 40  # up to so many have their names beside the matrix
DPI = 150
LONGEST = 80  # characters of a file's name that come from names of models and datasets


def write_charts(result: Result, folder: Path) -> tuple[Path, ...]:
    """Write a PNG for each part that ``result`` has, and say which files those are.

    Named after what they show, then model and dataset: ``confusion-resnet-garments.png``.

    Raises:
        ReportError: matplotlib is not here, or a file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ReportError("charts need matplotlib: pip install 'millrace[analyzer]'") from error
    written: dict[Path, None] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, drawn in _charts(result, Figure):
            file = _free(folder, _file_name(name), written)
            drawn.savefig(file, dpi=DPI)
            written[file] = None
    except OSError as error:
        raise ReportError(f"cannot write charts: {error}") from error
    return tuple(written)


def _file_name(parts: Sequence[str]) -> str:
    """Letters and digits alone: names of models and datasets are somebody else's."""
    words = (re.sub(r"[^A-Za-z0-9.-]+", "_", part).strip("._-") or "unnamed" for part in parts)
    return "-".join(words)[:LONGEST]


def _free(folder: Path, name: str, taken: dict[Path, None]) -> Path:
    file, number = folder / f"{name}.png", 2
    while file in taken:
        file, number = folder / f"{name}-{number}.png", number + 1
    return file


def _charts(result: Result, figure: type[Figure]) -> Iterator[tuple[tuple[str, ...], Figure]]:
    colours = {model.name: COLOURS[at % len(COLOURS)] for at, model in enumerate(result.models)}
    for dataset in dict.fromkeys(each.dataset for each in result.evaluations):
        judged = [e for e in result.evaluations if e.dataset == dataset and e.accuracy.judged]
        if judged:
            yield ("accuracy", dataset), _lines(figure, judged, colours, _draw_top, dataset)
        for name, has, draw in _CURVES:
            having = [each for each in judged if has(each.accuracy)]
            if having:
                yield (name, dataset), _lines(figure, having, colours, draw, dataset)
        for each in judged:
            yield ("confusion", each.model, dataset), _confusion(figure, each, result)
        sturdy = [e for e in result.evaluations if e.dataset == dataset and e.robustness]
        if sturdy:
            yield ("robustness", dataset), _robustness(figure, sturdy, colours)
    for model, speed in result.speeds.items():
        yield ("speed", model), _speed(figure, model, speed, colours.get(model, COLOURS[0]))


def _lines(
    figure: type[Figure],
    shown: Sequence[Evaluation],
    colours: dict[str, str],
    draw: Draw,
    dataset: str,
) -> Figure:
    drawn = figure(figsize=(6.4, 4.4), layout="constrained")
    axes = drawn.subplots()
    for each in shown:
        draw(axes, each.accuracy, {"color": colours[each.model], "label": _text(each.model)})
    axes.set_title(_text(dataset))
    axes.grid(visible=True, alpha=0.25)
    axes.legend()
    return drawn


def _text(name: str) -> str:
    """A name as it is: matplotlib would set what is between dollars, and dislikes surrogates."""
    plain = name.encode("utf-8", "replace").decode("utf-8")
    return plain.replace("$", r"\$").lstrip("_") or "unnamed"


def _draw_top(axes: Axes, accuracy: Accuracy, style: dict[str, Any]) -> None:
    rates = [top.hits for top in accuracy.top]
    whiskers = [[r.rate - r.low for r in rates], [r.high - r.rate for r in rates]]
    ks = [top.k for top in accuracy.top]
    axes.errorbar(ks, [r.rate for r in rates], yerr=np.maximum(0, whiskers), capsize=4, **style)
    axes.set(xlabel="k", ylabel="true class among the best k, 95 % interval", xticks=ks)


def _draw_reliability(axes: Axes, accuracy: Accuracy, style: dict[str, Any]) -> None:
    if accuracy.calibration is None:
        return
    bins = [each for each in accuracy.calibration.bins if each.confidence is not None]
    style = style | {"label": f"{style['label']}, ECE {accuracy.calibration.ece:.3f}"}
    points = [(each.confidence or 0, each.accuracy or 0) for each in bins]
    axes.plot([0, 1], [0, 1], ":", color="#888888")
    axes.plot(*zip(*points, strict=True), "o-", **style)
    axes.set(xlabel="mean score", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))


def _draw_roc(axes: Axes, accuracy: Accuracy, style: dict[str, Any]) -> None:
    if accuracy.roc is None:
        return
    style = style | {"label": f"{style['label']}, AUC {accuracy.roc.area:.3f}"}
    axes.plot(accuracy.roc.x, accuracy.roc.y, **style)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", ylim=(0, 1.01))


def _draw_precision(axes: Axes, accuracy: Accuracy, style: dict[str, Any]) -> None:
    if accuracy.precision_recall is None:
        return
    curve = accuracy.precision_recall
    axes.plot(curve.x, curve.y, **style | {"label": f"{style['label']}, AP {curve.area:.3f}"})
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.01))


def _draw_thresholds(axes: Axes, accuracy: Accuracy, style: dict[str, Any]) -> None:
    least = [each.threshold for each in accuracy.thresholds]
    right = [np.nan if t.accuracy is None else t.accuracy for t in accuracy.thresholds]
    taken = [each.taken / accuracy.answered for each in accuracy.thresholds]
    axes.plot(least, right, **style | {"label": f"{style['label']}: right, of those taken"})
    axes.plot(least, taken, "--", **style | {"label": f"{style['label']}: taken"})
    axes.set(xlabel="least score that is taken", ylabel="share")


_CURVES: tuple[tuple[str, Callable[[Accuracy], object], Draw], ...] = (
    ("calibration", lambda accuracy: accuracy.calibration, _draw_reliability),
    ("roc", lambda accuracy: accuracy.roc, _draw_roc),
    ("precision-recall", lambda accuracy: accuracy.precision_recall, _draw_precision),
    ("thresholds", lambda accuracy: accuracy.thresholds, _draw_thresholds),
)


def _confusion(figure: type[Figure], shown: Evaluation, result: Result) -> Figure:
    labels = next((m.labels for m in result.models if m.name == shown.model), ())
    count = max([len(labels), *(1 + max(t, s) for t, s, _ in shown.accuracy.confusion)])
    matrix = np.zeros((count, count))
    for truth, said, images in shown.accuracy.confusion:
        matrix[truth, said] = images
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
    drawn = figure(figsize=(7, 6.4), layout="constrained")
    axes = drawn.subplots()
    seen = axes.imshow(shares, cmap="viridis", norm="asinh" if count > NAMED_CLASSES else None)
    drawn.colorbar(seen, ax=axes, label="share of the true class")
    axes.set(xlabel="said", ylabel="truth", title=f"{_text(shown.model)} on {_text(shown.dataset)}")
    if 0 < len(labels) <= NAMED_CLASSES:
        names = [_text(label) for label in labels]
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    return drawn


def _robustness(
    figure: type[Figure], shown: Sequence[Evaluation], colours: dict[str, str]
) -> Figure:
    parts = [(each.model, each.robustness) for each in shown if each.robustness]
    names = list(dict.fromkeys(p.augmentation for _, part in parts for p in part.points))
    columns = min(3, max(1, len(names)))
    rows = max(1, -(-len(names) // columns))
    drawn = figure(figsize=(3.6 * columns, 2.6 * rows), layout="constrained")
    grid = drawn.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, name in zip(grid, names, strict=False):
        for model, part in parts:
            _draw_augmentation(axes, part, name, colours[model], _text(model))
        axes.set_title(_text(name), fontsize=10)
        axes.grid(visible=True, alpha=0.25)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    grid[0].legend(fontsize=8)
    drawn.supxlabel("intensity")
    drawn.supylabel("right")
    return drawn


def _draw_augmentation(axes: Axes, part: Robustness, name: str, colour: str, label: str) -> None:
    points = sorted(
        (p for p in part.points if p.augmentation == name), key=lambda point: point.intensity
    )
    levels = [0.0, *(point.intensity for point in points)]
    rates = [part.clean, *(point.top1 for point in points)]
    axes.plot(levels, [r.rate for r in rates], "o-", color=colour, label=label, markersize=3)
    axes.fill_between(
        levels, [r.low for r in rates], [r.high for r in rates], color=colour, alpha=0.15
    )


def _speed(figure: type[Figure], model: str, speed: Speed, colour: str) -> Figure:
    drawn = figure(figsize=(9, 3.8), layout="constrained")
    batches, stages = drawn.subplots(1, 2)
    for at, variant in enumerate(speed.variants):
        sizes = [batch.batch_size for batch in variant.batches]
        rates = [batch.images_per_second for batch in variant.batches]
        line = ("-", "--", ":", "-.")[at % 4]
        batches.plot(sizes, rates, f"o{line}", color=colour, label=_text(variant.file))
    batches.set(xlabel="batch size", ylabel="images/s", title=_text(model))
    if speed.variants:
        every = sorted({each.batch_size for one in speed.variants for each in one.batches})
        batches.set_xscale("log", base=2)
        batches.set_xticks(every, [str(size) for size in every])
        batches.set_ylim(bottom=0)
        batches.legend()
    measured = [(each.stage, each.capacity) for each in speed.stages if each.capacity]
    tones = ["#96600a" if name == speed.bottleneck else colour for name, _ in measured]
    stages.barh([n for n, _ in measured], [c for _, c in measured], color=tones)
    if measured:
        stages.set_xscale("log")
        stages.invert_yaxis()
    stages.set(xlabel="capacity, images/s", title=_text(speed.note) if speed.note else "stages")
    for at, (name, _) in enumerate(measured):
        if name == speed.bottleneck:
            stages.annotate("  bottleneck", (measured[at][1], at), va="center", fontsize=9)
    return drawn
