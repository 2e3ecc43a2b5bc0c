"""What a user tells packaging about a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from model_store.errors import SourceError
from model_store.package import Layout, Resize, Triple

VariantName = Literal["fp32", "fp16", "int8", "pt2", "pt2-bf16", "pt2-fp16"]
VARIANTS: tuple[VariantName, ...] = get_args(VariantName)

_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes that Linux takes
_SHOWN = 200  # characters of such a path in a message

EXACT = Resize(policy="exact")


@dataclass(frozen=True, slots=True)
class PackageRequest:
    """What packaging needs to be told about a network.

    The network sees ``(pixel * scale - mean) / std`` with ``mean`` and ``std`` in the order of
    ``channels``. Sizes are (height, width) in pixels; None takes the network's own.
    ``output`` and ``layout`` are only for networks that leave them open.

    ``source`` is a file, a folder that MLflow wrote, or ``module:factory``, whose network gets the
    weights in ``checkpoint``; ``factory_args`` are the factory's arguments.

    ``origin`` says where a registry had ``source``, for the package's provenance.

    ``variants`` are made beside the network's own precision, out of ``calibration_images``, and
    are refused where their top-1 agreement on held-out images is below ``least_agreement``.
    Without ``held_out_images`` half of the calibration images are held out.

    Raises:
        SourceError: one of the paths is none.
    """

    source: Path
    name: str
    labels: Path
    parity_images: Path
    input_size: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    resize: Resize = EXACT
    channels: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    class_offset: int = 0
    scores: Literal["logits", "probabilities"] = "logits"
    top_k: int | None = None
    layout: Layout | None = None
    output: str | None = None
    variants: tuple[VariantName, ...] = ()
    calibration_images: Path | None = None
    held_out_images: Path | None = None
    least_agreement: float = 0.97
    checkpoint: Path | None = None
    factory_args: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""

    def __post_init__(self) -> None:
        for path in (
            self.source,
            self.labels,
            self.parity_images,
            self.calibration_images,
            self.held_out_images,
            self.checkpoint,
        ):
            if path is not None:
                check_path(path)


def check_path(path: Path) -> None:
    """Whether there can be a file of that name, before it is looked for.

    Raises:
        SourceError: it holds a NUL, or is too long.
    """
    encoded = [len(os.fsencode(part)) for part in (str(path), *path.parts)]
    if (
        "\0" in str(path)
        or encoded[0] > _LONGEST_PATH
        or max(encoded[1:], default=0) > _LONGEST_NAME
    ):
        shown = str(path) if len(str(path)) <= _SHOWN else f"{str(path)[:_SHOWN]}…"
        raise SourceError(f"{shown!r}: is no path: it holds a NUL, or a name of over 255 bytes")
