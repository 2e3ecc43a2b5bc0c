"""Whether a network sees in serving what it saw in training: the server's pixels and Pillow's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analyzer.dataset_survey import Survey
from analyzer.errors import BrokenImageError
from analyzer.local import LocalModel
from analyzer.result import Finding
from model_store.errors import SourceError
from model_store.reference import reference_pixels
from predictor.decode import decode
from predictor.errors import BadImageError

SAMPLE = 64  # images, spread evenly over the dataset
SMALL = 0.03  # share of the sample that may change its class before it is an error


@dataclass(frozen=True, slots=True)
class Parity:
    """How a sample compares.

    Attributes:
        images: compared.
        mean_levels: of 255, by which pixels differ.
        max_levels: the most that one does.
        changed: images whose best class is another one.
        max_score_difference: of the best class.
    """

    images: int
    mean_levels: float
    max_levels: int
    changed: tuple[str, ...]
    max_score_difference: float

    def __str__(self) -> str:
        if not self.images:
            return "no image could be compared"
        return (
            f"{self.images - len(self.changed)} of {self.images} images keep their class, pixels "
            f"differ by {self.mean_levels:.2g} of 255 levels on average and {self.max_levels} at "
            f"most, scores by {self.max_score_difference:.1g} at most"
        )


def parity(model: LocalModel, survey: Survey) -> Parity:
    """Prepare a sample as the server does and as everybody's Pillow script does, and compare.

    What the second one sees is decoded whole, turned upright, resized and cut by Pillow; so is what
    networks are trained on by torchvision and others.
    """
    names, served, plain = [], [], []
    for number in _sample(survey):
        try:
            encoded = survey.read(number)
            how = model.decoding
            ours = decode(encoded, how.target, how.limits, scaled=how.scaled)
            theirs = reference_pixels(encoded, how.target)
        except (BadImageError, BrokenImageError, SourceError):
            continue
        names.append(survey.dataset.items[number].name)
        served.append(ours)
        plain.append(theirs)
    if not names:
        return Parity(0, 0.0, 0, (), 0.0)
    return _compared(model, names, np.stack(served), np.stack(plain))


def finding(model: LocalModel, found: Parity) -> Iterator[Finding]:
    """A finding where answers changed."""
    if found.changed:
        yield Finding(
            kind="parity",
            severity="error" if len(found.changed) > SMALL * found.images else "warning",
            text=f"{model.name}: preprocessing of serving and of training differ: {found}",
            images=found.changed[:20],
            count=len(found.changed),
        )


def _sample(survey: Survey) -> list[int]:
    readable = [number for number, error in enumerate(survey.errors) if not error]
    places = np.linspace(0, len(readable) - 1, min(len(readable), SAMPLE))
    return [readable[round(place)] for place in places]


def _compared(
    model: LocalModel, names: list[str], served: NDArray[np.uint8], plain: NDArray[np.uint8]
) -> Parity:
    apart = np.abs(served.astype(np.int16) - plain.astype(np.int16))
    ours, theirs = model.run(served), model.run(plain)
    changed = np.flatnonzero(ours.indices[:, 0] != theirs.indices[:, 0])
    return Parity(
        images=len(names),
        mean_levels=float(apart.mean()),
        max_levels=int(apart.max()),
        changed=tuple(names[row] for row in changed),
        max_score_difference=float(np.abs(ours.scores[:, 0] - theirs.scores[:, 0]).max()),
    )
