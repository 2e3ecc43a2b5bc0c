"""Proof that a serving graph gives the original network's answers, on real images.

Three things are measured: the serving graph against the original one image at a time; the same in
batches; and each image's answer alone against its answer beside very unlike neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from model_store import neighbours
from model_store.answers import Answers, ServingGraph, same_top1, score_difference
from model_store.errors import PackageError, ParityError
from model_store.network import Network
from model_store.original import Progress
from model_store.package import ImageInput, Parity
from model_store.reference import Pixels
from model_store.serving import Serving

# The serving graph folds normalisation into one multiplication and addition and so rounds
# otherwise; measured differences are below 0.00001 (fp32), and fp16 keeps 3 digits.
# In 8 bits, and in bf16, which keeps 2 digits, a float that rounds otherwise on another machine
# moves an activation by a whole step.
TOLERANCE = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 5e-2, "int8": 5e-2}


@dataclass(frozen=True, slots=True)
class _Figures:
    agreement: float
    difference: float
    allowed: float

    @property
    def good(self) -> bool:
        return self.agreement == 1 and self.difference <= self.allowed

    def __str__(self) -> str:
        return (
            f"top-1 agrees on {self.agreement:.1%} of the images, largest score difference "
            f"{self.difference:.2g} (allowed {self.allowed:g})"
        )


def prove(
    serving: ServingGraph,
    network: Network,
    image: ImageInput,
    pixels: list[Pixels],
    expected: Answers,
    progress: Progress,
) -> Parity:
    """Compare the serving graph with the original network's ``expected`` answers for ``pixels``.

    Scores may differ by ``TOLERANCE`` at most, and the best class must agree on every image but
    for near-ties (see ``same_top1``), one at a time and in batches.

    Raises:
        ParityError: with the figures; or, when only a batch gives other answers, with that reason.
    """
    precision: Literal["fp32", "fp16"] = "fp16" if network.half_precision else "fp32"
    allowed = TOLERANCE[precision]
    try:
        alone = in_batches(serving, pixels, 1, progress)
        single = _figures(alone, expected, allowed)
        if not single.good:
            raise ParityError(
                f"{network.path}: the serving graph does not match the original network: {single}"
                f"{_fixed_batch_hint(network)}"
            )
        effect = neighbours.neighbour_effect(serving, image, pixels, alone, precision, progress)
        batched = in_batches(serving, pixels, neighbours.LARGE_BATCH, progress)
    except PackageError as error:
        raise ParityError(
            f"{network.path}: its serving graph fails: {error}{_fixed_batch_hint(network)}"
        ) from error
    together = _figures(batched, expected, allowed)
    if effect > neighbours.TOLERANCE[precision] or not together.good:
        raise ParityError(
            f"{network.path}: the answer for an image depends on its batch neighbours (scores "
            f"change by up to {np.expm1(min(effect, 9.0)):.1%}), as whole-batch dynamic "
            f"quantisation makes it; quantise statically or not{_fixed_batch_hint(network)}"
        )
    return Parity(
        images=len(pixels),
        batch_sizes=(1, neighbours.LARGE_BATCH),
        top1_agreement=min(single.agreement, together.agreement),
        max_score_difference=max(single.difference, together.difference),
        tolerance=allowed,
    )


def _figures(answers: Answers, expected: Answers, allowed: float) -> _Figures:
    agreement = float(same_top1(answers, expected, allowed).mean())
    return _Figures(agreement, score_difference(answers, expected), allowed)


def in_batches(
    serving: Serving,
    pixels: list[Pixels],
    size: int,
    progress: Progress,
    what: str = "serving graph",
) -> Answers:
    """The answers for ``pixels``, asked for in batches of ``size``.

    Raises:
        PackageError: the graph does not run on them.
    """
    parts = []
    for start in range(0, len(pixels), size):
        parts.append(serving.answer(np.stack(pixels[start : start + size])))
        progress(f"{what}, batches of {size}", min(start + size, len(pixels)), len(pixels))
    return Answers(
        np.concatenate([p.indices for p in parts]), np.concatenate([p.scores for p in parts])
    )


def _fixed_batch_hint(network: Network) -> str:
    if network.fixed_batch is None:
        return ""
    return (
        f"; the network was exported for a fixed batch of {network.fixed_batch}, which may be the "
        "cause: export it with a dynamic batch dimension"
    )
