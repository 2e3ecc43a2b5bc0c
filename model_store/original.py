"""The oracle: the user's own file in ONNX Runtime, fed by plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model_store.answers import Answers
from model_store.errors import SourceError
from model_store.network import Network, open_original
from model_store.package import OriginalInput, OriginalOutput
from model_store.reference import Pixels
from model_store.session import RUNTIME_ERRORS, reason

Scores = NDArray[np.float32]
Progress = Callable[[str, int, int], None]

_PROBABILITY_SUM_TOLERANCE = 0.02


class Original(Protocol):
    """The user's own network, which packages are proven against."""

    def outputs(self, pixels: Pixels, output_name: str) -> NDArray[np.float32]:
        """The named output for one image (H, W, 3), with its own trailing shape.

        Raises:
            SourceError: when the network does not run, or gives no batch of numbers.
        """


def network_input(pixels: Pixels, original: OriginalInput) -> np.ndarray:
    """What the original network expects for images (N, H, W, 3) uint8 RGB, by plain numpy."""
    ordered = pixels[..., ::-1] if original.channels == "BGR" else pixels
    if original.layout == "NCHW":
        ordered = ordered.transpose(0, 3, 1, 2)
    if original.dtype == "uint8":
        return np.ascontiguousarray(ordered)
    shape = (3, 1, 1) if original.layout == "NCHW" else (3,)
    mean = np.array(original.mean, dtype=np.float32).reshape(shape)
    std = np.array(original.std, dtype=np.float32).reshape(shape)
    normal = (ordered.astype(np.float32) * np.float32(original.scale) - mean) / std
    return np.ascontiguousarray(normal.astype(original.dtype))


class OriginalNetwork:
    """The user's file itself in ONNX Runtime, one image at a time."""

    def __init__(self, network: Network, original: OriginalInput) -> None:
        self._path: Path = network.path
        self._session = open_original(network.path)
        self._original = original
        self._batch = network.fixed_batch or 1

    def outputs(self, pixels: Pixels, output_name: str) -> NDArray[np.float32]:
        """The named output for one image (H, W, 3), with its own trailing shape, as float32.

        Raises:
            SourceError: when the network does not run, or gives no batch of numbers.
        """
        batch = np.repeat(network_input(pixels[np.newaxis], self._original), self._batch, axis=0)
        try:
            (given,) = self._session.run([output_name], {self._original.name: batch})
        except RUNTIME_ERRORS as error:
            raise SourceError(f"{self._path}: does not run: {reason(error)}") from error
        if not isinstance(given, np.ndarray) or given.dtype.kind != "f":
            raise SourceError(
                f"{self._path}: output {output_name!r} is {getattr(given, 'dtype', type(given))}; "
                "floating-point scores are needed"
            )
        if given.ndim == 0 or given.shape[0] != self._batch:
            raise SourceError(
                f"{self._path}: output {output_name!r} has shape {given.shape}; its first "
                "dimension must be the batch"
            )
        first: NDArray[np.float32] = given[0].astype(np.float32)
        return first


def class_scores(raw: Scores, output: OriginalOutput) -> Scores:
    """Scores per class, (..., classes), from its outputs (..., offset + classes)."""
    if output.scores == "logits":
        shifted = np.exp(raw - raw.max(axis=-1, keepdims=True))
        raw = shifted / shifted.sum(axis=-1, keepdims=True)
    scores: Scores = raw[..., output.class_offset :]
    return scores


def answer(scores: Scores, top_k: int) -> tuple[NDArray[np.int64], Scores]:
    """The ``top_k`` best of ``scores`` (classes,): indices and scores, best first."""
    indices = np.argsort(-scores, kind="stable")[:top_k]
    return indices, scores[indices]


def original_outputs(
    original: Original, pixels: list[Pixels], output_name: str, progress: Progress
) -> Scores:
    """The original network's outputs for every image, (images, outputs).

    Raises:
        SourceError: when the network does not run, or its output is no list of scores.
    """
    outputs = []
    for number, one in enumerate(pixels):
        outputs.append(original.outputs(one, output_name))
        progress("original network", number + 1, len(pixels))
    shape = outputs[0].shape
    if not shape or sorted(shape)[:-1] != [1] * (len(shape) - 1):
        raise SourceError(
            f"output {output_name!r} has shape {shape} per image; one score per class is needed"
        )
    return np.stack([output.reshape(-1) for output in outputs])


def check_scores_kind(path: Path, raw: Scores, declared: str) -> None:
    """Refuse outputs (images, outputs) that are plainly not the declared kind of score.

    Raises:
        SourceError: with the flag that would be right.
    """
    if not np.isfinite(raw).all():
        raise SourceError(f"{path}: gives scores that are not finite for the parity images")
    slack = _PROBABILITY_SUM_TOLERANCE
    in_range = bool((raw >= -slack).all() and (raw <= 1 + slack).all())
    sums_to_one = bool((np.abs(raw.sum(axis=1) - 1) <= slack).all())
    if declared == "logits" and in_range and sums_to_one:
        raise SourceError(
            f"{path}: its outputs already are probabilities (each in 0..1, together 1); "
            "say so with --scores probabilities"
        )
    if declared == "probabilities" and not (in_range and sums_to_one):
        raise SourceError(
            f"{path}: its outputs are no probabilities (from {raw.min():.3g} to {raw.max():.3g}, "
            f"together {raw[0].sum():.3g}); say so with --scores logits"
        )


def expected_answers(raw: Scores, output: OriginalOutput, top_k: int) -> Answers:
    """The original network's best classes from its outputs (images, outputs)."""
    best = [answer(scores, top_k) for scores in class_scores(raw, output)]
    return Answers(np.stack([b[0] for b in best]), np.stack([b[1] for b in best]))
