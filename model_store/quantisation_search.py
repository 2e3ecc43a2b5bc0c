"""Which way to quantise: several are tried on the calibration images, and the best is taken."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from model_store.answers import Answers, ServingGraph, score_differences
from model_store.original import Progress
from model_store.package import Comparison, Quantisation
from model_store.parity import in_batches
from model_store.quantisation import Quantiser
from model_store.reference import Pixels
from model_store.speed import THREADS, images_per_second

SEARCH_S = 90.0  # once so long has been spent, no further way to quantise is tried
AS_FAST = 0.9  # ways within 10 % of the fastest count as equally fast: timing is that unsure
_BATCH = 8


@dataclass(frozen=True, slots=True)
class Tried:
    """One way to quantise: how it did on the calibration images, and how fast, if that counts."""

    kind: Quantisation
    compared: Comparison
    images_per_second: float = 0.0

    def __str__(self) -> str:
        kind = self.kind
        return (
            f"{kind.method}/{kind.activations}/{kind.operators}: {self.compared.top1_agreement:.1%}"
        )


def choose(tried: Sequence[Tried], least_agreement: float) -> Tried | None:
    """The way that keeps the bound on the calibration images and is fastest; None: none keeps it.

    Of those that are about as fast, the one that agrees most, then whose scores differ least.
    Held-out images have no say here, so that they can prove what is chosen.
    """
    good = [each for each in tried if each.compared.top1_agreement >= least_agreement]
    if not good:
        return None
    fastest = max(each.images_per_second for each in good)
    as_fast = [each for each in good if each.images_per_second >= AS_FAST * fastest]
    return max(
        as_fast,
        key=lambda each: (each.compared.top1_agreement, -each.compared.mean_score_difference),
    )


@dataclass(slots=True)
class Search:
    """Tries ways to quantise.

    Args:
        quantiser: of the serving graph.
        pixels: the calibration images.
        expected: what the first variant answers to them.
        progress: is told how many ways have been tried.
        tried: the ways so far.
    """

    quantiser: Quantiser
    pixels: list[Pixels]
    expected: Answers
    progress: Progress
    tried: list[Tried] = field(default_factory=list)

    def best(self, least_agreement: float, file: Path) -> Tried | None:
        """Write the best way as ``file``; None if none keeps the bound.

        Raises:
            SourceError: the network cannot be quantised.
        """
        end = time.monotonic() + SEARCH_S
        kinds = self.quantiser.kinds
        with tempfile.TemporaryDirectory() as folder:
            for number, kind in enumerate(kinds):
                if self.tried and time.monotonic() > end:
                    break
                candidate = Path(folder, f"{number}.onnx")
                self.quantiser.write(kind, candidate)
                self.tried.append(self._try(kind, candidate))
                self.progress("ways to quantise", number + 1, len(kinds))
            self._measure(least_agreement, Path(folder))
            chosen = choose(self.tried, least_agreement)
            if chosen is not None:
                file.write_bytes(Path(folder, f"{self.tried.index(chosen)}.onnx").read_bytes())
        return chosen

    def _try(self, kind: Quantisation, file: Path) -> Tried:
        found = in_batches(ServingGraph(file), self.pixels, _BATCH, self.progress, file.stem)
        return Tried(kind, compare(found, self.expected))

    def _measure(self, least_agreement: float, folder: Path) -> None:
        """Time those that keep the bound, by turns: whatever else runs here disturbs them alike."""
        good = [
            number
            for number, each in enumerate(self.tried)
            if each.compared.top1_agreement >= least_agreement
        ]
        graphs = [ServingGraph(folder / f"{number}.onnx", THREADS) for number in good]
        rates = images_per_second(graphs, self.pixels, self.progress)
        for number, own in zip(good, rates, strict=True):
            self.tried[number] = replace(self.tried[number], images_per_second=max(own.values()))


def compare(answers: Answers, expected: Answers) -> Comparison:
    """How a variant's answers compare with those of the first variant."""
    differences = score_differences(answers, expected)
    same = answers.indices[:, 0] == expected.indices[:, 0]
    return Comparison(
        images=len(same),
        top1_agreement=round(float(same.mean()), 6),
        mean_score_difference=round(float(differences.mean()), 6),
        max_score_difference=round(float(differences.max()), 6),
    )
